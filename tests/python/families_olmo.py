"""Checkpoints of the first OLMo trainer. Runs of OLMo-core are test_olmo.py's, by OLMo-core itself."""

from collections import OrderedDict
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
import yaml

import native_models
from family_cases import ABSENT, Random, Tensors, Written, case

CHANNELS, HEADS, HIDDEN, VOCABULARY = 32, 4, 48, 76


def olmo_state(seed: int, *, layers: int = 2, key_heads: int = HEADS, after: bool = False, tied: bool = False,
               separate: bool = False) -> Tensors:
    random = Random(seed)
    h = CHANNELS // HEADS
    state = OrderedDict({"transformer.wte.weight": random.matrix(VOCABULARY, CHANNELS)})
    for i in range(layers):
        block = f"transformer.blocks.{i}"
        sizes = {"q": HEADS * h, "k": key_heads * h, "v": key_heads * h}
        if separate:
            for p, rows in sizes.items():
                state[f"{block}.{p}_proj.weight"] = random.matrix(rows, CHANNELS)
        else:
            state[f"{block}.att_proj.weight"] = random.matrix(sum(sizes.values()), CHANNELS)
        state[f"{block}.attn_out.weight"] = random.matrix(CHANNELS, CHANNELS)
        state[f"{block}.ff_proj.weight"] = random.matrix(2 * HIDDEN, CHANNELS)
        state[f"{block}.ff_out.weight"] = random.matrix(CHANNELS, HIDDEN)
        if after:
            for name, size in (("q_norm", HEADS * h), ("k_norm", key_heads * h), ("attn_norm", CHANNELS),
                               ("ff_norm", CHANNELS)):
                state[f"{block}.{name}.weight"] = random.norm(size)
    if after:
        state["transformer.ln_f.weight"] = random.norm(CHANNELS)
    if not tied:
        state["transformer.ff_out.weight"] = random.matrix(VOCABULARY, CHANNELS)
    return state


def as_hugging_face(state: Tensors, key_heads: int, after: bool) -> Tensors:
    """Row slices and new names, as allenai/OLMo's conversion scripts have them."""
    served = {"model.embed_tokens.weight": state["transformer.wte.weight"]}
    if "transformer.ff_out.weight" in state:
        served["lm_head.weight"] = state["transformer.ff_out.weight"]
    if after:
        served["model.norm.weight"] = state["transformer.ln_f.weight"]
    h = CHANNELS // HEADS
    for name, tensor in state.items():
        if not name.startswith("transformer.blocks."):
            continue
        layer, part = name.removeprefix("transformer.blocks.").removesuffix(".weight").split(".")
        to = f"model.layers.{layer}."
        if part == "att_proj":
            q, k, v = tensor.split((CHANNELS, key_heads * h, key_heads * h))
            served |= {f"{to}self_attn.q_proj.weight": q, f"{to}self_attn.k_proj.weight": k, f"{to}self_attn.v_proj.weight": v}
        elif part == "ff_proj":
            up, gate = tensor.chunk(2)
            served |= {f"{to}mlp.up_proj.weight": up, f"{to}mlp.gate_proj.weight": gate}
        else:
            target = {"attn_out": "self_attn.o_proj", "ff_out": "mlp.down_proj", "attn_norm": "post_attention_layernorm",
                      "ff_norm": "post_feedforward_layernorm"}.get(part, f"self_attn.{part}")
            served[f"{to}{target}.weight"] = tensor
    return served


