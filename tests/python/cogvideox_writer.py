"""Checkpoints of CogVideoX as SwissArmyTransformer keeps them, written from small models of diffusers: the names and shapes
of the release, independent of the tables under test."""

import functools
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from family_cases import Case, Tensors, Written

PREFIX = "model.diffusion_model."


@dataclass(frozen=True)
class Variant:
    """What tells one model of the release from the others, and what the checkpoint does not tell."""

    arguments: dict = field(default_factory=dict)  # of the class of diffusers
    dtype: torch.dtype = torch.bfloat16
    scaling_factor: float = 0.7
    inverts_latents: bool = False
    snr_shift_scale: float = 1.0
    pipeline: str = "CogVideoXPipeline"

    @property
    def is_15(self) -> bool:
        return self.arguments.get("patch_size_t") == 2


ROTARY = {"num_attention_heads": 2, "num_layers": 2, "use_rotary_positional_embeddings": True}
NEWER = {**ROTARY, "patch_size_t": 2, "patch_bias": False, "sample_height": 300, "sample_width": 300, "sample_frames": 81}
IMAGE = "CogVideoXImageToVideoPipeline"

# Only the width of 1920 says that a model has no rotary positions.
VARIANTS = {
    "2b": Variant({"num_attention_heads": 30, "num_layers": 1}, torch.float16, 1.15258426, snr_shift_scale=3.0),
    "5b": Variant(ROTARY),
    "5b_i2v": Variant({**ROTARY, "in_channels": 32, "use_learned_positional_embeddings": True}, pipeline=IMAGE),
    "1.5": Variant(NEWER, inverts_latents=True),
    "1.5_i2v": Variant({**NEWER, "in_channels": 32, "ofs_embed_dim": 512}, inverts_latents=True, pipeline=IMAGE),
}

