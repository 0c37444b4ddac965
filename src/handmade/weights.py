"""Weights on their way in or out: tensors that lie in files, opened but not read.

A room with published weights has a `weights.py` with `bring(foreign, precision)`, which says what of its own a foreign file
holds, and `leave(...)` for each format it can be handed over in. Both see these types only, never a file format of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PRECISIONS = ("float32", "bf16", "int8", "int4")


@dataclass(frozen=True)
class Stored:
    """A tensor that is not in memory: what it is, and how to get it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor] = field(repr=False)  # maps or computes it anew each time; let go of it soon
    turned: bool = False  # a matrix that lies in memory and on disk column by column

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much room it takes."""
        return self.size * self.dtype.itemsize

    @classmethod
    def of(cls, tensor: Tensor) -> Stored:
        """A tensor that is in memory already."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)


@dataclass(frozen=True)
class Foreign:
    """Weights from elsewhere, opened: every tensor by its foreign name, and the plain values that lie beside them."""

    path: Path  # what the user named
    tensors: Mapping[str, Stored]
    values: Mapping[str, Mapping[str, Any]]  # config.json, hparams.json, or the tables of a training checkpoint
    layout: str  # "safetensors", "pickle" or "tensorflow"

    @property
    def folder(self) -> Path:
        """Where the files that belong to it lie."""
        return self.path if self.path.is_dir() else self.path.parent


@dataclass(frozen=True)
class Brought:
    """What a room makes of foreign weights: a recipe, a spec, and its own tensors."""

    recipe: Mapping[str, Any]  # about, data, config, train, preview
    name: str  # of the recipe, behind ROOM/
    spec: Any
    tensors: Mapping[str, Stored]  # by the names of the system's state
    about: str  # one line: what was recognised
    working: int = 0  # bytes that asks take beside the weights

    @property
    def bytes(self) -> int:
        """What using it takes."""
        return self.working + sum(tensor.bytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class Leaving:
    """The files of a run in another format."""

    texts: Mapping[str, str]  # file name -> its content
    weights: Mapping[str, Mapping[str, Stored]]  # file name -> its tensors
    without: str = ""  # one line: what could not leave
