"""Arithmetic of codes: equations as people write them, means of groups, straight lines. Pure functions.

That the difference of two groups is a direction with a meaning was seen in the codes of words (Mikolov et al. 2013,
arXiv 1310.4546) and of pictures (Radford et al. 2015, arXiv 1511.06434, section 6.3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from handmade.errors import UserError


class Term(NamedTuple):
    """One term of an equation."""

    sign: int  # 1 or -1
    name: str


def terms(equation: str) -> list[Term]:
    """Read "a - b + c" -> a, minus b, plus c; signs stand between spaces, since names may hold them too (my-photo.png)."""
    words = equation.split()
    signs = [place for place, word in enumerate(words) if word in ("+", "-")]
    if not signs or signs[0] > 0:  # the first term may go without
        words, signs = ["+", *words], [0, *(place + 1 for place in signs)]
    ends = pairwise([*signs, len(words)])
    found = [Term(1 if words[start] == "+" else -1, " ".join(words[start + 1 : end])) for start, end in ends]
    if not all(term.name for term in found):
        raise UserError(f'equation="{equation}": write terms with + or - between spaces, such as "a - b + c"')
    return found


def one_hots(labels: Tensor, sizes: Sequence[int]) -> Tensor:
    """(N, A) codes -> (N, V) one for each label a picture has, V the values of all attributes side by side."""
    columns = [one_hot(column, size).float() for column, size in zip(labels.T, sizes, strict=True)]
    return torch.cat(columns, dim=1) if columns else torch.zeros(len(labels), 0, device=labels.device)


def group_means(codes: Tensor, members: Tensor) -> Tensor:
    """(N, L) codes, (N, V) one where a row belongs to a group -> (V, L) mean of each group; of all where it is empty."""
    counts = members.sum(0).unsqueeze(1)  # (V, 1)
    return torch.where(counts > 0, members.T @ codes / counts.clamp_min(1), codes.mean(0))


def straight(stops: Tensor, steps: int) -> Tensor:
    """(K, L) stops -> ((K - 1) * steps + 1, L): all stops, and `steps` equal strides on a straight line between each two."""
    strides = torch.linspace(0, 1, steps + 1, device=stops.device)[:-1].unsqueeze(-1)  # (steps, 1)
    return torch.cat([*(a + strides * (b - a) for a, b in pairwise(stops)), stops[-1:]])


def strengths(text: str) -> list[float]:
    """Read "0.5, 1" -> [0.5, 1.0]; UserError for what is no number, or too far from every picture to be drawn."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(abs(value) <= 10 for value in found):
        raise UserError(f'strength="{text}": give numbers from -10 to 10, such as 1.0 or "0.25,0.5,1"')
    return found
