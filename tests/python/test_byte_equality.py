"""Every byte served is the byte that safetensors writes for what torch loads (design: semantics 2 and 3)."""

import json
import os
from pathlib import Path

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

import checkpoints
import oracle
import repositories
from safetensors_files import assert_same_cast, assert_same_file, parse

DTYPES = ["f64", "f32", "f16", "bf16"]
CAST_CASES = ["zip_every_dtype", "zip_views", "legacy_views", "zip_big_endian", "lz4_small_blocks", "safetensors_file"]
QUICK_CASES = {"zip_protocol_2", "zip_every_dtype", "zip_views", "legacy", "tar", "pickled_module"}
ALL_CASES = [pytest.param(name, marks=() if name in QUICK_CASES else pytest.mark.slow) for name in checkpoints.CASES]


@pytest.mark.parametrize("name", ALL_CASES)
def test_mount_serves_what_save_file_writes(name, source, mount):
    path, tensors = checkpoints.CASES[name].write(source)
    with mount(path) as mounted:
        assert os.listdir(mounted) == ["model.safetensors"]
        served = (mounted / "model.safetensors").read_bytes()
    assert_same_file(served, oracle.safetensors_bytes(tensors))


@pytest.mark.parametrize("name", ALL_CASES)
def test_export_writes_what_save_file_writes(name, source, tmp_path, weightfs):
    path, tensors = checkpoints.CASES[name].write(source)
    weightfs("export", path, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["model.safetensors"]
    assert_same_file((tmp_path / "out" / "model.safetensors").read_bytes(), oracle.safetensors_bytes(tensors))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CAST_CASES)
def test_dtype_casts_as_torch_does(name, dtype, source, mount):
    path, tensors = checkpoints.CASES[name].write(source)
    with mount(path, "--dtype", dtype) as mounted:
        served = (mounted / "model.safetensors").read_bytes()
    # Both oracle files list the tensors of the cast order; the original is looked up by name.
    assert_same_cast(served, oracle.safetensors_bytes(oracle.cast(tensors, dtype)), oracle.safetensors_bytes(tensors))


@pytest.mark.parametrize("torch_name", ["float32", "bfloat16", "half", "torch.float16", "float", "double", "float64"])
def test_torch_names_of_dtypes_are_taken(torch_name, source, mount):
    path, tensors = checkpoints.CASES["zip_protocol_2"].write(source)
    with mount(path, "--dtype", torch_name) as mounted:
        served = (mounted / "model.safetensors").read_bytes()
    to = getattr(torch, torch_name.removeprefix("torch."))
    expected = {name: t.to(to) if t.is_floating_point() else t for name, t in tensors.items()}
    assert_same_file(served, oracle.safetensors_bytes(expected))


def test_every_half_value_casts_as_torch_does(source, mount):
    bits = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    tensors = {"f16": bits.view(torch.float16), "bf16": bits.clone().view(torch.bfloat16)}
    path, tensors = checkpoints.saved(source / "halves.pt", tensors)
    for dtype in DTYPES:
        with mount(path, "--dtype", dtype) as mounted:
            served = (mounted / "model.safetensors").read_bytes()
        assert_same_cast(served, oracle.safetensors_bytes(oracle.cast(tensors, dtype)),
                         oracle.safetensors_bytes(tensors))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_casts_of_every_length_and_alignment(dtype, source, mount):
    """Lengths 1 to 100 from every offset of the storage: no vector tail or misaligned start is special."""
    tensors = {}
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        base = checkpoints.random_tensor(kind, 128, seed=17)
        tensors.update({f"{kind}.{n}": base[n % 9:n % 9 + n] for n in range(1, 101)})
    path, tensors = checkpoints.saved(source / "lengths.pt", tensors)
    with mount(path, "--dtype", dtype) as mounted:
        served = (mounted / "model.safetensors").read_bytes()
    assert_same_cast(served, oracle.safetensors_bytes(oracle.cast(tensors, dtype)), oracle.safetensors_bytes(tensors))


# Shards ---------------------------------------------------------------------------------------------------------------


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def expected_shards(tensors, size: str | int, stem: str = "model") -> dict[str, bytes]:
    """The weight files that huggingface_hub's splitter leads to."""
    tensors = oracle.materialize(tensors)
    split = split_torch_state_dict_into_shards(tensors, max_shard_size=size, filename_pattern=stem + "{suffix}.safetensors")
    return {file: oracle.safetensors_bytes({name: tensors[name] for name in names})
            for file, names in split.filename_to_tensors.items()}


