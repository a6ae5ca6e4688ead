"""Reads of a mounted file against the same file read natively and against the null server, the ceiling of FUSE."""

import torch

from . import data, machine


def measure(tools, rounds):
    repository = data.make_repository(tools.work / "llama-f16")
    native = data.make_native(tools.work / "llama-f16-native", repository, torch.float16) / "model.safetensors"
    single = repository / "pytorch_model.bin"
    source_f32 = data.make_repository(tools.work / "llama-f32", torch.float32) / "pytorch_model.bin"
    figures = {}
    with (tools.null_mount(native.stat().st_size) as null, tools.passthrough_mount(native.parent) as passthrough,
          tools.mount(single) as (keep, _), tools.mount(single, "--dtype", "f32") as (f32, _),
          tools.mount(single, "--dtype", "bf16") as (bf16, _), tools.mount(source_f32, "--dtype", "f16") as (f16, _)):
        files = {"native": native, "null server": null, "libfuse passthrough_ll": passthrough / "model.safetensors",
                 "keep": keep / "model.safetensors", "f16 to f32": f32 / "model.safetensors",
                 "f16 to bf16": bf16 / "model.safetensors", "f32 to f16": f16 / "model.safetensors"}
        for mode in ("sequential", "mmap", "direct", "random"):
            arguments = ["--block", "4096", "--seconds", "1"] if mode == "random" else []
            figures[mode] = machine.interleave(rounds, {
                name: lambda mode=mode, path=path, name=name, arguments=arguments: _read(
                    tools, mode, path, arguments, (single, source_f32), name)
                for name, path in files.items()})
    return figures


def _read(tools, mode, path, arguments, sources, name):
    """One pass with the sources in the page cache and the pages of the mounted file dropped."""
    for source in sources:
        machine.warm(source)
    if name == "native":
        machine.warm(path)
        arguments = [*arguments, "--keep-cache"]
    return tools.read(mode, path, *arguments)


def report(figures):
    for mode, by_name in figures.items():
        print(f"\n{mode} reads, source in the page cache (GB/s; ratio to the null server, median of pairs)")
        for name, values in by_name.items():
            ratio, low, high = machine.ratios(by_name, name, "null server")
            print(f"  {name:24} {machine.median(values):8.2f}   {ratio:5.2f}  ({low:.2f} to {high:.2f})")
