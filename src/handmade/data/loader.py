"""Batches in an order that is a pure function of (seed, epoch, position), so that a run can go on from anywhere.

The stream of examples is one seeded permutation of the data set after another. Batch number `i` is the slice
`[i * batch, (i + 1) * batch)` of that stream: always full, running over the border of an epoch where it falls inside.
A data set with `lanes` (running text for a network that keeps its state) is instead read along as many lanes as a batch
has rows. The whole state is the number of the next batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from handmade.data.source import Dataset
from handmade.errors import UserError


class Loader:
    """An endless iterator of batches that any number of processes or micro-batches can share.

    With `parts` > 1 each part sees its contiguous slice of the global batch, and augmentation is drawn for the global
    batch before it is cut, so that the parts together see exactly what one would (`core.Dice` cuts the same way).
    """

    def __init__(self, dataset: Dataset, batch: int, seed: int = 0, part: int = 0, parts: int = 1):
        if batch % parts:
            raise UserError(f"a batch of {batch} cannot be cut into {parts} equal parts: choose a multiple of {parts}")
        if len(dataset) == 0:
            raise UserError("the data set is empty: there is nothing to train on")
        self.lanes = bool(getattr(dataset, "lanes", False))
        if self.lanes and len(dataset) < batch:
            raise UserError(
                f"the text has {len(dataset):,} windows, fewer than the {batch} lanes of a batch: give more text, "
                f"or choose a smaller batch (--train.batch {len(dataset)})"
            )
        self.dataset, self.size, self.seed = dataset, batch, seed
        self.mine = slice(part * (batch // parts), (part + 1) * (batch // parts))
        self.whole = parts == 1
        self.position = 0  # number of the next batch
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._generator = torch.Generator()

    def __iter__(self) -> Iterator[Any]:
        """The loader itself: it never ends."""
        return self

    def __next__(self) -> Any:
        """The next batch, or this part's slice of it."""
        indices = self.indices(self.position)
        generator = self._generator.manual_seed(mix(self.seed, 2, self.position))
        self.position += 1
        batch = self.dataset.batch(indices, generator)
        return batch if self.whole else cut(batch, self.mine)

    def indices(self, position: int) -> Tensor:
        """The examples of global batch number `position`, (batch,) int64."""
        if self.lanes:
            long = (
                len(self.dataset) // self.size
            )  # windows of one lane; row b reads windows b * long, b * long + 1, ...
            return torch.arange(self.size) * long + position % long
        n, first = len(self.dataset), position * self.size
        pieces, missing = [], self.size
        while missing:
            epoch, offset = divmod(first, n)
            pieces.append(self._permutation(epoch)[offset : offset + missing])
            first, missing = first + len(pieces[-1]), missing - len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _permutation(self, epoch: int) -> Tensor:
        """The order of one epoch; only the current one is kept."""
        if epoch != self._epoch:
            generator = self._generator.manual_seed(mix(self.seed, 1, epoch))
            self._epoch, self._order = epoch, torch.randperm(len(self.dataset), generator=generator)
        return self._order

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where `state_dict` was taken, at once."""
        self.position = int(state["position"])


def cut(batch: Any, part: slice) -> Any:
    """The same slice of every tensor of a batch: a tensor, or a (named) tuple or dict of tensors, some of them left out."""
    if batch is None:
        return None
    if isinstance(batch, Tensor):
        return batch[part]
    if isinstance(batch, dict):
        return {name: cut(value, part) for name, value in batch.items()}
    pieces = [cut(value, part) for value in batch]
    return type(batch)(*pieces) if hasattr(batch, "_fields") else tuple(pieces)


def mix(*numbers: int) -> int:
    """One well-spread 63-bit seed from several whole numbers (the finaliser of SplitMix64: Steele et al., 2014)."""
    state = 0
    for number in numbers:
        state = (state ^ number) + 0x9E3779B97F4A7C15
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
