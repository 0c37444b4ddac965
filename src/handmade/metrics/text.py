"""How well a model knows a text, and how much of what it wrote it had read."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


def bits_per_byte(nats: float, size: int) -> float:
    """Total surprise of a text in nats, and its size in bytes (UTF-8) -> bits per byte: comparable across vocabularies."""
    return nats / math.log(2) / max(1, size)


def perplexity(nats_per_token: float) -> float:
    """exp of the mean surprise: among how many equally likely tokens a model that sure would choose (Jelinek et al. 1977)."""
    return math.exp(min(nats_per_token, 700.0))


class Run(NamedTuple):
    """Tokens that stand next to each other in both texts."""

    start: int  # in the new text
    length: int
    found: int  # where it begins in the old text


def shared_runs(new: Tensor, old: Tensor, shortest: int) -> list[Run]:
    """The runs of at least `shortest` tokens of `new` (N,) that stand in `old` (M,) as well, longest first.

    No run lies inside another. Windows of `shortest` tokens are compared by a rolling hash (Karp & Rabin 1987), and every
    match is then checked and extended token by token.
    """
    if min(len(new), len(old)) < shortest:
        return []
    starts, places = _candidates(new.long(), old.long(), shortest)
    longest = torch.zeros(len(new), dtype=torch.int64)
    found = torch.zeros(len(new), dtype=torch.int64)
    length = 0
    while len(starts):
        inside = (starts + length < len(new)) & (places + length < len(old))
        starts, places = starts[inside], places[inside]
        same = new[starts + length] == old[places + length]
        starts, places, length = starts[same], places[same], length + 1
        longest[starts], found[starts] = length, places
    runs = []
    for start in range(len(new)):
        size = int(longest[start])
        if size >= shortest and (
            start == 0 or int(longest[start - 1]) <= size
        ):  # else inside the run that began before
            runs.append(Run(start, size, int(found[start])))
    return sorted(runs, key=lambda run: -run.length)


def _candidates(new: Tensor, old: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Pairs of places in both texts where windows of `length` tokens have the same hash."""
    own, order = _hashes(new, length).sort()
    theirs = _hashes(old, length)
    table = torch.zeros(2**20, dtype=torch.bool)  # by the lowest bits: leaves out almost all of the old text at once
    table[own % len(table)] = True
    places = table[theirs % len(table)].nonzero()[:, 0]
    low, high = (torch.searchsorted(own, theirs[places], right=right) for right in (False, True))
    counts = high - low  # how many windows of the new text each of these windows equals
    pairs = torch.repeat_interleave(torch.arange(len(places)), counts)
    within = torch.arange(len(pairs)) - (counts.cumsum(0) - counts)[pairs]
    return order[low[pairs] + within], places[pairs]


def _hashes(tokens: Tensor, length: int) -> Tensor:
    """(N,) -> (N - length + 1,) int64 polynomial hashes, modulo 2^64."""
    out = torch.zeros(len(tokens) - length + 1, dtype=torch.int64)
    for shift in range(length):
        out = out * 6364136223846793005 + (tokens[shift : shift + len(out)] + 1) * 1442695040888963407
    return out
