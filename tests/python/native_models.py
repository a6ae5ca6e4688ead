"""The original implementations, as forward passes over their own state dicts: what a conversion must compute.

Written from the published models, in plain PyTorch: no code of a converter or of transformers is involved.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional as F

State = Mapping[str, torch.Tensor]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """Causal attention over (batch, time, heads, channels); key heads are repeated for their group of query heads."""
    repeats = q.shape[2] // k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(repeats, 2), v.repeat_interleave(repeats, 2)))
    mask = None
    if window is not None:
        ones = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool)
        mask = ones.tril() & ones.triu(1 - window)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return y.transpose(1, 2).flatten(2)


def gpt2(state: State, heads: int, ids: torch.Tensor, activation: str) -> torch.Tensor:
    """nanoGPT (`activation` "none": exact GELU) and build-nanogpt ("tanh"): weights as (out, in), biases or none."""
    channels = state["transformer.wte.weight"].shape[1]

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(name, x):
        return F.layer_norm(x, (channels,), state[f"{name}.weight"], state.get(f"{name}.bias"), 1e-5)

    x = state["transformer.wte.weight"][ids] + state["transformer.wpe.weight"][:ids.shape[1]]
    layer = 0
    while f"transformer.h.{layer}.ln_1.weight" in state:
        block = f"transformer.h.{layer}"
        qkv = linear(f"{block}.attn.c_attn", norm(f"{block}.ln_1", x)).split(channels, dim=2)
        q, k, v = (part.unflatten(2, (heads, -1)) for part in qkv)
        x = x + linear(f"{block}.attn.c_proj", attend(q, k, v))
        hidden = F.gelu(linear(f"{block}.mlp.c_fc", norm(f"{block}.ln_2", x)), approximate=activation)
        x = x + linear(f"{block}.mlp.c_proj", hidden)
        layer += 1
    return F.linear(norm("transformer.ln_f", x), state["lm_head.weight"])


def scale_frequencies(frequencies: torch.Tensor, factor: float) -> torch.Tensor:
    """LLaMA 3.1's scaled rope: long waves slower by `factor`, short ones kept, those between blended."""
    wavelengths = 2 * torch.pi / frequencies
    smooth = ((8192 / wavelengths - 1) / (4 - 1)).clamp(0, 1)
    return (1 - smooth) * frequencies / factor + smooth * frequencies


def rotate_pairs(x: torch.Tensor, theta: float, factor: float | None) -> torch.Tensor:
    """Rotary positions as Meta wrote them: neighbours (2k, 2k + 1) are one complex number."""
    size, time = x.shape[-1], x.shape[1]
    frequencies = 1.0 / theta ** (torch.arange(0, size, 2).float() / size)
    if factor is not None:
        frequencies = scale_frequencies(frequencies, factor)
    angles = torch.outer(torch.arange(time).float(), frequencies)
    turns = torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns[:, None]).flatten(-2)


