"""Your own clips with a sentence about each: a folder or .zip with metadata.csv or .jsonl (file_name, text).

| file_name | what is read |
|---|---|
| `wave.gif`, `.webp`, `.png` | an animated picture |
| `wave.mp4`, `.m4v`, `.mov`, `.webm`, `.mkv` | a film, where the optional `av` is installed |
| `wave` | a folder of pictures, in the order of the numbers in their names |

Of each as many frames as a clip has are taken, at even distances. Broken clips are named, counted and reported; a clip whose
sentence is empty is an error that names it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest, load_arrays, store_arrays
from handmade.data.captions import words_in
from handmade.data.decode import ENDINGS, MOST_PIXELS, decode, quiet_decoder, square
from handmade.data.decode import MOST_BYTES as MOST_OF_PICTURE
from handmade.data.folder import MOST_BROKEN, hold_out
from handmade.data.layouts import order_of
from handmade.data.pictures import Report
from handmade.data.source import Dataset, DataSource, Progress, Wanted
from handmade.data.specs import VideoSpec
from handmade.data.tables import Table, attributes, captions, read_table
from handmade.data.tree import Tree, open_tree
from handmade.data.videos import Videos
from handmade.errors import Damaged, UserError

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # of what is kept in the cache
ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}
FILMS = {
    ".mp4": "mov",
    ".m4v": "mov",
    ".mov": "mov",
    ".webm": "matroska",
    ".mkv": "matroska",
}  # ending -> the only reader
# that may open it: others of ffmpeg's fetch files that a stranger's film names
MOST_BYTES = 100_000_000  # of one clip
MOST_FRAMES = 3000  # of one clip
MOST_MEMORY = 8 << 30  # bytes of all frames that are kept


class Found(NamedTuple):
    """The clips that can be used, and what is wrong with the others."""

    pixels: np.ndarray  # (N, F, C, size, size) uint8
    rows: Sequence[int]  # of the table
    broken: tuple[tuple[str, str], ...]  # name, reason


def open_videos(
    wanted: Wanted,
    path: str = ".",
    size: Annotated[int, Range(8, 256)] = 32,
    frames: Annotated[int, Range(2, 64)] = 16,
    channels: Literal[1, 3] = 3,
    vocabulary: Annotated[int, Range(1, 50_000)] = 4000,
) -> tuple[Dataset, VideoSpec]:
    """Read clips and their captions; `dataset.report` says what was found.

    path: a folder or .zip with metadata.csv or metadata.jsonl (file_name, text) and the clips that it names
    size: height and width of a frame in pixels after cropping the middle square
    frames: taken from each clip, at even distances
    channels: 3 for colour, 1 for grey
    vocabulary: the most frequent words of the captions, so many at the most
    """
    import torch

    tree = open_tree(Path(path).expanduser())
    table, names, words = _listed(tree)
    found = _read(tree, names, size, frames, channels, wanted.progress)
    kept = table.take(found.rows)
    names, words = [names[row] for row in found.rows], [words[row] for row in found.rows]
    splits = hold_out(names) if len(names) > 1 else [wanted.split]  # of a single clip there is nothing to hold out
    labels = {name: order_of(values) for name, values in attributes(kept, leave={"file_name"}).items()}
    codes = [[labels[name].index(kept.columns[name][row]) if kept.columns[name][row] in labels[name] else 0
              for name in labels] for row in range(len(names))]  # fmt: skip
    mine = [row for row, split in enumerate(splits) if split == wanted.split]
    heard = [word for word, split in zip(words, splits, strict=True) if split == "train" or len(names) == 1]
    spec = VideoSpec(channels, size, labels, frames, 8.0, *words_in(heard, vocabulary))
    told, pixels = [words[row] for row in mine], torch.from_numpy(found.pixels)[mine]
    name = digest("own clips", VERSION, tree.entries, size, frames, channels, vocabulary, wanted.split)
    report = Report("clips with a metadata table", len(names), found.broken, table.notes)
    return Videos(pixels, spec.tokens_of(told), torch.tensor(codes)[mine], spec, name, told, report), spec


def _listed(tree: Tree) -> tuple[Table, list[str], list[str]]:
    """The table, the name of each clip below the root, and the sentence about it."""
    for name in tree.named("metadata.csv", "metadata.jsonl"):
        table = read_table(tree, name)
        if "file_name" not in table.columns or not captions(table):
            raise UserError(
                f"{tree.root}: {name} needs the columns file_name and text (it has {', '.join(table.columns)})"
            )
        names = [str(PurePosixPath(name).parent / file) for file in table.columns["file_name"]]
        words = captions(table)
        if empty := [file for file, text in zip(names, words, strict=True) if not text.strip()]:
            raise UserError(f"{len(empty):,} of {len(names):,} clips have an empty caption, the first is {empty[0]}: "
                            "write one, or remove its row")  # fmt: skip
        films = [file for file in names if PurePosixPath(file).suffix.lower() in FILMS]
        if films and importlib.util.find_spec("av") is None:
            raise UserError(f"reading {films[0]} needs av: type pip install av, or save it as a GIF")
        if not names:
            raise UserError(f"{tree.root}: {name} has no rows: write one for each clip")
        return table, names, words
    raise UserError(
        f"{tree.root} holds no clips with captions: put a metadata.csv with the columns file_name and text there"
    )


def _read(tree: Tree, names: Sequence[str], size: int, frames: int, channels: int, progress: Progress) -> Found:
    """The frames of every clip, from the cache where nothing has changed, and the broken ones set aside."""
    import numpy as np

    if (need := len(names) * frames * channels * size * size) > MOST_MEMORY:
        raise UserError(f"{len(names):,} clips of {frames} x {size} x {size} need {need / 2**30:.0f} GiB, more than the "
                        f"{MOST_MEMORY >> 30} GiB allowed: choose a smaller size, or fewer frames")  # fmt: skip
    place = digest(VERSION, str(tree.root.resolve()), tree.entries, list(names), size, frames, channels)
    file = cache_folder() / "videos" / f"{place[:32]}.npz"
    if (kept := load_arrays(file)) is not None and {"pixels", "rows", "broken"} <= kept.keys():
        return Found(kept["pixels"], kept["rows"].tolist(), tuple(map(tuple, json.loads(str(kept["broken"])))))
    clips, rows, broken = [], [], []
    with quiet_decoder():
        for row, name in enumerate(names):
            try:
                clips.append(_clip(tree, name, size, frames, channels))
                rows.append(row)
            except Damaged as error:
                broken.append((name, str(error)))
            progress(row + 1, len(names), "reading clips")
    if len(broken) > MOST_BROKEN * len(names):
        named = "; ".join(f"{name}: {reason}" for name, reason in broken[:3])
        raise UserError(
            f"{len(broken):,} of {len(names):,} clips in {tree.root} are broken ({named}): repair or remove them"
        )
    found = Found(np.stack(clips), rows, tuple(broken))
    store_arrays(file, {"pixels": found.pixels, "rows": np.array(rows), "broken": np.array(json.dumps(broken))})
    return found


def _clip(tree: Tree, name: str, size: int, frames: int, channels: int) -> np.ndarray:
    """One clip, (F, C, size, size) uint8; Damaged with the reason where it is broken or larger than our limits."""
    import numpy as np

    ending = PurePosixPath(name).suffix.lower()
    if name not in tree.sizes:
        pictures = _numbered(tree, name)
        chosen = [pictures[place] for place in _places(len(pictures), frames)]
        return np.stack([decode(tree.read(picture, MOST_OF_PICTURE), size, channels) for picture in chosen])
    content = tree.read(name, MOST_BYTES)
    if ending in ANIMATED:
        return _animation(content, ANIMATED[ending], size, frames, channels)
    if ending in FILMS:
        return _film(content, FILMS[ending], size, frames, channels)
    raise Damaged(f"no clip: a file ends in {', '.join([*ANIMATED, *FILMS])}, or is a folder of pictures")


def _numbered(tree: Tree, folder: str) -> list[str]:
    """The pictures of a folder, in the order of the numbers in their names."""
    inside = [name for name in tree.named(*ENDINGS) if str(PurePosixPath(name).parent) == folder]
    if not inside:
        raise Damaged("there is no such file, and no folder of pictures")
    if len(inside) > MOST_FRAMES:
        raise Damaged(f"{len(inside):,} frames, more than the {MOST_FRAMES:,} allowed")
    return sorted(
        inside, key=lambda name: ([int(digits) for digits in re.findall(r"\d+", PurePosixPath(name).stem)], name)
    )


def _places(count: int, frames: int) -> list[int]:
    """Which of `count` frames are taken, at even distances, the first and the last among them; a short clip stays on some."""
    return [round(place * (count - 1) / (frames - 1)) for place in range(frames)]


def _animation(content: bytes, kind: str, size: int, frames: int, channels: int) -> np.ndarray:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as picture:
            count = getattr(picture, "n_frames", 1)
            _check(count, picture.width, picture.height)
            taken = {}
            for place in sorted(set(_places(count, frames))):
                picture.seek(place)
                taken[place] = square(picture, size, channels)
            return np.stack([taken[place] for place in _places(count, frames)])
    except Damaged:
        raise
    except Exception as error:  # decoders raise kinds of their own, down to struct.error; the reason is kept
        raise Damaged(f"broken: {error}") from None


def _film(content: bytes, reader: str, size: int, frames: int, channels: int) -> np.ndarray:
    import av
    import numpy as np

    try:
        with av.open(io.BytesIO(content), "r", format=reader) as film:
            stream = film.streams.video[0]
            _check(stream.frames, stream.width, stream.height)
            stream.codec_context.thread_count = 1
            seen = []
            for frame in film.decode(stream):
                _check(len(seen) + 1, frame.width, frame.height)
                seen.append(square(frame.to_image(), size, channels))
            if not seen:
                raise Damaged("no frames")
            return np.stack([seen[place] for place in _places(len(seen), frames)])
    except Damaged:
        raise
    except Exception as error:
        raise Damaged(f"broken: {error}") from None


def _check(count: int, width: int, height: int) -> None:
    """Raise Damaged for a clip that is too long or too large."""
    if count > MOST_FRAMES:
        raise Damaged(f"{count:,} frames, more than the {MOST_FRAMES:,} allowed")
    if width * height > MOST_PIXELS:
        raise Damaged(f"{width} x {height} pixels is more than the {MOST_PIXELS // 2**20} megapixels allowed")


OWN_VIDEOS = DataSource(
    name="path",
    title="Your own clips with captions",
    licence="yours",
    homepage="",
    note="",
    kind="videos",
    build=open_videos,
)
