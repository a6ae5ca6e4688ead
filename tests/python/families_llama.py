"""Checkpoints in Meta's layout: LLaMA, Mistral, llama2.c."""

import json
import math
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

import native_models
from family_cases import ABSENT, Random, Tensors, Written, case

# How the ranks of a model share each matrix: the dimension that is cut. Norms and tables are on every rank.
CUTS = {"wq": 0, "wk": 0, "wv": 0, "wo": 1, "w1": 0, "w2": 1, "w3": 0, "output": 0}


def llama_state(seed: int, *, layers: int = 2, dim: int = 32, heads: int = 4, key_heads: int = 2,
                head_dim: int | None = None, hidden: int = 88, vocabulary: int = 76, tied: bool = False,
                experts: int = 0, dtype: torch.dtype = torch.float32) -> Tensors:
    random = Random(seed, dtype)
    h = head_dim or dim // heads
    state = OrderedDict({"tok_embeddings.weight": random.matrix(vocabulary, dim)})
    for i in range(layers):
        block = f"layers.{i}"
        state[f"{block}.attention.wq.weight"] = random.matrix(heads * h, dim)
        state[f"{block}.attention.wk.weight"] = random.matrix(key_heads * h, dim)
        state[f"{block}.attention.wv.weight"] = random.matrix(key_heads * h, dim)
        state[f"{block}.attention.wo.weight"] = random.matrix(dim, heads * h)
        feeds = [f"{block}.feed_forward.experts.{e}" for e in range(experts)] or [f"{block}.feed_forward"]
        if experts:
            state[f"{block}.feed_forward.gate.weight"] = random.matrix(experts, dim) * 10
        for feed in feeds:
            state[f"{feed}.w1.weight"] = random.matrix(hidden, dim)
            state[f"{feed}.w2.weight"] = random.matrix(dim, hidden)
            state[f"{feed}.w3.weight"] = random.matrix(hidden, dim)
        state[f"{block}.attention_norm.weight"] = random.norm(dim)
        state[f"{block}.ffn_norm.weight"] = random.norm(dim)
    state["norm.weight"] = random.norm(dim)
    state["output.weight"] = state["tok_embeddings.weight"] if tied else random.matrix(vocabulary, dim)
    return state


