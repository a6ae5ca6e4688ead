"""The checkpoints that the real software of model families writes (reference_software.py), by name."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from family_cases import Tensors

# Everything that reference_software.py makes takes under a minute; a slow machine gets five.
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Reference:
    """One folder that reference_software.py makes."""

    family: str
    source: str = "."  # below `source/`
    options: tuple[str, ...] = ()
    cast: torch.dtype | None = None  # what the converter rounds to, whatever the source holds
    renamed: dict[str, str] = field(default_factory=dict)  # names that the converter gets wrong: its own to the right one
    has_config: bool = True  # whether the table derives config.json
    attention: str = "sdpa"


def _llama(**more) -> Reference:
    return Reference("llama", cast=torch.bfloat16, **more)


def _whisper() -> Reference:
    return Reference("whisper", "tiny.pt")


def _torchtune(**more) -> Reference:
    return Reference("torchtune", "epoch_0", has_config=False, **more)


def _lightning() -> Reference:
    return Reference("lightning", "epoch=0-step=1.ckpt", has_config=False)


LITGPT = ["llama", "llama_31", "llama_32k", "tied", "lazy", "mistral", "mixtral", "qwen_25", "qwen_3", "qwen_3_moe",
          "olmo", "olmo_2", "stablelm", "legacy", "legacy_biases"]
LITGPT_GEMMA = ["gemma", "gemma_2b", "gemma_untied", "gemma_2", "gemma_3"]

REFERENCES: dict[str, Reference] = {
    "llama_1": _llama(), "llama_1_tables_in_layers": _llama(), "llama_2_grouped": _llama(),
    "llama_2_shared_table": _llama(), "code_llama": _llama(), "llama_3": _llama(), "llama_31": _llama(),
    "llama_31_instruct": _llama(source="Llama-3.1-8B-Instruct"), "llama_16_ranks": _llama(),
    "llama_32": _llama(options=("--family", "llama:rope_factor=32")),
    "mistral_plain_heads": Reference("mistral"),
    "whisper_english": _whisper(), "whisper_v3": _whisper(),
    **{f"litgpt_{name}": Reference("litgpt") for name in LITGPT},
    # Attention scores of Gemma 2 are capped, which transformers 4 does in its plain implementation alone.
    **{f"litgpt_{name}": Reference("litgpt-gemma", attention="eager") for name in LITGPT_GEMMA},
    **{f"litgpt_{name}": Reference("litgpt-neox") for name in ("pythia", "pythia_half", "legacy_pythia")},
    **{f"litgpt_{name}": Reference("litgpt-falcon") for name in ("falcon_7b", "falcon_40b", "legacy_falcon")},
    **{f"litgpt_{name}": Reference("litgpt-phi") for name in ("phi_2", "phi_3", "phi_4_mini", "legacy_phi")},
    **{f"torchtune_{name}": _torchtune() for name in ("llama_3", "llama_32", "mistral", "gemma", "qwen_2", "phi_3")},
    # torchtune's converter exchanges the norms before and after the feed-forward part: its model, and the logits below,
    # have `mlp_norm` before it.
    "torchtune_gemma_2": _torchtune(attention="eager", renamed={
        f"model.layers.{layer}.{a}_feedforward_layernorm.weight": f"model.layers.{layer}.{b}_feedforward_layernorm.weight"
        for layer in range(3) for a, b in (("pre", "post"), ("post", "pre"))}),
    "lightning_gpt2": _lightning(), "lightning_llama": _lightning(),
}


def make(folder: Path) -> Path:
    """Runs the software, unless tests/run.sh has: $WEIGHTFS_REFERENCE is what it made."""
    made = os.environ.get("WEIGHTFS_REFERENCE")
    if made:
        return Path(made)
    python = os.environ.get("WEIGHTFS_CONVERT_PYTHON")
    assert python, ("WEIGHTFS_CONVERT_PYTHON: expected the Python of tests/requirements/convert.txt; "
                    "tests/run.sh --only families has it")
    program = Path(__file__).parent / "reference_software.py"
    done = subprocess.run([python, "-W", "ignore", program, folder], capture_output=True, text=True,
                          timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


def converted(folder: Path, reference: Reference) -> Tensors | None:
    """What the published converter makes of the checkpoint; None where it cannot convert it."""
    path = folder / "reference.safetensors"
    if not path.exists():
        return None
    return {reference.renamed.get(name, name): tensor for name, tensor in load_file(path).items()}


def configuration(folder: Path) -> dict | None:
    path = folder / "config.json"
    return json.loads(path.read_text()) if path.exists() else None


def native_logits(folder: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor] | None:
    """Inputs, and the logits of the original model."""
    path = folder / "logits.safetensors"
    if not path.exists():
        return None
    tensors = load_file(path)
    logits = tensors.pop("logits")
    return tensors, logits
