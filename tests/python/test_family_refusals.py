"""Checkpoints and rules that contradict themselves are refused, with the cause: 3 for a source, 2 for a user's words."""

import json
import re
from pathlib import Path

import pytest
import torch

import families_gpt
import families_llama
from family_cases import CASES

TABLES = Path(__file__).resolve().parents[2] / "convert" / "family" / "tables"


def refusal(weightfs, source, *options, status: int = 3) -> str:
    """What `mount` says; it leaves nothing behind."""
    mountpoint = Path(source).parent / "never"
    mountpoint.mkdir(exist_ok=True)
    message = weightfs("mount", source, mountpoint, *options, status=status).stderr
    assert not list(mountpoint.iterdir())
    assert "terminate" not in message and message.startswith("weightfs: "), message
    return message


def edit_pickle(path: Path, change) -> None:
    checkpoint = torch.load(path, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)


def edit_json(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# Metadata against tensors -----------------------------------------------------------------------------------------------

NANOGPT = {
    "heads_that_do_not_divide": (lambda c: c["model_args"].update(n_head=5), ["n_embd / n_head", "24", "5"]),
    "another_context": (lambda c: c["model_args"].update(block_size=32), ["transformer.wpe.weight", "16", "32"]),
    "another_vocabulary": (lambda c: c["model_args"].update(vocab_size=66), ["65", "66"]),
    "no_biases_said": (lambda c: c["model_args"].update(bias=False), ["bias"]),
    "fewer_layers": (lambda c: c["model_args"].update(n_layer=1), ["n_layer", "2", "1"]),
    "more_layers": (lambda c: c["model_args"].update(n_layer=3), ["n_layer", "2", "3"]),
    "a_tensor_of_unknown_use": (
        lambda c: c["model"].update({"transformer.h.0.attn.c_gate.weight": torch.zeros(2)}),
        ["transformer.h.0.attn.c_gate.weight", "transformer.h.0.attn.c_"]),
    "a_missing_bias": (lambda c: c["model"].pop("transformer.h.1.mlp.c_fc.bias"), ["transformer.h.1.mlp.c_fc.bias"]),
    "a_wide_layer": (
        lambda c: c["model"].update({"transformer.h.1.mlp.c_fc.weight": torch.zeros(95, 24)}),
        ["transformer.h.1.mlp.c_fc.weight", "95", "96"]),
    "a_transposed_layer": (
        lambda c: c["model"].update({"transformer.h.1.mlp.c_fc.weight": torch.zeros(24, 96)}),
        ["transformer.h.1.mlp.c_fc.weight"]),
    "a_layer_count_that_is_no_number": (lambda c: c["model_args"].update(n_layer="two"), ["n_layer", "two"]),
    "a_negative_layer_count": (lambda c: c["model_args"].update(n_layer=-1), ["n_layer", "-1"]),
    "layers_without_end": (lambda c: c["model_args"].update(n_layer=1 << 62), ["4611686018427387904"]),
    "zero_heads": (lambda c: c["model_args"].update(n_head=0), ["0"]),
}


@pytest.mark.parametrize("kind", NANOGPT)
def test_gpt_checkpoints_that_contradict_themselves(kind, source, weightfs):
    change, words = NANOGPT[kind]
    written = families_gpt.write_nanogpt(source, 1)
    edit_pickle(written.source, change)
    message = refusal(weightfs, written.source)
    assert "ckpt.pt" in message
    assert [word for word in words if word not in message] == [], message


LLAMA = {
    "another_width": (lambda p: p.update(dim=32), ["dim", "64", "32"]),
    "heads_that_do_not_divide": (lambda p: p.update(n_heads=7), ["7"]),
    "other_key_heads": (lambda p: p.update(n_kv_heads=2), ["n_kv_heads"]),
    "another_feed_forward": (lambda p: p.update(multiple_of=1000), ["multiple_of", "1000"]),
    "more_layers": (lambda p: p.update(n_layers=4), ["n_layers", "3", "4"]),
    "fewer_layers": (lambda p: p.update(n_layers=2), ["n_layers", "3", "2"]),
    "another_vocabulary": (lambda p: p.update(vocab_size=32000), ["32000", "76"]),
    "quantized": (lambda p: p.update(quantization_args={"scheme": "int4"}), ["quantiz"]),
    "adapters": (lambda p: p.update(lora_args={"rank": 16}), ["adapter"]),
    "vision": (lambda p: p.update(vision_chunk_size=560), ["vision"]),
}


@pytest.mark.parametrize("kind", LLAMA)
def test_params_json_against_shapes(kind, source, weightfs):
    change, words = LLAMA[kind]
    families_llama.llama_2_grouped(source)
    edit_json(source / "params.json", change)
    message = refusal(weightfs, source)
    assert [word for word in words if word not in message] == [], message


def test_params_json_that_does_not_parse(source, weightfs):
    families_llama.llama_2_grouped(source)
    (source / "params.json").write_text('{"dim": 64,')
    assert "params.json" in refusal(weightfs, source)


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_rank(missing, source, weightfs):
    families_llama.code_llama(source)
    (source / f"consolidated.{missing:02d}.pth").unlink()
    message = refusal(weightfs, source)
    if missing < 3:
        assert f"consolidated.{missing:02d}.pth" in message, message


def test_ranks_that_do_not_agree(source, weightfs):
    families_llama.code_llama(source)
    edit_pickle(source / "consolidated.02.pth", lambda state: state["layers.1.ffn_norm.weight"].add_(0.5))
    message = refusal(weightfs, source)
    assert "layers.1.ffn_norm.weight" in message


def test_a_tensor_that_one_rank_lacks(source, weightfs):
    families_llama.code_llama(source)
    edit_pickle(source / "consolidated.01.pth", lambda state: state.pop("layers.0.attention.wo.weight"))
    assert "layers.0.attention.wo.weight" in refusal(weightfs, source)


@pytest.mark.parametrize("extra", ["resid_lambdas", "x0_lambdas", "value_embeds.0.weight", "smear_gate.weight",
                                   "transformer.h.0.attn.ve_gate.weight", "backout_lambda"])
def test_later_models_of_a_family(extra, source, weightfs):
    families_gpt.write_nanochat(source, 1, extra={extra: torch.zeros(2)})
    assert "learned scalars" in refusal(weightfs, source)


def test_windows_that_the_served_class_lacks(source, weightfs):
    families_gpt.write_nanochat(source, 1, window="SSSL")
    assert "window" in refusal(weightfs, source)


def test_sizes_that_no_file_says(source, weightfs):
    """torchtune's own format has none: config.json must lie beside, or be given."""
    state = families_llama.llama_state(1)
    renamed = {name.replace("attention.w", "attn.").replace("attn.q.", "attn.q_proj.").replace(
        "attention_norm.weight", "sa_norm.scale"): tensor for name, tensor in state.items()}
    torch.save(renamed, source / "model-00001-of-00001.bin")
    message = refusal(weightfs, source)
    assert "--config" in message and "config.json" in message


# What a user says -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option, words", [
    ("nanogpt:activation=relu", ["activation", "relu", "gelu_new"]),
    ("nanogpt:activations=gelu", ["activations", "activation"]),
    ("nonsense", ["nonsense"]),
])
def test_options_of_families(option, words, source, weightfs):
    written = families_gpt.write_nanogpt(source, 1)
    message = refusal(weightfs, written.source, "--family", option, status=2)
    assert [word for word in words if word not in message] == [], message