def write_olmo(folder: Path, seed: int, layout: str = "model.pt", *, layers: int = 2, key_heads: int = HEADS,
               after: bool = False, tied: bool = False, separate: bool = False, wrapped: bool = False,
               theta: float | None = None, clip: float | None = None, eos: int = 50279, **settings) -> Written:
    """`config.yaml`, and the weights: plain ("model.pt"), or as torch.distributed.checkpoint saves ("dcp")."""
    state = olmo_state(seed, layers=layers, key_heads=key_heads, after=after, tied=tied, separate=separate)
    model = {"d_model": CHANNELS, "n_heads": HEADS, "n_layers": layers, "mlp_ratio": 3, "weight_tying": tied,
             "block_type": "llama" if separate else "sequential", "activation_type": "swiglu", "rope": True, "alibi": False,
             "include_bias": False, "attention_layer_norm": after, "norm_after": after, "clip_qkv": clip,
             "layer_norm_type": "rms" if after else "default", "layer_norm_with_affine": after, "layer_norm_eps": 1e-5,
             "max_sequence_length": 64, "vocab_size": VOCABULARY, "embedding_size": VOCABULARY, "eos_token_id": eos,
             "pad_token_id": 1, **settings}
    if key_heads not in (1, HEADS):
        model["n_kv_heads"] = key_heads
    if theta is not None:
        model["rope_theta"] = theta
    (folder / "config.yaml").write_text(yaml.safe_dump(
        {"run_name": "a run", "model": model, "tokenizer": {"identifier": "a/tokenizer"}}))
    saved = {f"_fsdp_wrapped_module.{name}" if wrapped else name: tensor for name, tensor in state.items()}
    if layout == "model.pt":
        torch.save(saved, folder / "model.pt")
        torch.save({"state": {}}, folder / "optim.pt")
        torch.save({"global_step": 3}, folder / "train.pt")
    else:
        dcp.save({"model": saved, "optim": {"state": {"transformer.wte.weight": {"exp_avg": torch.zeros(2)}}}},
                 checkpoint_id=folder / "model_and_optim")
        (folder / "train").mkdir()
        torch.save({"global_step": 3}, folder / "train" / "rank0.pt")
    theta = theta or 10000.0
    config = {"architectures": ["Olmo2ForCausalLM" if after else "OlmoForCausalLM"], "model_type": "olmo2" if after else "olmo",
              "vocab_size": VOCABULARY, "hidden_size": CHANNELS, "intermediate_size": HIDDEN, "num_hidden_layers": layers,
              "num_attention_heads": HEADS, "num_key_value_heads": key_heads, "max_position_embeddings": 64,
              "rope_theta": theta, "tie_word_embeddings": tied, "hidden_act": "silu", "attention_bias": False,
              "eos_token_id": 50279 if eos == 0 else eos, "pad_token_id": 1, "bos_token_id": None,
              "tokenizer_name": "a/tokenizer",
              **({"rms_norm_eps": 1e-5, "clip_qkv": ABSENT} if after else {"clip_qkv": clip, "rms_norm_eps": ABSENT})}
    return Written(folder, as_hugging_face(state, key_heads, after), config, state,
                   logits=lambda ids: native_models.olmo_classic(state, HEADS, key_heads, ids, after=after, theta=theta,
                                                                 clip=clip))


@case("olmo1")
def olmo1(folder: Path) -> Written:
    return write_olmo(folder, 301, tied=True, eos=0)


@case("olmo1")
def olmo1_grouped(folder: Path) -> Written:
    return write_olmo(folder, 302, key_heads=2, clip=0.2, layers=3, wrapped=True)


@case("olmo1")
def olmo1_multi_query(folder: Path) -> Written:
    return write_olmo(folder, 303, key_heads=1, multi_query_attention=True)


@case("olmo1")
def olmo1_separate(folder: Path) -> Written:
    return write_olmo(folder, 304, separate=True, key_heads=2)


@case("olmo1")
def olmo1_sharded(folder: Path) -> Written:
    return write_olmo(folder, 305, "dcp", tied=True)


@case("olmo2-classic")
def olmo2_classic(folder: Path) -> Written:
    return write_olmo(folder, 306, after=True, theta=500000.0)


@case("olmo2-classic")
def olmo2_classic_grouped(folder: Path) -> Written:
    return write_olmo(folder, 308, after=True, key_heads=2, tied=True, layers=3)


@case("olmo2-classic")
def olmo2_classic_separate(folder: Path) -> Written:
    return write_olmo(folder, 309, after=True, key_heads=2, separate=True)


@case("olmo2-classic")
def olmo2_classic_sharded(folder: Path) -> Written:
    return write_olmo(folder, 307, "dcp", after=True, key_heads=2, theta=500000.0)
