"""ZeRO-3 saves: reads against an identity view of the same bytes, first load against zero_to_fp32 and load, mount time."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch

from . import data, loads, machine, zero

RANKS = 8

# What a user does without a mount, in the environment that has DeepSpeed: convert to safetensors, then load. Starting
# the converter is a part of it, as starting the daemon is of a mount; imports are told apart.
CONVERT = """
import json, resource, sys, time
start = time.monotonic()
from deepspeed.utils.zero_to_fp32 import convert_zero_checkpoint_to_fp32_state_dict
imports = time.monotonic() - start
convert_zero_checkpoint_to_fp32_state_dict(sys.argv[1], sys.argv[2], safe_serialization=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": time.monotonic() - start, "imports_seconds": imports, "peak_bytes": peak}))
"""


def _sequential(tools, path, sources):
    for source in sources:
        machine.warm(source)
    return tools.read("sequential", path)


def _convert_and_load(tools, save, config):
    python = os.environ["WEIGHTFS_DEEPSPEED_PYTHON"]
    with tempfile.TemporaryDirectory(dir=tools.work) as folder:
        output = subprocess.run([python, "-c", CONVERT, save, folder], check=True, capture_output=True, text=True,
                                env=os.environ | {"DS_ACCELERATOR": "cpu"})
        figure = json.loads(output.stdout.splitlines()[-1])
        (pathlib.Path(folder) / "config.json").write_bytes(config.read_bytes())
        written = sum(file.stat().st_size for file in pathlib.Path(folder).iterdir())
        loaded = loads._python(loads.LOAD, folder, "float32", "safetensors")
    return {"seconds": figure["seconds"] + loaded["seconds"], "imports_seconds": figure["imports_seconds"],
            "peak_bytes": figure["peak_bytes"], "written_bytes": written, "sum": loaded["sum"]}


def _mount_and_load(tools, save):
    with tools.mount(save) as (mountpoint, seconds):
        loaded = loads._python(loads.LOAD, mountpoint, "float32", "safetensors")
        peak = machine.peak_rss_bytes(machine.daemon_pid(mountpoint))
    return {"seconds": seconds + loaded["seconds"], "peak_bytes": peak, "written_bytes": 0, "sum": loaded["sum"]}


def _mount_many(tools, save):
    with tools.mount(save) as (mountpoint, seconds):
        pid = machine.daemon_pid(mountpoint)
        descriptors = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
        return {"seconds": seconds, "rss_bytes": machine.rss_bytes(pid), "descriptors": descriptors}


def measure(tools, rounds):
    repository = data.make_repository(tools.work / "llama-f16")
    native = data.make_native(tools.work / "llama-f32-native", repository, torch.float32)
    save = zero.make_zero3(tools.work / f"zero3-{RANKS}", repository, RANKS)
    ranks = sorted((save / zero.TAG).glob("*_optim_states.pt"))
    figures = {}
    with tools.mount(native / "model.safetensors") as (identity, _), tools.mount(save) as (gathered, _), \
            tools.mount(save, "--dtype", "bf16") as (cast, _):
        figures["reads"] = machine.interleave(rounds, {
            "identity": lambda: _sequential(tools, identity / "model.safetensors", [native / "model.safetensors"]),
            f"ZeRO-3, {RANKS} ranks": lambda: _sequential(tools, gathered / "model.safetensors", ranks),
            f"ZeRO-3, {RANKS} ranks, to bf16": lambda: _sequential(tools, cast / "model.safetensors", ranks)})
    if "WEIGHTFS_DEEPSPEED_PYTHON" in os.environ:
        def cold(case):
            def run():
                machine.drop_caches()
                return case()
            return run

        figures["first load"] = machine.interleave(rounds, {
            "mount and load": cold(lambda: _mount_and_load(tools, save)),
            "zero_to_fp32 and load": cold(lambda: _convert_and_load(tools, save, repository / "config.json"))})
        sums = {run["sum"] for runs in figures["first load"].values() for run in runs}
        if len(sums) != 1:
            raise ValueError(f"the ways to load give different models: {sums}")
    sparse = zero.make_sparse_zero3(tools.work / "zero3-512-sparse", 512, 1000, 4 << 20)
    figures["512 ranks, 1,000 parameters"] = machine.interleave(rounds, {"mount": lambda: _mount_many(tools, sparse)})
    return figures


def report(figures):
    print("\nsequential reads of ZeRO-3 masters, source in the page cache (GB/s; ratio to an identity view of the same bytes)")
    for name, values in figures["reads"].items():
        ratio, low, high = machine.ratios(figures["reads"], name, "identity")
        print(f"  {name:28} {machine.median(values):8.2f}   {ratio:5.2f}  ({low:.2f} to {high:.2f})")
    if "first load" in figures:
        print("\nfrom a cold save to a model in memory (medians)")
        for name, runs in figures["first load"].items():
            seconds = machine.median([run["seconds"] for run in runs])
            peak = machine.median([run["peak_bytes"] for run in runs]) / 2**20
            imports = machine.median([run.get("imports_seconds", 0) for run in runs])
            print(f"  {name:28} {seconds:8.2f} s ({imports:.2f} s of imports), peak RSS {peak:7.1f} MiB, "
                  f"written {runs[0]['written_bytes'] / 2**20:8.1f} MiB")
    else:
        print("\nzero_to_fp32 was not run: WEIGHTFS_DEEPSPEED_PYTHON names no Python with DeepSpeed", file=sys.stderr)
    runs = figures["512 ranks, 1,000 parameters"]["mount"]
    print(f"\nmounting 512 ranks with 1,000 parameters: {machine.median([r['seconds'] for r in runs]):.2f} s, "
          f"RSS {machine.median([r['rss_bytes'] for r in runs]) / 2**20:.0f} MiB, {runs[0]['descriptors']} descriptors")
