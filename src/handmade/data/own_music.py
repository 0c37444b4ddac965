"""Your own music: a folder or .zip of MIDI files at any depth, a folder of MAESTRO, or the JSB chorales as others pack them.

- MIDI files of types 0 and 1, without their drums; whole pieces are held out, but of fewer than 1 / held_out the end of each
- MAESTRO v2 or v3: the column `split` of its .csv says what is held out (validation and test together)
- Jsb16thSeparated.json: lists `train`, `valid`, `test` of pieces, a list of pitches per sixteenth, -1 or null a rest. It
  does not tell a held note from one struck again: what stays is taken as held
A file that cannot be read is named in the report and left out; the rest is used.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from handmade.asks import Range
from handmade.data.codecs.midi_events import events_of
from handmade.data.codecs.pianoroll import HOLD, REST, Roll, piece_of_roll, roll_from
from handmade.data.music import Bars, MusicWindows, Parts, Song, divided, open_bars, open_music
from handmade.data.source import DataSource, Wanted
from handmade.data.specs import MusicSpec, RollSpec
from handmade.data.tree import Tree, naming, open_tree
from handmade.errors import Damaged, UserError

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES = 100_000_000  # of a table, a .json or an .npz
PICKLED = "holds pickled objects, which can run code when they are opened: give Jsb16thSeparated.json, the same music, instead"
RIGHTS = "make sure you may use this music: a tune in copyright may be learnt by heart, and a model can repeat it"


def open_own_music(
    wanted: Wanted,
    path: str = ".",
    form: Literal["events", "grid"] = "events",
    voices: Annotated[int, Range(1, 16)] = 4,
    context: Annotated[int, Range(1, 65_536)] = 256,
    order: Literal["random", "whole", "lanes"] = "random",
    transpose: Annotated[int, Range(0, 24)] = 3,
    tempo: Annotated[float, Range(20, 400)] = 90.0,
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.1,
) -> tuple[MusicWindows, MusicSpec]:
    """Read your music; `dataset.report` says what was found.

    path: where the music is
    form: events as performed, or voices on a grid of sixteenths
    voices: of a grid
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    transpose: move training pieces by up to so many semitones, at random
    tempo: quarter notes a minute at which what is made on a grid is played
    held_out: share of the pieces that is never trained on; of few pieces, of each
    """
    parts, notices = _parts(wanted, path, form, voices, held_out)
    return open_music(wanted, path, parts, context=context, order=order, transpose=transpose, tempo=tempo, voices=voices,
                      notices=notices)  # fmt: skip


def open_own_rolls(
    wanted: Wanted,
    path: str = ".",
    voices: Annotated[int, Range(1, 16)] = 4,
    bars: Annotated[int, Range(1, 8)] = 2,
    hop: Annotated[int, Range(1, 8)] = 1,
    transpose: Annotated[int, Range(0, 24)] = 3,
    tempo: Annotated[float, Range(20, 400)] = 90.0,
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.1,
) -> tuple[Bars, RollSpec]:
    """Read your music as bars of a piano roll; `dataset.report` says what was found.

    path: where the music is
    voices: tracks of one note at a time; other music is dealt out among them
    bars: bars of sixteen steps in one example
    hop: bars from the beginning of one example to that of the next
    transpose: move training examples by up to so many semitones, at random
    tempo: quarter notes a minute at which what is made is played
    held_out: share of the pieces that is never trained on; of few pieces, of each
    """
    parts, notices = _parts(wanted, path, "grid", voices, held_out)
    return open_bars(wanted, path, parts, bars=bars, steps=16, hop=hop, transpose=transpose, tempo=tempo, voices=voices,
                     notices=notices)  # fmt: skip


def _parts(wanted: Wanted, path: str, form: str, voices: int, held_out: float) -> tuple[Parts, list[str]]:
    """The pieces of both splits, and what is to be said of them."""
    from handmade.data.midi_files import ENDINGS, read_songs

    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"{path} does not exist: give a folder or .zip of MIDI files, or Jsb16thSeparated.json")
    tree = open_tree(place)
    if place.suffix.lower() in (".json", ".npz"):
        return _jsb(tree, place.name, form, voices), [RIGHTS]
    names = tree.named(*ENDINGS) if place.is_dir() or tree.packed else [place.name]
    if not names:
        raise UserError(
            f"no MIDI file among the {len(tree.entries):,} files in {path}: give files that end in .mid or .midi"
        )
    splits = _maestro(tree)
    found = read_songs(tree, names, form, voices, wanted.progress)
    if not found.songs:
        raise UserError(f"no MIDI file of the {len(names):,} in {path} can be used; the first: {found.wrong[0]}")
    notices = [RIGHTS, *([f"{len(found.wrong):,} notices about files:"] if found.wrong else []), *found.wrong]
    if not splits:
        return divided(found.songs, held_out), notices
    train = [song for song in found.songs if splits.get(song.title) == "train"]
    test = [song for song in found.songs if splits.get(song.title, "train") != "train"]
    return Parts(train, test), [*notices, "what is held out is what the table of MAESTRO says"]


def _maestro(tree: Tree) -> dict[str, str]:
    """File name -> split, from the table of a MAESTRO folder; empty where there is none."""
    for name in tree.named(".csv"):
        if "maestro" not in name.rsplit("/", 1)[-1].lower():
            continue
        with naming(name):
            text = tree.read(name, MOST_BYTES).decode("utf-8", "replace")
        rows = list(csv.DictReader(io.StringIO(text)))
        if not rows or not {"split", "midi_filename"} <= rows[0].keys():
            raise UserError(f"{name} is no table of MAESTRO: it needs the columns split and midi_filename")
        root = name.rsplit("/", 1)[0] + "/" if "/" in name else ""
        return {root + row["midi_filename"]: row["split"] for row in rows}
    return {}


def _jsb(tree: Tree, name: str, form: str, voices: int) -> Parts:
    """The splits of Jsb16thSeparated.json, or of an .npz of plain arrays laid out like it."""
    with naming(name):
        content = tree.read(name, MOST_BYTES)
    splits = _from_json(content, name) if name.lower().endswith(".json") else _from_npz(content, name)
    parts: dict[str, list[Song]] = {"train": [], "test": []}
    for split, number, piece in splits:
        title = f"{split} {number}"
        roll = _roll(piece, voices, f"{name}, {title}")
        music: Any = roll if form == "grid" else _events(roll)
        parts["train" if split == "train" else "test"].append(Song(title, music))
    if not all(parts.values()):
        raise UserError(
            f'{name} is not laid out as Jsb16thSeparated.json: it needs pieces under "train", and "valid" or "test"'
        )
    return Parts(**parts)


def _from_json(content: bytes, name: str) -> Iterator[tuple[str, int, Any]]:
    try:
        splits = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{name} cannot be read as JSON: {error}") from None
    if not isinstance(splits, dict):
        raise UserError(f'{name} is not laid out as Jsb16thSeparated.json: an object with "train", "valid" and "test"')
    for split, pieces in splits.items():
        if split in ("train", "valid", "test"):
            yield from ((split, number, piece) for number, piece in enumerate(pieces))


def _from_npz(content: bytes, name: str) -> Iterator[tuple[str, int, Any]]:
    """Arrays named train_0, train_1, ..., valid_0, ..., each (steps, voices), NaN a rest."""
    import numpy as np

    if not content.startswith(b"PK"):
        raise Damaged(f"{name} cannot be read as an .npz of arrays: it is no .zip")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for key in arrays.files:
                split, _, number = key.partition("_")
                if split in ("train", "valid", "test"):
                    yield split, int(number or 0), arrays[key].tolist()
    except Exception as error:  # zip, zlib, numpy and struct each have their own
        if "pickle" in str(error).lower():
            raise UserError(f"{name} {PICKLED}") from None
        raise Damaged(f"{name} cannot be read as an .npz of arrays: {error}") from None


def _roll(piece: Sequence[Sequence[Any]], voices: int, where: str) -> Roll:
    """Pitches that sound at each step -> a roll; a pitch that stays is held."""
    import numpy as np

    try:
        rows = [[REST if cell is None or math.isnan(cell) or cell < 0 else int(cell) for cell in row] for row in piece]
    except TypeError:
        raise UserError(f"{where} is no list of steps with a list of pitches each") from None
    if not rows or any(len(row) != voices or max(row) > 127 for row in rows):
        raise UserError(f"{where} does not have {voices} pitches from 0 to 127 at each step: choose --data.voices")
    cells = np.array(rows, np.int16)
    same = (cells[1:] == cells[:-1]) & (cells[1:] >= 0)
    cells[1:][same] = HOLD
    return roll_from(cells)


def _events(roll: Roll) -> np.ndarray:
    import numpy as np

    return np.array(events_of(piece_of_roll(roll.cells, 90.0)), np.int16)


OWN_MUSIC = DataSource(
    name="path",
    title="Your own music",
    licence="yours",
    homepage="",
    note="",
    kind="music",
    build=open_own_music,
)

OWN_ROLLS = DataSource(
    name="path",
    title="Bars of your own music",
    licence="yours",
    homepage="",
    note="",
    kind="rolls",
    build=open_own_rolls,
)