def test_trimming_what_is_not_known_to_be_padding(source, weightfs):
    written = families_gpt.write_nanogpt(source, 1)
    message = refusal(weightfs, written.source, "--trim-vocab")
    assert "--vocab-size" in message
    assert "100" in refusal(weightfs, written.source, "--vocab-size", "100")


def write_rules(folder: Path, table) -> Path:
    path = folder / "rules.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table, indent=1))
    return path


def table(name: str) -> dict:
    return json.loads((TABLES / f"{name}.json").read_text())


def test_two_families_that_fit_are_both_named(source, tmp_path, weightfs):
    written = families_gpt.write_nanogpt(source, 1)
    rules = write_rules(tmp_path, table("nanogpt") | {"family": "my-own"})
    message = refusal(weightfs, written.source, "--rules", rules, status=2)
    assert all(word in message for word in ("nanogpt", "my-own", "--family", "transformer.wpe.weight")), message
    for name in ("nanogpt", "my-own"):
        report = weightfs.json("inspect", "--json", written.source, "--rules", rules, "--family", name)
        assert report["family"] == name


def test_a_table_replaces_the_one_of_its_name(source, tmp_path, mount):
    written = families_gpt.write_nanogpt(source, 1)
    changed = table("nanogpt")
    changed["config"]["initializer_range"] = 0.5
    with mount(written.source, "--rules", write_rules(tmp_path, changed)) as mounted:
        assert json.loads((mounted / "config.json").read_text())["initializer_range"] == 0.5


def minimal(**changes) -> dict:
    return {"family": "mine", "title": "t", "source": "s", "target": "hf", "detect": ["has('w')"],
            "tensors": [{"keep": ".*"}]} | changes


