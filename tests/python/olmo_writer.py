"""Writes OLMo-core training runs with OLMo-core itself, and what its own converter makes of them.

    python olmo_writer.py OUT [CASE]...

Each case is OUT/CASE/run (a run directory with step10/ and tokenizer/), OUT/CASE/hf (the converter's output; of some just
the tensors that its key mapping gives) and OUT/CASE/logits.safetensors. Runs in the environment of
tests/requirements/olmo.txt.
"""

import dataclasses
import importlib.machinery
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import types
import warnings
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", HF_HUB_OFFLINE="1")
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402


class FusedRMSNormGated(torch.nn.Module):
    """The parameter of the norm of flash-linear-attention, which is for GPUs alone: enough to save and convert."""

    def __init__(self, size, eps=1e-5, device=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(size, device=device))


fla = types.ModuleType("fla")
fla.__spec__ = importlib.machinery.ModuleSpec("fla", None)
fla.modules = types.ModuleType("fla.modules")
fla.modules.FusedRMSNormGated = FusedRMSNormGated
sys.modules.update({"fla": fla, "fla.modules": fla.modules})

import olmo_core.nn.attention.recurrent  # noqa: E402

olmo_core.nn.attention.recurrent.has_fla = lambda: True
from olmo_core.data.tokenizer import TokenizerConfig  # noqa: E402
from olmo_core.distributed.checkpoint import save_model_and_optim_state  # noqa: E402
from olmo_core.nn.attention import GatedDeltaNetConfig, SlidingWindowAttentionConfig  # noqa: E402
from olmo_core.nn.hf.convert import convert_state_to_hf  # noqa: E402
from olmo_core.nn.hf.convert_checkpoint import convert_checkpoint_to_hf  # noqa: E402
from olmo_core.nn.rope import StepwiseRoPEScalingConfig, YaRNRoPEScalingConfig  # noqa: E402
from olmo_core.nn.transformer import TransformerBlockType, TransformerConfig  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

VOCABULARY, PADDED = 293, 320
CASES = {}
# Of these the converter maps the keys, and stops at the configuration or at the classes of transformers 5.
WITHOUT_LOGITS = {"flex_olmo", "flex_olmo_dropless", "hybrid", "hybrid_unrotated"}  # These run on a GPU alone.
KEYS_ALONE = {"flex_olmo", "flex_olmo_dropless", "llama", "qwen3", "gemma3"}


def case(function):
    """Registers a case: a function that returns a model configuration."""
    CASES[function.__name__] = function
    return function


def olmo_like(**changes):
    options = dict(d_model=48, vocab_size=PADDED, n_layers=4, n_heads=4, hidden_size_multiplier=1.0,
                   hidden_size_multiple_of=32, qk_norm=True, layer_norm_eps=1e-6,
                   block_name=TransformerBlockType.reordered_norm)
    return TransformerConfig.llama_like(**options | changes)


def window(**changes):
    return SlidingWindowAttentionConfig(**dict(pattern=[8, 8, 8, -1], force_full_attention_on_first_layer=False,
                                               force_full_attention_on_last_layer=True) | changes)


@case
def olmo2():
    return olmo_like()


@case
def olmo2_gqa_tied():
    return olmo_like(n_kv_heads=2, rope_theta=10000, tie_word_embeddings=True)


@case
def olmo2_scaled():
    return olmo_like(rope_scaling=StepwiseRoPEScalingConfig(factor=8, old_context_len=64))


@case
def olmo3():
    return olmo_like(n_layers=5, sliding_window=window())


@case
def olmo3_first_layer_full():
    return olmo_like(n_layers=6, n_kv_heads=2, sliding_window=window(force_full_attention_on_first_layer=True))


@case
def olmo3_yarn():
    return olmo_like(n_layers=4, n_kv_heads=1, sliding_window=window()).with_rope_scaling(
        YaRNRoPEScalingConfig(factor=4, old_context_len=64))


def moe(**changes):
    options = dict(d_model=48, vocab_size=PADDED, n_layers=2, n_heads=4, num_experts=4, top_k=2, expert_hidden_size=32,
                   reordered_norm=True, qk_norm=True)
    return TransformerConfig.llama_like_moe(**options | changes)


@case
def flex_olmo():
    return moe()


@case
def flex_olmo_dropless():
    return moe(dropless=True)


@case
def llama():
    return olmo_like(block_name=TransformerBlockType.default, qk_norm=False, n_kv_heads=2)


@case
def qwen3():
    return olmo_like(block_name=TransformerBlockType.default, use_head_qk_norm=True, n_kv_heads=2, head_dim=16)


@case
def gemma3():
    return TransformerConfig.gemma3_like(d_model=48, vocab_size=PADDED, n_layers=7, n_heads=4, n_kv_heads=2,
                                         hidden_size=64, head_dim=16, local_window_size=8)


@case
def hybrid(**changes):
    full = olmo_like(n_kv_heads=2, n_layers=8, **changes)
    linear = dataclasses.replace(full.block, name=TransformerBlockType.default, sequence_mixer=GatedDeltaNetConfig(
        n_heads=2, n_v_heads=4, head_dim=12, expand_v=2.0))
    return dataclasses.replace(full, block={"gdn": linear, "attn": full.block},
                               block_pattern=["gdn", "gdn", "gdn", "attn"])


@case
def hybrid_unrotated():
    config = hybrid(tie_word_embeddings=True)
    config.block["attn"].sequence_mixer.rope = None
    return config


