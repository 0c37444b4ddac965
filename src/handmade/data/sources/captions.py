"""Pictures with sentences: drawn faces and what they look like, or emoji and their names.

Held-out faces are all of COMBINATIONS that training never sees: of hair colour, cut and glasses, one in five is kept away
(`apart`; such as long green hair and glasses), so that a model that has only learnt whole captions by heart is found out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, cast

from handmade.asks import Range
from handmade.data.captions import captioned, words_in
from handmade.data.pictures import Pictures
from handmade.data.source import Dataset, DataSource, Progress, Wanted
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources import emoji as pictograms
from handmade.data.sources import faces as drawings
from handmade.data.specs import CaptionSpec
from handmade.errors import UserError

DRAWN_PER_KEPT = 5  # one combination in so many is held out
FIRST_APART = 3  # see `apart`


def captions(
    wanted: Wanted,
    of: Literal["faces", "emoji"] = "faces",
    size: Annotated[int, Range(16, 256)] = 64,
    n: Annotated[int, Range(1, 1_000_000)] = 8000,
    held_out: Annotated[int, Range(1, 100_000)] = 500,
    seed: int = 0,
    styles: str = "all",
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
    vocabulary: Annotated[int, Range(1, 50_000)] = 4000,
) -> tuple[Dataset, CaptionSpec]:
    """Open pictures with a sentence about each.

    of: faces with a description each, or emoji with their name and style
    size: height and width in pixels
    n: faces drawn for training, before those of held-out combinations are left out
    held_out: test faces, all of combinations that training never sees
    seed: which faces are drawn
    styles: which emoji of noto, twemoji and fluent-emoji-flat, with commas between; all by default
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: keep only some of the emoji, such as tone=none or category=food|animals
    vocabulary: the most frequent words of the captions, so many at the most
    """
    if where and of != "emoji":
        raise UserError(f"where={where} chooses among emoji, and these are {of}: leave it out")
    if of == "emoji":
        pictures, words = _emoji(wanted, size, styles, channels, flip, where)
    else:
        pictures, words = _faces(wanted, size, n, held_out, seed, channels, flip)
    dataset = captioned(pictures, *words_in(words, vocabulary))
    return dataset, dataset.spec


def apart(face: Mapping[str, str]) -> bool:
    """Whether a face is of a combination of hair, cut and glasses that is kept away from training."""
    places = (lorelei.LABELS[name].index(face[name]) for name in ("hair", "cut", "glasses"))
    return sum(places) % DRAWN_PER_KEPT == FIRST_APART


def _faces(wanted: Wanted, size: int, n: int, held_out: int, seed: int, channels: Literal[1, 3],
           flip: bool) -> tuple[Pictures, list[str]]:  # fmt: skip
    """The faces of one split, and the captions of all training faces."""
    import torch

    described = (lorelei.attributes(seed, number) for number in range(n))
    words = [lorelei.caption(face) for face in described if not apart(face)]
    if not words:
        raise UserError(f"none of the first {n} faces is of a combination that may be trained on: choose a larger n")
    most = held_out * DRAWN_PER_KEPT * 3 // 2 + 50  # enough that the rarer combinations are among them
    opened = cast("drawings.Faces", drawings.faces(wanted, size, n, most, seed, channels, flip)[0])
    keep_apart = wanted.split == "test"
    rows = [row for row, number in enumerate(opened.numbers) if apart(lorelei.attributes(seed, number)) == keep_apart]
    return opened.take(torch.tensor(rows[:held_out] if keep_apart else rows)), words


def _emoji(wanted: Wanted, size: int, styles: str, channels: Literal[1, 3], flip: bool,
           where: str) -> tuple[Pictures, list[str]]:  # fmt: skip
    """The emoji of one split, and the captions of all training emoji."""
    opened = cast("Pictures", pictograms.emoji(wanted, size, styles, channels=channels, flip=flip, where=where)[0])
    pictures = replace(opened, words=_styled(opened))
    if wanted.split == "train":
        return pictures, list(pictures.words)
    training, _ = pictograms.emoji(wanted._replace(split="train"), size, styles, channels=channels, where=where)
    return pictures, _styled(training)  # type: ignore[arg-type]


def _styled(pictures: Pictures) -> list[str]:
    """What each emoji is called, with the hand that drew it: "red apple, noto style"."""
    styles = [name.split("/")[0].split("-")[0] for name in pictures.names]
    return [f"{words}, {style} style" for words, style in zip(pictures.words, styles, strict=True)]


def gather(progress: Progress) -> Path:
    """Draw the faces of the default split into the cache, and fetch the emoji."""
    for split in ("train", "test"):
        captions(Wanted(split, progress))
    return pictograms.gather(progress)


SOURCE = DataSource(
    name="captions",
    title="Pictures with sentences: drawn faces, or emoji with their names",
    licence="faces CC0 1.0; emoji as in the data set emoji",
    homepage="https://www.dicebear.com/styles/lorelei/",
    note="8,000 faces and 500 held-out ones of unseen combinations, drawn once; emoji: 10,800 pictures, 6 MB to fetch",
    kind="captions",
    build=captions,
    gather=gather,
)
