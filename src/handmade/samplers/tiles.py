"""Large pictures in tiles, each fading into the next, so that a network needs the memory of one tile only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor


class Tile(NamedTuple):
    """A part of a picture, and how much it counts at each of its places."""

    rows: slice
    columns: slice
    weight: Tensor  # (h, w), never 0


def tiles(height: int, width: int, side: int, overlap: int) -> Iterator[Tile]:
    """Parts of a picture that cover it, at most `side` px wide and high, `overlap` px of each shared with the next.

    All parts begin at a multiple of what `side`, `overlap`, height and width are multiples of.
    """
    for top, left in product(_starts(height, side, overlap), _starts(width, side, overlap)):
        h, w = min(side, height), min(side, width)
        weight = _hill(h, overlap)[:, None] * _hill(w, overlap)
        yield Tile(slice(top, top + h), slice(left, left + w), weight)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where the parts along one side begin: the last one ends with the picture."""
    return [*range(0, length - side, side - overlap), max(0, length - side)]


def _hill(length: int, overlap: int) -> Tensor:
    """(length,) weights: up over the overlap, level, and down again."""
    steps = torch.arange(1, length + 1, dtype=torch.float32)
    return (torch.minimum(steps, length + 1 - steps) / (overlap + 1)).clamp(max=1)
