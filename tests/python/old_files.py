"""Checkpoints of eras that today's torch still reads and no longer writes, assembled by hand."""

import io
import struct
import tarfile
from pathlib import Path

import torch

from pickle_assembler import ByteString, build, call, name, ordered_dict, persistent, pickled, storage, tensor
from zip_writer import Member, write_zip

MAGIC = 0x1950A86A20F9469CFC6C
SYS_INFO = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}

STORAGE_KINDS = {
    torch.float64: "DoubleStorage", torch.float32: "FloatStorage", torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage", torch.int64: "LongStorage", torch.int32: "IntStorage",
    torch.int16: "ShortStorage", torch.int8: "CharStorage", torch.uint8: "ByteStorage", torch.bool: "BoolStorage",
}


def raw_bytes(values: torch.Tensor) -> bytes:
    """The elements of a contiguous tensor, as stored."""
    return bytes(values.contiguous().reshape(-1).view(torch.uint8).tolist()) if values.numel() else b""


def write_legacy(path: Path, root, storages: list[tuple[str, int, bytes]], keys: list | None = None) -> Path:
    """The format before zip: magic, version, system, object, key list, then (count, bytes) of each storage."""
    with open(path, "wb") as out:
        for value in (MAGIC, 1001, SYS_INFO):
            out.write(pickled(value))
        out.write(pickled(root))
        out.write(pickled([key for key, _, _ in storages] if keys is None else keys))
        for _, count, data in storages:
            out.write(struct.pack("<q", count) + data)
    return path


def write_first_zip(path: Path) -> dict[str, torch.Tensor]:
    """The first zip form (1.5): `version` first, keys are addresses, records in the order of their names."""
    weight = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    bias = torch.linspace(-1, 1, 6, dtype=torch.float64)
    weight_key, bias_key = "94371840123456", "139871234567890"
    root = ordered_dict({
        "layer.weight": tensor(storage("FloatStorage", weight_key, 24), (4, 6), (6, 1)),
        "layer.weight_t": tensor(storage("FloatStorage", weight_key, 24), (6, 4), (1, 6)),
        "layer.bias": tensor(storage("DoubleStorage", bias_key, 6), (6,), (1,)),
    })
    members = [
        Member("archive/version", b"3\n"),
        Member("archive/data.pkl", pickled(root)),
        Member(f"archive/data/{bias_key}", raw_bytes(bias)),
        Member(f"archive/data/{weight_key}", raw_bytes(weight)),
    ]
    write_zip(path, members)
    return {"layer.weight": weight, "layer.weight_t": weight.t(), "layer.bias": bias}


def write_python2_legacy(path: Path) -> dict[str, torch.Tensor]:
    """A legacy file that Python 2 wrote: byte strings everywhere, a view of another storage, Parameter by BUILD."""
    flat = torch.arange(32, dtype=torch.float32)
    half = torch.arange(6, dtype=torch.float16)
    whole = storage("FloatStorage", ByteString(b"140100"), 32, legacy=True, location=ByteString(b"cpu"))
    part = storage("FloatStorage", ByteString(b"140100"), 32, legacy=True, location=ByteString(b"cpu"),
                   view=(ByteString(b"140164"), 16, 16))
    halves = storage("HalfStorage", ByteString(b"99"), 6, legacy=True, location=ByteString(b"cuda:0"))
    old = call(name("torch._utils", "_rebuild_tensor"), part, 2, (2, 3), (3, 1))
    no_hooks = call(name("collections", "OrderedDict"))
    parameter = build(call(name("torch.nn.parameter", "Parameter"), tensor(whole, (4, 8), (8, 1))),
                      (True, None, no_hooks))
    root = ordered_dict({
        ByteString(b"old.view"): old,
        ByteString(b"parameter"): parameter,
        ByteString(b"half"): tensor(halves, (3, 2), (1, 3)),
    })
    write_legacy(path, root, [(ByteString(b"140100"), 32, raw_bytes(flat)), (ByteString(b"99"), 6, raw_bytes(half))])
    return {
        "old.view": flat[18:24].reshape(2, 3),
        "parameter": flat.reshape(4, 8),
        "half": half.as_strided((3, 2), (1, 3)),
    }


def write_tensor_built(path: Path) -> dict[str, torch.Tensor]:
    """Very old tensors: an instance of the tensor type, filled by BUILD (storage, offset, size, stride)."""
    values = torch.arange(12, dtype=torch.float32)
    built = build(call(name("torch", "FloatTensor")),
                  (storage("FloatStorage", "7", 12, legacy=True), 2, (2, 5), (5, 1)))
    write_legacy(path, ordered_dict({"built": built}), [("7", 12, raw_bytes(values))])
    return {"built": values[2:12].reshape(2, 5)}


def _tar_storages(flat: torch.Tensor, longs: torch.Tensor) -> bytes:
    parts = [pickled(2)]
    for key, kind, values in ((11, "FloatStorage", flat), (12, "LongStorage", longs)):
        parts.append(pickled((key, "cpu", name("torch", kind))))
        parts.append(struct.pack("<q", values.numel()) + raw_bytes(values))
    parts.append(pickled([(13, 11, 6, 6)]))  # storage 13 is elements 6 to 11 of storage 11
    return b"".join(parts)


def _tar_tensor(key: int, storage_key: int, kind: str, shape: tuple, stride: tuple, offset: int) -> bytes:
    dims = len(shape)
    return pickled((key, storage_key, name("torch", kind))) + struct.pack(
        f"<i4x{2 * dims + 1}q", dims, *shape, *stride, offset)


def write_tar(path: Path) -> dict[str, torch.Tensor]:
    """The tar form of 2016: storages, tensors and the object in members of their own."""
    flat, longs = torch.arange(12, dtype=torch.float32) / 8, torch.arange(5, dtype=torch.int64) - 2
    tensors = (
        pickled(4)
        + _tar_tensor(101, 11, "FloatTensor", (3, 4), (4, 1), 0)
        + _tar_tensor(102, 11, "FloatTensor", (4, 3), (1, 4), 0)
        + _tar_tensor(103, 13, "FloatTensor", (2, 2), (2, 1), 1)
        + _tar_tensor(104, 12, "LongTensor", (5,), (1,), 0)
    )
    root = ordered_dict({
        "features.0.weight": persistent(101), "features.0.turned": persistent(102),
        "classifier.part": persistent(103), "steps": persistent(104),
    })
    members = {"sys_info": pickled(SYS_INFO), "pickle": pickled(root), "storages": _tar_storages(flat, longs),
               "tensors": tensors}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return {
        "features.0.weight": flat.reshape(3, 4), "features.0.turned": flat.reshape(3, 4).t(),
        "classifier.part": flat[7:11].reshape(2, 2), "steps": longs,
    }