def write_tokenizer(folder: Path) -> TokenizerConfig:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    merges = []
    for first in alphabet:
        for second in alphabet:
            if len(vocabulary) == VOCABULARY - 2:
                break
            if first + second not in vocabulary:
                merges.append((first, second))
                vocabulary[first + second] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>"), AddedToken("<|pad|>")])
    assert tokenizer.get_vocab_size() == VOCABULARY
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>",
                            model_max_length=128).save_pretrained(folder)
    return TokenizerConfig(vocab_size=VOCABULARY, eos_token_id=VOCABULARY - 2, pad_token_id=VOCABULARY - 1,
                           identifier=str(folder))


def write_step(folder: Path, model_config, tokenizer, rank: int = 0, world: int = 1, number: int = 10) -> torch.nn.Module:
    """A step as the trainer leaves it."""
    step = folder / f"step{number}"
    torch.manual_seed(number)
    model = model_config.build(init_device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.05 + (1 if parameter.ndim == 1 else 0))
    if world > 1:
        from torch.distributed.device_mesh import init_device_mesh

        model.apply_fsdp(init_device_mesh("cpu", (world,)))
    save_model_and_optim_state(step / "model_and_optim", model, torch.optim.AdamW(model.parameters()))
    if rank == 0:
        config = {"model": model_config.as_config_dict(),
                  "dataset": {"tokenizer": tokenizer.as_config_dict(), "_CLASS_": "olmo_core.data.NumpyFSLDatasetConfig"},
                  "train_module": {"max_sequence_length": 64}}
        (step / "config.json").write_text(json.dumps(config))
        (step / "train").mkdir(exist_ok=True)
        torch.save({"global_step": number}, step / "train" / "rank0.pt")
        (step / ".metadata.json").write_text(json.dumps({"ephemeral": False, "version": "3.0.0"}))
    return model


def hf_config(name: str, config: dict):
    """The configuration of models that the converter refuses as a whole, but whose keys it maps."""
    import transformers

    mixer = config["block"].get("sequence_mixer") or next(iter(config["block"].values()))["sequence_mixer"]
    sizes = dict(vocab_size=VOCABULARY, hidden_size=config["d_model"], num_hidden_layers=config["n_layers"],
                 num_attention_heads=mixer["n_heads"], num_key_value_heads=mixer.get("n_kv_heads", mixer["n_heads"]))
    if name.startswith("flex_olmo"):
        moe_config = config["block"]["feed_forward_moe"]
        return transformers.FlexOlmoConfig(**sizes, intermediate_size=moe_config["hidden_size"],
                                           num_experts=moe_config["num_experts"],
                                           num_experts_per_tok=moe_config["router"]["top_k"])
    return {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config,
            "gemma3": transformers.Gemma3TextConfig}[name](**sizes)


def reference(name: str, out: Path, step: Path, model) -> None:
    """The converter's output; of models that it does not know as a whole, what its key mapping gives."""
    from safetensors.torch import save_file

    config = json.loads((step / "config.json").read_text())
    ids = (torch.arange(2 * 24).reshape(2, 24) * 37 + 5) % VOCABULARY
    if name not in WITHOUT_LOGITS:
        with torch.no_grad():
            logits = model.eval()(ids)[..., :VOCABULARY].float()
        save_file({"input_ids": ids, "logits": logits.contiguous()}, out / "logits.safetensors")
    if name not in KEYS_ALONE:
        convert_checkpoint_to_hf(step, out / "hf", config["model"], config["dataset"]["tokenizer"], validate=False,
                                 tokenizer_id=str(step.parent / "tokenizer"))
        return
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    if name == "flex_olmo_dropless":
        # As the converter does before it maps the keys.
        for key, value in state.items():
            if key.endswith(("experts.mlp.w1", "experts.mlp.w3")):
                moe_config = config["model"]["block"]["feed_forward_moe"]
                state[key] = (value.reshape(moe_config["num_experts"], moe_config["hidden_size"], -1)
                              .permute(0, 2, 1).reshape(-1, moe_config["hidden_size"]))
    mapped = convert_state_to_hf(hf_config(name, config["model"]), state)
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        mapped[key] = mapped[key][:VOCABULARY]
    (out / "hf").mkdir()
    save_file({key: value.contiguous().clone() for key, value in mapped.items()}, out / "hf" / "model.safetensors",
              metadata={"format": "pt"})


def run_case(name: str, out: Path, rank: int = 0, world: int = 1, rendezvous: str = "") -> None:
    if world > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world))
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    run = out / "run"
    model_config = CASES[name.removesuffix("_fsdp")]()
    tokenizer = TokenizerConfig(vocab_size=VOCABULARY, eos_token_id=VOCABULARY - 2, pad_token_id=VOCABULARY - 1,
                                identifier="tokenizer")
    if rank == 0:
        (run / "tokenizer").mkdir(parents=True, exist_ok=True)
        write_tokenizer(run / "tokenizer")
    if world > 1:
        dist.barrier()
    model = write_step(run, model_config, tokenizer, rank, world)
    if world > 1:
        dist.barrier()
    sys.stdout.flush()
    if world > 1:
        os._exit(0)
    reference(name, out, run / "step10", model)


def write(name: str, out: Path) -> None:
    """`CASE_fsdp` is the same model on two ranks."""
    if not name.endswith("_fsdp"):
        return run_case(name, out / name)
    with tempfile.TemporaryDirectory() as scratch:
        context = multiprocessing.get_context("fork")
        ranks = [context.Process(target=run_case, args=(name, out / name, rank, 2, f"{scratch}/rendezvous"))
                 for rank in range(2)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(120)
        assert [process.exitcode for process in ranks] == [0, 0], name


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    # Ranks are forked before anything starts threads.
    names = sys.argv[2:] or ["olmo3_fsdp", *CASES]
    for chosen in sorted(names, key=lambda name: not name.endswith("_fsdp")):
        write(chosen, folder)
