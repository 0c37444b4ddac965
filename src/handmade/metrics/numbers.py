"""How good generated number sequences are: right numbers, all of them, equally often, no sequence twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from handmade.errors import UserError


def valid_share(numbers: Tensor, members: Sequence[int]) -> float:
    """Share of numbers (N, L) that belong to the set."""
    return float(torch.isin(_checked(numbers), torch.tensor(list(members))).double().mean())


def entropy_ratio(numbers: Tensor, members: Sequence[int]) -> float:
    """Entropy of the valid numbers among (N, L), as a share of that of the true, even distribution: 1 is perfect.

    In bits, H = -sum p log2 p over the members against log2 of their number (Shannon 1948); 0 where one member is all
    that comes. A set of one member has nothing to spread over: 1 where it comes at all.
    """
    counts = _counts(numbers, members)
    if len(counts) == 1:
        return float(counts.sum() > 0)
    return _entropy(counts) / math.log2(len(counts))


def pair_entropy_ratio(numbers: Tensor, members: Sequence[int]) -> float:
    """The same for pairs of neighbours in a sequence (N, L >= 2): low where each sequence repeats one number.

    Few pairs score low by chance: with K members take at least 10 K^2 of them.
    """
    numbers, order = _checked(numbers), torch.tensor(sorted(members))
    if len(order) == 1:
        return entropy_ratio(numbers, members)
    first, second = numbers[:, :-1].flatten(), numbers[:, 1:].flatten()
    both = torch.isin(first, order) & torch.isin(second, order)
    codes = torch.searchsorted(order, first[both]) * len(order) + torch.searchsorted(order, second[both])
    return _entropy(torch.bincount(codes, minlength=len(order) ** 2)) / (2 * math.log2(len(order)))


def rarest_share(numbers: Tensor, members: Sequence[int]) -> float:
    """How often the rarest member comes, as a share of how often it should: 0 where one is never made, 1 is perfect."""
    counts = _counts(numbers, members)
    return float(counts.min() * len(counts) / max(1, int(counts.sum())))


def duplicate_share(numbers: Tensor) -> float:
    """Share of sequences (N, L) that repeat an earlier one."""
    numbers = _checked(numbers)
    return 1.0 - len(torch.unique(numbers, dim=0)) / len(numbers)


def _counts(numbers: Tensor, members: Sequence[int]) -> Tensor:
    """How often each member comes, (K,)."""
    order = torch.tensor(sorted(members))
    valid = _checked(numbers).flatten()
    valid = valid[torch.isin(valid, order)]
    return torch.bincount(torch.searchsorted(order, valid), minlength=len(order))


def _entropy(counts: Tensor) -> float:
    """Bits; 0 for no counts."""
    shares = counts[counts > 0].double() / max(1, int(counts.sum()))
    return max(0.0, float(-(shares * shares.log2()).sum()))


def _checked(numbers: Tensor) -> Tensor:
    if numbers.ndim != 2 or numbers.numel() == 0 or numbers.is_floating_point():
        raise UserError(f"numbers must be whole, (N, L) and at least one, not {tuple(numbers.shape)} {numbers.dtype}")
    return numbers.detach().cpu()
