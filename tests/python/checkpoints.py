"""Checkpoints of every kind that weightfs reads, written by torch itself wherever it can, with what they hold.

A case writes files into a folder and returns the source to mount; its tensors are what torch.load makes of it.
"""

import collections
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

import old_files
import oracle
from zip_writer import DEFLATED, Member, write_zip

# A dtype that a storage class names; the others (float8, unsigned, float4) are saved as untyped bytes since torch 2.1.
CLASSIC_DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64,
]
UNTYPED_DTYPES = [
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2,
]

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One kind of source. `write(folder)` returns the source's path and the tensors it holds."""

    name: str
    write: Callable[[Path], tuple[Path, Tensors]]


CASES: dict[str, Case] = {}


def case(function):
    """Registers a writer under its name."""
    CASES[function.__name__] = Case(function.__name__, function)
    return function


def random_tensor(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    """Any bytes at all of this dtype: NaNs, infinities and denormals included."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    size = torch.empty(0, dtype=dtype).element_size()
    flat = torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8, generator=generator)
    return flat.view(dtype)


def model_tensors(seed: int = 0) -> Tensors:
    """A few tensors of different sizes, as a small model has them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=torch.float32):
        return torch.randn(*shape, generator=generator).to(dtype)

    return {
        "embed.weight": normal(97, 33),
        "layers.0.weight": normal(64, 33),
        "layers.0.bias": normal(64, dtype=torch.float16),
        "layers.1.weight": normal(257, 64, dtype=torch.bfloat16),
        "layers.10.weight": normal(3, 5, 7, dtype=torch.float64),
        "steps": torch.tensor(12345),
    }


def saved(path: Path, value, **options) -> tuple[Path, Tensors]:
    torch.save(value, path, **options)
    return path, oracle.flatten(oracle.load(path))


def _protocol_case(protocol: int):
    def write(folder: Path):
        return saved(folder / "model.pt", model_tensors(protocol), pickle_protocol=protocol)

    CASES[f"zip_protocol_{protocol}"] = Case(f"zip_protocol_{protocol}", write)


for _protocol in (2, 3, 4, 5):
    _protocol_case(_protocol)


@case
def zip_every_dtype(folder: Path):
    tensors = {str(dtype).removeprefix("torch."): random_tensor(dtype, 5, 16, seed=1)
               for dtype in CLASSIC_DTYPES + UNTYPED_DTYPES}
    return saved(folder / "dtypes.pth", tensors)


@case
def legacy_every_dtype(folder: Path):
    tensors = {str(dtype).removeprefix("torch."): random_tensor(dtype, 3, 16, seed=2) for dtype in CLASSIC_DTYPES}
    return saved(folder / "dtypes.ckpt", tensors, _use_new_zipfile_serialization=False)


@case
def legacy(folder: Path):
    return saved(folder / "pytorch_model.bin", model_tensors(7), _use_new_zipfile_serialization=False)


@case
def legacy_protocol_4(folder: Path):
    return saved(folder / "model.pt", model_tensors(7), _use_new_zipfile_serialization=False, pickle_protocol=4)


def shared_and_strided() -> Tensors:
    base = torch.arange(240, dtype=torch.float32)
    grid = base.reshape(4, 5, 12)
    tied = torch.randn(31, 8)
    image = torch.randn(2, 3, 5, 7).to(memory_format=torch.channels_last)
    return {
        "whole": base,
        "slice": base[17:101],
        "rows": grid[1:3],
        "columns": grid[:, :, 3:9],
        "every_other": base[::2],
        "every_third_row": grid[:, ::3, ::2],
        "transposed": grid.permute(2, 0, 1),
        "transposed_16": torch.randn(65, 130).half().t(),
        "channels_last": image,
        "expanded": torch.tensor([1.5, 2.5, 3.5]).expand(6, 3),
        "expanded_inner": torch.tensor([[1.0], [2.0]]).expand(2, 9),
        "overlapping": base.as_strided((10, 4), (3, 1), 5),
        "tied.a": tied,
        "tied.b": tied,
        "tied.t": tied.t(),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "scalar_of_view": base[7],
        "empty": torch.empty(0),
        "empty_matrix": torch.empty(0, 5, dtype=torch.int64),
        "empty_view": base[10:10],
        "singleton_strides": torch.randn(1, 4, 1)[:, 1:, :],
    }


@case
def zip_views(folder: Path):
    return saved(folder / "views.pt", shared_and_strided())


@case
def legacy_views(folder: Path):
    return saved(folder / "views.pt", shared_and_strided(), _use_new_zipfile_serialization=False)


@case
def conjugated_and_negated(folder: Path):
    numbers = torch.complex(torch.randn(4, 6), torch.randn(4, 6))
    tensors = {"plain": numbers, "conj": numbers.conj(), "conj_t": numbers.mH, "neg": torch._neg_view(torch.randn(3, 5)),
               "neg_t": torch._neg_view(torch.arange(6.0)).reshape(2, 3).t()}
    return saved(folder / "complex.pt", tensors)


