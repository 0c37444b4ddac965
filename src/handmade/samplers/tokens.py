"""How a next token is chosen from logits: pure functions of logits (B, V), applied one after the other.

Each returns logits again, -inf where a token is ruled out, so that softmax gives the odds that are left. `choose` takes the
luck from outside: a row's token depends on its own logits and its own luck, never on how many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from handmade.core import seeded
from handmade.errors import UserError


@dataclass(frozen=True)
class Taste:
    """How daring a choice is; the defaults change nothing."""

    temperature: float = 1.0  # 0: always the likeliest token
    top_k: int = 0  # only the k likeliest; 0: all
    top_p: float = 1.0  # only the likeliest that together have this probability; 1: all
    min_p: float = 0.0  # only those at least this share as likely as the likeliest; 0: all
    repetition_penalty: float = 1.0  # above 1, tokens that have come already are made less likely

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", 0, 100), ("top_k", 0, 10**9), ("top_p", 0, 1), ("min_p", 0, 1),
                                ("repetition_penalty", 0.01, 100)):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} must lie between {low} and {high}, not {getattr(self, name)}")
        if self.top_p == 0:
            raise UserError("top_p must be more than 0, and 1 for no limit")

    def __call__(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B, V) logits -> (B, V) logits with this taste; seen: (B, S) tokens that have come, -1 for none."""
        logits = logits.float()
        if self.repetition_penalty != 1.0 and seen is not None:
            logits = penalise(logits, seen, self.repetition_penalty)
        if self.temperature not in (0.0, 1.0):
            logits = heated(logits, self.temperature)
        if 0 < self.top_k < logits.shape[1]:
            logits = top_k(logits, self.top_k)
        if self.top_p < 1.0:
            logits = top_p(logits, self.top_p)
        return min_p(logits, self.min_p) if self.min_p else logits


def heated(logits: Tensor, temperature: float) -> Tensor:
    """(..., V) logits divided by a temperature; where it is too small for that, the likeliest alone stay finite."""
    hot = logits / temperature
    fine = hot.amax(-1, keepdim=True).isfinite()
    if bool(fine.all()):
        return hot
    below = logits.double() - logits.double().amax(-1, keepdim=True)
    return torch.where(fine, hot, (below / temperature).float())


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide the positive logits of tokens that have come by `penalty`, and multiply the negative ones by it.

    seen: (B, S) int64, -1 for no token. Keskar et al. 2019 (arXiv 1909.05858), section 4.1.
    """
    came = torch.zeros(len(logits), logits.shape[1] + 1, dtype=torch.bool, device=logits.device)
    came.scatter_(1, (seen + 1).to(logits.device), True)  # column 0 takes the -1
    return torch.where(came[:, 1:], torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens (and those as likely as the k-th): Fan et al. 2018 (arXiv 1805.04833)."""
    least = logits.topk(min(k, logits.shape[1]), -1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities reach p: the nucleus of Holtzman et al. 2019 (arXiv 1904.09751)."""
    ordered, places = logits.sort(-1, descending=True)
    odds = ordered.softmax(-1)
    outside = odds.cumsum(-1) - odds >= p  # reached before this one came; the likeliest always stays
    return logits.masked_fill(outside.scatter(1, places, outside), -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as likely as the likeliest: Nguyen et al. 2024 (arXiv 2407.01082)."""
    odds = logits.softmax(-1)
    return logits.masked_fill(odds < p * odds.max(-1, keepdim=True).values, -torch.inf)


def greedy(logits: Tensor) -> Tensor:
    """(B, V) -> (B,), the likeliest token."""
    return logits.argmax(-1)


def choose(logits: Tensor, luck: Tensor, taste: Taste | None = None, seen: Tensor | None = None) -> Tensor:
    """(B, V) logits and (B,) numbers in 0..1 -> (B,) tokens: the first whose cumulated odds exceed the luck.

    A temperature of 0 takes the likeliest and needs no luck.
    """
    taste = taste or Taste()
    logits = taste(logits, seen)
    if taste.temperature == 0:
        return greedy(logits)
    reached = logits.double().softmax(-1).cumsum(-1)
    token = torch.searchsorted(reached, luck.to(reached)[:, None] * reached[:, -1:], right=True)[:, 0]
    last = (reached < reached[:, -1:]).sum(-1)  # rounding must not lead past the last token with any odds
    return torch.minimum(token, last)


def fortunes(n: int, seed: int) -> Iterator[Tensor]:
    """(n,) numbers in 0..1 for each step; those of row i depend on `seed` and i alone: a larger n continues the series."""
    rows = [seeded(seed * 1_000_003 + row) for row in range(n)]
    while True:
        yield torch.stack([torch.rand((), generator=row, dtype=torch.float64) for row in rows])


def stopped_at(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of the stop texts begins, or None."""
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many letters at the end of a text may be the beginning of a stop text, and must not be shown yet."""
    most = max((len(stop) for stop in stops), default=1) - 1
    sizes = range(min(most, len(text)), 0, -1)
    return next((n for n in sizes if any(stop.startswith(text[-n:]) for stop in stops)), 0)
