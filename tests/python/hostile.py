"""Files that must be refused: things that are no checkpoint, tensors without a safetensors form, and attacks."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch

import old_files
from pickle_assembler import MARK, Raw, call, encode, name, ordered_dict, persistent, pickled, storage, tensor
from zip_writer import Member, write_zip

# Look-alikes: (file name, how to make it, words of the message) --------------------------------------------------------


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _torchscript(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def _zip_of(*names: str) -> Callable[[Path], object]:
    return lambda path: write_zip(path, [Member(name, b"{}") for name in names])


def _python_pickle(path: Path) -> None:
    path.write_bytes(pickled({"a": [1, 2, 3]}))


def _gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"x" * 100))


LOOK_ALIKES = {
    "lfs_pointer": (_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 548118077\n"),
                    ["git lfs", "git-lfs", "lfs pointer"]),
    "html": (_bytes(b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"), ["html"]),
    "torchscript": (_torchscript, ["torchscript"]),
    "gguf": (_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + b"\0" * 64), ["gguf"]),
    "seven_zip": (_bytes(b"7z\xbc\xaf\x27\x1c" + b"\0" * 64), ["7z", "7-zip"]),
    "gzip": (_gzip, ["gzip"]),
    "torch_package": (_zip_of("archive/.data/extern_modules", "archive/.data/version", "archive/model/model.pkl"),
                      ["torch.package"]),
    "plain_zip": (_zip_of("readme.txt", "data.csv"), ["data.pkl"]),
    "plain_pickle": (_python_pickle, ["pickle"]),
    "text": (_bytes(b"just some words\n"), ["expected"]),
    "empty": (_bytes(b""), ["empty"]),
    "zeros": (_bytes(b"\0" * 4096), ["expected"]),
}

# Tensors that safetensors cannot carry ---------------------------------------------------------------------------------


def _unsupported_tensors() -> dict[str, tuple[Callable[[], torch.Tensor], list[str]]]:
    return {
        "quantized": (lambda: torch.quantize_per_tensor(torch.randn(3, 3), 0.1, 0, torch.qint8), ["quantized"]),
        "quantized_per_channel": (lambda: torch.quantize_per_channel(
            torch.randn(3, 3), torch.tensor([0.1] * 3), torch.tensor([0] * 3), 0, torch.qint8), ["quantized"]),
        "sparse_coo": (lambda: torch.eye(4).to_sparse(), ["sparse"]),
        "sparse_csr": (lambda: torch.eye(4).to_sparse_csr(), ["sparse"]),
        "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), ["nested"]),
        "complex128": (lambda: torch.randn(3, dtype=torch.complex128), ["complex128"]),
        "complex32": (lambda: torch.randn(3, dtype=torch.complex64).to(torch.complex32), ["complex32"]),
        "meta": (lambda: torch.empty(3, device="meta"), ["meta"]),
    }


UNSUPPORTED_TENSORS = _unsupported_tensors()

# Roots that are no state dict ------------------------------------------------------------------------------------------

REFUSED_ROOTS = {
    "one_tensor": (lambda: torch.ones(3), ["tensor"]),
    "list": (lambda: [torch.ones(3)], ["list"]),
    "tuple": (lambda: (torch.ones(3), torch.ones(2)), ["tuple"]),
    "no_tensor": (lambda: {"epoch": 3}, ["tensor"]),
    "number": (lambda: 7, ["int"]),
    "reserved_name": (lambda: {"__metadata__": torch.ones(2), "w": torch.ones(2)}, ["__metadata__"]),
    "names_that_meet": (lambda: {"a.b": torch.ones(2), "a": {"b": torch.ones(2)}}, ["a.b"]),
    "int_and_str_key": (lambda: {1: torch.ones(2), "1": torch.ones(2)}, ["1"]),
}

# Streams that do not mean what they should -----------------------------------------------------------------------------


def zip_with_pickle(path: Path, stream: bytes, storages: dict[str, bytes] | None = None) -> None:
    members = [Member("archive/data.pkl", stream)]
    members += [Member(f"archive/data/{key}", data) for key, data in (storages or {"0": bytes(64)}).items()]
    write_zip(path, [*members, Member("archive/version", b"3\n")])


def state(**changes) -> bytes:
    """The stream of {"w": 4x4 float32 over storage 0}, with parts replaced."""
    parts = {"stored": storage("FloatStorage", "0", 16), "shape": (4, 4), "stride": (4, 1), "offset": 0} | changes
    return pickled(ordered_dict({"w": tensor(parts["stored"], parts["shape"], parts["stride"], parts["offset"])}))


def _zip(stream: bytes, storages=None):
    return lambda path: zip_with_pickle(path, stream, storages)


def _members(*members: Member):
    return lambda path: write_zip(path, list(members))


def _cut(size_of: Callable[[int], int], legacy: bool = False):
    def write(path: Path) -> None:
        torch.save({"w": torch.arange(1000.0)}, path, _use_new_zipfile_serialization=not legacy)
        os.truncate(path, size_of(path.stat().st_size))

    return write


def _legacy_without_key(path: Path) -> None:
    root = ordered_dict({"w": tensor(storage("FloatStorage", "1", 4, legacy=True), (4,), (1,))})
    old_files.write_legacy(path, root, [("2", 4, bytes(16))])


def _legacy_wrong_count(path: Path) -> None:
    root = ordered_dict({"w": tensor(storage("FloatStorage", "1", 4, legacy=True), (4,), (1,))})
    old_files.write_legacy(path, root, [("1", 3, bytes(12))])


def self_containing_value(path: Path) -> None:
    # A list that holds itself, beside a tensor: EMPTY_LIST, memo 0, append memo 0.
    loop = Raw(b"]q\x00h\x00a")
    zip_with_pickle(path, pickled(ordered_dict({"loop": loop, "w": tensor(storage("FloatStorage", "0", 16), (4,), (1,))})))


def _self_containing_mapping(path: Path) -> None:
    zip_with_pickle(path, b"\x80\x02}q\x00" + encode("state_dict") + b"h\x00s.")


def _deep(path: Path) -> None:
    zip_with_pickle(path, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


def _laughs(path: Path) -> None:
    # Each level holds the one below ten times: 10^30 leaves in a few hundred bytes.
    body = b"\x80\x02]q\x00"
    for level in range(30):
        body += b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1])
    zip_with_pickle(path, body + b".")


def _duplicate_members(path: Path) -> None:
    good = state()
    write_zip(path, [Member("archive/data.pkl", good), Member("archive/data.pkl", good), Member("archive/data/0", bytes(64)),
                     Member("archive/version", b"3\n")])


def _overlapping_members(path: Path) -> None:
    """Two directory entries over one local header's bytes."""
    write_zip(path, [Member("archive/data.pkl", state()), Member("archive/data/0", bytes(64)),
                     Member("archive/data/1", bytes(64)), Member("archive/version", b"3\n")])
    data = bytearray(path.read_bytes())
    first = data.find(b"PK\1\2")
    entries = []
    at = first
    while data[at:at + 4] == b"PK\1\2":
        entries.append(at)
        name_size, extra_size = struct.unpack_from("<HH", data, at + 28)
        at += 46 + name_size + extra_size
    struct.pack_into("<I", data, entries[2] + 42, struct.unpack_from("<I", data, entries[1] + 42)[0] + 8)
    path.write_bytes(data)


