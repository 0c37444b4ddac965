"""Labels that nobody named, drawn as they come in training: pure functions over a memory of the latest training labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from handmade.core import seeded

KEPT = 1024  # rows of training labels in a memory


def untrained(sizes: Sequence[int]) -> Tensor:
    """The memory of a system that has seen nothing, (KEPT, A): every value of each of the A labels is as likely."""
    rows, dice = torch.zeros(KEPT, len(sizes), dtype=torch.int64), seeded(0)
    for column, size in enumerate(sizes):
        rows[:, column] = torch.randint(size, (KEPT,), generator=dice)
    return rows


def newest(memory: Tensor, *fresh: Tensor) -> Tensor:
    """The memory (KEPT, A) after labels (B, A) of new training pictures: the oldest fall out."""
    return torch.cat([*fresh, memory])[: len(memory)]


def left_to_chance(memory: Tensor, named: Mapping[int, int], n: int, seed: int) -> Tensor:
    """(n, A) labels: what is named, and the rest as in a training picture that shows it, drawn by the seed.

    named: column of a label -> its value; where no row of the memory shows them all, the rest is as in any row
    Row i depends on `seed` and i alone: a larger n continues the series.
    """
    rows, columns = memory.cpu(), list(named)
    values = torch.tensor(list(named.values()), dtype=torch.int64)
    fitting = (rows[:, columns] == values).all(1)
    if fitting.any():
        rows = rows[fitting]
    else:
        rows = rows.clone()
        rows[:, columns] = values
    dice = seeded(~seed)  # other numbers than those of latents and noise
    return rows[torch.cat([torch.randint(len(rows), (1,), generator=dice) for _ in range(n)])]
