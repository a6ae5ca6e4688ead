"""Models that trainers saved as distributed checkpoints, loaded from a mount: their logits."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dcp_writer
from dcp_writer import llama_model


def assert_loads(folder: Path, model) -> None:
    import transformers

    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                                       output_loading_info=True)
    assert not any(report.values()), report
    ids = (torch.arange(24).reshape(2, 12) * 7) % 96
    with torch.no_grad():
        assert torch.equal(loaded.eval()(ids).logits, model(ids).logits)
    del loaded
    gc.collect()  # What maps the mount keeps it busy.


def test_bare_checkpoint_of_a_llama_with_a_config(tmp_path, mount):
    """README: what FSDP saved on two ranks loads with --config."""
    subprocess.run([sys.executable, dcp_writer.__file__, tmp_path, "fsdp2_llama"], check=True, capture_output=True,
                   timeout=150)
    model = llama_model()
    model.config.save_pretrained(tmp_path / "llama")
    folder = tmp_path / "fsdp2_llama" / "pytorch_model_fsdp_0"
    assert len(list(folder.glob("*.distcp"))) == 2
    with mount(folder, "--config", tmp_path / "llama" / "config.json") as mounted:
        assert_loads(mounted, model)


def torchtitan_names(state: dict, config, current: bool = True) -> dict:
    """A state dict under torchtitan's names, before or since April 2026; LLaMA's with pairs of rotary channels beside
    each other."""
    def pairs(tensor, heads):
        if config.model_type != "llama":
            return tensor
        return tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)

    titan = {}
    for name, tensor in state.items():
        tensor = pairs(tensor, config.num_attention_heads) if "q_proj" in name else tensor
        tensor = pairs(tensor, config.num_key_value_heads) if "k_proj" in name else tensor
        for old, new in (("model.", ""), ("embed_tokens", "tok_embeddings"), ("self_attn.o_proj", "attention.wo"),
                         ("self_attn.q_norm", "attention.q_norm"), ("self_attn.k_norm", "attention.k_norm"),
                         ("self_attn.", "attention.qkv_linear." if current else "attention."), ("q_proj", "wq"),
                         ("k_proj", "wk"), ("v_proj", "wv"), ("mlp.gate_proj", "feed_forward.w1"),
                         ("mlp.up_proj", "feed_forward.w3"), ("mlp.down_proj", "feed_forward.w2"),
                         ("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm")):
            name = name.replace(old, new)
        titan[name if current else name.replace("lm_head", "output")] = tensor
    return titan


def qwen3_model(**options):
    import transformers

    torch.manual_seed(12)
    config = transformers.Qwen3Config(vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=2, head_dim=16,
                                      num_attention_heads=4, num_key_value_heads=2, rope_theta=1e6, **options)
    return transformers.Qwen3ForCausalLM(config).eval()


def save_torchtitan(folder: Path, model, **options) -> None:
    """As its trainer saves: the model's keys at the top, beside the state of the training."""
    import torch.distributed.checkpoint as dcp

    state = torchtitan_names(model.state_dict(), model.config, **options)
    dcp.save(state | {"optimizer": {"state.norm.weight.exp_avg": torch.ones(48)},
                      "train_state": {"step": torch.tensor(7, dtype=torch.int32)}}, checkpoint_id=folder)


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("make", [llama_model, qwen3_model])
def test_torchtitan_with_a_config(make, current, tmp_path, mount):
    model = make()
    save_torchtitan(tmp_path / "checkpoint" / "step-10", model, current=current)
    model.config.save_pretrained(tmp_path / "config")
    with mount(tmp_path / "checkpoint", "--config", tmp_path / "config" / "config.json") as mounted:
        assert_loads(mounted / "step-10", model)


TOML = """[job]
dump_folder = "./outputs"
[model]
name = "{name}"
flavor = "{flavor}"
{assets}
[training]
seq_len = 64
"""


@pytest.mark.parametrize("name, flavor, scaled, above", [
    ("llama3", "debugmodel", True, True), ("llama3", "debugmodel", False, False), ("qwen3", "0.6B", False, True),
    ("qwen3", "8B", False, False)])
def test_torchtitan_with_its_toml(name, flavor, scaled, above, tmp_path, mount):
    if name == "llama3":
        scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 8192}
        model = llama_model(num_attention_heads=3, num_key_value_heads=3, rope_theta=500000.0, rms_norm_eps=1e-5,
                            **{"rope_scaling": scaling} if scaled else {})
    else:
        model = qwen3_model(tie_word_embeddings=flavor == "0.6B")
    step = tmp_path / "checkpoint" / "step-10"
    save_torchtitan(step, model)
    assets = 'hf_assets_path = "./assets"' if scaled else 'tokenizer_path = "./assets"'
    (step.parent if above else step).joinpath("run.toml").write_text(TOML.format(name=name, flavor=flavor, assets=assets))
    with mount(step) as mounted:
        assert_loads(mounted, model)
        assert json.loads((mounted / "config.json").read_text())["max_position_embeddings"] == 64


def test_torchtitan_of_another_flavor_is_refused(tmp_path, weightfs, mountpoint):
    save_torchtitan(tmp_path / "step-10", llama_model())
    (tmp_path / "step-10" / "run.toml").write_text(TOML.format(name="llama3", flavor="3B", assets=""))
    done = weightfs("mount", tmp_path / "step-10", mountpoint, status=3)
    assert "--config" in done.stderr and "flavor" in done.stderr


def test_torchtune_saves(tmp_path, mount):
    """What torchtune's distributed checkpointer leaves: its own names below `model`, beside the state of the recipe."""
    import torch.distributed.checkpoint as dcp

    model = llama_model()
    names = {"attention_norm": "sa_norm", "ffn_norm": "mlp_norm", "feed_forward": "mlp", "attention.qkv_linear.": "attn.",
             "attention.wo": "attn.output_proj", "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "norm.weight": "norm.scale",
             "lm_head": "output"}
    state = {}
    for name, tensor in torchtitan_names(model.state_dict(), model.config).items():
        for old, new in names.items():
            name = name.replace(old, new)
        state[name] = tensor
    dcp.save({"model": state, "optimizer": {"state": {"norm.scale": {"exp_avg": torch.ones(48)}}}, "epochs_run": 1},
             checkpoint_id=tmp_path / "epoch_0")
    model.config.save_pretrained(tmp_path / "epoch_0")
    with mount(tmp_path / "epoch_0") as mounted:
        assert_loads(mounted, model)