def _tar_with(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE):
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for member, data in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                info.type = kind
                info.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
                archive.addfile(info, io.BytesIO(data))

    return write


GOOD_STORAGE = storage("FloatStorage", "0", 16)
CORRUPT = {
    "truncated_zip": _cut(lambda size: size - 30),
    "truncated_zip_half": _cut(lambda size: size // 2),
    "truncated_legacy": _cut(lambda size: size - 1, legacy=True),
    "truncated_legacy_pickle": _cut(lambda size: 150, legacy=True),
    "truncated_stream": _zip(state()[:-5]),
    "no_data_pkl": _members(Member("archive/version", b"3\n"), Member("archive/data/0", bytes(64))),
    "storage_missing": _zip(state(stored=storage("FloatStorage", "7", 16))),
    "storage_too_small": _zip(state(stored=storage("FloatStorage", "0", 17), shape=(17,), stride=(1,))),
    "view_past_the_end": _zip(state(offset=1)),
    "stride_past_the_end": _zip(state(stride=(5, 1))),
    "shape_overflows": _zip(state(shape=(1 << 40, 1 << 40), stride=(0, 0))),
    "shape_negative": _zip(state(shape=(-4, 4))),
    "stride_negative": _zip(state(stride=(-4, 1))),
    "offset_negative": _zip(state(offset=-1)),
    "offset_huge": _zip(state(offset=1 << 62)),
    "expanded_without_bound": _zip(state(shape=(1 << 50,), stride=(0,))),
    "rank_65": _zip(state(shape=(1,) * 65, stride=(1,) * 65)),
    "shape_and_stride_differ": _zip(state(shape=(4, 4), stride=(1,))),
    "key_with_two_sizes": _zip(pickled(ordered_dict({
        "a": tensor(GOOD_STORAGE, (4,), (1,)), "b": tensor(storage("FloatStorage", "0", 8), (4,), (1,))}))),
    "unknown_storage_class": _zip(state(stored=storage("Float128Storage", "0", 16))),
    "persistent_id_of_six": _zip(state(stored=persistent(("storage", name("torch", "FloatStorage"), "0", "cpu", 16, None)))),
    "persistent_id_no_tuple": _zip(state(stored=persistent("0"))),
    "key_is_a_path": _zip(state(stored=storage("FloatStorage", "../../../../etc/passwd", 16))),
    "lone_surrogate_name": _zip(pickled(ordered_dict({"\ud800": tensor(GOOD_STORAGE, (4,), (1,))}))),
    "memo_never_set": _zip(b"\x80\x02h\x07."),
    "stack_underflow": _zip(b"\x80\x02a."),
    "two_values_left": _zip(b"\x80\x02NN."),
    "unknown_opcode": _zip(b"\x80\x02\xff."),
    "protocol_6": _zip(b"\x80\x06N."),
    "string_longer_than_stream": _zip(b"\x80\x02X\xff\xff\xff\x7fabc."),
    "extension_opcode": _zip(b"\x80\x02\x82\x01."),
    "self_containing_mapping": _self_containing_mapping,
    "nested_100000_deep": _deep,
    "shared_lists_of_10_to_the_30": _laughs,
    "duplicate_member": _duplicate_members,
    "overlapping_members": _overlapping_members,
    "other_name_in_local_header": _members(Member("archive/data.pkl", state(), local_name="archive/datap.kl"),
                                           Member("archive/data/0", bytes(64)), Member("archive/version", b"3\n")),
    "other_method_in_local_header": _members(Member("archive/data.pkl", state()),
                                             Member("archive/data/0", bytes(64), local_method=8),
                                             Member("archive/version", b"3\n")),
    "encrypted_flag": _members(Member("archive/data.pkl", state(), flags=0x0801), Member("archive/data/0", bytes(64))),
    "unknown_method": _members(Member("archive/data.pkl", state(), method=12), Member("archive/data/0", bytes(64))),
    "two_roots": _members(Member("archive/data.pkl", state()), Member("other/data/0", bytes(64))),
    "name_case_collision": _members(Member("archive/data.pkl", state()), Member("archive/DATA.pkl", state()),
                                    Member("archive/data/0", bytes(64))),
    "legacy_key_missing": _legacy_without_key,
    "legacy_count_differs": _legacy_wrong_count,
    "tar_without_members": _tar_with({"readme": b"hello"}),
    "tar_links": _tar_with({"pickle": b"", "storages": b"", "tensors": b""}, tarfile.SYMTYPE),
    "safetensors_header_too_long": lambda path: path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}"),
    "safetensors_hole": lambda path: _safetensors(path, {"a": ("F32", [1], [4, 8])}, 8),
    "safetensors_overlap": lambda path: _safetensors(path, {"a": ("F32", [2], [0, 8]), "b": ("F32", [2], [4, 12])}, 12),
    "safetensors_truncated": lambda path: _safetensors(path, {"a": ("F32", [2], [0, 8])}, 7),
    "safetensors_trailing": lambda path: _safetensors(path, {"a": ("F32", [2], [0, 8])}, 9),
    "safetensors_wrong_size": lambda path: _safetensors(path, {"a": ("F32", [3], [0, 8])}, 8),
    "safetensors_unknown_dtype": lambda path: _safetensors(path, {"a": ("F33", [2], [0, 8])}, 8),
    "safetensors_duplicate": lambda path: _raw_safetensors(
        path, b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    "safetensors_no_json": lambda path: _raw_safetensors(path, b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]', 1),
}


def _raw_safetensors(path: Path, header: bytes, size: int) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


def _safetensors(path: Path, entries: dict, size: int) -> None:
    header = {key: dict(zip(("dtype", "shape", "data_offsets"), entry)) for key, entry in entries.items()}
    _raw_safetensors(path, json.dumps(header).encode(), size)


# Commands in pickles ---------------------------------------------------------------------------------------------------


def malicious_streams(command: str) -> dict[str, bytes]:
    """Pickles that run `command` when a real unpickler loads them, around a good tensor."""
    weight = tensor(GOOD_STORAGE, (4, 4), (4, 1))
    code = f"__import__('os').system({command!r})"

    def beside(value: Raw) -> bytes:
        return pickled(ordered_dict({"extra": value, "w": weight}))

    return {
        "os_system": beside(call(name("os", "system"), command)),
        "posix_system": beside(call(name("posix", "system"), command)),
        "eval": beside(call(name("builtins", "eval"), code)),
        "python2_eval": beside(call(name("__builtin__", "eval"), code)),
        "subprocess": beside(call(name("subprocess", "getoutput"), command)),
        "newobj": beside(Raw(name("subprocess", "Popen").code + encode((command,)) + b"\x81")),
        "instance": beside(Raw(MARK + encode(command) + b"ios\nsystem\n")),
        "object_opcode": beside(Raw(MARK + name("os", "system").code + encode(command) + b"o")),
        "stack_global": b"\x80\x04" + encode("os") + encode("system") + b"\x93" + encode((command,)) + b"R.",
        "before_a_broken_tail": pickled(call(name("os", "system"), command))[:-1] + b"\xff\xff",
        "rebuild_with_a_command": pickled(ordered_dict({"w": call(
            name("torch._utils", "_rebuild_tensor_v2"), call(name("os", "system"), command), 0, (4, 4), (4, 1), False, None)})),
        "build_state": pickled(ordered_dict({"x": Raw(
            call(name("os", "system"), command).code + encode({"__setstate__": command}) + b"b"), "w": weight})),
        "persistent_command": pickled(persistent(call(name("os", "system"), command))),
    }


def runs_in_python(stream: bytes) -> None:
    """Loads the stream as a careless program would. For the canary's own control."""
    class Loader(pickle.Unpickler):
        def persistent_load(self, pid):
            return pid

    Loader(io.BytesIO(stream)).load()


def hide_in_zip(path: Path, stream: bytes) -> None:
    zip_with_pickle(path, stream)


def hide_in_legacy(path: Path, stream: bytes) -> None:
    path.write_bytes(pickled(old_files.MAGIC) + pickled(1001) + pickled(old_files.SYS_INFO) + stream + pickled([]))


def hide_as_magic(path: Path, stream: bytes) -> None:
    path.write_bytes(stream)