def llama(state: State, heads: int, key_heads: int, ids: torch.Tensor, *, theta: float = 10000.0, eps: float = 1e-5,
          factor: float | None = None, window: int | None = None, experts_per_token: int = 0) -> torch.Tensor:
    """LLaMA, Mistral, Mixtral of mistral-inference and llama2.c, by their own names."""

    def norm(name, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * state[f"{name}.weight"]

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"])

    def feed_forward(name, x):
        return linear(f"{name}.w2", F.silu(linear(f"{name}.w1", x)) * linear(f"{name}.w3", x))

    def experts(name, x):
        weights, chosen = linear(f"{name}.gate", x).topk(experts_per_token)
        weights = weights.softmax(-1)
        out = torch.zeros_like(x)
        for expert in range(state[f"{name}.gate.weight"].shape[0]):
            weight = (weights * (chosen == expert)).sum(-1, keepdim=True)
            out = out + weight * feed_forward(f"{name}.experts.{expert}", x)
        return out

    x = state["tok_embeddings.weight"][ids]
    layer = 0
    while f"layers.{layer}.attention_norm.weight" in state:
        block = f"layers.{layer}"
        h = norm(f"{block}.attention_norm", x)
        q = linear(f"{block}.attention.wq", h).unflatten(2, (heads, -1))
        k = linear(f"{block}.attention.wk", h).unflatten(2, (key_heads, -1))
        v = linear(f"{block}.attention.wv", h).unflatten(2, (key_heads, -1))
        q, k = rotate_pairs(q, theta, factor), rotate_pairs(k, theta, factor)
        x = x + linear(f"{block}.attention.wo", attend(q, k, v, window))
        h = norm(f"{block}.ffn_norm", x)
        x = x + (experts if experts_per_token else feed_forward)(f"{block}.feed_forward", h)
        layer += 1
    return F.linear(norm("norm", x), state.get("output.weight", state["tok_embeddings.weight"]))


def nanochat(state: State, heads: int, key_heads: int, ids: torch.Tensor) -> torch.Tensor:
    """nanochat until January 2026. Its rotary tables, which it keeps in bf16, are exact here, as in the served class."""
    state = {name: tensor.float() for name, tensor in state.items()}

    def norm(x):
        return F.rms_norm(x, (x.shape[-1],), eps=1e-6)

    def rotate(x):
        half = x.shape[-1] // 2
        frequencies = 1.0 / 10000.0 ** (torch.arange(0, 2 * half, 2).float() / (2 * half))
        angles = torch.outer(torch.arange(x.shape[1]).float(), frequencies)[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angles.cos() + b * angles.sin(), b * angles.cos() - a * angles.sin()], -1)

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"])

    x = norm(state["transformer.wte.weight"][ids])
    layer = 0
    while f"transformer.h.{layer}.attn.c_q.weight" in state:
        block = f"transformer.h.{layer}"
        h = norm(x)
        q = linear(f"{block}.attn.c_q", h).unflatten(2, (heads, -1))
        k = linear(f"{block}.attn.c_k", h).unflatten(2, (key_heads, -1))
        v = linear(f"{block}.attn.c_v", h).unflatten(2, (key_heads, -1))
        x = x + linear(f"{block}.attn.c_proj", attend(norm(rotate(q)), norm(rotate(k)), v))
        x = x + linear(f"{block}.mlp.c_proj", F.relu(linear(f"{block}.mlp.c_fc", norm(x))).square())
        layer += 1
    return 15 * torch.tanh(F.linear(norm(x), state["lm_head.weight"]) / 15)


def rotate_halves(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary positions of GPT-NeoX: channel k and channel k + size / 2 are one pair."""
    half = x.shape[-1] // 2
    frequencies = 1.0 / theta ** (torch.arange(0, 2 * half, 2).float() / (2 * half))
    angles = torch.outer(torch.arange(x.shape[1]).float(), frequencies)[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def olmo_classic(state: State, heads: int, key_heads: int, ids: torch.Tensor, *, after: bool, theta: float = 10000.0,
                 eps: float = 1e-5, clip: float | None = None) -> torch.Tensor:
    """The first OLMo trainer's model: norms without weights before each part, or (`after`) RMS norms behind them."""
    channels = state["transformer.wte.weight"].shape[1]

    def norm(name, x):
        if not after:
            return F.layer_norm(x, (channels,), eps=eps)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * state[f"{name}.weight"]

    def attention(block, x):
        if f"{block}.att_proj.weight" in state:
            qkv = F.linear(x, state[f"{block}.att_proj.weight"])
        else:
            qkv = torch.cat([F.linear(x, state[f"{block}.{p}_proj.weight"]) for p in "qkv"], -1)
        if clip is not None:
            qkv = qkv.clamp(-clip, clip)
        size = channels // heads
        q, k, v = qkv.split((channels, key_heads * size, key_heads * size), dim=-1)
        if after:
            q, k = norm(f"{block}.q_norm", q), norm(f"{block}.k_norm", k)
        q, k, v = (part.unflatten(2, (-1, size)) for part in (q, k, v))
        return F.linear(attend(rotate_halves(q, theta), rotate_halves(k, theta), v), state[f"{block}.attn_out.weight"])

    def feed_forward(block, x):
        up, gate = F.linear(x, state[f"{block}.ff_proj.weight"]).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, state[f"{block}.ff_out.weight"])

    x = state["transformer.wte.weight"][ids]
    layer = 0
    while f"transformer.blocks.{layer}.attn_out.weight" in state:
        block = f"transformer.blocks.{layer}"
        if after:
            x = x + norm(f"{block}.attn_norm", attention(block, x))
            x = x + norm(f"{block}.ff_norm", feed_forward(block, x))
        else:
            x = x + attention(block, norm("", x))
            x = x + feed_forward(block, norm("", x))
        layer += 1
    return F.linear(norm("transformer.ln_f", x), state.get("transformer.ff_out.weight", state["transformer.wte.weight"]))
