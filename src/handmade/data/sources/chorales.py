"""Bach's chorales in four voices, out of the scores that come with the Python package music21.

The package is read as an archive, score by score: never installed, imported or run. Of its 408 scores by Bach 361 have four
voices of one note at a time on a grid of sixteenths. Bach set many a tune several times; settings of one tune stay together
when chorales are held out, so that no held-out melody was ever trained on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest, load_arrays, store_arrays
from handmade.data.codecs.midi_events import events_of
from handmade.data.codecs.pianoroll import Roll, piece_of_roll
from handmade.data.mirrors import Mirror, Unreachable, fetch_package, members
from handmade.data.music import MusicWindows, Parts, Song, divided, open_music
from handmade.data.source import DataSource, Progress, Wanted
from handmade.data.specs import MusicSpec
from handmade.errors import Damaged, DataMissing

PACKAGE = Mirror("wheel", "music21", "10.5.1")
CONTENT = "d5c33b2286e194e072ddd8b477bdaf6fe2c664ac8136c09d00764f30fba04bd3"  # of all cells
TEMPO = 84.0  # quarter notes a minute
OPENING = 8  # intervals of the soprano by which a tune is known
ELSEWHERE = "train on MIDI files of your own with --data FOLDER, or take chorales.npz from the cache of another machine"


def chorales(
    wanted: Wanted,
    form: Literal["grid", "events"] = "grid",
    context: Annotated[int, Range(1, 65_536)] = 256,
    order: Literal["random", "whole", "lanes"] = "random",
    transpose: Annotated[int, Range(0, 24)] = 6,
    held_out: Annotated[float, Range(0.01, 0.5)] = 0.1,
) -> tuple[MusicWindows, MusicSpec]:
    """Read the chorales; a batch is tokens and clock (B, T+1) int64.

    form: four voices on a grid of sixteenths, or events as of a performance, all voices on one keyboard
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    transpose: move training pieces by up to so many semitones, at random, within the range of the voices
    held_out: share of the tunes that is held out
    """
    parts = divided_chorales(held_out)
    if form == "events":
        parts = Parts(*([played(song) for song in part] for part in parts))
    return open_music(wanted, "chorales", parts, context=context, order=order, transpose=transpose, tempo=TEMPO)


def divided_chorales(held_out: float) -> Parts:
    """All chorales, those of one tune in one part."""
    return divided(rolls(), held_out, tune)


def tune(song: Song) -> str:
    """How a chorale's melody begins: the first intervals of its soprano, and when they come."""
    soprano = song.content.cells[:, 0]  # type: ignore[union-attr]
    pitches = soprano[soprano >= 0][: OPENING + 1].astype(int)
    return " ".join(map(str, pitches[1:] - pitches[:-1]))


def played(song: Song) -> Song:
    """A roll as the events of its notes."""
    import numpy as np

    roll: Roll = song.content  # type: ignore[assignment]
    return Song(song.title, np.array(events_of(piece_of_roll(roll.cells, TEMPO)), np.int16))


def gather(progress: Progress) -> Path:
    """Read the scores out of the package and keep their cells in the cache."""
    import numpy as np

    target = cache_folder() / "files" / "chorales"
    if load_arrays(target / "chorales.npz") is not None:
        return target
    progress(0, 2, f"fetching chorales (wheel {PACKAGE.name})")
    with tempfile.TemporaryDirectory(prefix="handmade-") as folder:
        try:
            archive = fetch_package(PACKAGE, Path(folder))
        except Unreachable as error:
            raise DataMissing(f"chorales could not be fetched (wheel {PACKAGE.name}: {error}); {ELSEWHERE}") from None
        progress(1, 2, "reading scores")
        found = _read(archive)
    arrays = {
        "cells": np.concatenate([roll.cells for roll in found.values()]).astype(np.int8),
        "places": np.concatenate([roll.places for roll in found.values()]).astype(np.int8),
        "lengths": np.array([len(roll.cells) for roll in found.values()], np.int32),
        "titles": np.array(list(found)),
    }
    if digest(arrays["cells"].tolist(), arrays["titles"].tolist()) != CONTENT:
        raise Damaged(f"the scores in {PACKAGE.name} {PACKAGE.version} are not those that are known here")
    if not store_arrays(target / "chorales.npz", arrays):
        raise DataMissing(f"chorales cannot be kept in {target}: set HANDMADE_CACHE to a folder you may write")
    progress(2, 2, f"{len(found):,} chorales")
    return target


def _read(archive: Path) -> dict[str, Roll]:
    """The chorales in the package, by the names of their scores."""
    from handmade.data.sources._musicxml import Unfit, read_mxl

    found = {}
    for name, read in members(archive):
        if "/corpus/bach/" in name and name.endswith(".mxl"):
            try:
                found[Path(name).stem] = read_mxl(read())
            except Unfit:  # a score for other voices: known, and counted in the module's docstring
                continue
    return dict(sorted(found.items()))


def rolls() -> list[Song]:
    """What `gather` has kept."""
    import numpy as np

    kept = load_arrays(cache_folder() / "files" / "chorales" / "chorales.npz")
    if kept is None or not {"cells", "places", "lengths", "titles"} <= kept.keys():
        raise DataMissing("chorales are not on this machine: type handmade data prepare chorales")
    if digest(kept["cells"].tolist(), kept["titles"].tolist()) != CONTENT:
        raise Damaged(
            "the chorales in the cache have been changed: delete the file chorales.npz and prepare them again"
        )
    ends = kept["lengths"].cumsum()[:-1]
    pairs = zip(
        np.split(kept["cells"].astype(np.int16), ends), np.split(kept["places"].astype(np.int16), ends), strict=True
    )
    return [Song(str(title), Roll(*pair)) for title, pair in zip(kept["titles"], pairs, strict=True)]


SOURCE = DataSource(
    name="chorales",
    title="Bach's chorales for four voices",
    licence="music in the public domain; encodings by music21's contributors (BSD-3-Clause, some not for commercial use)",
    homepage="https://github.com/cuthbertLab/music21",
    note="361 chorales, four hours of music: 20 MB to fetch (a wheel), 0.2 MB in the cache",
    kind="music",
    build=chorales,
    gather=gather,
)
