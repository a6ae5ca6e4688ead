"""Mount time and memory of the daemon against the number of tensors and the size of the source."""

import json
import pathlib

from . import data, machine


def _mount(tools, source, read_bytes=0):
    """Seconds to mount, and the daemon's resident bytes afterwards and after serving `read_bytes`."""
    with tools.mount(source) as (mountpoint, seconds):
        pid = json.loads((mountpoint / ".weightfs" / "status.json").read_text())["pid"]
        rss = machine.rss_bytes(pid)
        if read_bytes:
            with open(mountpoint / "model.safetensors", "rb", buffering=0) as file:
                buffer = bytearray(1 << 20)
                left = read_bytes
                while left > 0 and (n := file.readinto(buffer)):
                    left -= n
        return {"seconds": seconds, "rss_bytes": rss, "rss_after_bytes": machine.rss_bytes(pid)}


def measure(tools, rounds):
    work = tools.work
    sources = {f"{count} tensors": (data.make_many_tensors(work / f"many-{count}.bin", count), 0)
               for count in (100, 1000, 10_000, 100_000)}
    sources["1 TB sparse safetensors"] = (data.make_sparse(work / "sparse-1t.safetensors", 10**12), 0)
    sources["6 GB sparse, 5 GB served"] = (data.make_sparse(work / "sparse-6g.safetensors", 6 * 10**9), 5 * 10**9)
    cases = {name: lambda source=source, size=size: _mount(tools, source, size)
             for name, (source, size) in sources.items()}
    figures = machine.interleave(rounds, cases)
    for name, (source, _) in sources.items():
        for figure in figures[name]:
            figure["source_bytes"] = pathlib.Path(source).stat().st_size
    return figures


def report(figures):
    print("\nmounting (median of runs)")
    print(f"  {'source':28} {'mount ms':>9} {'RSS MiB':>9} {'after reads':>12}")
    for name, runs in figures.items():
        milliseconds = 1e3 * machine.median([run["seconds"] for run in runs])
        mounted = machine.median([run["rss_bytes"] for run in runs]) / 2**20
        served = machine.median([run["rss_after_bytes"] for run in runs]) / 2**20
        print(f"  {name:28} {milliseconds:9.1f} {mounted:9.1f} {served:12.1f}")