@case
def parameters(folder: Path):
    tensors = collections.OrderedDict(weight=torch.nn.Parameter(torch.randn(4, 4)),
                                      frozen=torch.nn.Parameter(torch.randn(3), requires_grad=False),
                                      buffer=torch.nn.Buffer(torch.arange(4)))
    tensors["with_state"] = torch.nn.Parameter(torch.randn(2))
    tensors["with_state"].note = "an attribute of its own"
    return saved(folder / "parameters.pt", tensors)


UNICODE_NAMES = ["größe", "権重.層.0", "имя", "emoji 🏋️", "quote\"back\\slash", "tab\tnew\nline", "nul\0inside", "del\x7f",
                 "a/b/c", "..", ".hidden", "%2F", " lead and trail ", "x" * 300, ""]


@case
def unicode_names(folder: Path):
    tensors = {name: torch.full((index + 1,), index, dtype=torch.int32) for index, name in enumerate(UNICODE_NAMES)}
    return saved(folder / "names.pt", tensors)


@case
def many_tensors(folder: Path):
    generator = torch.Generator().manual_seed(5)
    tensors = {f"blocks.{i // 4}.part{i % 4}.weight": torch.randn(1 + i % 7, generator=generator) for i in range(3000)}
    return saved(folder / "many.pt", tensors)


@case
def nested_mappings(folder: Path):
    value = {
        "encoder": collections.OrderedDict(weight=torch.randn(3, 3), norm={"scale": torch.ones(3)}),
        "decoder": {"layers": {"0": {"w": torch.randn(2, 2)}}},
        "plain": torch.randn(2),
    }
    return saved(folder / "nested.pt", value)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.register_buffer("positions", torch.arange(7))
        self.register_buffer("scratch", torch.zeros(5), persistent=False)


@case
def pickled_module(folder: Path):
    module = torch.nn.Sequential(Block(), torch.nn.ReLU(), Block())
    module[0].register_forward_hook(print)
    path = folder / "module.pt"
    torch.save(module, path)
    return path, dict(module.state_dict())


@case
def training_checkpoint(folder: Path):
    """A state dict beside an optimizer that has stepped, and objects of classes that mean nothing to a reader."""
    module = Block()
    optimizer = torch.optim.AdamW(module.parameters())
    module.linear(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    value = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "args": TrainingArguments(),
             "rng": torch.get_rng_state()}
    path = folder / "checkpoint.pt"
    torch.save(value, path)
    return path, dict(module.state_dict())


class TrainingArguments:
    def __init__(self):
        self.rate, self.path, self.nested = 1e-3, Path("somewhere"), {"dtype": torch.float16, "device": torch.device("cpu")}


@case
def lightning_checkpoint(folder: Path):
    state = {f"net.{name}": tensor for name, tensor in model_tensors(3).items()}
    value = {"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.5.0", "state_dict": state, "loops": {"a": [1]},
             "callbacks": {}, "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}], "lr_schedulers": [],
             "hyper_parameters": {"args": TrainingArguments()}}
    path = folder / "epoch=1-step=10.ckpt"
    torch.save(value, path)
    return path, model_tensors(3)  # the wrapping module's attribute is no part of the names


@case
def model_then_state_dict(folder: Path):
    state = model_tensors(4)
    path = folder / "twice.pt"
    torch.save({"model": {"state_dict": state, "epoch": 2}, "ema": {"w": torch.zeros(2)}}, path)
    return path, state


@case
def values_beside_tensors(folder: Path):
    tensors = {"w": torch.randn(3), "v": torch.randn(2, 2)}
    path = folder / "mixed.pt"
    torch.save({**tensors, "version": 3, "note": None, "args": TrainingArguments()}, path)
    return path, tensors


# Containers -----------------------------------------------------------------------------------------------------------


