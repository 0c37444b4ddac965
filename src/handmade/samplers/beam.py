"""Write the likeliest sequence: greedily, or with a beam of several at once (Graves 2012, arXiv 1211.3711).

Both drive a `step` function, which holds the network and what it remembers:

    step(tokens, rows) -> log-odds (N, V) of the next token        tokens: (N,) int64, the newest token of each sequence
                                                                   rows: (N,) int64, which sequence of the last call (at
                                                                   first: which input) each of them goes on from
Sequences of different lengths are compared by log-odds / ((5 + length) / 6) ** penalty (Wu et al. 2016, arXiv 1609.08144).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]


class Written(NamedTuple):
    """One finished sequence."""

    tokens: tuple[int, ...]  # without the end mark
    log_odds: float  # of all tokens and the end mark, in nats
    score: float  # what sequences are compared by


@torch.no_grad()
def greedy(step: Step, begin: int, end: int, longest: Sequence[int]) -> list[Written]:
    """Take the likeliest token each time, for every input until it ends or is as long as `longest` allows."""
    rows = torch.arange(len(longest))  # inputs that still go on
    tokens = torch.full((len(longest),), begin)
    taken: list[list[int]] = [[] for _ in longest]
    sums = [0.0] * len(longest)
    came = rows
    for length in range(1, max(longest, default=0) + 1):
        odds, chosen = step(tokens, came).max(-1)  # (N,), (N,)
        ongoing = []
        for place, (row, token, gain) in enumerate(zip(rows.tolist(), chosen.tolist(), odds.tolist(), strict=True)):
            sums[row] += gain
            if token != end:
                taken[row].append(token)
                if length < longest[row]:
                    ongoing.append(place)
        came = torch.tensor(ongoing, dtype=torch.int64)
        if not ongoing:
            break
        rows, tokens = rows[came], chosen[came]
    return [Written(tuple(row), total, total) for row, total in zip(taken, sums, strict=True)]


@torch.no_grad()
def beam_search(
    step: Step, begin: int, end: int, longest: Sequence[int], beams: int = 4, penalty: float = 0.6
) -> list[list[Written]]:
    """Keep the `beams` likeliest beginnings of every input; return what was finished, the best first.

    longest: tokens that each input's sequence may have, the end mark not counted
    penalty: 0 compares log-odds as they are, which favours short sequences; 1 nearly compares means over tokens
    A search stops when nothing unfinished can still beat the best that is finished.
    """
    done: list[list[Written]] = [[] for _ in longest]
    inputs = list(range(len(longest)))  # those that still go on
    paths = torch.zeros(len(longest), 1, 0, dtype=torch.int64)  # (A, K, length) tokens so far
    sums = torch.zeros(len(longest), 1)  # (A, K) log-odds; -inf: no sequence
    tokens, rows = torch.full((len(longest),), begin), torch.arange(len(longest))
    for length in range(1, max(longest, default=-1) + 2):
        odds = step(tokens, rows).float().cpu().view(*sums.shape, -1) + sums[..., None]  # (A, K, V)
        width, vocabulary = odds.shape[1], odds.shape[2]
        best, place = odds.flatten(1).topk(min(2 * beams, width * vocabulary))  # (A, 2 K): at most K of them end
        parent, token = place // vocabulary, place % vocabulary
        ends = token == end
        _finish(done, inputs, paths, best, parent, ends, length, penalty)
        live, order = best.masked_fill(ends, -math.inf).topk(min(beams, best.shape[1]))  # (A, K)
        parent, token = parent.gather(1, order), token.gather(1, order)
        keep = [a for a, i in enumerate(inputs) if _goes_on(done[i], float(live[a, 0]), length, longest[i], penalty)]
        for a in set(range(len(inputs))) - set(keep):
            if not done[inputs[a]]:  # as long as it may be, and no end in sight
                path = (*paths[a, parent[a, 0]].tolist(), int(token[a, 0]))[: longest[inputs[a]]]
                done[inputs[a]].append(Written(path, float(live[a, 0]), _score(float(live[a, 0]), length, penalty)))
        if not keep:
            break
        kept = torch.tensor(keep)
        rows = (kept[:, None] * width + parent[kept]).flatten()
        paths = torch.cat([paths.flatten(0, 1)[rows].view(*live[kept].shape, length - 1), token[kept, :, None]], 2)
        sums, tokens, inputs = live[kept], token[kept].flatten(), [inputs[a] for a in keep]
    return [sorted(found, key=lambda written: -written.score) for found in done]


def _finish(done: list[list[Written]], inputs: list[int], paths: Tensor, best: Tensor, parent: Tensor, ends: Tensor,
            length: int, penalty: float) -> None:  # fmt: skip
    """Store the candidates that end here."""
    for a, k in ends.nonzero().tolist():
        if (total := float(best[a, k])) > -math.inf:
            path = tuple(paths[a, parent[a, k]].tolist())
            done[inputs[a]].append(Written(path, total, _score(total, length, penalty)))


def _goes_on(done: list[Written], live: float, length: int, longest: int, penalty: float) -> bool:
    """Whether the best unfinished sequence could still end up better than the best finished one."""
    if length > longest or live == -math.inf:
        return False
    return not done or _score(live, longest + 1, penalty) > max(written.score for written in done)


def _score(log_odds: float, length: int, penalty: float) -> float:
    return log_odds / ((5 + length) / 6) ** penalty
