"""Distributed checkpoints: reads against an identity view, time to a loaded model against torch's converter, scale."""

import io
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile

import torch

from . import data, loads, machine

RANKS = 8

# What a user does without a mount: torch's converter, then safetensors. Prints seconds, those of its imports and its
# peak memory.
CONVERT = """
import json, resource, shutil, sys, time
start = time.monotonic()
import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
imports = time.monotonic() - start
source, target = sys.argv[1], sys.argv[2]
dcp_to_torch_save(source, target + "/whole.pt")
state = torch.load(target + "/whole.pt", mmap=True)["model"]
save_file({n: t.contiguous() for n, t in state.items()}, target + "/model.safetensors", metadata={"format": "pt"})
shutil.copy(source + "/config.json", target)
print(json.dumps({"seconds": time.monotonic() - start, "imports_seconds": imports,
                  "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def _metadata_classes():
    from torch.distributed.checkpoint import metadata
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    return metadata, _StorageInfo


class Writer:
    """A checkpoint folder, written part by part without processes: the files that ranks would leave."""

    def __init__(self, folder):
        self.folder = folder
        self.classes, self.storage_info = _metadata_classes()
        self.metadata = self.classes.Metadata(state_dict_metadata={}, planner_data={}, storage_data={})

    def tensor(self, name, shape, dtype, parts):
        """`parts` are (offsets, sizes, file, offset, length)."""
        c = self.classes
        key = f"model.{name}"
        self.metadata.planner_data[key] = ("model", name)
        self.metadata.state_dict_metadata[key] = c.TensorStorageMetadata(
            properties=c.TensorProperties(dtype=dtype), size=torch.Size(shape),
            chunks=[c.ChunkStorageMetadata(offsets=torch.Size(offsets), sizes=torch.Size(sizes))
                    for offsets, sizes, *_ in parts])
        for offsets, _, file, offset, length in parts:
            self.metadata.storage_data[c.MetadataIndex(key, torch.Size(offsets))] = self.storage_info(
                file, offset, length)

    def finish(self):
        (self.folder / ".metadata").write_bytes(pickle.dumps(self.metadata))


@data.made_once
def make_fsdp(folder, repository, ranks):
    """The model of `repository` as FSDP shards it: each tensor in rows of every rank."""
    state = torch.load(repository / "pytorch_model.bin", mmap=True)
    writer = Writer(folder)
    places = {}
    for rank in range(ranks):
        name = f"__{rank}_0.distcp"
        with open(folder / name, "wb") as file:
            for key, tensor in state.items():
                rows = tensor.chunk(ranks)
                if rank >= len(rows):
                    continue
                begin = sum(len(part) for part in rows[:rank])
                offset = file.tell()
                torch.save(rows[rank].clone(), file)
                places.setdefault(key, []).append(
                    ((begin, *[0] * (tensor.ndim - 1)), rows[rank].shape, name, offset, file.tell() - offset))
    for key, parts in places.items():
        writer.tensor(key, state[key].shape, state[key].dtype, parts)
    shutil.copy(repository / "config.json", folder)
    writer.finish()


@data.made_once
def make_sparse(folder, files, tensors):
    """`tensors` tensors of 256 KiB in `files` files, whose elements are holes."""
    shape = (512, 128)
    buffer = io.BytesIO()
    torch.save(torch.zeros(*shape), buffer)
    archive = buffer.getvalue()
    member = zipfile.ZipFile(io.BytesIO(archive)).getinfo("archive/data/0")
    header = archive[member.header_offset:]
    begin = member.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    writer = Writer(folder)
    for number in range(files):
        name = f"__{number}_0.distcp"
        with open(folder / name, "wb") as file:
            for i in range(tensors // files):
                offset = file.tell()
                file.write(archive[:begin])
                file.seek(member.file_size, 1)
                file.write(archive[begin + member.file_size:])
                writer.tensor(f"layers.{number * (tensors // files) + i}.weight", shape, torch.float32,
                              [((0, 0), shape, name, offset, len(archive))])
    writer.finish()


def _convert_then_load(tools, folder):
    with tempfile.TemporaryDirectory(dir=tools.work) as target:
        output = subprocess.run([sys.executable, "-c", CONVERT, folder, target], check=True, capture_output=True,
                                text=True)
        converted = json.loads(output.stdout.splitlines()[-1])
        loaded = loads._python(loads.LOAD, target, "float32", "safetensors")
        return {"seconds": converted["seconds"] + loaded["seconds"], "sum": loaded["sum"],
                "imports_seconds": converted["imports_seconds"], "rss_bytes": converted["rss_bytes"]}


def _mount_then_load(tools, folder):
    """The daemon's peak memory is what the mount takes beside the model."""
    with tools.mount(folder) as (mountpoint, seconds):
        loaded = loads._python(loads.LOAD, mountpoint, "float32", "safetensors")
        return {"seconds": seconds + loaded["seconds"], "sum": loaded["sum"],
                "rss_bytes": machine.peak_rss_bytes(machine.daemon_pid(mountpoint))}


