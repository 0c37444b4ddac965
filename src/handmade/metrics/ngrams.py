"""A language model that only counts: what a network that learns must beat.

The odds of a token after the k tokens before it mix what came there in the training text with the odds after k - 1:
    p_k(x | h) = (count(h, x) + kinds(h) p_(k-1)(x | h')) / (count(h) + kinds(h))          p_-1 = 1 / V
kinds(h) is how many different tokens came after h (Witten & Bell 1991). No dial is set by hand but the order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ngram_nats(train: Tensor, test: Tensor, order: int, vocabulary: int) -> Tensor:
    """Train (N,) and test tokens (M,), of V kinds -> the surprise at each test token after its first, (M - 1,) nats.

    order: tokens that a count spans, the one that is guessed among them
    """
    train, test = train.long().cpu(), test.long().cpu()
    odds = torch.full((len(test) - 1,), 1.0 / vocabulary, dtype=torch.float64)
    seen, met = (
        torch.zeros_like(train),
        torch.zeros_like(test),
    )  # which context stands before each token; -1: none known
    for k in range(min(order, len(train))):
        if k:
            seen, met = _longer(seen, met, train, test, vocabulary)
        known = seen >= 0
        pairs, counts = (seen[known] * vocabulary + train[known]).unique(return_counts=True)
        contexts, kinds = (pairs // vocabulary).unique_consecutive(return_counts=True)
        totals = torch.zeros_like(contexts).index_add_(0, torch.arange(len(contexts)).repeat_interleave(kinds), counts)
        here = met[1:]
        count = _looked_up(pairs, counts, here * vocabulary + test[1:])
        total, kind = _looked_up(contexts, totals, here), _looked_up(contexts, kinds, here)
        odds = torch.where(total > 0, (count + kind * odds) / (total + kind).clamp_min(1), odds)
    return -odds.log()


def _longer(seen: Tensor, met: Tensor, train: Tensor, test: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Contexts of one more token: that of place t is the one before it at t - 1, and the token there."""
    known, numbers = (seen[:-1] * vocabulary + train[:-1]).unique(return_inverse=True)
    new = met[:-1] * vocabulary + test[:-1]
    at = torch.searchsorted(known, new).clamp_max(len(known) - 1)
    found = torch.where((known[at] == new) & (met[:-1] >= 0), at, -1)
    start = torch.tensor([-1])  # the first place has no context of this length
    return torch.cat([start, numbers]), torch.cat([start, found])


def _looked_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """The values of sorted keys, 0 for a key that is not there."""
    at = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return torch.where(keys[at] == wanted, values[at], 0)
