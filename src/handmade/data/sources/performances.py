"""Performances that are composed and played here: music to learn from with nothing fetched."""

from __future__ import annotations

from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.codecs.midi_events import events_of
from handmade.data.codecs.pianoroll import roll_from
from handmade.data.music import MusicWindows, Parts, Song, open_music
from handmade.data.source import DataSource, Wanted
from handmade.data.sources import _composer as composer
from handmade.data.specs import MusicSpec

HELD_OUT = 1_000_000  # pieces from this number on are never trained on
TEMPO = 84.0


def performances(
    wanted: Wanted,
    form: Literal["events", "grid"] = "events",
    n: Annotated[int, Range(1, 100_000)] = 120,
    unseen: Annotated[int, Range(1, 10_000)] = 12,
    phrases: Annotated[int, Range(1, 64)] = 4,
    context: Annotated[int, Range(1, 65_536)] = 128,
    order: Literal["random", "whole", "lanes"] = "random",
    transpose: Annotated[int, Range(0, 24)] = 0,
    seed: int = 0,
) -> tuple[MusicWindows, MusicSpec]:
    """Compose pieces of four voices, and play them with timing and touch that vary as a person's do.

    form: events of the performance, or the four voices on a grid of sixteenths
    n: number of training pieces
    unseen: number of held-out pieces
    phrases: of one piece, two bars each
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    transpose: move training pieces by up to so many semitones, at random
    seed: which pieces are composed
    """
    parts = composed(n, unseen, phrases, seed, form)
    return open_music(
        wanted, f"performances {seed}", parts, context=context, order=order, transpose=transpose, tempo=TEMPO
    )


def composed(n: int, unseen: int, phrases: int, seed: int, form: str = "grid") -> Parts:
    """Training and held-out pieces."""
    return Parts(
        [_song(seed, number, phrases, form) for number in range(n)],
        [_song(seed, HELD_OUT + number, phrases, form) for number in range(unseen)],
    )


def _song(seed: int, number: int, phrases: int, form: str) -> Song:
    import numpy as np

    cells = composer.compose(seed, number, phrases)
    if form == "grid":
        return Song(f"piece {number}", roll_from(cells))
    return Song(f"piece {number}", np.array(events_of(composer.perform(cells, seed, number)), np.int16))


SOURCE = DataSource(
    name="performances",
    title="Pieces composed and played here",
    licence="none needed: computed",
    homepage="",
    note="120 pieces of half a minute, computed in a moment",
    kind="music",
    build=performances,
)
