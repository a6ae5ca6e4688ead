"""Distributed checkpoints that torch itself wrote, on 1 to 4 ranks, against what was saved and torch's own converter."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import dcp_writer
import oracle
from manifest_pieces import whole_bytes
from reading import pread_exactly
from safetensors_files import assert_same_file

REFUSED = {"fsdp1_local", "accelerate_fsdp1_local", "olmo_local"}
OPTIONS = {"several_subtrees": ["--weights", "ema"]}
# What torch's converter cannot read, or reads wrongly: rows of one rank only, without an error.
NO_REFERENCE = {"without_collectives", "safetensors_blobs", "sharded_rank_files", "dtensor_rank_files", "olmo_rank_files",
                "several_subtrees", "accelerate_fsdp2_full", "accelerate_fsdp2_rank_files", "huggingface_shards",
                "huggingface_consolidated", "huggingface_full"} | REFUSED


# Written always: tests that are about something else use them, and they show each kind of layout once.
QUICK = ["plain", "flat", "several_subtrees", "fsdp2_2", "fsdp2_3", "hsdp", "two_dimensional", "without_collectives",
         "dtensor_rank_files", "accelerate_fsdp2", "huggingface_shards"]

pytestmark = pytest.mark.timeout(600)  # The first test waits for all saves.


def cases(*names: str) -> list:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def cases_without(*names: str) -> list:
    return cases(*(name for name in dcp_writer.CASES if name not in names))


@pytest.fixture(scope="session")
def saved(request, tmp_path_factory) -> Path:
    """Every case that a test of this session names, written by one process."""
    names = dict.fromkeys(QUICK)
    for item in request.session.items:
        if "saved" in getattr(item, "fixturenames", ()) and hasattr(item, "callspec"):
            names.update({item.callspec.params["name"]: None} if "name" in item.callspec.params else {})
    out = tmp_path_factory.mktemp("dcp")
    done = subprocess.run([sys.executable, dcp_writer.__file__, out, *names], capture_output=True, text=True, timeout=540,
                          check=False)
    assert done.returncode == 0, done.stderr
    return out


def expected(saved: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(saved / f"{name}.expected.pt", weights_only=False)


def by_name(path: Path) -> dict[str, torch.Tensor]:
    """In memory: a mapping would keep the mount busy."""
    return load(path.read_bytes())


@pytest.mark.parametrize("name", cases_without(*REFUSED))
def test_serves_what_was_saved(name, saved, mount):
    with mount(saved / name, *OPTIONS.get(name, [])) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(expected(saved, name)))
        assert not [path.name for path in mounted.rglob("*") if path.suffix in (".distcp", ".metadata", ".bin")]
        assert not (mounted / "sharded").exists()


@pytest.mark.parametrize("name", cases_without(*NO_REFERENCE))
def test_equals_the_converter_of_torch(name, saved, mount, tmp_path):
    inside = "pytorch_model_fsdp_0" if name.startswith("accelerate") or name == "fsdp2_llama" else ""
    dcp_to_torch_save(saved / name / inside, tmp_path / "whole.pt")
    state = oracle.load(tmp_path / "whole.pt")
    state = state.get("app", state)
    state = state.get("model", {key: value for key, value in state.items() if key != "optimizer"})
    with mount(saved / name) as mounted:
        served = by_name(mounted / "model.safetensors")
    flat = {}

    def flatten(value, prefix=""):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(item, torch.Tensor):
                flat[f"{prefix}{key}"] = item
            elif isinstance(item, (dict, list)):
                flatten(item, f"{prefix}{key}.")

    flatten(state)
    assert served.keys() == flat.keys()
    for key, tensor in flat.items():
        assert served[key].dtype == tensor.dtype and served[key].shape == tensor.shape, key
        same = served[key].flatten().view(torch.uint8).equal(tensor.contiguous().flatten().view(torch.uint8))
        assert same, key


@pytest.mark.parametrize("name", cases("fsdp2_3", "boxes", "zstd", "strided_shards", "two_dimensional"))
def test_random_ranges(name, saved, mount, rng):
    whole = oracle.safetensors_bytes(expected(saved, name))
    with mount(saved / name) as mounted:
        fd = os.open(mounted / "model.safetensors", os.O_RDONLY)
        try:
            for _ in range(300):
                begin = rng.randrange(len(whole))
                size = rng.choice([1, 7, 64, 1000, len(whole)])
                assert pread_exactly(fd, size, begin) == whole[begin:begin + size], (begin, size)
        finally:
            os.close(fd)


@pytest.mark.parametrize("name", cases("fsdp2_3", "boxes", "without_collectives", "sharded_rank_files"))
def test_the_manifest_tells_where_every_byte_lies(name, saved, mount):
    with mount(saved / name) as mounted:
        manifest = json.loads((mounted / ".weightfs" / "manifest.json").read_text())
    tensors = expected(saved, name)
    files = set()
    for tensor in manifest["tensors"]:
        whole = tensors[tensor["name"]]
        stored = whole.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        if "pieces" in tensor:
            assert whole_bytes(tensor["pieces"], whole.element_size()) == stored, tensor["name"]
            files |= {Path(piece["storage"]).name for piece in tensor["pieces"]}
        else:
            (origin,) = tensor["sources"]
            begin, end = origin["byte_range"]
            assert (saved / name / origin["file"]).read_bytes()[begin:end] == stored or "modes" in origin
    assert files == {path.name for path in (saved / name).iterdir() if path.name != ".metadata" and
                     not path.name.endswith(".metadata")}


@pytest.mark.parametrize("dtype", ["bf16", "f64"])
def test_casts(dtype, saved, mount):
    with mount(saved / "fsdp2_2", "--dtype", dtype) as mounted:
        tensors = oracle.cast(expected(saved, "fsdp2_2"), dtype)
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(tensors))


def test_the_choice_is_printed_and_listed(saved, weightfs, mountpoint):
    report = weightfs.json("inspect", saved / "several_subtrees", "--json")
    candidates = {item["path"]: item for item in report["sets"][0]["candidates"]}
    assert candidates.keys() == {"", "model", "ema"}
    assert candidates["model"]["chosen"] and not candidates["ema"]["chosen"]
    left_out = {item["path"]: item["reason"] for item in report["sets"][0]["left_out"]}
    assert left_out == {"ema": "1 tensor, not the model", "optim": "1 tensor, the state of an optimizer"}
    done = weightfs("mount", saved / "several_subtrees", mountpoint)
    weightfs("umount", mountpoint)
    assert re.search("served is the subtree 'model'; left out: 'ema' .1 tensor, not the model", done.stderr)


def test_optimizer_state_is_refused(saved, weightfs, mountpoint):
    done = weightfs("mount", saved / "fsdp2_2", mountpoint, "--weights", "optim", status=2)
    assert "never served" in done.stderr
    done = weightfs("mount", saved / "fsdp2_2", mountpoint, "--weights", "ema", status=2)
    assert "no subtree" in done.stderr


@pytest.mark.parametrize("name", cases(*sorted(REFUSED)))
def test_local_state_is_refused_with_the_remedy(name, saved, weightfs, mountpoint):
    done = weightfs("mount", saved / name, mountpoint, status=3)
    assert "LOCAL_STATE_DICT" in done.stderr and "SHARDED_STATE_DICT" in done.stderr


class Damaged:
    """A copy of a case whose metadata can be changed."""

    def __init__(self, source: Path, folder: Path):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        self.folder = folder
        with open(folder / ".metadata", "rb") as file:
            self.metadata = pickle.load(file)

    def save(self):
        with open(self.folder / ".metadata", "wb") as file:
            pickle.dump(self.metadata, file)


def truncate(damaged):
    path = damaged.folder / "__1_0.distcp"
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 8)
    return "__1_0.distcp: .* is the file cut off"


def remove(damaged):
    (damaged.folder / "__1_0.distcp").unlink()
    return r"__1_0\.distcp: missing; expected the file that holds tensor 'model\..*': its part of sizes"


def move_chunk_out(damaged):
    chunk = damaged.metadata.state_dict_metadata["model.head.weight"].chunks[1]
    chunk.offsets = torch.Size([29, 0])
    damaged.save()
    return r"\.metadata: tensor 'model\.head\.weight': a chunk of sizes \[.*\] at \[29, 0\] .* expected it within"


def overlap(damaged):
    chunk = damaged.metadata.state_dict_metadata["model.head.weight"].chunks[1]
    chunk.offsets = torch.Size([14, 0])
    damaged.save()
    return r"tensor 'model\.head\.weight': 2 parts hold what lies from \[14, 0\] to \[15, 13\] of shape \[29, 13\]"


def lose_chunk(damaged):
    del damaged.metadata.state_dict_metadata["model.head.weight"].chunks[1]
    damaged.save()
    return r"tensor 'model\.head\.weight': no part holds what lies from \[15, 0\] to \[29, 13\]"


def escape(damaged):
    for index, info in damaged.metadata.storage_data.items():
        if index.fqn == "model.head.weight":
            info.relative_path = "../__0_0.distcp"
    damaged.save()
    return r"tensor 'model\.head\.weight': stored in '\.\./__0_0\.distcp'; expected a plain name"


def mix(damaged):
    # The second rank's file is that of another save, of three ranks.
    shutil.copy(damaged.folder.parent / "other" / "__1_0.distcp", damaged.folder / "__1_0.distcp")
    return r"__1_0\.distcp: .* of one save\?|are the files of one save\?"


def unfinished(damaged):
    (damaged.folder / ".metadata").unlink()
    return r"no \.metadata beside the \.distcp files; .* unfinished"


@pytest.mark.parametrize("damage", [truncate, remove, move_chunk_out, overlap, lose_chunk, escape, mix, unfinished])
def test_damaged_checkpoints_are_refused(damage, saved, weightfs, tmp_path, mountpoint):
    shutil.copytree(saved / "fsdp2_3", tmp_path / "other")
    damaged = Damaged(saved / "fsdp2_2", tmp_path / "damaged")
    message = damage(damaged)
    done = weightfs("mount", damaged.folder, mountpoint, status=3)
    assert re.search(message, done.stderr, re.S), done.stderr
    assert str(damaged.folder) in done.stderr


def test_a_missing_rank_is_named(saved, weightfs, tmp_path, mountpoint):
    shutil.copytree(saved / "without_collectives", tmp_path / "copy")
    (tmp_path / "copy" / "__1.metadata").unlink()
    done = weightfs("mount", tmp_path / "copy", mountpoint, status=3)
    assert "__1.metadata: missing" in done.stderr
    (tmp_path / "copy" / "__2.metadata").unlink()
    done = weightfs("mount", tmp_path / "copy", mountpoint, status=3)
    assert re.search("tensor '.*': no part holds what lies from", done.stderr), done.stderr


# The metadata as other releases wrote it: modules that classes had, attributes that there were not.
def release_2_1(metadata):
    del metadata.__dict__["storage_meta"], metadata.__dict__["version"]
    return {"torch.distributed.checkpoint.metadata\nTensorProperties":
            "torch.distributed._shard.sharded_tensor.metadata\nTensorProperties"}


def release_2_3(metadata):
    del metadata.__dict__["version"]
    return {}


def olmo_core(metadata):
    for info in metadata.storage_data.values():
        info.__dict__.pop("transform_descriptors", None)
    return {"torch.distributed.checkpoint.filesystem\n_StorageInfo":
            "olmo_core.distributed.checkpoint.filesystem\n_StorageInfo"}


@pytest.mark.parametrize("release", [release_2_1, release_2_3, olmo_core])
def test_metadata_of_other_releases(release, saved, mount, tmp_path):
    damaged = Damaged(saved / "fsdp2_2", tmp_path / "copy")
    renamed = release(damaged.metadata)
    # Protocol 2 has the names of classes as text lines.
    text = pickle.dumps(damaged.metadata, protocol=2)
    for old, new in renamed.items():
        assert old.encode() in text
        text = text.replace(old.encode(), new.encode())
    (damaged.folder / ".metadata").write_bytes(text)
    with mount(damaged.folder) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(),
                         oracle.safetensors_bytes(expected(saved, "fsdp2_2")))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(protocol, saved, mount, tmp_path):
    damaged = Damaged(saved / "fsdp2_2", tmp_path / "copy")
    (damaged.folder / ".metadata").write_bytes(pickle.dumps(damaged.metadata, protocol=protocol))
    with mount(damaged.folder) as mounted:
        assert by_name(mounted / "model.safetensors").keys() == expected(saved, "fsdp2_2").keys()


def test_nothing_in_the_metadata_is_executed(saved, mount, tmp_path):
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {witness}",)

    damaged = Damaged(saved / "fsdp2_2", tmp_path / "copy")
    damaged.metadata.storage_meta = Payload()
    text = pickle.dumps(damaged.metadata)
    (damaged.folder / ".metadata").write_bytes(text)
    with mount(damaged.folder) as mounted:
        assert (mounted / "model.safetensors").exists()
    assert not witness.exists()
    pickle.loads(text)
    assert witness.exists()


def test_trainer_folder(saved, mount, weightfs, tmp_path):
    """checkpoint-N with an FSDP state and weight files: the state wins, and says so."""
    folder = tmp_path / "checkpoint-5"
    shutil.copytree(saved / "fsdp2_2", folder / "pytorch_model_fsdp_0")
    shutil.copytree(saved / "flat", folder / "optimizer_0")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "config.json").write_text('{"model_type": "llama", "dtype": "bfloat16"}')
    torch.save({"other": torch.ones(2)}, folder / "pytorch_model.bin")
    torch.save({}, folder / "scheduler.pt")
    whole = oracle.safetensors_bytes(expected(saved, "fsdp2_2"))
    with mount(folder) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), whole)
        assert {path.name for path in mounted.iterdir()} == {"model.safetensors", "config.json", "trainer_state.json"}
        # What is served has the type of the parameters that were trained.
        assert (mounted / "config.json").read_text() == '{"model_type": "llama", "dtype": "float32"}'
    shown = " ".join(weightfs("inspect", folder).stdout.split())
    assert "--weights files serves the weight files beside it" in shown
    with mount(folder, "--weights", "files") as mounted:
        assert by_name(mounted / "model.safetensors").keys() == {"other"}
        assert json.loads((mounted / "config.json").read_text())["dtype"] == "bfloat16"
    metadata = folder / "pytorch_model_fsdp_0" / ".metadata"
    metadata.rename(tmp_path / "away")
    assert any("unfinished" in note for note in weightfs.json("inspect", "--json", folder)["notes"])
    with mount(folder) as mounted:
        assert by_name(mounted / "model.safetensors").keys() == {"other"}
    (tmp_path / "away").rename(metadata)
    (folder / "pytorch_model.bin").unlink()
    with mount(tmp_path) as mounted:
        assert_same_file((mounted / "checkpoint-5" / "model.safetensors").read_bytes(), whole)


def test_full_state_of_accelerate(saved, mount, source):
    state = expected(saved, "fsdp2_2")
    torch.save(state, source / "pytorch_model_fsdp.bin")
    with mount(source) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


@pytest.mark.slow
def test_consolidation_is_better_than_the_reference(saved, mount, tmp_path):
    """torch consolidates a tensor without dimensions to zero, and fails for integers: sharded/ has both."""
    script = tmp_path / "write.py"
    script.write_text(f"""
