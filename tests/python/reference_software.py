"""Runs the software that writes the checkpoints of model families, and the converters that are published for them.

    python reference_software.py OUT

runs in an environment of its own (tests/requirements/convert.txt), since these want other versions than the tests.
For each case it writes OUT/CASE: `source/` as the software leaves it, and beside it what it must become, as far as the
case has it: `reference.safetensors` (what the converter makes of it), `logits.safetensors` (of the original model, for
`input_ids` in it), `config.json` and `generation_config.json` (of the converter).
"""

import io
import json
import os
import sys
import types
import warnings
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.simplefilter("ignore")

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import families_llama  # noqa: E402, F401 - registers its cases
from family_cases import CASES, INPUT_IDS  # noqa: E402

RUNS = []


def run(function):
    RUNS.append(function)
    return function


def randomize(module: torch.nn.Module, seed: int) -> None:
    """Overwrites every parameter; names decide about those that scale."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.1
        is_scale = parameter.ndim == 1 and not name.endswith("bias")
        parameter.data = (1 + values if is_scale else values).to(parameter.dtype)


def save(path: Path, tensors) -> None:
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path)


def save_logits(folder: Path, logits: torch.Tensor, **inputs: torch.Tensor) -> None:
    save(folder / "logits.safetensors", {"logits": logits.float(), **(inputs or {"input_ids": INPUT_IDS})})


def new_source(out: Path, case: str) -> tuple[Path, Path]:
    folder = out / case
    (folder / "source").mkdir(parents=True)
    return folder, folder / "source"


# Converters of transformers -------------------------------------------------------------------------------------------

LLAMA_VERSIONS = {"llama_1": "1", "llama_1_tables_in_layers": "2", "llama_2_grouped": "2", "llama_2_shared_table": "2",
                  "code_llama": "2", "llama_3": "3", "llama_31": "3.1", "llama_31_instruct": "3.1", "llama_32": "3.2",
                  "llama_16_ranks": "2"}


@run
def llama(out: Path) -> None:
    from transformers.models.llama.convert_llama_weights_to_hf import write_model

    for case, version in LLAMA_VERSIONS.items():
        folder, source = new_source(out, case)
        written = CASES[case].write(source)
        write_model(folder / "converted", written.source, llama_version=version,
                    vocab_size=written.config["vocab_size"], num_shards=written.parts, instruct="instruct" in case)
        collect(folder)


@run
def mistral(out: Path) -> None:
    from transformers.models.mistral.convert_mistral_weights_to_hf import convert_and_write_model

    for case in ("mistral_plain_heads",):
        folder, source = new_source(out, case)
        CASES[case].write(source)
        convert_and_write_model(source, folder / "converted", 32768, modules_are_split=False)
        collect(folder)


def collect(folder: Path) -> None:
    """One file of weights, and the configurations, of a folder that `save_pretrained` wrote."""
    for name in ("config.json", "generation_config.json"):
        if (folder / "converted" / name).exists():
            (folder / "converted" / name).rename(folder / name)
    (folder / "converted" / "model.safetensors").rename(folder / "reference.safetensors")


@run
def whisper(out: Path) -> None:
    import whisper.model
    from transformers import GenerationConfig
    from transformers.models.whisper import convert_openai_to_hf as converter

    # The converter asks the hub for a generation configuration; all else it knows by itself.
    converter._get_generation_config = lambda *_: GenerationConfig()
    dims = {"n_mels": 20, "n_audio_ctx": 24, "n_audio_state": 32, "n_audio_head": 4, "n_audio_layer": 3,
            "n_vocab": 51864, "n_text_ctx": 18, "n_text_state": 32, "n_text_head": 2, "n_text_layer": 2}
    for case, vocabulary, dtype in (("whisper_english", 51864, torch.float16), ("whisper_v3", 51866, torch.float32)):
        folder, source = new_source(out, case)
        dims["n_vocab"] = vocabulary
        model = whisper.model.Whisper(whisper.model.ModelDimensions(**dims)).eval()
        randomize(model, 41)
        model.to(dtype)
        torch.save({"dims": dict(dims), "model_state_dict": model.state_dict()}, source / "tiny.pt")
        converted, *_ = converter.convert_openai_whisper_to_tfms(str(source / "tiny.pt"), str(folder / "converted"))
        # The converter fills a model in fp32; as it stores fp16 sources, no bit is lost.
        converted.to(dtype).save_pretrained(folder / "converted")
        collect(folder)
        mel = torch.randn(2, dims["n_mels"], 2 * dims["n_audio_ctx"], generator=torch.Generator().manual_seed(42))
        ids = INPUT_IDS + 1000
        with torch.no_grad():
            logits = model.float()(mel, ids)
        save_logits(folder, logits, input_features=mel, decoder_input_ids=ids)


# litgpt ---------------------------------------------------------------------------------------------------------------

LLAMA_LIKE = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_query_groups": 2, "intermediate_size": 56, "vocab_size": 80,
              "padded_vocab_size": 104, "block_size": 64, "rotary_percentage": 1.0, "parallel_residual": False,
              "bias": False, "norm_class_name": "RMSNorm", "mlp_class_name": "LLaMAMLP", "norm_eps": 1e-6}
GEMMA = {**LLAMA_LIKE, "mlp_class_name": "GemmaMLP", "head_size": 12, "scale_embeddings": True,
         "gelu_approximate": "tanh"}
GEMMA_2 = {**GEMMA, "attention_scores_scalar": 16, "sliding_window_size": 4, "sliding_window_indices": [1, 0],
           "post_attention_norm": True, "post_mlp_norm": True}
MOE = {**LLAMA_LIKE, "mlp_class_name": "LLaMAMoE", "n_expert": 3, "n_expert_per_token": 2}
NEOX = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 80, "padded_vocab_size": 104, "block_size": 64}
LLAMA_3_ROPE = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_seq_len": 8192}

LITGPT = {
    "litgpt_llama": ("tiny-llama-1.1b", {**LLAMA_LIKE, "head_size": 12}, {}),
    "litgpt_llama_31": ("Llama-3.1-8B", {**LLAMA_LIKE, "rope_base": 500000, "rope_adjustments": LLAMA_3_ROPE,
                                         "block_size": 16384}, {"dtype": torch.bfloat16}),
    "litgpt_llama_32k": ("LLaMA-2-7B-32K", {**LLAMA_LIKE, "rope_condense_ratio": 8}, {}),
    "litgpt_tied": ("SmolLM2-135M", LLAMA_LIKE, {"tied": True}),
    "litgpt_lazy": ("Llama-2-7b-hf", LLAMA_LIKE, {"incremental": True, "dtype": torch.float16}),
    "litgpt_mistral": ("Mistral-7B-v0.1", {**LLAMA_LIKE, "sliding_window_size": 5}, {}),
    "litgpt_mixtral": ("Mixtral-8x7B-v0.1", MOE, {}),
    "litgpt_qwen_25": ("Qwen2.5-0.5B", {**LLAMA_LIKE, "attn_bias": True, "rope_base": 1000000}, {}),
    "litgpt_qwen_3": ("Qwen3-0.6B", {**LLAMA_LIKE, "norm_qk": True, "head_size": 12}, {}),
    "litgpt_qwen_3_moe": ("Qwen3-30B-A3B", {**MOE, "norm_qk": True, "head_size": 12, "moe_intermediate_size": 24,
                                            "norm_topk_prob": True}, {}),
    "litgpt_olmo": ("OLMo-1B-hf", {**LLAMA_LIKE, "norm_class_name": "LayerNorm", "norm_eps": 1e-5,
                                   "n_query_groups": 4}, {}),
    "litgpt_olmo_2": ("OLMo-2-1124-7B", {**LLAMA_LIKE, "norm_qk": True, "norm_qk_type": "olmo2", "norm_1": False,
                                         "norm_2": False, "post_attention_norm": True, "post_mlp_norm": True},
                      {"converter": False}),
    "litgpt_stablelm": ("stablelm-3b-4e1t", {**LLAMA_LIKE, "norm_class_name": "LayerNorm", "norm_eps": 1e-5,
                                             "rotary_percentage": 0.25, "n_query_groups": 4}, {}),
    "litgpt_gemma": ("Gemma-7b", GEMMA, {"tied": True}),
    "litgpt_gemma_2b": ("Gemma-2b", GEMMA, {"tied": True, "converter": False}),
    "litgpt_gemma_untied": ("Gemma-7b", GEMMA, {"converter": False}),
    "litgpt_gemma_2": ("Gemma-2-9b", {**GEMMA_2, "attention_logit_softcapping": 50.0,
                                      "final_logit_softcapping": 30.0}, {"tied": True}),
    "litgpt_gemma_3": ("Gemma-3-1b-it", {**GEMMA_2, "norm_qk": True, "rope_base": 1000000,
                                         "rope_local_base_freq": 10000, "rope_indices": [1, 0]}, {"tied": True}),
    "litgpt_pythia": ("pythia-14m", NEOX, {}),
    "litgpt_pythia_half": ("pythia-70m", {**NEOX, "rotary_percentage": 0.5, "parallel_residual": False},
                           {"dtype": torch.float16, "plain": True}),
    "litgpt_falcon_7b": ("falcon-7b", {**NEOX, "n_query_groups": 1, "bias": False, "shared_attention_norm": True,
                                       "rotary_percentage": 1.0}, {}),
    "litgpt_falcon_40b": ("falcon-40b", {**NEOX, "n_query_groups": 2, "bias": False, "rotary_percentage": 1.0}, {}),
    "litgpt_phi_2": ("phi-2", {**NEOX, "rotary_percentage": 0.5, "shared_attention_norm": True, "lm_head_bias": True,
                               "gelu_approximate": "tanh"}, {}),
    "litgpt_phi_3": ("Phi-3-mini-4k-instruct", {**LLAMA_LIKE, "sliding_window_size": 6, "n_query_groups": 4}, {}),
    "litgpt_phi_4_mini": ("Phi-4-mini-instruct", {**LLAMA_LIKE, "rotary_percentage": 0.5}, {"tied": True}),
}
LEGACY = {"litgpt_llama": "litgpt_legacy", "litgpt_qwen_25": "litgpt_legacy_biases",
          "litgpt_pythia": "litgpt_legacy_pythia", "litgpt_falcon_40b": "litgpt_legacy_falcon",
          "litgpt_phi_2": "litgpt_legacy_phi"}


@run
def litgpt(out: Path) -> None:
    from litgpt import Config
    from litgpt.model import GPT
    from litgpt.utils import incremental_save, save_config

    for index, (case, (name, options, how)) in enumerate(LITGPT.items()):
        folder, source = new_source(out, case)
        config = Config(name=name, **options)
        model = GPT(config).eval()
        randomize(model, 200 + index)
        if how.get("tied"):
            model.lm_head.weight.data = model.transformer.wte.weight.data.clone()
        state = {key: tensor.to(how.get("dtype", torch.float32)) for key, tensor in model.state_dict().items()}
        save_config(config, source)
        if how.get("incremental"):
            with incremental_save(source / "lit_model.pth") as saver:
                saver.save({key: saver.store_early(tensor) for key, tensor in state.items()})
        else:
            torch.save(state if how.get("plain") else {"model": state}, source / "lit_model.pth")
        if how.get("converter", True):
            convert_lit(source, folder)
        model.load_state_dict({key: tensor.float() for key, tensor in state.items()})
        with torch.no_grad():
            save_logits(folder, model(INPUT_IDS))
        if case in LEGACY:
            write_legacy(out, folder, LEGACY[case], state, config)


def convert_lit(source: Path, folder: Path) -> None:
    from litgpt.scripts.convert_lit_checkpoint import convert_lit_checkpoint

    convert_lit_checkpoint(source, folder / "converted")
    save(folder / "reference.safetensors", torch.load(folder / "converted" / "model.pth"))


def write_legacy(out: Path, modern: Path, case: str, state, config) -> None:
    """The same weights as litgpt saved them before 0.5.4: heads of a group together, under another name. litgpt itself
    reads them back, which is the check that they are right."""
    from litgpt.model import GPT

    groups, size = config.n_query_groups, config.head_size
    old = {}
    for key, tensor in state.items():
        if ".attn.qkv." in key:
            q, k, v = tensor.split((config.n_head * size, groups * size, groups * size))
            parts = zip(q.chunk(groups), k.chunk(groups), v.chunk(groups))
            old[key.replace(".attn.qkv.", ".attn.attn.")] = torch.cat([piece for group in parts for piece in group])
        else:
            old[key] = tensor
    model = GPT(config)
    model.load_state_dict(dict(old))
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in state.items())
    folder, source = new_source(out, case)
    torch.save(old, source / "lit_model.pth")
    (source / "model_config.yaml").write_bytes((modern / "source" / "model_config.yaml").read_bytes())
    for name in ("reference.safetensors", "logits.safetensors"):
        (folder / name).write_bytes((modern / name).read_bytes())


# torchtune ------------------------------------------------------------------------------------------------------------


class Unused(types.ModuleType):
    """Stands for a package that torchtune imports and that nothing here calls."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


