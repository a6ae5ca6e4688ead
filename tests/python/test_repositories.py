"""The directory that a mount shows (design: section 2, "Sources" and "What is served")."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import checkpoints
import oracle
import repositories
from safetensors_files import assert_same_file, parse


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_names_and_small_files_of_a_repository(source, mount):
    state = repositories.make_repository(source)
    (source / "README.md").write_text("A model.\n")
    (source / "merges.txt").write_bytes(b"\xff\x00 any bytes")
    (source / "big.json").write_bytes(b" " * 3_000_000 + b"{}")
    with mount(source) as mounted:
        assert tree(mounted) == {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
                                 "tokenizer_config.json", "README.md", "merges.txt", "big.json"}
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))
        for name in tree(mounted) - {"model.safetensors"}:
            assert (mounted / name).read_bytes() == (source / name).read_bytes(), name
            assert (mounted / name).is_file() and not (mounted / name).is_symlink()


HIDDEN = ["training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth",
          "rng_state_0.pth", "random_states_0.pkl", "model.onnx", "model.gguf", "tf_model.h5", "flax_model.msgpack",
          "consolidated.00.pth", "consolidated.safetensors", "params.json", "x.distcp", "extra.ckpt", ".gitattributes",
          ".hidden/file.txt"]


@pytest.mark.parametrize("name", HIDDEN)
def test_files_that_are_never_served(name, source, mount):
    repositories.make_repository(source)
    path = source / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x80\x02N.")
    with mount(source) as mounted:
        assert name.split("/")[0] not in os.listdir(mounted)
        assert not (mounted / name).exists()
        assert (mounted / "model.safetensors").exists()


def test_trainer_folder_serves_its_weights(source, mount):
    state = repositories.make_trainer_folder(source / "checkpoint-3")
    with mount(source / "checkpoint-3") as mounted:
        assert tree(mounted) == {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
                                 "tokenizer_config.json", "trainer_state.json"}
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


def test_bare_file_serves_only_itself(source, mount):
    repositories.make_repository(source)
    with mount(source / "pytorch_model.bin") as mounted:
        assert os.listdir(mounted) == ["model.safetensors"]


@pytest.mark.parametrize("file, served", [
    ("pytorch_model.bin", "model.safetensors"),
    ("pytorch_model.fp16.bin", "model.fp16.safetensors"),
    ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
    ("diffusion_pytorch_model.non_ema.bin", "diffusion_pytorch_model.non_ema.safetensors"),
    ("adapter_model.bin", "adapter_model.safetensors"),
])
def test_names_that_loaders_look_for(file, served, source, mount):
    (source / "config.json").write_text("{}")
    _, tensors = checkpoints.saved(source / file, checkpoints.model_tensors())
    with mount(source) as mounted:
        assert tree(mounted) == {served, "config.json"}
        assert_same_file((mounted / served).read_bytes(), oracle.safetensors_bytes(tensors))


def test_variants_are_kept_beside_each_other(source, mount):
    (source / "config.json").write_text("{}")
    _, full = checkpoints.saved(source / "pytorch_model.bin", checkpoints.model_tensors(1))
    _, half = checkpoints.saved(source / "pytorch_model.fp16.bin", checkpoints.model_tensors(2))
    with mount(source) as mounted:
        assert tree(mounted) == {"model.safetensors", "model.fp16.safetensors", "config.json"}
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(full))
        assert_same_file((mounted / "model.fp16.safetensors").read_bytes(), oracle.safetensors_bytes(half))


def test_sharded_variant(source, mount):
    (source / "config.json").write_text("{}")
    state = checkpoints.model_tensors(1)
    names = list(state)
    weight_map = {}
    for part, chosen in enumerate((names[:3], names[3:])):
        file = f"pytorch_model.fp16-{part + 1:05d}-of-00002.bin"
        torch.save({name: state[name] for name in chosen}, source / file)
        weight_map.update(dict.fromkeys(chosen, file))
    (source / "pytorch_model.bin.index.fp16.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    with mount(source) as mounted:
        assert tree(mounted) == {"model.fp16.safetensors", "config.json"}
        assert_same_file((mounted / "model.fp16.safetensors").read_bytes(), oracle.safetensors_bytes(state))


# Precedence -----------------------------------------------------------------------------------------------------------


def test_safetensors_win_over_bin(source, mount):
    repositories.make_repository(source)
    mine = {"only.here": torch.arange(3.0)}
    save_file(mine, source / "model.safetensors", metadata=oracle.METADATA)
    with mount(source) as mounted:
        assert (mounted / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_single_wins_over_index(source, mount):
    state = repositories.make_repository(source, parts=2)
    single = {name: tensor + 1 for name, tensor in state.items()}
    torch.save(single, source / "pytorch_model.bin")
    with mount(source) as mounted:
        assert "model.safetensors.index.json" not in os.listdir(mounted)
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(single))


def test_name_of_the_index_that_no_shard_holds_is_a_warning(source, mountpoint, weightfs):
    state = repositories.make_repository(source, parts=2)
    index = source / "pytorch_model.bin.index.json"
    parsed = json.loads(index.read_text())
    parsed["weight_map"]["nobody.has.this"] = "pytorch_model-00001-of-00002.bin"
    index.write_text(json.dumps(parsed))
    mounted = weightfs("mount", source, mountpoint)
    try:
        assert "nobody.has.this" in mounted.stderr
        assert_same_file((mountpoint / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))
        assert "nobody.has.this" in (mountpoint / ".weightfs" / "manifest.json").read_text()
    finally:
        weightfs("umount", mountpoint)


def test_missing_shard_is_refused_by_name(source, mountpoint, weightfs):
    repositories.make_repository(source, parts=3)
    (source / "pytorch_model-00002-of-00003.bin").unlink()
    refused = weightfs("mount", source, mountpoint, status=3)
    assert "pytorch_model-00002-of-00003.bin" in refused.stderr


# config.json ----------------------------------------------------------------------------------------------------------

ODD_CONFIG = """{
    "model_type" :"gpt2",   "torch_dtype": "float32",\t"x": [1e300, -0.0, NaN, Infinity],
  "nested": {"dtype": "bfloat16", "n": 1.50, "u": "\\u00e9"}, "dtype_note": "float32",
  "list": [{"torch_dtype": "float16"}], "kept": {"dtype": "auto", "torch_dtype": null}
}
"""


def test_config_is_untouched_under_keep(source, mount):
    repositories.make_repository(source)
    (source / "config.json").write_text(ODD_CONFIG)
    with mount(source) as mounted:
        assert (mounted / "config.json").read_text() == ODD_CONFIG


def test_only_dtypes_change_in_config(source, mount):
    repositories.make_repository(source)
    (source / "config.json").write_text(ODD_CONFIG)
    expected = ODD_CONFIG
    for before in ('"torch_dtype": "float32"', '"dtype": "bfloat16"', '"torch_dtype": "float16"'):
        key = before.split(":")[0]
        assert before in expected
        expected = expected.replace(before, f'{key}: "float64"')
    with mount(source, "--dtype", "f64") as mounted:
        assert (mounted / "config.json").read_text() == expected


def test_torch_dtype_is_added_when_there_is_none(source, mount):
    repositories.make_repository(source)
    config = json.loads((source / "config.json").read_text())
    for key in ("dtype", "torch_dtype"):
        config.pop(key, None)
    (source / "config.json").write_text(json.dumps(config, indent=2))
    with mount(source, "--dtype", "bf16") as mounted:
        served = json.loads((mounted / "config.json").read_text())
    assert served == {**config, "torch_dtype": "bfloat16"}


def test_config_option_replaces(source, tmp_path, mount):
    repositories.make_repository(source)
    other = tmp_path / "other.json"
    other.write_text('{"model_type": "gpt2", "mine": 1}\n')
    with mount(source, "--config", other) as mounted:
        assert (mounted / "config.json").read_bytes() == other.read_bytes()
    with mount(source / "pytorch_model.bin", "--config", other) as mounted:
        assert tree(mounted) == {"model.safetensors", "config.json"}


def test_overlays_win_and_the_last_wins_most(source, tmp_path, mount):
    repositories.make_repository(source)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, text in ((first, "1"), (second, "2")):
        folder.mkdir()
        (folder / "tokenizer_config.json").write_text(text)
        (folder / f"only_{text}.txt").write_text(text)
    torch.save({"evil": torch.ones(1)}, first / "pytorch_model.bin")
    (first / "pytorch_model.bin.index.json").write_text("{}")
    save_file({"evil": torch.ones(1)}, first / "model.safetensors")
    (second / "sub").mkdir()
    (second / "sub" / "vocab.txt").write_text("v")
    with mount(source, "--overlay", first, "--overlay", second) as mounted:
        assert (mounted / "tokenizer_config.json").read_text() == "2"
        assert (mounted / "only_1.txt").read_text() == "1"
        assert (mounted / "only_2.txt").read_text() == "2"
        assert (mounted / "sub" / "vocab.txt").read_text() == "v"
        assert "evil" not in parse((mounted / "model.safetensors").read_bytes())[0]
        assert not [name for name in tree(mounted) if name.endswith((".bin", ".index.json"))]


# Trees ----------------------------------------------------------------------------------------------------------------


def test_pipeline_is_mirrored(source, mount):
    components = repositories.make_pipeline(source / "pipeline")
    with mount(source / "pipeline") as mounted:
        assert tree(mounted) >= {"model_index.json", "scheduler/scheduler_config.json", "unet/config.json",
                                 "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
                                 "vae/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"}
        assert not [name for name in tree(mounted) if name.endswith(".bin")]
        for component, state in components.items():
            file = "model" if component == "text_encoder" else "diffusion_pytorch_model"
            assert_same_file((mounted / component / f"{file}.safetensors").read_bytes(), oracle.safetensors_bytes(state))
        assert (mounted / ".weightfs" / "tensors" / "unet" / "conv_in.weight.npy").exists()


def test_sentence_transformers_folder_is_mirrored(source, mount):
    modules = repositories.make_sentence_transformers(source / "st")
    with mount(source / "st") as mounted:
        assert {"modules.json", "1_Pooling/config.json", "2_Dense/config.json"} <= tree(mounted)
        for folder, state in modules.items():
            assert_same_file((mounted / folder / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


def test_adapter(source, mount):
    state = repositories.make_adapter(source / "adapter")
    with mount(source / "adapter") as mounted:
        assert tree(mounted) == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
        assert_same_file((mounted / "adapter_model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


def test_damaged_model_of_a_tree(source, tmp_path, mountpoint, weightfs, mount):
    repositories.make_pipeline(source / "pipeline")
    (source / "pipeline" / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"not a checkpoint at all")
    refused = weightfs("mount", source / "pipeline", mountpoint, status=3)
    assert "vae/diffusion_pytorch_model.bin" in refused.stderr
    with mount(source / "pipeline", "--partial") as mounted:
        assert (mounted / "unet" / "diffusion_pytorch_model.safetensors").exists()
        assert not (mounted / "vae" / "diffusion_pytorch_model.safetensors").exists()


# Links ----------------------------------------------------------------------------------------------------------------


def test_hub_snapshot(source, mount):
    snapshot, state = repositories.make_hub_snapshot(source)
    with mount(snapshot) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))
        assert not (mounted / "config.json").is_symlink()
        json.loads((mounted / "config.json").read_text())


def test_source_itself_may_be_a_link(source, tmp_path, mount):
    state = repositories.make_repository(source / "real")
    (tmp_path / "link").symlink_to(source / "real")
    with mount(tmp_path / "link") as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


def test_links_inside_the_source_are_followed(source, mount):
    state = repositories.make_repository(source / "real")
    (source / "view").mkdir()
    root = source / "real"
    (root / "weights").mkdir()
    shutil.move(root / "pytorch_model.bin", root / "weights" / "w.data")
    (root / "pytorch_model.bin").symlink_to("weights/w.data")
    with mount(root) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


def test_links_out_of_the_source_need_permission(source, tmp_path, mountpoint, weightfs, mount):
    state = repositories.make_repository(source / "repo")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(source / "repo" / "pytorch_model.bin", elsewhere / "w.bin")
    (source / "repo" / "pytorch_model.bin").symlink_to(elsewhere / "w.bin")
    refused = weightfs("mount", source / "repo", mountpoint, status=3)
    assert "--allow-links" in refused.stderr
    with mount(source / "repo", "--allow-links", elsewhere) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))


def test_link_to_a_secret_is_never_served(source, tmp_path, mountpoint, weightfs):
    repositories.make_repository(source)
    secret = tmp_path / "secret"
    secret.write_text("do not serve")
    (source / "vocab.txt").symlink_to(secret)
    done = weightfs("mount", source, mountpoint, status=None)
    try:
        assert done.returncode == 3 or not (mountpoint / "vocab.txt").exists()
        assert "vocab.txt" in done.stderr
    finally:
        weightfs("umount", mountpoint, status=None)


# Choice of the mapping ------------------------------------------------------------------------------------------------


def test_weights_option_chooses_a_mapping(source, tmp_path, weightfs, mount):
    path = source / "gan.pt"
    mappings = {key: {"w": torch.full((3,), float(i))} for i, key in enumerate(["params_ema", "discriminator", "params"])}
    torch.save(mappings, path)
    with mount(path) as mounted:
        assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(mappings["params_ema"]))
    for key in mappings:
        with mount(path, "--weights", key) as mounted:
            assert_same_file((mounted / "model.safetensors").read_bytes(), oracle.safetensors_bytes(mappings[key]))
    refused = weightfs("inspect", path, "--weights", "no.such.key", status=2)
    assert "no.such.key" in refused.stderr


ORDER = ["state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params_ema", "params",
         "weights", "ema", "generator"]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_order_of_well_known_keys(first, source, weightfs, tmp_path):
    """Written in reverse, so that the order is that of the rule and not of the file."""
    value = {key: {"w": torch.full((2,), float(i))} for i, key in reversed(list(enumerate(ORDER))) if i >= first}
    path = source / "keys.pt"
    torch.save({"epoch": 1, **value}, path)
    weightfs("export", path, tmp_path / "out")
    assert_same_file((tmp_path / "out" / "model.safetensors").read_bytes(),
                     oracle.safetensors_bytes({"w": torch.full((2,), float(first))}))


def test_key_without_tensors_is_passed_over(source, weightfs, tmp_path):
    path = source / "keys.pt"
    torch.save({"state_dict": {"note": "no tensors"}, "model": {"a": {"w": torch.ones(2)}}}, path)
    weightfs("export", path, tmp_path / "out")
    assert_same_file((tmp_path / "out" / "model.safetensors").read_bytes(), oracle.safetensors_bytes({"a.w": torch.ones(2)}))


def test_step_folders_are_a_folder_of_models(source, mount):
    states = {name: repositories.make_repository(source / name, kind)
              for name, kind in (("checkpoint-10", "gpt2"), ("checkpoint-20", "llama"))}
    with mount(source) as mounted:
        assert sorted(os.listdir(mounted)) == sorted(states)
        for name, state in states.items():
            assert_same_file((mounted / name / "model.safetensors").read_bytes(), oracle.safetensors_bytes(state))