def rewrite_zip(path: Path, change: Callable[[str, bytes], Member | None], zip64: bool = False, align: int = 64) -> None:
    """Writes the archive anew, each member as `change(name, data)` says; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = [change(info.filename, archive.read(info)) for info in archive.infolist()]
    write_zip(path, [member for member in members if member], zip64=zip64, align=align)


def rewritten(folder: Path, change, tensors=None, **options) -> tuple[Path, Tensors]:
    path = folder / "rewritten.pt"
    torch.save(tensors or {**model_tensors(6), **shared_and_strided()}, path)
    rewrite_zip(path, change, **options)
    return path, oracle.flatten(oracle.load(path))


@case
def zip_deflated(folder: Path):
    return rewritten(folder, lambda name, data: Member(name, data, method=DEFLATED))


@case
def zip_deflated_in_part(folder: Path):
    return rewritten(folder, lambda name, data: Member(name, data, method=DEFLATED if name.endswith(("0", "3")) else 0))


@case
def zip_forced_zip64(folder: Path):
    return rewritten(folder, Member, zip64=True)


@case
def zip_unaligned(folder: Path):
    return rewritten(folder, Member, align=1)


@case
def zip_without_crc(folder: Path):
    return rewritten(folder, lambda name, data: Member(name, data, crc=0))


@case
def zip_beyond_4_gib(folder: Path):
    """A small model whose storages lie past 4 GiB of hole."""
    path = folder / "far.pt"
    torch.save(model_tensors(8), path)
    with zipfile.ZipFile(path) as archive:
        members = [Member(info.filename, archive.read(info)) for info in archive.infolist()]
    write_zip(path, members, first_offset=(1 << 32) + 4096)
    return path, oracle.flatten(oracle.load(path))


@case
def zip_only_needed_records(folder: Path):
    def keep(name: str, data: bytes):
        return Member(name, data) if name.endswith(("data.pkl", "/version")) or "/data/" in name else None

    return rewritten(folder, keep)


@case
def zip_counted_storages(folder: Path):
    """Numbers as keys of storages, as Lightning's incremental writer has them; torch reads both."""
    path = folder / "counted.pt"
    torch.save({"a": torch.randn(3), "b": torch.randn(2, 2)}, path)

    def count(name: str, data: bytes) -> Member:
        for key in (b"0", b"1"):
            text = b"X\x01\x00\x00\x00" + key
            if name.endswith("data.pkl"):
                assert text in data
                data = data.replace(text, b"K" + bytes([int(key)]))
        return Member(name, data)

    rewrite_zip(path, count)
    return path, oracle.flatten(oracle.load(path))


@case
def zip_big_endian(folder: Path):
    """Every storage swapped, `byteorder` says big: torch swaps back."""
    tensors = {str(dtype): random_tensor(dtype, 4, 4, seed=3) for dtype in CLASSIC_DTYPES}
    path = folder / "big.pt"
    torch.save(tensors, path)
    sizes = [torch.empty(0, dtype=dtype).element_size() for dtype in CLASSIC_DTYPES]
    sizes[CLASSIC_DTYPES.index(torch.complex64)] = 4

    def swap(name: str, data: bytes) -> Member:
        if name.endswith("/byteorder"):
            return Member(name, b"big")
        if "/data/" in name:
            size = sizes[int(name.rsplit("/", 1)[1])]
            return Member(name, b"".join(data[i:i + size][::-1] for i in range(0, len(data), size)))
        return Member(name, data)

    rewrite_zip(path, swap)
    loaded = oracle.load(path)
    assert all(torch.equal(loaded[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)
    return path, tensors


def _hand_made(writer, file_name: str):
    def write(folder: Path):
        path = folder / file_name
        tensors = writer(path)
        loaded = oracle.flatten(oracle.load(path))  # torch agrees that this is what the file says
        assert list(loaded) == list(tensors) and all(torch.equal(loaded[name], tensors[name]) for name in tensors)
        return path, tensors

    CASES[writer.__name__.removeprefix("write_")] = Case(writer.__name__.removeprefix("write_"), write)


for _writer, _file in ((old_files.write_first_zip, "first.pth"), (old_files.write_python2_legacy, "python2.pth"),
                       (old_files.write_tensor_built, "built.t7"), (old_files.write_tar, "squeezenet.pth")):
    _hand_made(_writer, _file)


def lz4(path: Path, *options: str) -> Path:
    """`path` compressed as `path`.lz4; independent blocks and a known size unless `options` say otherwise."""
    packed = path.with_name(path.name + ".lz4")
    subprocess.run(["lz4", "--quiet", "--force", *(options or ("-BI", "--content-size")), path, packed], check=True)
    path.unlink()
    return packed


def _lz4_case(name: str):
    def write(folder: Path):
        path, tensors = CASES[name].write(folder)
        return lz4(path), tensors

    CASES[f"lz4_{name}"] = Case(f"lz4_{name}", write)


for _name in ("zip_protocol_2", "zip_every_dtype", "zip_views", "legacy_views", "first_zip", "tar"):
    _lz4_case(_name)


@case
def lz4_small_blocks(folder: Path):
    path, tensors = saved(folder / "model.bin", {"big": torch.randn(300, 1000), **model_tensors(2)})
    return lz4(path, "-BI", "-B4", "--content-size"), tensors


@case
def lz4_block_checksums(folder: Path):
    path, tensors = saved(folder / "model.bin", {"zeros": torch.zeros(1000, 1000), **model_tensors(2)})
    return lz4(path, "-BI", "-BX", "--content-size", "-9"), tensors


@case
def safetensors_file(folder: Path):
    path = folder / "weights.safetensors"
    tensors = oracle.materialize(model_tensors(9))
    save_file(tensors, path, metadata=oracle.METADATA)
    return path, tensors


@case
def lz4_safetensors_file(folder: Path):
    path, tensors = safetensors_file(folder)
    return lz4(path), tensors


def copy_case(name: str, folder: Path) -> tuple[Path, Tensors]:
    """Writes the case `name` into an empty `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return CASES[name].write(folder)