TUNE = {"vocab_size": 80, "num_layers": 3, "num_heads": 8, "num_kv_heads": 4, "embed_dim": 32, "max_seq_len": 64}
HF_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 80, "num_hidden_layers": 3,
            "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 32, "max_position_embeddings": 64,
            "intermediate_size": 56, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
            "bos_token_id": 1, "eos_token_id": 2}
HF_GEMMA = {**HF_LLAMA, "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "head_dim": 12,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}


@run
def torchtune(out: Path) -> None:
    sys.modules["datasets"] = Unused("datasets")
    sys.modules["datasets.distributed"] = Unused("datasets.distributed")
    with redirect_stdout(io.StringIO()):
        from torchtune import models, training
        from torchtune.models import convert_weights, gemma, gemma2, llama3, llama3_2, mistral, phi3, qwen2
        from torchtune.models.gemma2._convert_weights import gemma2_tune_to_hf
        from torchtune.models.phi3._convert_weights import phi3_tune_to_hf
        from torchtune.models.qwen2._convert_weights import qwen2_tune_to_hf
    del models
    sizes = {"num_heads": 8, "num_kv_heads": 4, "dim": 32}
    wide = {**sizes, "head_dim": 12}
    llama = convert_weights.tune_to_hf
    ffn = {"intermediate_dim": 56}
    gemma_sizes = {**TUNE, **ffn, "head_dim": 12}
    cases = {
        "torchtune_llama_3": (llama3.llama3(**TUNE, **ffn), "LLAMA3", HF_LLAMA, lambda s: llama(s, **sizes)),
        "torchtune_llama_32": (
            llama3_2.llama3_2(**TUNE, **ffn), "LLAMA3_2",
            {**HF_LLAMA, "tie_word_embeddings": True, "rope_scaling": {
                "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}}, lambda s: llama(s, **sizes)),
        "torchtune_mistral": (
            mistral.mistral(**TUNE, **ffn), "MISTRAL",
            {**HF_LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None,
             "rope_theta": 10000.0}, lambda s: llama(s, **sizes)),
        "torchtune_gemma": (gemma.gemma(**gemma_sizes), "GEMMA", HF_GEMMA, lambda s: llama(s, **wide)),
        "torchtune_gemma_2": (
            # Its final capping is of hidden values, not of logits as in the model that it stands for: here it caps none.
            gemma2.gemma2(**gemma_sizes, hidden_capping_value=50.0, final_capping_value=1e6, sliding_window_size=4,
                          query_pre_attn_scalar=16), "GEMMA2",
            {**HF_GEMMA, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "sliding_window": 4,
             "query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "final_logit_softcapping": None},
            lambda s: gemma2_tune_to_hf(s, **wide)),
        "torchtune_qwen_2": (
            qwen2.qwen2(**TUNE, **ffn), "QWEN2",
            {**HF_LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1000000.0},
            lambda s: qwen2_tune_to_hf(s, **sizes)),
        "torchtune_phi_3": (
            phi3.phi3(**TUNE, **ffn), "PHI3_MINI",
            {**HF_LLAMA, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "rope_theta": 10000.0,
             "pad_token_id": 0}, phi3_tune_to_hf),
    }
    for index, (case, (model, kind, config, convert)) in enumerate(cases.items()):
        folder, source = new_source(out, case)
        randomize(model.eval(), 300 + index)
        state = model.state_dict()
        base = folder / "base"
        base.mkdir()
        (base / "config.json").write_text(json.dumps(config, indent=2))
        torch.save({}, base / "base.pt")
        checkpointer = training.FullModelTorchTuneCheckpointer(
            checkpoint_dir=base, checkpoint_files=["base.pt"], model_type=kind, output_dir=source)
        checkpointer.save_checkpoint({training.MODEL_KEY: state}, epoch=0)
        save(folder / "reference.safetensors", convert(state))
        (folder / "config.json").write_text(json.dumps(config))
        with torch.no_grad():
            save_logits(folder, model(INPUT_IDS))


# Lightning ------------------------------------------------------------------------------------------------------------


@run
def lightning(out: Path) -> None:
    import pytorch_lightning
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    class Module(pytorch_lightning.LightningModule):
        def __init__(self, attribute: str, model: torch.nn.Module):
            super().__init__()
            self.save_hyperparameters({"learning_rate": 1e-3, "attribute": attribute})
            self.attribute = attribute
            setattr(self, attribute, model)

        def training_step(self, batch, _):
            return getattr(self, self.attribute)(input_ids=batch, labels=batch).loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=80, n_positions=32, n_embd=24, n_layer=2, n_head=3, bos_token_id=0,
                                      eos_token_id=0))
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=80, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
                                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64))
    for case, attribute, model in (("lightning_gpt2", "backbone", gpt2), ("lightning_llama", "model", llama)):
        folder, source = new_source(out, case)
        randomize(model, 401)
        trainer = pytorch_lightning.Trainer(
            max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder)
        trainer.fit(Module(attribute, model), torch.utils.data.DataLoader(list(INPUT_IDS), batch_size=2))
        trainer.save_checkpoint(source / "epoch=0-step=1.ckpt")
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        save(folder / "reference.safetensors", model.state_dict())
        with torch.no_grad():
            save_logits(folder, model.eval()(INPUT_IDS).logits)


def main() -> None:
    out = Path(sys.argv[1])
    for function in RUNS:
        torch.manual_seed(7)
        if not sys.argv[2:] or function.__name__ in sys.argv[2:]:
            function(out)


if __name__ == "__main__":
    main()
