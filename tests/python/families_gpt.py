"""Checkpoints of nanoGPT, build-nanogpt and nanochat."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

import native_models
from family_cases import Random, Tensors, Written, case

# nanoGPT and build-nanogpt ----------------------------------------------------------------------------------------------

TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def gpt2_state(seed: int, layers: int, channels: int, positions: int, vocabulary: int, bias: bool = True,
               tied: bool = True, masks: bool = False, dtype: torch.dtype = torch.float32) -> Tensors:
    """The state dict in the order in which the module registers it."""
    random = Random(seed, dtype)
    state = OrderedDict()

    def linear(name, outputs, inputs):
        state[f"{name}.weight"] = random.matrix(outputs, inputs)
        if bias:
            state[f"{name}.bias"] = random.vector(outputs)

    def norm(name):
        state[f"{name}.weight"] = random.norm(channels)
        if bias:
            state[f"{name}.bias"] = random.vector(channels)

    state["transformer.wte.weight"] = random.matrix(vocabulary, channels)
    state["transformer.wpe.weight"] = random.matrix(positions, channels)
    for i in range(layers):
        norm(f"transformer.h.{i}.ln_1")
        if masks:
            state[f"transformer.h.{i}.attn.bias"] = torch.tril(torch.ones(positions, positions)).view(
                1, 1, positions, positions)
        linear(f"transformer.h.{i}.attn.c_attn", 3 * channels, channels)
        linear(f"transformer.h.{i}.attn.c_proj", channels, channels)
        norm(f"transformer.h.{i}.ln_2")
        linear(f"transformer.h.{i}.mlp.c_fc", 4 * channels, channels)
        linear(f"transformer.h.{i}.mlp.c_proj", channels, 4 * channels)
    norm("transformer.ln_f")
    state["lm_head.weight"] = state["transformer.wte.weight"] if tied else random.matrix(vocabulary, channels)
    return state


def as_hugging_face_gpt2(state: Tensors, tied: bool = True, rows: int | None = None) -> Tensors:
    """What transformers' GPT-2 holds: matrices as (in, out), biases everywhere, no masks, a tied head left out."""
    served = {}
    for name, tensor in state.items():
        if name.endswith(".attn.bias") or (tied and name == "lm_head.weight"):
            continue
        if name in ("transformer.wte.weight", "lm_head.weight"):
            tensor = tensor[:rows]
        served[name] = tensor.t().contiguous() if name.endswith(TRANSPOSED) else tensor
        bias = name.removesuffix("weight") + "bias"
        if name.startswith(("transformer.h.", "transformer.ln_f")) and name.endswith("weight") and bias not in state:
            served[bias] = torch.zeros(tensor.shape[0], dtype=tensor.dtype)
    return served


def gpt2_config(layers: int, heads: int, channels: int, positions: int, vocabulary: int, activation: str, tied: bool,
                dropout: float = 0.0) -> dict:
    end = 50256 if vocabulary >= 50257 else None
    return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": vocabulary,
            "n_positions": positions, "n_embd": channels, "n_layer": layers, "n_head": heads,
            "activation_function": activation, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": tied,
            "resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout, "bos_token_id": end,
            "eos_token_id": end}


