"""Bars of Bach's chorales: the chorales of `chorales`, cut into short stretches of a piano roll."""

from __future__ import annotations

from typing import Annotated

from handmade.asks import Range
from handmade.data.music import Bars, open_bars
from handmade.data.source import DataSource, Wanted
from handmade.data.sources.chorales import SOURCE as CHORALES
from handmade.data.sources.chorales import TEMPO, divided_chorales, gather
from handmade.data.specs import RollSpec


def chorale_bars(
    wanted: Wanted,
    bars: Annotated[int, Range(1, 8)] = 2,
    hop: Annotated[int, Range(1, 8)] = 1,
    transpose: Annotated[int, Range(0, 24)] = 6,
    held_out: Annotated[float, Range(0.01, 0.5)] = 0.1,
) -> tuple[Bars, RollSpec]:
    """Cut the chorales at their bar lines; a batch is (B, voices, bars, 16, states) one-hot.

    bars: bars of sixteen steps in one example
    hop: bars from the beginning of one example to that of the next
    transpose: move training examples by up to so many semitones, at random, within the range of the voices
    held_out: share of the tunes that is held out
    """
    parts = divided_chorales(held_out)
    return open_bars(wanted, "chorale bars", parts, bars=bars, steps=16, hop=hop, transpose=transpose, tempo=TEMPO)


SOURCE = DataSource(
    name="chorale_bars",
    title="Bars of Bach's chorales for four voices",
    licence=CHORALES.licence,
    homepage=CHORALES.homepage,
    note="4,500 stretches of two bars; needs the chorales, 20 MB to fetch",
    kind="rolls",
    build=chorale_bars,
    gather=gather,
)
