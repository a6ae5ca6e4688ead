"""The checkpoints that are measured, made once per work folder by torch."""

import functools
import json

import torch
from safetensors.torch import save_file


def made_once(make):
    """Calls `make(folder, ...)` unless an earlier call finished, and returns `folder`."""

    @functools.wraps(make)
    def once(folder, *arguments):
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder, *arguments)
            (folder / "done").touch()
        return folder

    return once


def llama_config(dtype):
    """A LLaMA of 0.6 billion parameters: 1.2 GB in 16 bits."""
    from transformers import LlamaConfig

    return LlamaConfig(vocab_size=32000, hidden_size=1536, intermediate_size=4096, num_hidden_layers=18,
                       num_attention_heads=12, num_key_value_heads=12, dtype=dtype, tie_word_embeddings=False)


@made_once
def make_repository(folder, dtype=torch.float16):
    """A `.bin` repository of one file, as old training scripts wrote them."""
    from transformers import LlamaForCausalLM

    config = llama_config(dtype)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(1)
    state = {name: (torch.randn(tensor.shape, generator=generator) * 0.02).to(dtype)
             for name, tensor in model.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    config.save_pretrained(folder)


@made_once
def make_transposed(folder, repository):
    """The same tensors, every matrix stored by columns: what `.t()` of a saved tensor is."""
    state = torch.load(repository / "pytorch_model.bin", mmap=True)
    torch.save({name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor.clone()
                for name, tensor in state.items()}, folder / "pytorch_model.bin")


@made_once
def make_ranks(folder, repository, ranks):
    """The same model as tensor-parallel ranks in the layout of the original LLaMA release."""
    state = torch.load(repository / "pytorch_model.bin", mmap=True)
    config = json.loads((repository / "config.json").read_text())
    heads, layers, width = config["num_attention_heads"], config["num_hidden_layers"], config["hidden_size"]

    def pairs(tensor):
        """Halves of each head back to neighbouring pairs."""
        return tensor.view(heads, 2, width // heads // 2, width).transpose(1, 2).reshape(width, width)

    # Native name, name here, the dimension that ranks share, and what is done to it.
    lines = [("tok_embeddings", "model.embed_tokens", 0, None), ("norm", "model.norm", None, None),
             ("output", "lm_head", 0, None)]
    for i in range(layers):
        native, here = f"layers.{i}.", f"model.layers.{i}."
        lines += [(native + "attention.wq", here + "self_attn.q_proj", 0, pairs),
                  (native + "attention.wk", here + "self_attn.k_proj", 0, pairs),
                  (native + "attention.wv", here + "self_attn.v_proj", 0, None),
                  (native + "attention.wo", here + "self_attn.o_proj", 1, None),
                  (native + "feed_forward.w1", here + "mlp.gate_proj", 0, None),
                  (native + "feed_forward.w2", here + "mlp.down_proj", 1, None),
                  (native + "feed_forward.w3", here + "mlp.up_proj", 0, None),
                  (native + "attention_norm", here + "input_layernorm", None, None),
                  (native + "ffn_norm", here + "post_attention_layernorm", None, None)]
    for rank in range(ranks):
        part = {}
        for native, here, dimension, change in lines:
            tensor = state[here + ".weight"]
            tensor = change(tensor) if change else tensor
            tensor = tensor if dimension is None else tensor.chunk(ranks, dimension)[rank]
            part[native + ".weight"] = tensor.clone()
        torch.save(part, folder / f"consolidated.{rank:02}.pth")
    params = {"dim": width, "n_layers": layers, "n_heads": heads, "norm_eps": config["rms_norm_eps"],
              "vocab_size": config["vocab_size"], "multiple_of": 256}
    (folder / "params.json").write_text(json.dumps(params))


@made_once
def make_native(folder, repository, dtype):
    """The same model as safetensors, converted beforehand: what a mount competes with."""
    state = torch.load(repository / "pytorch_model.bin", mmap=True)
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in state.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    config = json.loads((repository / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def make_many_tensors(path, count):
    """A `.bin` of `count` tensors of 64 elements."""
    if not path.exists():
        torch.save({f"model.layers.{i}.weight": torch.full((64,), float(i)) for i in range(count)}, path)
    return path


def make_sparse(path, size_bytes):
    """A safetensors file of `size_bytes` that takes almost no disk: 64 tensors over a hole."""
    if path.exists():
        return path
    each = size_bytes // 64 // 2 * 2
    header = {f"layer.{i}.weight": {"dtype": "F16", "shape": [each // 2],
                                    "data_offsets": [i * each, (i + 1) * each]} for i in range(64)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 64 * each)
    return path
