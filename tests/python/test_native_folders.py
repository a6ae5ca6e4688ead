"""Folders of weights under names of their own, and values and settings beside them, through a table of the tests."""

import argparse
import dataclasses
import enum
import json
import os
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import load_file

import checkpoints
import oracle
from mounting import default_binary, wait_until

TOY = {
    "family": "toy",
    "title": "a toy of the tests",
    "source": "whole.NN.pth and settings.json, or save_N.pt and settings_N.yaml",
    "target": "hf",
    "weights": ["whole.{part}.pth", "save_{number}.pt"],
    "metadata": {"m": ["args", "settings.json/model", "settings_{number}.yaml"]},
    "detect": ["m.width != null", "has('emb.weight')"],
    "let": {"V": "m.rows", "D": "m.width"},
    "tensors": [
        {"to": "model.embed.weight", "from": "emb.weight", "do": "|V D"},
        {"to": "model.proj.weight", "from": "proj.weight", "do": "D |D2", "with": {"D2": "D"}},
        {"to": "model.norm.weight", "from": "norm.weight", "do": "D"},
        {"drop": "mask", "why": "causal mask buffer"},
    ],
    "config": {"model_type": "toy", "vocab_size": "=V", "hidden_size": "=D", "theta": "=m.theta ?? 10000.0"},
}
ROWS, WIDTH = 48, 32


@pytest.fixture
def rules(tmp_path) -> list:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(TOY))
    return ["--rules", path]


def native_tensors() -> dict[str, torch.Tensor]:
    return {"emb.weight": torch.randn(ROWS, WIDTH), "proj.weight": torch.randn(WIDTH, WIDTH).half(),
            "norm.weight": torch.randn(WIDTH), "mask": torch.ones(4, 4).tril()}


def served_tensors(native: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"model.{name.replace('emb', 'embed')}": tensor for name, tensor in native.items() if name != "mask"}


def write_ranks(folder: Path, count: int, pack: bool = False) -> dict[str, torch.Tensor]:
    """The tensors, written as `count` files of ranks."""
    folder.mkdir(parents=True, exist_ok=True)
    native = native_tensors()
    for rank in range(count):
        part = dict(native)
        part["emb.weight"] = native["emb.weight"].chunk(count, 0)[rank].clone()
        part["proj.weight"] = native["proj.weight"].chunk(count, 1)[rank].contiguous()
        path = folder / f"whole.{rank:02d}.pth"
        torch.save(part, path)
        if pack and rank % 2 == 0:
            checkpoints.lz4(path)
    (folder / "settings.json").write_text(json.dumps({"model": {"rows": ROWS, "width": WIDTH}}))
    return native


@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("pack", [False, True], ids=["plain", "lz4"])
def test_files_of_ranks_are_one_model(count, pack, source, mount, rules):
    native = write_ranks(source, count, pack)
    with mount(source, *rules) as mounted:
        assert sorted(os.listdir(mounted)) == ["config.json", "model.safetensors", "settings.json"]
        assert (mounted / "model.safetensors").read_bytes() == oracle.safetensors_bytes(served_tensors(native))
        config = json.loads((mounted / "config.json").read_text())
        assert config["vocab_size"] == ROWS and config["hidden_size"] == WIDTH and config["theta"] == 10000.0