# What is wrong, and what the message must say besides file and line.
BAD_RULES = {
    "not_json": ('{"family": "mine",\n "title": }', ["2"]),
    "not_an_object": ("[]", []),
    "no_detection": (json.dumps(minimal(detect=[])), ["detect"]),
    "unknown_key": (minimal(tensor=[]), ["tensor"]),
    "wrong_type": (minimal(weights="ckpt.pt"), ["weights"]),
    "name_in_capitals": (minimal(family="Mine"), ["family"]),
    "pattern": (minimal(names=[["(", ""]]), ["names"]),
    "pattern_that_explodes": (minimal(names=[["((((a{1,100}){1,100}){1,100}){1,100}){1,100}", ""]]), ["names"]),
    "replacement": (minimal(names=[["a", "\\3"]]), ["names"]),
    "expression": (minimal(let={"a": "1 +"}), ["let", "a"]),
    "expression_too_deep": (minimal(let={"a": "(" * 5000 + "1" + ")" * 5000}), ["let", "a"]),
    "integer_beyond_64_bits": (minimal(let={"a": "9223372036854775808"}), ["let", "a"]),
    "unknown_function": (minimal(let={"a": "eval('1')"}), ["eval"]),
    "unknown_name": (minimal(check=["nothing == 1"]), ["nothing"]),
    "template": (minimal(tensors=[{"to": "a{", "from": "w", "do": "a*"}]), ["to"]),
    "rearrangement": (minimal(tensors=[{"to": "a", "from": "w", "do": "a* b* -> (a b"}]), ["do"]),
    "axis_twice": (minimal(tensors=[{"to": "a", "from": "w", "do": "a* a*"}]), ["do"]),
    "axis_lost": (minimal(tensors=[{"to": "a", "from": "w", "do": "a* b* -> a"}]), ["do"]),
    "extends_nothing": (minimal(extends="nobody"), ["extends", "nobody"]),
    "extends_itself": (minimal(extends="mine"), ["extends"]),
    "extends_in_a_circle": ({"families": [minimal(extends="yours"), minimal(family="yours", extends="mine")]},
                            ["extends"]),
    "twice": ({"families": [minimal(), minimal()]}, ["mine"]),
}


@pytest.mark.parametrize("kind", BAD_RULES)
def test_rules_that_do_not_load(kind, source, tmp_path, weightfs):
    rules, words = BAD_RULES[kind]
    torch.save({"w": torch.zeros(2)}, source / "w.pt")
    message = refusal(weightfs, source / "w.pt", "--rules", write_rules(tmp_path, rules), status=2)
    assert re.search(r"rules\.json:\d+", message), message
    assert [word for word in words if word not in message] == [], message
    assert len(message) < 2000


BAD_WHEN_USED = {
    "overflow": (minimal(let={"a": "9223372036854775807 + 1"}, check=["a > 0"]), ["a"]),
    "division_by_zero": (minimal(let={"a": "1 / (2 - 2)"}, check=["a > 0"]), ["a"]),
    "a_circle": (minimal(let={"a": "b + 1", "b": "a + 1"}, check=["a > 0"]), ["a", "b"]),
    "an_axis_of_no_size": (minimal(tensors=[{"to": "a", "from": "w", "do": "n"}]), ["n"]),
}


@pytest.mark.parametrize("kind", BAD_WHEN_USED)
def test_rules_whose_faults_show_when_they_are_used(kind, source, tmp_path, weightfs):
    rules, words = BAD_WHEN_USED[kind]
    torch.save({"w": torch.zeros(2)}, source / "w.pt")
    message = refusal(weightfs, source / "w.pt", "--rules", write_rules(tmp_path, rules), status=2)
    assert re.search(r"rules\.json:\d+", message), message
    assert [word for word in words if word not in message] == [], message


# What a table and a source make together: whose fault it is, nobody knows.
UNFIT = {
    "two_targets": minimal(tensors=[{"for": {"i": ["x", "y"]}, "to": "same", "from": "w", "do": "n",
                                     "with": {"n": "2"}}]),
    "endless_indices": minimal(tensors=[{"for": {"i": "4611686018427387904"}, "to": "a{i}", "from": "w", "do": "n*"}]),
    "overflow_of_a_size": minimal(let={"a": "9223372036854775807 * dim('w', 0)"}, check=["a > 0"]),
    "a_target_read_twice": minimal(tensors=[{"to": "a", "from": "w", "do": "n*"}, {"to": "b", "from": "w", "do": "n*"}]),
    "half_a_tensor": minimal(tensors=[{"to": "a", "from": "w", "do": "n", "at": {"n": "0:1"}, "with": {"n": "2"}}]),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_rules_that_do_not_fit_the_source(kind, source, tmp_path, weightfs):
    torch.save({"w": torch.zeros(2)}, source / "w.pt")
    message = refusal(weightfs, source / "w.pt", "--rules", write_rules(tmp_path, UNFIT[kind]))
    assert re.search(r"rules\.json:\d+", message), message


def test_metadata_that_does_not_parse_is_told_where_no_family_needs_it(source, weightfs):
    torch.save({"w": torch.zeros(2)}, source / "consolidated.00.pth")
    (source / "params.json").write_text("{")
    done = weightfs("inspect", source)
    assert "params.json" in done.stdout + done.stderr


def test_rules_that_are_not_there(source, weightfs):
    written = CASES["nanogpt"].write(source)
    assert "nowhere.json" in refusal(weightfs, written.source, "--rules", source / "nowhere.json", status=2)
