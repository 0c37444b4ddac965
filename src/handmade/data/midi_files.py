"""Many MIDI files at once: read by one process per core, each file once, and kept in the cache.

This module is its own worker: `python -m handmade.data.midi_files` reads a list of files from standard input and writes what
they hold to standard output, as arrays without pickles. A file that cannot be read is named with the reason, and left out.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from handmade.data.cache import cache_folder, digest, load_arrays, store_arrays
from handmade.data.codecs.midi_events import events_of
from handmade.data.codecs.pianoroll import roll_from, roll_of_piece
from handmade.data.music import Song
from handmade.data.source import Progress
from handmade.data.tree import Tree, open_tree
from handmade.errors import HandmadeError
from handmade.midi import MOST_BYTES, read_midi

ENDINGS = (".mid", ".midi")
FEW = 40  # files that one process reads sooner than another has started
BLOCK = 50  # files of one job, or more where there are many: a process takes a third of a second to start
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Found(NamedTuple):
    """What files hold."""

    songs: list[Song]
    wrong: list[str]  # a line for each file that was left out, or lost notes


def read_songs(tree: Tree, names: Sequence[str], form: str, voices: int, progress: Progress) -> Found:
    """The pieces in MIDI files, as events or as voices on a grid."""
    about = [list(entry) for entry in tree.entries if entry.name in set(names)]
    kept = cache_folder() / "music" / f"{digest(3, str(tree.root), about, form, voices)[:32]}.npz"
    arrays = load_arrays(kept)
    if arrays is None or not {"titles", "lengths", "values", "wrong"} <= arrays.keys():
        arrays = _joined(list(_blocks(tree, names, form, voices, progress)))
        store_arrays(kept, arrays)
    rows = np.split(arrays["values"], arrays["lengths"].cumsum()[:-1])
    make = (lambda row: roll_from(row.reshape(-1, voices))) if form == "grid" else (lambda row: row)
    songs = [Song(str(title), make(row)) for title, row in zip(arrays["titles"], rows, strict=False) if len(row)]
    return Found(songs, [str(line) for line in arrays["wrong"]])


def _blocks(tree: Tree, names: Sequence[str], form: str, voices: int, progress: Progress):
    """What files hold, as arrays, block by block and in their order; in this process where they are few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = max(BLOCK, min(1000, -(-len(names) // (4 * cores))))
    jobs = [list(names[start : start + size]) for start in range(0, len(names), size)]
    if len(names) <= FEW or cores == 1:
        for done, job in enumerate(jobs):
            progress(done * size, len(names), "reading MIDI files")
            yield read_block(tree, job, form, voices)
        return
    place = tree.packed.filename if tree.packed else tree.root
    with ThreadPoolExecutor(cores) as pool:
        for done, block in enumerate(pool.map(lambda job: _hand_over(str(place), job, form, voices), jobs)):
            progress(min(len(names), (done + 1) * size), len(names), "reading MIDI files")
            yield block


def _hand_over(place: str, names: list[str], form: str, voices: int) -> dict[str, np.ndarray]:
    """Let a process of its own read a block; a fresh interpreter, since a forked one could inherit torch's threads."""
    roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "handmade.data.midi_files"],
        input=json.dumps([place, names, form, voices]).encode(),
        capture_output=True,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()
        raise HandmadeError(f"reading MIDI files failed: {words.splitlines()[-1] if words else 'the worker died'}")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as arrays:
        return dict(arrays)


def read_block(tree: Tree, names: Sequence[str], form: str, voices: int) -> dict[str, np.ndarray]:
    """Read files one by one: titles, lengths and values of those that can be read, and a line for what is wrong."""
    titles, rows, wrong = [], [], []
    for name in names:
        try:
            content = tree.read(name, MOST_BYTES)
            if form == "grid":
                roll, lost = roll_of_piece(read_midi(content, name, "quarters"), voices)
                row = roll.cells.ravel()
                if lost:
                    wrong.append(f"{name}: {lost:,} notes found no free voice among {voices}")
            else:
                row = np.array(events_of(read_midi(content, name)), np.int16)
        except HandmadeError as error:
            wrong.append(str(error) if name in str(error) else f"{name}: {error}")
            continue
        if not len(row):
            wrong.append(f"{name}: it holds no notes")
            continue
        titles.append(name)
        rows.append(row)
    values = np.concatenate(rows) if rows else np.empty(0, np.int16)
    lengths = np.array([len(row) for row in rows], np.int64)
    return {
        "titles": np.array(titles, np.str_),
        "lengths": lengths,
        "values": values,
        "wrong": np.array(wrong, np.str_),
    }


def _joined(blocks: Sequence[dict[str, np.ndarray]]) -> dict[str, Any]:
    return {key: np.concatenate([block[key] for block in blocks]) for key in ("titles", "lengths", "values", "wrong")}


if __name__ == "__main__":
    place, wanted, form, voices = json.load(sys.stdin)
    out = io.BytesIO()
    np.savez(out, **read_block(open_tree(Path(place)), wanted, form, voices))  # pyright: ignore[reportArgumentType]
    sys.stdout.buffer.write(out.getvalue())