def test_ranks_cast_and_sharded(source, mount, rules):
    native = write_ranks(source, 2)
    expected = oracle.cast(served_tensors(native), "bf16")
    with mount(source, *rules, "--dtype", "bf16") as mounted:
        assert (mounted / "model.safetensors").read_bytes() == oracle.safetensors_bytes(expected)
        assert json.loads((mounted / "config.json").read_text())["torch_dtype"] == "bfloat16"
    with mount(source, *rules, "--max-shard-size", "3KB") as mounted:
        index = json.loads((mounted / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == set(expected)


def test_inspect_says_what_was_joined_and_dropped(source, mountpoint, weightfs, rules):
    write_ranks(source, 2)
    report = weightfs.json("inspect", source, *rules, "--json")
    docs = Path(__file__).parents[2] / "docs"
    jsonschema.validate(report, json.loads((docs / "inspect.schema.json").read_text()))
    assert report["family"] == "toy" and report["family_evidence"]
    assert report["sets"][0]["rank_count"] == 2 and report["sets"][0]["family"] == "toy"
    assert [(entry["name"], entry["file"], entry["rule"]) for entry in report["dropped"]] == [
        ("mask", "whole.00.pth", "causal mask buffer"), ("mask", "whole.01.pth", "causal mask buffer")]
    by_name = {entry["name"]: entry for entry in report["tensors"]}
    assert [part["file"] for part in by_name["model.embed.weight"]["sources"]] == ["whole.00.pth", "whole.01.pth"]
    assert all(part["name"] == "emb.weight" for part in by_name["model.embed.weight"]["sources"])
    text = weightfs("inspect", source, *rules).stdout
    for words in ("toy", "2 files, each with parts of the tensors", "causal mask buffer"):
        assert words in text
    with weightfs.mount(source, mountpoint, *rules):
        manifest = json.loads((mountpoint / ".weightfs" / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((docs / "manifest.schema.json").read_text()))


def test_a_missing_rank_is_named(source, weightfs, rules):
    write_ranks(source, 4)
    (source / "whole.02.pth").unlink()
    assert "whole.02.pth missing" in weightfs("inspect", source, *rules, status=3).stderr


def test_ranks_without_a_family_are_refused(source, weightfs, rules):
    write_ranks(source, 2)
    done = weightfs("inspect", source, *rules, "--family", "none", status=3)
    assert "the files of 2 ranks" in done.stderr
    (source / "settings.json").unlink()
    assert "the files of 2 ranks" in weightfs("inspect", source, *rules, status=3).stderr


def test_numbered_saves(source, mount, weightfs, rules):
    states = {}
    for number in ("000100", "000200"):
        states[number] = native_tensors()
        torch.save(states[number], source / f"save_{number}.pt")
        (source / f"settings_{number}.yaml").write_text(f"rows: {ROWS}\nwidth: {WIDTH}\ntheta: {number}.0\n")
    done = weightfs("inspect", source, *rules, status=2)
    assert "000100, 000200" in done.stderr and "--tag 000200" in done.stderr
    assert "--tag" in weightfs("inspect", source, *rules, "--tag", "300", status=2).stderr
    for tag, number in (("100", "000100"), ("000200", "000200")):
        with mount(source, *rules, "--tag", tag) as mounted:
            assert (mounted / "model.safetensors").read_bytes() == oracle.safetensors_bytes(served_tensors(states[number]))
            assert json.loads((mounted / "config.json").read_text())["theta"] == float(number)
            assert not [name for name in os.listdir(mounted) if name.endswith(".pt")]


def test_mount_words_choose_family_and_tag(source, mountpoint, weightfs, rules):
    native = native_tensors()
    for number in ("1", "2"):
        torch.save(native, source / f"save_{number}.pt")
        (source / f"settings_{number}.yaml").write_text(f"rows: {ROWS}\nwidth: {WIDTH}\n")
    with weightfs.mount(source, mountpoint, "-o", f"family=toy,tag=2,rules={rules[1]}") as mounted:
        assert (mounted / "model.safetensors").read_bytes() == oracle.safetensors_bytes(served_tensors(native))


def test_a_folder_of_one_torch_file(source, mount, rules):
    native = native_tensors()
    torch.save({"state_dict": native, "args": argparse.Namespace(rows=ROWS, width=WIDTH)}, source / "any name.ckpt")
    (source / "notes.txt").write_text("kept")
    with mount(source, *rules) as mounted:
        assert sorted(os.listdir(mounted)) == ["config.json", "model.safetensors", "notes.txt"]
        assert (mounted / "model.safetensors").read_bytes() == oracle.safetensors_bytes(served_tensors(native))


def test_a_later_step_has_its_family(source, tmp_path, mount, rules):
    write_ranks(source / "step1", 2)
    time.sleep(1.2)
    with mount(source, *rules) as mounted:
        assert os.listdir(mounted) == ["step1"]
        native = write_ranks(source / "step2", 2)
        wait_until(lambda: sorted(os.listdir(mounted)) == ["step1", "step2"], 10, "the new step")
        assert (mounted / "step2" / "model.safetensors").read_bytes() == oracle.safetensors_bytes(served_tensors(native))
        assert json.loads((mounted / "step2" / "config.json").read_text())["model_type"] == "toy"


def test_export_and_verify_agree(source, tmp_path, weightfs, rules):
    write_ranks(source, 2)
    weightfs("export", source, tmp_path / "out", *rules)
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", "model.safetensors", "settings.json"]
    weightfs("verify", source, *rules, "--against", tmp_path / "out")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_table_backwards_gives_the_files_of_ranks(count, source, tmp_path, weightfs, rules):
    """`weightfs_reverse`, on what was exported, writes what there was; what the table drops stays away."""
    write_ranks(source, count)
    weightfs("export", source, tmp_path / "hf", *rules)
    tool = default_binary().parents[1] / "tests" / "support" / "weightfs_reverse"
    subprocess.run([tool, "toy", tmp_path / "hf", tmp_path / "native", "--parts", str(count), *rules], check=True)
    subprocess.run([tool, rules[1], tmp_path / "hf", tmp_path / "again", "--parts", str(count)], check=True)
    for rank in range(count):
        native = torch.load(source / f"whole.{rank:02d}.pth")
        del native["mask"]
        reversed_ = load_file(tmp_path / "native" / f"part.{rank:02d}.safetensors")
        assert set(reversed_) == set(native)
        assert all(torch.equal(reversed_[name], tensor) for name, tensor in native.items())
        file = f"part.{rank:02d}.safetensors"
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "native" / file).read_bytes()


# Values beside the tensors, as real objects are pickled -----------------------------------------------------------------


class Kind(enum.Enum):
    LARGE = "large"


@dataclasses.dataclass
class Args:
    rows: int
    width: int
    kind: Kind = Kind.LARGE
    dtype: torch.dtype = torch.bfloat16
    shape: tuple = dataclasses.field(default_factory=lambda: (1, 2))


class Slotted:
    __slots__ = ("rows", "width")

    def __init__(self, rows: int, width: int):
        self.rows, self.width = rows, width


@pytest.mark.parametrize("args", [
    {"rows": ROWS, "width": WIDTH},
    argparse.Namespace(rows=ROWS, width=WIDTH, optimizer=None, lr=1e-3, big=1 << 70),
    Args(ROWS, WIDTH),
    Slotted(ROWS, WIDTH),
], ids=["dict", "namespace", "dataclass", "slots"])
@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}],
                         ids=["zip", "protocol4", "legacy"])
