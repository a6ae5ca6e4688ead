"""OLMo-core runs that OLMo-core wrote, mounted: the bytes and the configuration of its converter, and its own logits.

$WEIGHTFS_OLMO names the folder that olmo_writer.py made.
"""

import gc
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load, load_file

from mounting import wait_until

MADE = Path(os.environ.get("WEIGHTFS_OLMO") or "olmo-runs")
CASES = ["olmo2", "olmo2_gqa_tied", "olmo2_scaled", "olmo3", "olmo3_first_layer_full", "olmo3_yarn", "flex_olmo",
         "flex_olmo_dropless", "llama", "qwen3", "gemma3", "hybrid", "hybrid_unrotated"]
# Of these the converter maps the keys alone, or stops before it has a configuration.
WITHOUT_CONFIG = {"flex_olmo", "flex_olmo_dropless", "llama", "qwen3", "gemma3"}
WITHOUT_LOGITS = {"flex_olmo", "flex_olmo_dropless", "hybrid", "hybrid_unrotated"}
# Names of the converter that transformers has not: what it writes does not load.
RENAMED = {"linear_attn.norm.": "linear_attn.o_norm.", "linear_attn.out_proj.": "linear_attn.o_proj."}
VERSIONS = {"transformers_version", "_from_model_config", "dtype", "output_attentions", "output_hidden_states",
            "torch_dtype"}


def case_folder(name: str) -> Path:
    folder = MADE / name
    assert folder.is_dir(), f"{folder} is not there: run olmo_writer.py, and set WEIGHTFS_OLMO"
    return folder


def assert_same_tensors(served: Path, reference: Path) -> None:
    expected = {}
    for name, tensor in load_file(reference).items():
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        expected[name] = tensor
    head = expected.get("lm_head.weight")
    # Of a tied hybrid the converter writes the embedding twice.
    if head is not None and torch.equal(head, expected["model.embed_tokens.weight"]):
        del expected["lm_head.weight"]
    actual = load(served.read_bytes())
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype and actual[name].shape == tensor.shape, name
        assert torch.equal(actual[name].flatten().view(torch.uint8), tensor.flatten().view(torch.uint8)), name


@pytest.mark.parametrize("name", CASES)
def test_equals_the_converter(name, mount):
    folder = case_folder(name)
    with mount(folder / "run") as mounted:
        assert sorted(path.name for path in mounted.iterdir()) == ["step10", "tokenizer"]
        step = mounted / "step10"
        assert_same_tensors(step / "model.safetensors", folder / "hf" / "model.safetensors")
        assert (step / "tokenizer.json").read_bytes() == (folder / "run/tokenizer/tokenizer.json").read_bytes()
        assert not (step / "train").exists() and not (step / "model_and_optim").exists()
        if name in WITHOUT_CONFIG:
            return
        for file in ("config.json", "generation_config.json"):
            if not (folder / "hf" / file).exists():
                continue  # It writes none for hybrids.
            config = type(transformers.AutoConfig.from_pretrained(folder / "hf"))
            if file == "config.json":
                ours, theirs = (config.from_pretrained(path).to_dict() for path in (step, folder / "hf"))
            else:
                ours, theirs = (json.loads((path / file).read_text()) for path in (step, folder / "hf"))
                theirs.pop("use_cache", None)
            for key in VERSIONS:
                ours.pop(key, None), theirs.pop(key, None)
            assert ours == theirs, file


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITHOUT_LOGITS])
def test_logits_of_the_trained_model(name, mount):
    folder = case_folder(name)
    native = load_file(folder / "logits.safetensors")
    with mount(folder / "run") as mounted:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            mounted / "step10", dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        assert not any(report.values()), report
        with torch.no_grad():
            logits = model.eval()(native["input_ids"]).logits
        difference = (logits - native["logits"]).abs().max() / native["logits"].abs().max()
        assert difference < 1e-5, difference
        tokenizer = transformers.AutoTokenizer.from_pretrained(mounted / "step10")
        assert tokenizer.eos_token == "<|endoftext|>"
        del model
        gc.collect()  # What maps the mount keeps it busy.


@pytest.mark.parametrize("name", sorted(WITHOUT_LOGITS))
def test_the_others_load(name, mount):
    with mount(case_folder(name) / "run" / "step10") as mounted:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(mounted, dtype=torch.float32,
                                                                          output_loading_info=True)
        assert not any(report.values()), report
        del model
        gc.collect()


def test_sharded_over_ranks(mount):
    """Two ranks with FSDP save what one rank saves."""
    with mount(case_folder("olmo3_fsdp") / "run") as mounted:
        assert_same_tensors(mounted / "step10" / "model.safetensors", case_folder("olmo3") / "hf" / "model.safetensors")


@pytest.mark.parametrize("inside", ["step10", "step10/model_and_optim"])
def test_a_step_and_its_model_folder_alone(inside, mount):
    folder = case_folder("olmo3")
    with mount(folder / "run" / inside) as mounted:
        assert_same_tensors(mounted / "model.safetensors", folder / "hf" / "model.safetensors")
        assert json.loads((mounted / "config.json").read_text())["model_type"] == "olmo3"
        assert (mounted / "tokenizer.json").exists()


def test_a_step_without_its_tokenizer_names_it(tmp_path, mount):
    shutil.copytree(case_folder("olmo2") / "run" / "step10", tmp_path / "step10")
    with mount(tmp_path / "step10") as mounted:
        config = json.loads((mounted / "config.json").read_text())
        assert config["tokenizer_name"] == "tokenizer" and config["max_position_embeddings"] == 64
        assert sorted(path.name for path in mounted.iterdir()) == ["config.json", "generation_config.json",
                                                                   "model.safetensors"]


def test_padding_rows_are_kept_on_request(mount):
    folder = case_folder("olmo2")
    with mount(folder / "run" / "step10", "--vocab-size", "320") as mounted:
        assert load((mounted / "model.safetensors").read_bytes())["model.embed_tokens.weight"].shape == (320, 48)
        assert json.loads((mounted / "config.json").read_text())["vocab_size"] == 320


def test_steps_appear_when_they_are_whole(tmp_path, mount):
    run = tmp_path / "run"
    shutil.copytree(case_folder("olmo2") / "run", run)
    with mount(run) as mounted:
        model = (mounted / "step10" / "model.safetensors").read_bytes()
        inode = (mounted / "step10" / "model.safetensors").stat().st_ino
        # As a trainer writes it: its own state, the payload, the metadata last.
        source, target = run / "step10", run / "step20"
        shutil.copytree(source / "train", target / "train")
        time.sleep(1.5)
        assert sorted(os.listdir(mounted)) == ["step10", "tokenizer"]
        (target / "model_and_optim").mkdir(parents=True)
        for path in (source / "model_and_optim").glob("*.distcp"):
            shutil.copy(path, target / "model_and_optim")
        shutil.copy(source / "config.json", target)
        time.sleep(1.5)
        assert sorted(os.listdir(mounted)) == ["step10", "tokenizer"]
        shutil.copy(source / "model_and_optim" / ".metadata", target / "model_and_optim")
        wait_until(lambda: "step20" in os.listdir(mounted), what="the new step")
        assert (mounted / "step20" / "model.safetensors").read_bytes() == model
        assert (mounted / "step10" / "model.safetensors").stat().st_ino == inode
        assert (mounted / "step20" / "tokenizer.json").exists()
