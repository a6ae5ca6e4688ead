"""Checkpoints of model families: what a case is, and the random numbers they are filled with.

A case writes a checkpoint into a folder, exactly as its software does, and says what a mount of it must serve: the
tensors, made in straight torch from the published layout, the configuration, and the logits of the original model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

Tensors = dict[str, torch.Tensor]
INPUT_IDS = torch.tensor([[1, 7, 42, 5, 29, 3, 50, 12], [9, 9, 0, 17, 25, 61, 33, 2]])


@dataclass
class Written:
    """A checkpoint on disk, and what it must become."""

    source: Path  # to be mounted
    tensors: Tensors  # under their served names
    config: dict  # what config.json must say, at least; a key whose value is ABSENT must not be there
    native: Tensors  # under their own names, whole
    parts: int = 1
    logits: Callable[[torch.Tensor], torch.Tensor] | None = None  # of the original model
    options: tuple[str, ...] = ()  # of the mount


@dataclass(frozen=True)
class Case:
    name: str
    family: str
    write: Callable[[Path], Written]
    inverts: bool = False  # the native state dict follows from the served tensors
    reverse_options: Mapping[str, str] = field(default_factory=dict)


CASES: dict[str, Case] = {}
ABSENT = object()


def case(family: str, inverts: bool = False, **reverse_options: str):
    """Registers a writer under its name."""

    def register(function):
        CASES[function.__name__] = Case(function.__name__, family, function, inverts, reverse_options)
        return function

    return register


class Random:
    """Seeded tensors; no two are equal, norms and biases included."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def matrix(self, *shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=self.generator) * 0.1).to(self.dtype)

    def vector(self, size: int) -> torch.Tensor:
        return self.matrix(size)

    def norm(self, size: int) -> torch.Tensor:
        return (1 + torch.randn(size, generator=self.generator) * 0.1).to(self.dtype)