def write_nanogpt(folder: Path, seed: int, *, bias: bool = True, tied: bool = True, masks: bool = False,
                  prefix: str = "", vocabulary: int = 65, channels: int = 24, heads: int = 3, layers: int = 2,
                  dropout: float = 0.2, dtype: torch.dtype = torch.float32, era: str = "now",
                  rows: int | None = None, options: tuple[str, ...] = (), activation: str = "gelu") -> Written:
    """`ckpt.pt` as train.py writes it. Eras: "now"; "early", before `bias`, `dropout` and `config` were stored."""
    positions = 16
    state = gpt2_state(seed, layers, channels, positions, vocabulary, bias, tied, masks, dtype)
    arguments = {"n_layer": layers, "n_head": heads, "n_embd": channels, "block_size": positions, "bias": bias,
                 "vocab_size": vocabulary, "dropout": dropout}
    saved = OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    parameters = list(dict.fromkeys(state.values()))
    moments = {index: {"step": torch.tensor(3.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
               for index, p in enumerate(parameters)}
    groups = [{"params": list(moments), "lr": 6e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}]
    checkpoint = {"model": saved, "optimizer": {"state": moments, "param_groups": groups}, "model_args": arguments,
                  "iter_num": 250, "best_val_loss": torch.tensor(1.7)}
    if era == "early":
        del arguments["bias"], arguments["dropout"]
        dropout = 0.0
    else:
        checkpoint["config"] = {"out_dir": "out", "dataset": "shakespeare_char", "n_layer": layers, "n_head": heads,
                                "n_embd": channels, "block_size": positions, "bias": False, "dropout": dropout,
                                "dtype": "bfloat16", "compile": True, "learning_rate": 1e-3}
    torch.save(checkpoint, folder / "ckpt.pt")
    return Written(
        folder / "ckpt.pt", as_hugging_face_gpt2(state, tied, rows),
        gpt2_config(layers, heads, channels, positions, rows or vocabulary, activation, tied, dropout), state,
        logits=lambda ids: native_models.gpt2(
            {name: tensor.float() for name, tensor in state.items()}, heads, ids,
            "tanh" if activation == "gelu_new" else "none")[..., :rows],
        options=options)


@case("nanogpt", inverts=True)
def nanogpt(folder: Path) -> Written:
    return write_nanogpt(folder, 1)


@case("nanogpt")
def nanogpt_without_biases(folder: Path) -> Written:
    return write_nanogpt(folder, 2, bias=False, prefix="_orig_mod.")


@case("nanogpt", inverts=True)
def nanogpt_first_era(folder: Path) -> Written:
    """Two matrices, mask buffers, no `bias` among the arguments."""
    return write_nanogpt(folder, 3, tied=False, masks=True, era="early", prefix="module.")


@case("nanogpt")
def nanogpt_tanh(folder: Path) -> Written:
    return write_nanogpt(folder, 4, prefix="module._orig_mod.", activation="gelu_new",
                         options=("--family", "nanogpt:activation=gelu_new"))


@case("nanogpt")
def nanogpt_padded(folder: Path) -> Written:
    return write_nanogpt(folder, 5, vocabulary=50304, channels=8, heads=2, layers=1)


@case("nanogpt")
def nanogpt_trimmed(folder: Path) -> Written:
    return write_nanogpt(folder, 6, vocabulary=50304, channels=8, heads=2, layers=1, rows=50257,
                         options=("--trim-vocab",))


@case("nanogpt")
def nanogpt_trimmed_head(folder: Path) -> Written:
    """Any number of rows, of an untied head too."""
    return write_nanogpt(folder, 7, tied=False, rows=62, options=("--vocab-size", "62"))


@case("nanogpt")
def nanogpt_half(folder: Path) -> Written:
    return write_nanogpt(folder, 8, bias=False, dtype=torch.float16)


@case("nanogpt")
def nanogpt_square(folder: Path) -> Written:
    """As many tokens and positions as channels: no shape tells a matrix from its transpose."""
    return write_nanogpt(folder, 9, vocabulary=64, channels=64, heads=4, layers=1)


@dataclass
class GPTConfig:
    """Pickled by name: the reader knows nothing of the class."""

    block_size: int = 1024
    vocab_size: int = 50257
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768


@case("build-nanogpt", inverts=True)
def build_nanogpt(folder: Path) -> Written:
    layers, heads, channels, positions, vocabulary = 2, 3, 24, 16, 72
    state = gpt2_state(21, layers, channels, positions, vocabulary)
    config = GPTConfig(positions, vocabulary, layers, heads, channels)
    (folder / "log").mkdir()
    path = folder / "log" / "model_05000.pt"
    torch.save({"model": state, "config": config, "step": 5000, "val_loss": 3.29}, path)
    (folder / "log" / "log.txt").write_text("5000 val 3.2900\n")
    return Written(folder / "log", as_hugging_face_gpt2(state),
                   gpt2_config(layers, heads, channels, positions, vocabulary, "gelu_new", True), state,
                   logits=lambda ids: native_models.gpt2(state, heads, ids, "tanh"))


# nanochat ---------------------------------------------------------------------------------------------------------------


def nanochat_state(seed: int, layers: int, channels: int, heads: int, key_heads: int, vocabulary: int) -> Tensors:
    random = Random(seed)
    width = channels // heads * key_heads
    state = OrderedDict({"transformer.wte.weight": random.matrix(vocabulary, channels).bfloat16()})
    for i in range(layers):
        block = f"transformer.h.{i}"
        state[f"{block}.attn.c_q.weight"] = random.matrix(channels, channels)
        state[f"{block}.attn.c_k.weight"] = random.matrix(width, channels)
        state[f"{block}.attn.c_v.weight"] = random.matrix(width, channels)
        state[f"{block}.attn.c_proj.weight"] = random.matrix(channels, channels)
        state[f"{block}.mlp.c_fc.weight"] = random.matrix(4 * channels, channels)
        state[f"{block}.mlp.c_proj.weight"] = random.matrix(channels, 4 * channels)
    state["lm_head.weight"] = random.matrix(vocabulary, channels)
    return state


def as_hugging_face_nanochat(state: Tensors, rows: int | None = None) -> Tensors:
    names = {"attn.c_q": "self_attn.q_proj", "attn.c_k": "self_attn.k_proj", "attn.c_v": "self_attn.v_proj",
             "attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    served = {"model.embed_tokens.weight": state["transformer.wte.weight"][:rows],
              "lm_head.weight": state["lm_head.weight"][:rows]}
    for name, tensor in state.items():
        if name.startswith("transformer.h."):
            layer, rest = name.removeprefix("transformer.h.").split(".", 1)
            served[f"model.layers.{layer}.{names[rest.removesuffix('.weight')]}.weight"] = tensor
    return served


def write_nanochat(folder: Path, seed: int, *, prefix: str = "", vocabulary: int = 320, padded: int = 320,
                   rows: int | None = None, options: tuple[str, ...] = (), extra: Tensors | None = None,
                   window: str | None = None) -> Written:
    layers, heads, key_heads, channels = 3, 4, 2, 32
    state = nanochat_state(seed, layers, channels, heads, key_heads, padded)
    saved = {prefix + name: tensor for name, tensor in {**state, **(extra or {})}.items()}
    torch.save(saved, folder / "model_000650.pt")
    model_config = {"sequence_len": 128, "vocab_size": vocabulary, "n_layer": layers, "n_head": heads,
                    "n_kv_head": key_heads, "n_embd": channels}
    if window is not None:
        model_config["window_pattern"] = window
    (folder / "meta_000650.json").write_text(json.dumps(
        {"step": 650, "val_bpb": 0.81, "model_config": model_config, "device_batch_size": 32}, indent=2))
    torch.save({"state": {}}, folder / "optim_000650_rank0.pt")
    config = {"architectures": ["NanoChatForCausalLM"], "model_type": "nanochat", "vocab_size": rows or padded,
              "hidden_size": channels, "intermediate_size": 4 * channels, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": key_heads, "max_position_embeddings": 128,
              "hidden_act": "relu2", "final_logit_softcapping": 15.0, "tie_word_embeddings": False,
              "bos_token_id": vocabulary - 9, "eos_token_id": vocabulary - 5}
    return Written(folder, as_hugging_face_nanochat(state, rows), config, state,
                   logits=lambda ids: native_models.nanochat(state, heads, key_heads, ids)[..., :rows],
                   options=options)


@case("nanochat", inverts=True)
def nanochat(folder: Path) -> Written:
    return write_nanochat(folder, 31)


@case("nanochat")
def nanochat_padded(folder: Path) -> Written:
    return write_nanochat(folder, 32, prefix="_orig_mod.", vocabulary=310)


@case("nanochat")
def nanochat_trimmed(folder: Path) -> Written:
    return write_nanochat(folder, 33, vocabulary=310, rows=310, options=("--trim-vocab",), window="LL")