TRANSFORMER_NAMES = [
    (r"transformer_blocks\.(\d+)\.norm1\.norm\.", r"transformer.layers.\1.input_layernorm."),
    (r"transformer_blocks\.(\d+)\.norm2\.norm\.", r"transformer.layers.\1.post_attention_layernorm."),
    (r"transformer_blocks\.(\d+)\.attn1\.norm_q\.", r"mixins.adaln_layer.query_layernorm_list.\1."),
    (r"transformer_blocks\.(\d+)\.attn1\.norm_k\.", r"mixins.adaln_layer.key_layernorm_list.\1."),
    (r"transformer_blocks\.(\d+)\.attn1\.to_out\.0\.", r"transformer.layers.\1.attention.dense."),
    (r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.", r"transformer.layers.\1.mlp.dense_h_to_4h."),
    (r"transformer_blocks\.(\d+)\.ff\.net\.2\.", r"transformer.layers.\1.mlp.dense_4h_to_h."),
    (r"time_embedding\.linear_1\.", "time_embed.0."), (r"time_embedding\.linear_2\.", "time_embed.2."),
    (r"ofs_embedding\.linear_1\.", "ofs_embed.0."), (r"ofs_embedding\.linear_2\.", "ofs_embed.2."),
    (r"patch_embed\.pos_embedding", "mixins.pos_embed.pos_embedding"),
    (r"patch_embed\.", "mixins.patch_embed."),
    (r"norm_final\.", "transformer.final_layernorm."),
    (r"norm_out\.norm\.", "mixins.final_layer.norm_final."),
    (r"norm_out\.linear\.", "mixins.final_layer.adaLN_modulation.1."),
    (r"proj_out\.", "mixins.final_layer.linear."),
]
VAE_NAMES = [
    (r"\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r".down.\1.block.\2."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f".up.{3 - int(m[1])}.block.{m[2]}."),
    (r"\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f".up.{3 - int(m[1])}.upsample."),
    (r"\.mid_block\.resnets\.(\d)\.", lambda m: f".mid.block_{int(m[1]) + 1}."),
    (r"conv_shortcut", "nin_shortcut"),
]


def fill(model: torch.nn.Module, seed: int, dtype: torch.dtype) -> torch.nn.Module:
    """No two values alike, norms and biases included; rounded once."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.05).to(dtype)
        # A table of positions that is learned is a buffer, but no other is in the state dict.
        for name, table in model.named_buffers():
            if name in model.state_dict():
                table.data = torch.randn(table.shape, generator=generator).to(dtype)
    return model.eval()


@functools.cache
def transformer(name: str) -> CogVideoXTransformer3DModel:
    variant = VARIANTS[name]
    return fill(CogVideoXTransformer3DModel(**variant.arguments), 11, variant.dtype)


@functools.cache
def vae() -> AutoencoderKLCogVideoX:
    """Levels of unlike widths; 32 groups, as the release has."""
    return fill(AutoencoderKLCogVideoX(block_out_channels=(32, 64, 64, 96), latent_channels=16, layers_per_block=2), 13,
                torch.float32)


def renamed(name: str, rules: list) -> str:
    for pattern, replacement in rules:
        name, count = re.subn(pattern, replacement, name)
        if count and rules is TRANSFORMER_NAMES:
            break
    return name


def sat_state(served: Tensors) -> Tensors:
    """The state dict of SAT's class for that of diffusers'."""
    state = OrderedDict()
    for name, tensor in served.items():
        attention = re.fullmatch(r"transformer_blocks\.(\d+)\.attn1\.to_q\.(weight|bias)", name)
        modulation = re.fullmatch(r"transformer_blocks\.(\d+)\.norm1\.linear\.(weight|bias)", name)
        if attention:
            parts = [served[name.replace("to_q", f"to_{kind}")] for kind in "qkv"]
            state[f"transformer.layers.{attention[1]}.attention.query_key_value.{attention[2]}"] = torch.cat(parts)
        elif modulation:
            # Image, then text; of each attention's three, then those of the feed-forward part.
            first, second = tensor.chunk(2), served[name.replace("norm1", "norm2")].chunk(2)
            whole = torch.cat([first[0], second[0], first[1], second[1]])
            state[f"mixins.adaln_layer.adaLN_modulations.{modulation[1]}.1.{modulation[2]}"] = whole
        elif not re.search(r"\.(to_[kv]|norm2\.linear)\.", name):
            state[renamed(name, TRANSFORMER_NAMES)] = tensor.clone()
    return state


def vae_state(served: Tensors) -> Tensors:
    return OrderedDict((renamed(name, VAE_NAMES), tensor.clone()) for name, tensor in served.items())


def in_one_buffer(state: Tensors) -> Tensors:
    """Views into one storage, as a ZeRO engine holds what it trains."""
    buffer = torch.cat([tensor.flatten() for tensor in state.values()])
    views, begin = OrderedDict(), 0
    for name, tensor in state.items():
        views[name] = buffer[begin:begin + tensor.numel()].view(tensor.shape)
        begin += tensor.numel()
    return views


def write_sat(folder: Path, state: Tensors, *, tag: str = "1000", latest: str | None = None, prefix: str = PREFIX,
              extra: Tensors | None = None, parallel: int = 1) -> Path:
    """A folder as SAT saves it: `latest`, model_config.json, the file of rank 0."""
    (folder / tag).mkdir(parents=True)
    named = OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    named.update(extra or {})
    torch.save({"module": named, "iteration": 1000, "client_lr_scheduler": {}, "random_rng_state": (3, (1, 2), None),
                "torch_rng_state": torch.get_rng_state()}, folder / tag / "mp_rank_00_model_states.pt")
    (folder / "latest").write_text(latest or tag)
    (folder / "model_config.json").write_text(json.dumps({"model_class": "DiffusionTransformer", "num_layers": 2,
                                                          "model_parallel_size": parallel}))
    return folder


def write_vae(path: Path, extra: Tensors | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = vae_state(vae().state_dict()) | {"loss.discriminator.0.weight": torch.ones(3)} | (extra or {})
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


def write_release(folder: Path, name: str, transformer_folder: str = "transformer") -> Path:
    write_sat(folder / transformer_folder, sat_state(transformer(name).state_dict()))
    write_vae(folder / "vae" / "3d-vae.pt")
    return folder


# Smaller still, and of more sizes, for what is tried hundreds of times ------------------------------------------------------

NARROW = {"num_attention_heads": 2, "num_layers": 2, "time_embed_dim": 24, "text_embed_dim": 40, "sample_height": 4,
          "sample_width": 6, "sample_frames": 9, "use_rotary_positional_embeddings": True}
SIZES = "sample_height=4:sample_width=6:sample_frames=9"
NARROW_15 = {**NARROW, "patch_size_t": 2, "patch_bias": False}
NARROW_IMAGE = {"in_channels": 32}


def small_transformer(**arguments) -> CogVideoXTransformer3DModel:
    model = CogVideoXTransformer3DModel(**NARROW | arguments)
    return fill(model, 17, torch.float32)


def config_of(model) -> dict:
    """As diffusers writes it, all defaults filled in."""
    config = json.loads(model.to_json_string())
    del config["_diffusers_version"]
    return config


def write_part(folder: Path, family: str, model, options: str, change=None) -> Written:
    """One checkpoint of a family; `change` adds to what it holds what the model does not."""
    served = dict(model.state_dict())
    if family == "cogvideox-native":
        native = served
    elif family == "cogvideox-vae":
        native = vae_state(served)
    else:
        native = sat_state(served)
    saved = dict(native)
    if change is not None:
        change(saved)
    torch.save({"module": {PREFIX + name if family == "cogvideox" else name: tensor for name, tensor in saved.items()}},
               folder / "checkpoint.pt")
    return Written(folder / "checkpoint.pt", served, config_of(model), native, options=("--family", f"{family}:{options}"))


def part(family: str, make, options: str = SIZES, change=None):
    return lambda folder: write_part(folder, family, make(), options, change)


def with_unused(state: Tensors) -> None:
    """What no model of diffusers has."""
    state["mixins.pos_embed.pos_embedding"] = torch.ones(1, 3, 128)
    state["mixins.pos_embed.freqs_sin"] = torch.ones(3)


def flattened(state: Tensors) -> None:
    state["mixins.patch_embed.proj.weight"] = state["mixins.patch_embed.proj.weight"].flatten(1)


def small_vae(**arguments) -> AutoencoderKLCogVideoX:
    model = AutoencoderKLCogVideoX(**{"block_out_channels": (6, 10, 10, 14), "layers_per_block": 1, "norm_num_groups": 2,
                                      "latent_channels": 5, "in_channels": 7, "out_channels": 9, "sample_height": 16,
                                      "sample_width": 24, "scaling_factor": 0.7} | arguments)
    return fill(model, 19, torch.float32)


LEARNED = {**NARROW_IMAGE, "use_learned_positional_embeddings": True}
VAE_OPTIONS = "model=5b:norm_num_groups=2:sample_height=16:sample_width=24"
PARTS: dict[str, Case] = {name: Case(name, family, write) for name, family, write in (
    ("sat", "cogvideox", part("cogvideox", small_transformer)),
    ("sat_still", "cogvideox", part("cogvideox", functools.partial(
        small_transformer, use_rotary_positional_embeddings=False), SIZES + ":rotary=no", with_unused)),
    ("sat_flat", "cogvideox", part("cogvideox", small_transformer, change=flattened)),
    ("sat_learned", "cogvideox", part("cogvideox", functools.partial(small_transformer, **LEARNED))),
    ("sat_15", "cogvideox", part("cogvideox", functools.partial(small_transformer, **NARROW_15))),
    ("sat_15_image", "cogvideox", part("cogvideox", functools.partial(
        small_transformer, **NARROW_15, **NARROW_IMAGE, ofs_embed_dim=24))),
    ("native_learned", "cogvideox-native", part("cogvideox-native", functools.partial(small_transformer, **LEARNED))),
    ("native_15_image", "cogvideox-native", part("cogvideox-native", functools.partial(
        small_transformer, **NARROW_15, **NARROW_IMAGE, ofs_embed_dim=24))),
    ("vae", "cogvideox-vae", part("cogvideox-vae", small_vae, VAE_OPTIONS)),
)}


def served_state(name: str) -> Tensors:
    """What from_pretrained of diffusers wants to find."""
    return dict(transformer(name).state_dict())
