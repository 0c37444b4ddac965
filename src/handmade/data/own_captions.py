"""Your own pictures with a sentence about each: a folder or .zip with metadata.csv or .jsonl (file_name, text), or any table.

Everything that `folder` recognises and that has a column text, caption or captions will do. A picture whose caption is empty
is an error that names it: what a model is not told it cannot learn, and what is left out in silence nobody misses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import digest
from handmade.data.captions import captioned, words_in
from handmade.data.folder import read_pictures, splits_of
from handmade.data.pictures import Pictures, chosen
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import CaptionSpec
from handmade.errors import UserError


def open_own_captions(
    wanted: Wanted,
    path: str = ".",
    size: Annotated[int, Range(8, 1024)] = 64,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
    vocabulary: Annotated[int, Range(1, 50_000)] = 4000,
) -> tuple[Dataset, CaptionSpec]:
    """Read pictures and their captions; `dataset.report` says what was found.

    path: a folder or .zip with pictures and metadata.csv or metadata.jsonl (file_name, text), .npz or .parquet with captions
    size: height and width in pixels after cropping the middle square
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: keep only some of them, by a column of the table, such as style=noto
    vocabulary: the most frequent words of the captions, so many at the most
    """
    import torch

    everything, given = read_pictures(path, size, channels, wanted.progress)
    check_captions(everything, path)
    kept = chosen(everything, where)
    splits = splits_of(kept.names, given)
    train, mine = ([row for row, split in enumerate(splits) if split == part] for part in ("train", wanted.split))
    if len(splits) == 1:  # of a single picture there is nothing to hold out
        train = mine = [0]
    pictures = kept.take(torch.tensor(mine))
    name = digest(kept.fingerprint, wanted.split, flip)
    pictures = replace(pictures, flip=flip and wanted.split == "train", fingerprint=name)
    dataset = captioned(pictures, *words_in([kept.words[row] for row in train], vocabulary))
    return dataset, dataset.spec


def check_captions(pictures: Pictures, path: str) -> None:
    """Raise UserError where pictures have no captions, or some have an empty one."""
    if not pictures.words:
        raise UserError(
            f"the pictures of {path} have no captions ({pictures.report.layout}): put a metadata.csv with the columns "
            "file_name and text beside them"
        )
    empty = [name for name, words in zip(pictures.names, pictures.words, strict=True) if not words.strip()]
    if empty:
        raise UserError(
            f"{len(empty):,} of {len(pictures.names):,} pictures have an empty caption, the first is {empty[0]}: write one, "
            "or remove its row"
        )


OWN_CAPTIONS = DataSource(
    name="path",
    title="Your own pictures with captions",
    licence="yours",
    homepage="",
    note="",
    kind="captions",
    build=open_own_captions,
)
