"""Programs other than transformers that read a mount."""

import contextlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights, load_checkpoint_and_dispatch
from diffusers import DDIMPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import checkpoints
import oracle
import repositories


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    a, b = (t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_safe_open(backend, source, mount):
    path, tensors = checkpoints.CASES["zip_views"].write(source)
    expected = oracle.materialize(tensors)
    with mount(path) as mounted, safe_open(mounted / "model.safetensors", framework="pt", backend=backend) as file:
        assert sorted(file.keys()) == sorted(tensors)
        assert file.metadata() == {"format": "pt"}
        for name, tensor in expected.items():
            got = file.get_tensor(name)
            assert got.dtype == tensor.dtype and got.shape == tensor.shape and torch.equal(got, tensor), name
        rows = file.get_slice("transposed_16")
        assert torch.equal(rows[3:40, 7:60], expected["transposed_16"][3:40, 7:60])
        del rows, got


def test_load_file_of_every_dtype(source, mount):
    path, tensors = checkpoints.CASES["zip_every_dtype"].write(source)
    with mount(path) as mounted:
        loaded = load_file(mounted / "model.safetensors")
        assert set(loaded) == set(tensors)
        assert all(same(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in tensors.items())
        del loaded


def npy_name(name: str) -> str:
    """Percent-encodes `/ % NUL` and a leading dot (docs: semantics of .weightfs/tensors)."""
    encoded = re.sub(r"[/%\0]", lambda match: f"%{ord(match.group()):02X}", name)
    return ("%2E" + encoded[1:] if encoded.startswith(".") else encoded) + ".npy"


def test_numpy_maps_every_tensor(source, mount):
    tensors = {name: t for name, t in checkpoints.shared_and_strided().items()}
    tensors |= {str(dtype): checkpoints.random_tensor(dtype, 4, 6) for dtype in checkpoints.CLASSIC_DTYPES}
    path, tensors = checkpoints.saved(source / "m.pt", tensors)
    with mount(path) as mounted:
        folder = mounted / ".weightfs" / "tensors"
        assert sorted(os.listdir(folder)) == sorted(npy_name(name) for name in tensors)
        for name, tensor in tensors.items():
            # numpy cannot map an empty file region.
            array = np.load(folder / npy_name(name), mmap_mode="r" if tensor.numel() else None)
            assert array.shape == tuple(tensor.shape), name
            assert array.tobytes() == oracle.materialize({name: tensor})[name].reshape(-1).view(torch.uint8).numpy().tobytes()
            if tensor.dtype == torch.bfloat16:
                assert array.dtype.itemsize == 2
            else:
                assert array.dtype == tensor.numpy().dtype, name
            del array


def test_numpy_names_are_encoded(source, mount):
    path, tensors = checkpoints.CASES["unicode_names"].write(source)
    with mount(path) as mounted:
        listed = set(os.listdir(mounted / ".weightfs" / "tensors"))
        manifest = json.loads((mounted / ".weightfs" / "manifest.json").read_text())
    short = {npy_name(name) for name in tensors if len(npy_name(name).encode()) <= 250}
    assert short <= listed
    assert len(listed) == len(tensors)
    assert {tensor["name"] for tensor in manifest["tensors"]} == set(tensors)


def test_numpy_sees_casts_and_raw_bits(source, mount):
    path, tensors = checkpoints.CASES["zip_every_dtype"].write(source)
    with mount(path, "--dtype", "f32") as mounted:
        for name in ("bfloat16", "float8_e4m3fn", "float8_e8m0fnu", "float4_e2m1fn_x2", "uint16", "complex64"):
            array = np.load(mounted / ".weightfs" / "tensors" / f"{name}.npy", mmap_mode="r")
            expected = tensors[name].to(torch.float32) if name == "bfloat16" else tensors[name]
            if name == "bfloat16":
                assert array.dtype == np.float32
                finite = ~torch.isnan(expected)
                assert torch.equal(torch.from_numpy(array.copy())[finite], expected[finite])
            else:
                assert array.tobytes() == expected.reshape(-1).view(torch.uint8).numpy().tobytes(), name
            del array


def test_diffusers_pipeline(source, tmp_path, mount):
    """Against a native conversion, mapped as the mount is: kernels round by the alignment of weights."""
    components = repositories.make_pipeline(source / "pipeline")
    shutil.copytree(source / "pipeline", tmp_path / "native", ignore=shutil.ignore_patterns("*.bin"))
    save_file(oracle.materialize(components["unet"]), tmp_path / "native" / "unet" / "diffusion_pytorch_model.safetensors",
              metadata=oracle.METADATA)

    def images(folder: Path) -> np.ndarray:
        pipeline = DDIMPipeline.from_pretrained(folder, use_safetensors=True)
        pipeline.set_progress_bar_config(disable=True)
        assert all(torch.equal(pipeline.unet.state_dict()[name], t) for name, t in components["unet"].items())
        return pipeline(batch_size=1, num_inference_steps=2, output_type="np", generator=torch.manual_seed(3)).images

    with mount(source / "pipeline") as mounted:
        assert np.array_equal(images(mounted), images(tmp_path / "native"))


def test_accelerate_loads_a_checkpoint_folder(source, mount):
    state = repositories.make_repository(source, "llama")
    with mount(source, "--max-shard-size", "60KB") as mounted:
        with init_empty_weights():
            model = repositories.make_model("llama")
        model = load_checkpoint_and_dispatch(model, mounted, device_map={"": "cpu"})
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
        del model


class RangeServer(http.server.BaseHTTPRequestHandler):
    """Files below `root` as the Hub serves them: /REPO/resolve/REVISION/PATH with byte ranges."""

    root: Path

    def do_HEAD(self):
        self.answer(send_body=False)

    def do_GET(self):
        self.answer(send_body=True)

    def answer(self, send_body: bool) -> None:
        match = re.fullmatch(r"/weightfs/tiny/(?:resolve|raw)/[^/]+/(.*)", urllib.parse.urlparse(self.path).path)
        path = self.root / urllib.parse.unquote(match[1]) if match else None
        if path is None or not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin, end = (int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)) if wanted else (0, size - 1)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - begin + 1))
        self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.send_header("ETag", f'"{path.name}-{size}"')
        self.send_header("X-Linked-Size", str(size))
        self.end_headers()
        if send_body:
            with open(path, "rb") as file:
                self.wfile.write(os.pread(file.fileno(), end - begin + 1, begin))

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serve(root: Path):
    handler = type("Handler", (RangeServer,), {"root": root})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def hub_headers(mounted: Path) -> dict:
    modules = os.environ.get("WEIGHTFS_NODE_MODULES")
    assert modules, "WEIGHTFS_NODE_MODULES is not set: run through tests/run.sh, or name the folder that npm ci made"
    with serve(mounted) as url:
        done = subprocess.run(["node", Path(__file__).with_name("read_with_hub.cjs"), url], capture_output=True, text=True,
                              timeout=60, env={**os.environ, "NODE_PATH": modules})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_huggingface_js_reads_one_file(source, mount):
    state = repositories.make_repository(source, "llama")
    with mount(source) as mounted:
        result = hub_headers(mounted)
    assert result["sharded"] is False
    assert set(result["header"]) - {"__metadata__"} == set(state)
    assert result["header"]["__metadata__"] == {"format": "pt"}
    assert result["parameterCount"] == {"F32": sum(t.numel() for t in state.values())}


def test_huggingface_js_reads_shards(source, mount):
    state = repositories.make_repository(source, "llama")
    with mount(source, "--max-shard-size", "60KB") as mounted:
        result = hub_headers(mounted)
        shards = {name for name in os.listdir(mounted) if name.endswith(".safetensors")}
    assert result["sharded"] is True
    assert set(result["headers"]) == shards
    names = [name for header in result["headers"].values() for name in header if name != "__metadata__"]
    assert sorted(names) == sorted(state)
