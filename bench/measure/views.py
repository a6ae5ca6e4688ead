"""Reads of tensors that are served in another order than they are stored, against stored bytes of the same size."""

import torch

from . import data, machine


def measure(tools, rounds):
    repository = data.make_repository(tools.work / "llama-f16")
    single = repository / "pytorch_model.bin"
    transposed = data.make_transposed(tools.work / "llama-f16-transposed", repository) / "pytorch_model.bin"
    ranks = data.make_ranks(tools.work / "llama-f16-ranks", repository, 4)
    transposed_f32 = data.make_transposed(
        tools.work / "llama-f32-transposed", data.make_repository(tools.work / "llama-f32", torch.float32))
    sources = {"identity": single, "transposed": transposed, "ranks of 4": ranks}
    figures = {}
    with (tools.mount(single) as (identity, _), tools.mount(transposed) as (columns, _),
          tools.mount(ranks) as (merged, _), tools.mount(transposed_f32 / "pytorch_model.bin") as (columns_f32, _)):
        files = {"identity": (identity, [single]), "transposed": (columns, [transposed]),
                 "transposed, f32": (columns_f32, [transposed_f32 / "pytorch_model.bin"]),
                 "ranks of 4": (merged, sorted(ranks.glob("*.pth")))}
        for mode in ("sequential", "mmap", "random"):
            arguments = ["--block", "4096", "--seconds", "1"] if mode == "random" else []
            figures[mode] = machine.interleave(rounds, {
                name: lambda mode=mode, name=name, arguments=arguments: _read(tools, mode, *files[name], arguments)
                for name in files})
    figures["cold"] = machine.interleave(rounds, {
        name: lambda source=source: _read_cold(tools, source) for name, source in sources.items()})
    return figures


def _read(tools, mode, mountpoint, sources, arguments):
    """One pass with the source in the page cache and the pages of the mounted file dropped."""
    for source in sources:
        machine.warm(source)
    return tools.read(mode, mountpoint / "model.safetensors", *arguments)


def _read_cold(tools, source):
    machine.drop_caches()
    with tools.mount(source) as (mountpoint, _):
        return tools.read("sequential", mountpoint / "model.safetensors")


def report(figures):
    for mode, by_name in figures.items():
        kind = "sequential, everything cold" if mode == "cold" else f"{mode}, source in the page cache"
        print(f"\n{kind} (GB/s; ratio to the identity view, median of pairs)")
        for name, values in by_name.items():
            ratio, low, high = machine.ratios(by_name, name, "identity")
            print(f"  {name:24} {machine.median(values):8.2f}   {ratio:5.2f}  ({low:.2f} to {high:.2f})")