def _mount(tools, folder):
    with tools.mount(folder) as (_, seconds):
        return seconds


def measure(tools, rounds):
    repository = data.make_repository(tools.work / "llama-f32", torch.float32)
    single = repository / "pytorch_model.bin"
    fsdp = make_fsdp(tools.work / "llama-f32-fsdp", repository, RANKS)
    sparse = make_sparse(tools.work / "dcp-sparse", 1000, 100_000)
    sources = {"identity": [single], f"FSDP of {RANKS}": sorted(fsdp.glob("*.distcp"))}
    figures = {}
    with tools.mount(single) as (identity, _), tools.mount(fsdp) as (sharded, _):
        mounts = dict(zip(sources, (identity, sharded)))

        def read(mode, name):
            for source in sources[name]:
                machine.warm(source)
            return tools.read(mode, mounts[name] / "model.safetensors")

        for mode in ("sequential", "mmap", "direct"):
            figures[mode] = machine.interleave(rounds, {
                name: lambda mode=mode, name=name: read(mode, name) for name in sources})

    def cold(case):
        machine.drop_caches()
        return case(tools, fsdp)

    figures["load"] = machine.interleave(rounds, {"mount": lambda: cold(_mount_then_load),
                                                  "dcp_to_torch_save": lambda: cold(_convert_then_load)})
    sums = {run["sum"] for runs in figures["load"].values() for run in runs}
    if len(sums) != 1:
        raise ValueError(f"the ways to load give different models: {sums}")
    figures["1,000 files, 100,000 tensors"] = machine.interleave(rounds, {"mount": lambda: _mount(tools, sparse)})
    return figures


def report(figures):
    for mode in ("sequential", "mmap", "direct"):
        print(f"\n{mode} reads of a distributed checkpoint, source in the page cache (GB/s; ratio to the identity view)")
        for name, values in figures[mode].items():
            ratio, low, high = machine.ratios(figures[mode], name, "identity")
            print(f"  {name:24} {machine.median(values):8.2f}   {ratio:5.2f}  ({low:.2f} to {high:.2f})")
    print("\nto a loaded model with every weight touched, cold (seconds; peak memory beside the model)")
    for name, runs in figures["load"].items():
        seconds = machine.median([run["seconds"] for run in runs])
        memory = machine.median([run["rss_bytes"] for run in runs]) / 2**20
        imports = machine.median([run.get("imports_seconds", 0) for run in runs])
        print(f"  {name:24} {seconds:8.2f} s ({imports:.2f} s of imports) {memory:9.1f} MiB")
    name = "1,000 files, 100,000 tensors"
    print(f"\nmounting {name}: {machine.median(figures[name]['mount']):.2f} s")