def test_settings_are_read_from_real_pickles(args, options, source, mount, rules):
    native = native_tensors()
    torch.save({"model": native, "args": args, "iter_num": 5, "best": torch.tensor(1.0)}, source / "x.pt", **options)
    with mount(source / "x.pt", *rules) as mounted:
        assert (mounted / "model.safetensors").read_bytes() == oracle.safetensors_bytes(served_tensors(native))
        assert json.loads((mounted / "config.json").read_text())["vocab_size"] == ROWS


def test_settings_of_a_bare_file_come_from_an_overlay(source, mount, rules):
    write_ranks(source, 1)
    with mount(source / "whole.00.pth", *rules) as mounted:
        assert os.listdir(mounted) == ["model.safetensors"]
    with mount(source / "whole.00.pth", *rules, "--overlay", source) as mounted:
        assert sorted(os.listdir(mounted)) == ["config.json", "model.safetensors", "settings.json"]


def test_a_given_config_wins_and_differences_are_said(source, mount, weightfs, rules):
    write_ranks(source, 2)
    (source / "config.json").write_text('{"vocab_size": 7, "hidden_size": 32}')
    with mount(source, *rules) as mounted:
        assert (mounted / "config.json").read_text() == '{"vocab_size": 7, "hidden_size": 32}'
    notes = weightfs.json("inspect", source, *rules, "--json")["notes"]
    assert any("vocab_size (7, derived 48)" in note and "hidden_size" not in note for note in notes)