import os, sys
sys.path.insert(0, {str(Path(dcp_writer.__file__).parent)!r})
import dcp_writer as w
import torch.distributed.checkpoint as dcp
@w.case(2)
def scalars(folder):
    model = w.fsdp2(2)
    state = w.get_model_state_dict(model)
    state = {{name: state[name] for name in ("head.weight", "scale")}}
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(folder, save_distributed=True, enable_consolidation=True))
    w.dist.barrier()
    return {{name: w.make_net().state_dict()[name] for name in state}}
w.write("scalars", w.Path({str(tmp_path)!r}))
""")
    subprocess.run([sys.executable, script], check=True, capture_output=True, timeout=120)
    folder = tmp_path / "scalars"
    assert by_name(folder / "model-00001-of-00001.safetensors")["scale"] == 0
    state = expected(tmp_path, "scalars")
    assert state["scale"] == 2.5
    with mount(folder) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))
    with mount(folder, "--weights", "files") as mounted:
        assert by_name(mounted / "model.safetensors")["scale"] == 0


def test_names_in_files_of_ranks_are_bounded(weightfs, source):
    """A long key above many tensors is written once, and is in the name of each."""
    values = {str(i): torch.zeros(1) for i in range(40)}
    torch.save({"model": {"x" * (1 << 20): values}}, source / "pytorch_model_fsdp_0_rank0.bin")
    assert "names of the tensors take too many bytes" in weightfs("inspect", source, status=3).stderr
    torch.save({"model": {"x" * 1000: values}}, source / "pytorch_model_fsdp_0_rank0.bin")
    assert len(weightfs.json("inspect", "--json", source)["tensors"]) == 40


def test_files_of_ranks_must_all_be_there(saved, weightfs, tmp_path, mountpoint):
    shutil.copytree(saved / "dtensor_rank_files", tmp_path / "copy")
    (tmp_path / "copy" / "pytorch_model_fsdp_0_rank1.bin").unlink()
    done = weightfs("mount", tmp_path / "copy", mountpoint, status=3)
    assert "no file of rank 1" in done.stderr
    (tmp_path / "copy" / "pytorch_model_fsdp_0_rank2.bin").unlink()
    done = weightfs("mount", tmp_path / "copy", mountpoint, status=3)
    assert "a part of shape" in done.stderr and "rank 0 of 1" in done.stderr