def halves_of_heads(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows from neighbouring pairs, as Meta rotates them, to halves, by the formula of the layout's description."""
    h = weight.shape[0] // heads
    rows = [head * h + 2 * k + j for head in range(heads) for j in (0, 1) for k in range(h // 2)]
    return weight[rows]


def as_hugging_face_llama(state: Tensors, heads: int, key_heads: int, tied: bool = False) -> Tensors:
    names = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
             "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
             "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
             "ffn_norm": "post_attention_layernorm"}
    served = {"model.embed_tokens.weight": state["tok_embeddings.weight"], "model.norm.weight": state["norm.weight"]}
    if not tied:
        served["lm_head.weight"] = state["output.weight"]
    for name, tensor in state.items():
        if not name.startswith("layers."):
            continue
        layer, rest = name.removeprefix("layers.").removesuffix(".weight").split(".", 1)
        if rest.startswith("feed_forward.") and rest not in names:
            rest = rest.replace("feed_forward", "block_sparse_moe")
        tensor = halves_of_heads(tensor, heads if rest.endswith("wq") else key_heads) if rest.endswith(
            ("wq", "wk")) else tensor
        served[f"model.layers.{layer}.{names.get(rest, rest)}.weight"] = tensor
    return served


def rank_states(state: Tensors, ranks: int, key_heads: int, embedding_cut: int, shared_buffer: bool) -> list[Tensors]:
    """What each of `ranks` saves. With fewer key heads than ranks, each rank has a copy of the head it needs."""
    cut = {**CUTS, "tok_embeddings": embedding_cut}
    shares = []
    for rank in range(ranks):
        share = OrderedDict()
        for name, tensor in state.items():
            matrix = name.split(".")[-2]
            if matrix in ("wk", "wv") and key_heads < ranks:
                share[name] = tensor.chunk(key_heads)[rank * key_heads // ranks].clone()
            elif matrix in cut:
                share[name] = tensor.chunk(ranks, cut[matrix])[rank].clone()
            else:
                share[name] = tensor.clone()
        shares.append(in_one_buffer(share) if shared_buffer else share)
    return shares


def in_one_buffer(state: Tensors) -> Tensors:
    """The same tensors as views into one storage, as the released files hold them."""
    buffer = torch.cat([tensor.flatten() for tensor in state.values()])
    views, begin = OrderedDict(), 0
    for name, tensor in state.items():
        views[name] = buffer[begin:begin + tensor.numel()].view(tensor.shape)
        begin += tensor.numel()
    return views


def repeat_heads(state: Tensors, key_heads: int, ranks: int) -> Tensors:
    """Key and value heads as often as ranks hold them."""
    return {name: torch.cat([head for head in tensor.chunk(key_heads) for _ in range(ranks // key_heads)])
            if name.endswith(("wk.weight", "wv.weight")) else tensor for name, tensor in state.items()}


def feed_forward_size(dim: int, multiple_of: int, multiplier: float) -> int:
    return multiple_of * math.ceil(int(multiplier * int(8 * dim / 3)) / multiple_of)


def llama_config(state: Tensors, heads: int, key_heads: int, head_dim: int, **more) -> dict:
    vocabulary, dim = state["tok_embeddings.weight"].shape
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary,
            "hidden_size": dim, "num_attention_heads": heads, "num_key_value_heads": key_heads,
            "head_dim": head_dim, "hidden_act": "silu", **more}


def write_llama(folder: Path, seed: int, *, ranks: int = 1, layers: int = 2, heads: int = 4,
                key_heads: int | None = 2, dim: int = 32, vocabulary: int = 76, dtype: torch.dtype = torch.float32,
                tied: bool = False, embedding_cut: int = 1, rope_table: str | None = None,
                multiple_of: int | None = 8, multiplier: float | None = None, shared_buffer: bool = False,
                nested: bool = False, theta: float | None = None, eps: float = 1e-5, scaled: bool = False,
                factor: float | None = None, context: int = 4096, file_name: str | None = None,
                options: tuple[str, ...] = (), tokens: tuple = (1, 2)) -> Written:
    """`consolidated.NN.pth` and params.json as a release has them."""
    kv = key_heads or heads
    hidden = feed_forward_size(dim, multiple_of or 256, multiplier or 1)
    state = llama_state(seed, layers=layers, dim=dim, heads=heads, key_heads=kv, hidden=hidden, vocabulary=vocabulary,
                        tied=tied, dtype=dtype)
    saved = OrderedDict(state)
    frequencies = 1.0 / (theta or 10000.0) ** (torch.arange(0, dim // heads, 2).float() / (dim // heads))
    if rope_table:
        saved[rope_table] = frequencies.to(dtype)
    shares = rank_states(saved, ranks, kv, embedding_cut, shared_buffer) if ranks > 1 else [saved]
    for rank, share in enumerate(shares):
        torch.save(share, folder / (file_name or f"consolidated.{rank:02d}.pth"))
    params = {"dim": dim, "n_layers": layers, "n_heads": heads, "norm_eps": eps, "vocab_size": -1}
    optional = {"n_kv_heads": key_heads, "multiple_of": multiple_of, "ffn_dim_multiplier": multiplier,
                "rope_theta": theta}
    params.update({key: value for key, value in optional.items() if value is not None})
    if scaled:
        params["use_scaled_rope"] = True
    (folder / "params.json").write_text(json.dumps({"model": params} if nested else params))
    whole = repeat_heads(state, kv, ranks) if kv < ranks else state
    served_kv = ranks if kv < ranks else kv
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192} if scaled else None
    config = llama_config(
        state, heads, served_kv, dim // heads, intermediate_size=hidden, num_hidden_layers=layers, rms_norm_eps=eps,
        rope_theta=theta or 10000.0, rope_scaling=scaling, max_position_embeddings=context, tie_word_embeddings=tied,
        attention_bias=False, mlp_bias=False, bos_token_id=tokens[0], eos_token_id=tokens[1])
    return Written(
        folder, as_hugging_face_llama(whole, heads, served_kv, tied), config, state, parts=ranks, options=options,
        logits=lambda ids: native_models.llama(
            {name: tensor.float() for name, tensor in state.items()}, heads, kv, ids, theta=theta or 10000.0, eps=eps,
            factor=factor if scaled else None))


@case("llama")
def llama_1(folder: Path) -> Written:
    """The first release: fp16, every head its own key, a rotary table, an epsilon of 1e-6."""
    return write_llama(folder, 101, key_heads=None, dtype=torch.float16, rope_table="rope.freqs", eps=1e-6,
                       context=2048)


@case("llama")
def llama_1_tables_in_layers(folder: Path) -> Written:
    return write_llama(folder, 102, key_heads=None, rope_table="layers.0.attention.inner_attention.rope.freqs",
                       ranks=2)


@case("llama", inverts=True)
def llama_2_grouped(folder: Path) -> Written:
    """Two ranks, embeddings cut by columns, all tensors of a file in one buffer."""
    return write_llama(folder, 103, ranks=2, layers=3, heads=8, key_heads=4, dim=64, shared_buffer=True, multiplier=1.3,
                       multiple_of=16)


@case("llama")
def llama_2_shared_table(folder: Path) -> Written:
    return write_llama(folder, 104, ranks=2, heads=4, key_heads=None, rope_table="rope.freqs", shared_buffer=True)


@case("llama")
def code_llama(folder: Path) -> Written:
    return write_llama(folder, 105, ranks=4, key_heads=4, theta=1000000.0, context=16384, multiplier=1.0)


@case("llama")
def llama_3(folder: Path) -> Written:
    """Four ranks, embeddings cut by rows, params.json with everything below `model`."""
    return write_llama(folder, 106, ranks=4, heads=8, key_heads=4, dim=32, vocabulary=128256, embedding_cut=0,
                       nested=True, theta=500000.0, context=8192, tokens=(128000, 128001))


@case("llama")
def llama_31(folder: Path) -> Written:
    return write_llama(folder, 107, ranks=2, dim=16, vocabulary=128256, embedding_cut=0, theta=500000.0, scaled=True,
                       factor=8.0, context=131072, dtype=torch.bfloat16, tokens=(128000, 128001))


@case("llama")
def llama_31_instruct(folder: Path) -> Written:
    folder = folder / "Llama-3.1-8B-Instruct"
    folder.mkdir()
    return write_llama(folder, 108, dim=16, heads=2, key_heads=1, vocabulary=128256, theta=500000.0, scaled=True,
                       factor=8.0, context=131072, tokens=(128000, [128001, 128008, 128009]))


@case("llama")
def llama_32(folder: Path) -> Written:
    """Tied, with the factor that params.json does not say."""
    return write_llama(folder, 109, dim=16, vocabulary=128256, tied=True, theta=500000.0, scaled=True, factor=32.0,
                       context=131072, options=("--family", "llama:rope_factor=32"), tokens=(128000, 128001))


@case("llama")
def llama_small_vocabulary(folder: Path) -> Written:
    """Scaled, with a tokenizer of one's own: no token of LLaMA 3 is in it."""
    return write_llama(folder, 114, theta=500000.0, scaled=True, factor=8.0, context=131072, tied=True)


@case("llama")
def llama_copied_heads(folder: Path) -> Written:
    """More ranks than key heads: each has a copy of its own."""
    return write_llama(folder, 110, ranks=8, heads=8, key_heads=2, dim=64, multiple_of=16, theta=500000.0,
                       context=16384)


@case("llama")
def llama_16_ranks(folder: Path) -> Written:
    return write_llama(folder, 111, ranks=16, heads=16, key_heads=16, dim=64, vocabulary=80, multiple_of=16)


@case("llama")
def llama_in_one_file(folder: Path) -> Written:
    return write_llama(folder, 112, file_name="consolidated.pth", options=("--family", "llama:context=512"),
                       context=512)


@case("llama")
def torchtune_meta_output(folder: Path) -> Written:
    """What torchtune's Meta checkpointer leaves for an epoch."""
    return write_llama(folder, 113, file_name="model-00001-of-00001.bin", theta=500000.0, context=16384,
                       dtype=torch.bfloat16)


# llama2.c ---------------------------------------------------------------------------------------------------------------


def write_llama2c(folder: Path, seed: int, prefix: str = "", hidden: int | None = None, masks: bool = False) -> Written:
    heads, key_heads, dim, multiple_of = 4, 2, 32, 12
    size = hidden or feed_forward_size(dim, multiple_of, 1)
    state = llama_state(seed, dim=dim, heads=heads, key_heads=key_heads, hidden=size, tied=True)
    saved = OrderedDict(state)
    if masks:
        for i in range(2):
            saved[f"layers.{i}.attention.mask"] = torch.full((1, 1, 64, 64), float("-inf")).triu(1)
    arguments = {"dim": dim, "n_layers": 2, "n_heads": heads, "n_kv_heads": key_heads, "vocab_size": 76,
                 "multiple_of": multiple_of, "max_seq_len": 64, "dropout": 0.0}
    if hidden:
        arguments["hidden_dim"] = hidden
    path = folder / "ckpt.pt"
    torch.save({"model": OrderedDict((prefix + name, tensor) for name, tensor in saved.items()), "optimizer": {},
                "model_args": arguments, "iter_num": 100, "best_val_loss": 1e9, "config": {"dim": dim}}, path)
    config = llama_config(state, heads, key_heads, dim // heads, intermediate_size=size, num_hidden_layers=2,
                          rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=64, tie_word_embeddings=True,
                          bos_token_id=1, eos_token_id=2, rope_scaling=ABSENT)
    return Written(path, as_hugging_face_llama(state, heads, key_heads, True), config, state,
                   logits=lambda ids: native_models.llama(state, heads, key_heads, ids))


@case("llama2c", inverts=True)
def llama2c(folder: Path) -> Written:
    return write_llama2c(folder, 121)


@case("llama2c")
def llama2c_compiled(folder: Path) -> Written:
    return write_llama2c(folder, 122, prefix="_orig_mod.", hidden=72, masks=True)


# Mistral ----------------------------------------------------------------------------------------------------------------


def write_mistral(folder: Path, seed: int, *, head_dim: int = 12, experts: int = 0, ranks: int = 0,
                  window: int | str | None = None, theta: float | None = None, dtype: torch.dtype = torch.float32,
                  options: tuple[str, ...] = (), context: int = 32768) -> Written:
    layers, heads, key_heads, dim, hidden = 3, 8, 4, 32, 56
    head_dim = head_dim or dim // heads
    state = llama_state(seed, layers=layers, dim=dim, heads=heads, key_heads=key_heads, head_dim=head_dim, hidden=hidden,
                        experts=experts, dtype=dtype)
    if ranks:
        for rank, share in enumerate(rank_states(state, ranks, key_heads, 1, False)):
            torch.save(share, folder / f"consolidated.{rank:02d}.pth")
    else:
        save_file(state, folder / "consolidated.safetensors")
    params = {"dim": dim, "n_layers": layers, "head_dim": head_dim, "hidden_dim": hidden, "n_heads": heads,
              "n_kv_heads": key_heads, "norm_eps": 1e-5, "vocab_size": 76}
    if theta is not None:
        params["rope_theta"] = theta
    if window is not None:
        params["sliding_window"] = window
    if experts:
        params["moe"] = {"num_experts": experts, "num_experts_per_tok": 2}
    (folder / "params.json").write_text(json.dumps(params))
    config = llama_config(
        state, heads, key_heads, head_dim, intermediate_size=hidden, num_hidden_layers=layers, rms_norm_eps=1e-5,
        rope_theta=theta or 10000.0, max_position_embeddings=context, tie_word_embeddings=False, bos_token_id=1,
        eos_token_id=2, sliding_window=None if window is None else int(window), rope_scaling=ABSENT)
    if experts:
        config.update(architectures=["MixtralForCausalLM"], model_type="mixtral", num_local_experts=experts,
                      num_experts_per_tok=2)
    else:
        config.update(architectures=["MistralForCausalLM"], model_type="mistral")
    return Written(
        folder, as_hugging_face_llama(state, heads, key_heads), config, state, parts=max(ranks, 1),
        options=options,
        logits=lambda ids: native_models.llama(
            {name: tensor.float() for name, tensor in state.items()}, heads, key_heads, ids, theta=theta or 10000.0,
            window=None if window is None else int(window), experts_per_token=2 if experts else 0))


@case("mistral", inverts=True)
def mistral(folder: Path) -> Written:
    """Heads that are wider than dim / n_heads."""
    return write_mistral(folder, 131, theta=1000000.0, options=("--family", "mistral:context=1024"), context=1024)


@case("mistral")
def mistral_plain_heads(folder: Path) -> Written:
    return write_mistral(folder, 132, head_dim=0, window="4", dtype=torch.bfloat16)


@case("mistral")
def mistral_pickled(folder: Path) -> Written:
    return write_mistral(folder, 133, ranks=1, window=5)


@case("mistral", inverts=True)
def mistral_ranks(folder: Path) -> Written:
    return write_mistral(folder, 135, ranks=2)


@case("mistral", inverts=True)
def mistral_experts(folder: Path) -> Written:
    return write_mistral(folder, 134, experts=3)