@pytest.mark.parametrize("size", ["1", "10KB", "40KB", "1MB", "5GB"])
@pytest.mark.parametrize("name", ["zip_protocol_2", "zip_views"])
def test_shards_are_those_of_huggingface_hub(name, size, source, mount):
    path, tensors = checkpoints.CASES[name].write(source)
    expected = expected_shards(tensors, int(size) if size.isdigit() else size)
    with mount(path, "--max-shard-size", size) as mounted:
        served = read_all(mounted)
    index = served.pop("model.safetensors.index.json", None)
    assert sorted(served) == sorted(expected)
    for file, data in expected.items():
        assert_same_file(served[file], data)
    assert (index is not None) == (len(expected) > 1)
    if index:
        parsed = json.loads(index)
        assert parsed["weight_map"] == {name: file for file, data in expected.items() for name in parse(data)[0]}
        total = sum(t.numel() * t.element_size() for t in tensors.values())
        assert parsed["metadata"]["total_size"] == total
        assert index.decode() == json.dumps(parsed, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("parts", [1, 3])
def test_shards_and_index_equal_save_pretrained(parts, source, tmp_path, mount):
    """A .bin repository, re-sharded: the whole set of files is what transformers itself writes."""
    repositories.make_repository(source, "llama", parts=parts)
    model = repositories.make_model("llama")
    model.save_pretrained(tmp_path / "native", max_shard_size="50KB")
    with mount(source, "--max-shard-size", "50KB") as mounted:
        served = read_all(mounted)
    native = read_all(tmp_path / "native")
    weights = {name for name in native if "safetensors" in name}
    assert len(weights) > 4
    assert weights == {name for name in served if "safetensors" in name}
    for name in weights:
        assert served[name] == native[name], name


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize("parts", [1, 3])
def test_repository_is_one_file_by_default(kind, parts, source, mount):
    state = repositories.make_repository(source, kind, parts=parts)
    with mount(source) as mounted:
        names = os.listdir(mounted)
        served = (mounted / "model.safetensors").read_bytes()
    assert not [name for name in names if name.endswith(".bin") or "index" in name]
    assert_same_file(served, oracle.safetensors_bytes(state))


# Filters and pass-through ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, keep", [
    (["--include", "^layers"], lambda n: n.startswith("layers")),
    (["--include", "embed", "--include", "bias$"], lambda n: "embed" in n or n.endswith("bias")),
    (["--exclude", "weight"], lambda n: "weight" not in n),
    (["--include", r"layers\.1", "--exclude", r"\.10\."], lambda n: n == "layers.1.weight"),
    (["--exclude", "nothing has this name"], lambda n: True),
])
def test_filters_choose_by_name(options, keep, source, mount):
    path, tensors = checkpoints.CASES["zip_protocol_2"].write(source)
    with mount(path, *options) as mounted:
        served = (mounted / "model.safetensors").read_bytes()
    assert_same_file(served, oracle.safetensors_bytes({name: t for name, t in tensors.items() if keep(name)}))


def make_odd_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Metadata of its own, which save_file with {"format": "pt"} alone would not write."""
    tensors = oracle.materialize(checkpoints.model_tensors(3))
    save_file(tensors, path, metadata={"format": "pt", "trained_by": "somebody"})
    return tensors


def test_safetensors_that_needs_no_change_passes_through(source, mount):
    path = source / "odd.safetensors"
    make_odd_safetensors(path)
    with mount(path) as mounted:
        assert (mounted / "model.safetensors").read_bytes() == path.read_bytes()


def test_safetensors_that_changes_is_written_anew(source, mount):
    path = source / "odd.safetensors"
    tensors = make_odd_safetensors(path)
    with mount(path, "--exclude", "embed") as mounted:
        served = (mounted / "model.safetensors").read_bytes()
        manifest = (mounted / ".weightfs" / "manifest.json").read_text()
    assert_same_file(served, oracle.safetensors_bytes({n: t for n, t in tensors.items() if "embed" not in n}))
    assert "somebody" in manifest


def test_sharded_safetensors_become_one_file(source, tmp_path, mount):
    model = repositories.make_model("llama")
    model.save_pretrained(source, max_shard_size="50KB")
    with mount(source) as mounted:
        assert [name for name in sorted(os.listdir(mounted)) if "safetensors" in name] == ["model.safetensors"]
        served = (mounted / "model.safetensors").read_bytes()
    assert_same_file(served, oracle.safetensors_bytes(model.state_dict()))
