"""`from_pretrained` on a mount against what a user would do instead, every weight touched, cold and warm."""

import json
import subprocess
import sys
import tempfile

import torch

from . import data, machine

# Runs in a fresh interpreter: imports are not counted, touching every weight is.
LOAD = """
import json, sys, time, torch
from transformers import AutoModelForCausalLM
import transformers.models.llama.modeling_llama
path, dtype = sys.argv[1], getattr(torch, sys.argv[2])
start = time.monotonic()
model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=sys.argv[3] == "safetensors")
total = sum(float(p.view(-1)[::1024].sum()) for p in model.parameters())
print(json.dumps({"seconds": time.monotonic() - start, "sum": total}))
"""

CONVERT = """
import json, shutil, sys, time, torch
from safetensors.torch import save_file
source, target, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
start = time.monotonic()
state = torch.load(source + "/pytorch_model.bin")
save_file({n: t.to(dtype).contiguous() for n, t in state.items()}, target + "/model.safetensors", metadata={"format": "pt"})
shutil.copy(source + "/config.json", target)
print(json.dumps({"seconds": time.monotonic() - start}))
"""


def _python(program, *arguments):
    output = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, capture_output=True,
                            text=True)
    return json.loads(output.stdout.splitlines()[-1])


def _convert_then_load(tools, repository, dtype):
    with tempfile.TemporaryDirectory(dir=tools.work) as folder:
        converted = _python(CONVERT, repository, folder, dtype)["seconds"]
        return converted + _python(LOAD, folder, dtype, "safetensors")["seconds"]


def measure(tools, rounds):
    repository = data.make_repository(tools.work / "llama-f16")
    native = {"float16": data.make_native(tools.work / "llama-f16-native", repository, torch.float16),
              "float32": data.make_native(tools.work / "llama-f32-native", repository, torch.float32)}
    figures = {}
    for dtype, options in (("float16", []), ("float32", ["--dtype", "f32"])):

        def mounted(dtype=dtype, options=options):
            with tools.mount(repository, *options) as (mountpoint, seconds):
                return seconds + _python(LOAD, mountpoint, dtype, "safetensors")["seconds"]

        cases = {"native safetensors": lambda dtype=dtype: _python(LOAD, native[dtype], dtype, "safetensors")["seconds"],
                 "mount": mounted,
                 ".bin": lambda dtype=dtype: _python(LOAD, repository, dtype, "bin")["seconds"],
                 "convert, then load": lambda dtype=dtype: _convert_then_load(tools, repository, dtype)}
        figures[f"{dtype}, cold"] = machine.interleave(rounds, {name: _cold(case) for name, case in cases.items()})
        warm_cases = {name: _warm(case, files) for name, (case, files) in {
            "native safetensors": (cases["native safetensors"], [native[dtype] / "model.safetensors"]),
            "mount": (cases["mount"], [repository / "pytorch_model.bin"])}.items()}
        figures[f"{dtype}, source cached, fresh mount"] = machine.interleave(rounds, warm_cases)
    return figures


def _cold(case):
    def run():
        machine.drop_caches()
        return case()

    return run


def _warm(case, files):
    def run():
        for file in files:
            machine.warm(file)
        return case()

    return run


def report(figures):
    for title, by_name in figures.items():
        print(f"\nfrom_pretrained and every weight touched, {title} (seconds; ratio to native safetensors)")
        for name, values in by_name.items():
            ratio, low, high = machine.ratios(by_name, name, "native safetensors")
            print(f"  {name:24} {machine.median(values):8.2f}   {ratio:5.2f}  ({low:.2f} to {high:.2f})")
