"""Bars of four voices that are composed here: piano rolls to learn from with nothing fetched."""

from __future__ import annotations

from typing import Annotated

from handmade.asks import Range
from handmade.data.music import Bars, open_bars
from handmade.data.source import DataSource, Wanted
from handmade.data.sources.performances import TEMPO, composed
from handmade.data.specs import RollSpec


def composed_bars(
    wanted: Wanted,
    bars: Annotated[int, Range(1, 8)] = 2,
    n: Annotated[int, Range(1, 100_000)] = 200,
    unseen: Annotated[int, Range(1, 10_000)] = 20,
    transpose: Annotated[int, Range(0, 24)] = 0,
    seed: int = 0,
) -> tuple[Bars, RollSpec]:
    """Compose pieces of four voices and cut them; a batch is (B, voices, bars, 16, states) one-hot.

    bars: bars of one example
    n: number of training pieces; each gives 8 / bars examples
    unseen: number of held-out pieces
    transpose: move training examples by up to so many semitones, at random
    seed: which pieces are composed
    """
    parts = composed(n, unseen, 4, seed)
    return open_bars(
        wanted, f"composed bars {seed}", parts, bars=bars, steps=16, hop=bars, transpose=transpose, tempo=TEMPO
    )


SOURCE = DataSource(
    name="composed_bars",
    title="Bars for four voices, composed here",
    licence="none needed: computed",
    homepage="",
    note="200 pieces of 8 bars, computed in a moment",
    kind="rolls",
    build=composed_bars,
)
