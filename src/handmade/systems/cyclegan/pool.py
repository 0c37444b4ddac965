"""A memory of earlier translations, so that a critic does not forget what it was once shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from handmade.core import Dice


class Pool:
    """Up to `size` earlier pictures; half of those shown are old ones (Shrivastava et al. 2017, arXiv 1612.07828).

    Every row of the batch keeps its own share of them. So a batch that is cut between processes, or into micro-batches,
    remembers what the whole one would.
    """

    def __init__(self, size: int):
        self.size = size
        self.kept: dict[int, Tensor] = {}  # part of the batch -> (D, B, C, H, W), D earlier pictures of each row

    def swap(self, fresh: Tensor, dice: Dice) -> Tensor:
        """Fresh pictures (B, C, H, W) -> as many, some of them old; of those the fresh ones take the places."""
        depth = self.size // (len(fresh) * dice.parts)
        if depth == 0:
            return fresh
        olds, places = dice.uniform(len(fresh)) < 0.5, dice.integers(depth, len(fresh))  # (B,) each
        kept = self.kept.get(dice.part, fresh[None, :0])
        if kept.shape[1:] != fresh.shape:  # nothing yet, or a batch of another size
            kept = fresh.new_empty(0, *fresh.shape)
        kept = self.kept[dice.part] = kept.to(fresh.device)
        if len(kept) < depth:
            self.kept[dice.part] = torch.cat([kept, fresh[None]])
            return fresh
        rows = torch.arange(len(fresh), device=fresh.device)
        shown = torch.where(olds[:, None, None, None], kept[places, rows], fresh)
        kept[places[olds], rows[olds]] = fresh[olds]
        return shown

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {"kept": self.kept}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.kept = dict(state["kept"])
