"""What torch and safetensors make of a checkpoint: the bytes that a mount must serve."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

METADATA = {"format": "pt"}
CAST_DTYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def load(path: Path):
    """torch's own reading, no restriction: the file is one of ours."""
    return torch.load(path, map_location="cpu", weights_only=False)


def flatten(value, prefix: str = "") -> dict[str, torch.Tensor]:
    """Nested mappings and pickled modules as flat names; what is no tensor is left out."""
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    tensors = {}
    for key, item in value.items():
        name = prefix + str(key)
        if isinstance(item, torch.Tensor):
            tensors[name] = item
        elif isinstance(item, (Mapping, torch.nn.Module)):
            tensors.update(flatten(item, name + "."))
    return tensors


def materialize(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor with storage of its own, C order, plain class, conjugation and negation applied."""
    return {
        name: tensor.detach().resolve_conj().resolve_neg().contiguous().clone().as_subclass(torch.Tensor)
        for name, tensor in tensors.items()
    }


def safetensors_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The file that safetensors writes for these tensors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(materialize(tensors), path, metadata=METADATA)
        return path.read_bytes()


def cast(tensors: Mapping[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    """`--dtype`: f64, f32, f16 and bf16 tensors are cast, others never."""
    to = CAST_DTYPES[dtype]
    return {name: t.to(to) if t.dtype in CAST_DTYPES.values() else t for name, t in tensors.items()}
