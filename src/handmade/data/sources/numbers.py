"""Sequences of whole numbers from a set, such as the multiples of 5 (book, chapter 3)."""

from __future__ import annotations

from typing import Annotated

from handmade.asks import Range
from handmade.data.cache import digest
from handmade.data.source import Dataset, DataSource, Rows, Wanted
from handmade.data.specs import NumbersSpec
from handmade.errors import UserError


def numbers(
    wanted: Wanted,
    of: Annotated[int, Range(1, 10_000)] = 5,
    depth: Annotated[int, Range(2, 10_000)] = 100,
    members: str = "",
    length: Annotated[int, Range(1, 1000)] = 10,
    n: Annotated[int, Range(1, 1_000_000)] = 8192,
    seed: int = 0,
) -> tuple[Dataset, NumbersSpec]:
    """Draw sequences in which every member of the set is equally likely in every place; a batch is (B, length) int64.

    of: the set is the multiples of this number below depth
    depth: all numbers are smaller than this
    members: a set of your own in its place, such as 2,3,5,7
    length: numbers in one sequence
    n: number of sequences
    seed: which sequences are drawn
    """
    import torch

    chosen = _members(members, depth) if members else tuple(range(0, depth, of))
    name = digest("numbers", 1, chosen, depth, length, n, seed, wanted.split)
    generator = torch.Generator().manual_seed(int(name[:15], 16))
    drawn = torch.tensor(chosen)[torch.randint(len(chosen), (n, length), generator=generator)]
    return Rows(drawn, name), NumbersSpec(length, depth, chosen)


def _members(text: str, depth: int) -> tuple[int, ...]:
    """Read the user's set; each number counts once."""
    try:
        chosen = sorted({int(word) for word in text.replace(",", " ").split()})
    except ValueError:
        raise UserError(f'members must be whole numbers such as 2,3,5,7, not "{text}"') from None
    if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
        raise UserError(f'members must lie between 0 and {depth - 1}, not "{text}"; a larger depth allows more')
    return tuple(chosen)


SOURCE = DataSource(
    name="numbers",
    title="Sequences of numbers from a set",
    licence="none needed: computed",
    homepage="",
    note="8,192 sequences, computed in a moment",
    kind="numbers",
    build=numbers,
)
