"""Hugging Face repositories with legacy weights: small real models, written as their libraries wrote them."""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

CORPUS = ["a mount shows the model that loaders expect", "every byte is made when it is read"] * 8


def make_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>").save_pretrained(folder)


def gpt2_model() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=64, n_embd=48, n_layer=3, n_head=4,
                                      bos_token_id=0, eos_token_id=0))


def llama_model() -> LlamaForCausalLM:
    """Grouped queries, an untied head."""
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=112, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False))


def t5_model() -> T5ForConditionalGeneration:
    """One matrix under four names."""
    return T5ForConditionalGeneration(T5Config(
        vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0))


def bert_model() -> BertForMaskedLM:
    return BertForMaskedLM(BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64))


MODELS = {"gpt2": gpt2_model, "llama": llama_model, "t5": t5_model, "bert": bert_model}


def make_model(kind: str, dtype: torch.dtype = torch.float32):
    torch.manual_seed(hash_seed(kind))
    return MODELS[kind]().to(dtype).eval()


def hash_seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def save_sharded(state: dict[str, torch.Tensor], folder: Path, parts: int, stem: str = "pytorch_model") -> list[Path]:
    """Shards and index as transformers 4 wrote them; the names go round the shards in order."""
    names, paths, weight_map = list(state), [], {}
    size = -(-len(names) // parts)
    for part in range(parts):
        path = folder / f"{stem}-{part + 1:05d}-of-{parts:05d}.bin"
        chosen = names[part * size:(part + 1) * size]
        torch.save({name: state[name] for name in chosen}, path)
        weight_map.update(dict.fromkeys(chosen, path.name))
        paths.append(path)
    total = sum(t.numel() * t.element_size() for t in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{stem}.bin.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return paths


def make_repository(folder: Path, kind: str = "gpt2", dtype: torch.dtype = torch.float32, parts: int = 1,
                    legacy: bool = False, config_dtype: str | None = None) -> dict[str, torch.Tensor]:
    """A model repository with weights as `.bin` alone. Returns the state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(kind, dtype)
    model.config.save_pretrained(folder)
    if config_dtype is not None:
        set_config_dtype(folder / "config.json", config_dtype)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    make_tokenizer(folder)
    state = model.state_dict()
    if parts == 1:
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    else:
        save_sharded(state, folder, parts)
    return dict(state)


def set_config_dtype(path: Path, dtype: str) -> None:
    """Says `torch_dtype`, as transformers 4 wrote it."""
    config = json.loads(path.read_text())
    config.pop("dtype", None)
    config["torch_dtype"] = dtype
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make_trainer_folder(folder: Path) -> dict[str, torch.Tensor]:
    """`checkpoint-N` as Trainer leaves it: weights, arguments, optimizer, scheduler and random states."""
    state = make_repository(folder, "gpt2")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.randn(4))])
    torch.save({"learning_rate": 1e-4, "path": Path("out")}, folder / "training_args.bin")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save({"last_epoch": 1}, folder / "scheduler.pt")
    torch.save({"python": [1, 2], "cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    torch.save({"cpu": torch.get_rng_state()}, folder / "rng_state_0.pth")
    (folder / "trainer_state.json").write_text('{"global_step": 3}\n')
    return state


def make_hub_snapshot(cache: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A snapshot in a Hugging Face cache: relative links into blobs/ named by their hash."""
    root = cache / "models--weightfs--tiny"
    snapshot = root / "snapshots" / ("0123456789abcdef" * 3)[:40]
    plain = cache / "plain"
    state = make_repository(plain)
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(snapshot.name)
    for path in sorted(plain.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.move(path, root / "blobs" / digest)
        (snapshot / path.name).symlink_to(Path("../../blobs") / digest)
    plain.rmdir()
    return snapshot, state


def make_sentence_transformers(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Modules in folders of their own; the tensors by folder."""
    folder.mkdir(parents=True)
    bert = make_model("bert").bert
    bert.config.save_pretrained(folder)
    make_tokenizer(folder)
    torch.save(bert.state_dict(), folder / "pytorch_model.bin")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    (folder / "modules.json").write_text(json.dumps(
        [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
         for i, (path, kind) in enumerate(modules)], indent=2))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 32}')
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text('{"in_features": 32, "out_features": 16, "bias": true}')
    dense = {f"linear.{name}": tensor for name, tensor in torch.nn.Linear(32, 16).state_dict().items()}
    torch.save(dense, folder / "2_Dense" / "pytorch_model.bin")
    return {"": dict(bert.state_dict()), "2_Dense": dense}


def make_adapter(folder: Path) -> dict[str, torch.Tensor]:
    """A PEFT adapter: adapter_model.bin and its config."""
    folder.mkdir(parents=True)
    prefix = "base_model.model.transformer.h.0.attn.c_attn"
    state = {f"{prefix}.lora_A.weight": torch.randn(4, 48), f"{prefix}.lora_B.weight": torch.randn(144, 4)}
    torch.save(state, folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": 4, "lora_alpha": 8,
         "target_modules": ["c_attn"]}, indent=2))
    (folder / "README.md").write_text("An adapter.\n")
    return state


def make_pipeline(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """A diffusers pipeline with `.bin` weights in every component; the tensors by component."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DModel

    torch.manual_seed(11)
    unet = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"), norm_num_groups=8,
                       up_block_types=("AttnUpBlock2D", "UpBlock2D"))
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, sample_size=8)
    folder.mkdir(parents=True)
    scheduler = DDIMScheduler()
    (folder / "model_index.json").write_text(json.dumps(
        {"_class_name": "DDIMPipeline", "_diffusers_version": "0.30.0", "scheduler": ["diffusers", "DDIMScheduler"],
         "unet": ["diffusers", "UNet2DModel"]}, indent=2))
    scheduler.save_pretrained(folder / "scheduler")
    components = {"unet": unet, "vae": vae}
    for name, model in components.items():
        model.save_config(folder / name)
        torch.save(model.state_dict(), folder / name / "diffusion_pytorch_model.bin")
    text = make_model("bert")
    (folder / "text_encoder").mkdir()
    text.config.save_pretrained(folder / "text_encoder")
    torch.save(text.state_dict(), folder / "text_encoder" / "pytorch_model.bin")
    (folder / "tokenizer").mkdir()
    make_tokenizer(folder / "tokenizer")
    return {**{name: dict(model.state_dict()) for name, model in components.items()},
            "text_encoder": dict(text.state_dict())}
