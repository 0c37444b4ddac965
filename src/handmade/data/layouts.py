"""Recognise how a user's pictures lie, without moving or unpacking anything.

`recognise` asks, in this order: .npz arrays; parquet tables; IDX files; trainA/trainB folders; metadata.csv or .jsonl;
a table of attributes beside the pictures; one folder per class; any pictures at all. The first that says yes wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from handmade.data.decode import ENDINGS, MOST_BYTES
from handmade.data.doubts import is_doubts
from handmade.data.tables import Table, attributes, captions, files_of, partition, read_table, unfit
from handmade.data.tree import Tree
from handmade.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SPLITS = {"train": "train", "training": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}
CODE_ORDER = ("no", "yes")


@dataclass(frozen=True)
class Listing:
    """Pictures that were found: how to read each, and what is known about it."""

    layout: str  # what was recognised, in words
    names: Sequence[str]  # one per picture
    read: Callable[[int], bytes | np.ndarray]  # a picture file, or its pixels (H, W) or (H, W, C)
    labels: dict[str, list[str]] = field(default_factory=dict)  # attribute -> a value per picture
    words: Sequence[str] = ()  # a caption per picture, or none
    splits: Sequence[str] = ()  # "train" or "test" per picture, or none: then some are held out
    notes: tuple[str, ...] = ()
    unfit: dict[str, str] = field(default_factory=dict)  # attribute that cannot be used -> why


def recognise(tree: Tree) -> Listing:
    """The pictures of a tree in the first layout that fits; UserError where there are none."""
    for layout in (_npz, _parquet, _idx, _domains, _metadata, _attribute_table, _class_folders, _any_pictures):
        if listing := layout(tree):
            return listing
    if packed := tree.named(".zip"):
        raise UserError(f"no pictures in {tree.root}, but {packed[0]}: give that file itself")
    what = f"no pictures among the {len(tree.entries):,} files" if tree.entries else "no files"
    kinds = ", ".join(ENDINGS)
    raise UserError(f"{what} in {tree.root}: give a folder, .zip, .npz or .parquet with pictures ({kinds})")


def order_of(values: Sequence[str]) -> tuple[str, ...]:
    """The names of an attribute's values in code order: no before yes, numbers by size, words by letter."""
    distinct = set(values)
    if distinct <= set(CODE_ORDER):
        return CODE_ORDER
    return tuple(sorted(distinct, key=lambda value: (not value.isdigit(), int(value) if value.isdigit() else 0, value)))


def _npz(tree: Tree) -> Listing | None:
    """Arrays in .npz files: pictures by the name images, pixels or x, and any labels of the same length."""
    from handmade.data.arrays import read_npz

    files = tree.named(".npz")
    return read_npz(tree, files) if files else None


def _parquet(tree: Tree) -> Listing | None:
    """Parquet tables with a column of picture files."""
    from handmade.data.arrays import read_parquet

    files = tree.named(".parquet")
    return read_parquet(tree, files) if files else None


def _idx(tree: Tree) -> Listing | None:
    """The MNIST family: ...images-idx3-ubyte and ...labels-idx1-ubyte, packed or not."""
    from handmade.data.arrays import read_idx_files

    files = [e.name for e in tree.entries if re.search(r"images[-.]idx3-ubyte(\.gz)?$", e.name)]
    return read_idx_files(tree, files) if files else None


def _pictures(tree: Tree, names: Sequence[str], layout: str, **known: object) -> Listing:
    return Listing(layout, names, lambda index: tree.read(names[index], MOST_BYTES), **known)  # type: ignore[arg-type]


def _domains(tree: Tree) -> Listing | None:
    """The two domains of unpaired translation: trainA, trainB, and testA, testB where they are."""
    searched = [(name, re.search(r"(?:^|/)(train|test)([AB])/", name)) for name in tree.named(*ENDINGS)]
    found = [(name, match) for name, match in searched if match]
    if {match[2] for _, match in found} != {"A", "B"}:
        return None
    splits = [match[1] for _, match in found]
    return _pictures(
        tree,
        [name for name, _ in found],
        "two domains, trainA and trainB",
        labels={"domain": [match[2] for _, match in found]},
        splits=splits if len(set(splits)) == 2 else (),
    )


def _metadata(tree: Tree) -> Listing | None:
    """Pictures named in the rows of metadata.csv or metadata.jsonl: file_name, text, and any attributes."""
    tables = []
    for name in tree.named("metadata.csv", "metadata.jsonl"):
        if PurePosixPath(name).name in ("metadata.csv", "metadata.jsonl"):
            table = read_table(tree, name)
            if "file_name" in table.columns:
                tables.append((PurePosixPath(name).parent, table))
    if not tables:
        return None
    told = tuple(note for _, table in tables for note in table.notes)
    shared = [column for column in tables[0][1].columns if all(column in table.columns for _, table in tables)]
    joined = Table({column: [value for _, table in tables for value in table.columns[column]] for column in shared})
    names = [str(folder / name) for folder, table in tables for name in table.columns["file_name"]]
    return _pictures(
        tree,
        names,
        "pictures with a metadata table",
        labels=attributes(joined, leave={"file_name"}),
        words=captions(joined),
        splits=_splits(names)[0],
        notes=(*told, *_left_out(tree, names)),
        unfit=unfit(joined, names),
    )


def _attribute_table(tree: Tree) -> Listing | None:
    """Pictures beside a table with one row for each: CelebA's list_attr_celeba, or any csv with a column of names."""
    pictures = tree.named(*ENDINGS)
    best: tuple[int, int, str, Table, dict[int, str]] | None = None
    for name in tree.named(".csv", ".txt", ".tsv") if pictures else ():
        table = read_table(tree, name, strict=False)  # most of them may be something else
        if is_doubts(table.columns):  # about labels, not labels
            continue
        rows = files_of(table, pictures)
        count = len(attributes(table.take(rows))) + bool(captions(table))
        if rows and count and (best is None or (count, len(rows)) > best[:2]) and "partition" not in name:
            best = (count, len(rows), name, table, rows)
    if best is None:
        return None
    _, _, name, _, rows = best
    names, table = list(rows.values()), read_table(tree, name).take(rows)  # refused where it is not as it should be
    return _pictures(
        tree,
        names,
        f"pictures with the attribute table {name}",
        labels=attributes(table),
        words=captions(table),
        splits=partition(tree, names),
        notes=(*table.notes, *_left_out(tree, names)),
        unfit=unfit(table, names),
    )


def _class_folders(tree: Tree) -> Listing | None:
    """One folder per class, perhaps below train and test."""
    names = tree.named(*ENDINGS)
    splits, below = _splits(names)
    parts = [PurePosixPath(name).parts for name in below]
    if not parts or any(len(part) < 2 for part in parts) or len({part[0] for part in parts}) < 2:
        return None
    labels = {"class": [part[0] for part in parts]}
    return _pictures(tree, names, "one folder per class", labels=labels, splits=splits)


def _any_pictures(tree: Tree) -> Listing | None:
    """All pictures, however deep they lie."""
    names = tree.named(*ENDINGS)
    return _pictures(tree, names, "pictures without labels", splits=_splits(names)[0]) if names else None


def _splits(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The split of each picture where the top folders are train and test, and the names below what all share."""
    below = _below_common(names)
    tops = [PurePosixPath(name).parts[0].lower() if "/" in name else "" for name in below]
    if not set(tops) <= SPLITS.keys() or {SPLITS[top] for top in tops} != {"train", "test"}:
        return [], below
    return [SPLITS[top] for top in tops], [name.split("/", 1)[1] for name in below]


def _below_common(names: Sequence[str]) -> list[str]:
    """Names without the folders that all of them lie in."""
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    shared = 0
    while folders and all(len(f) > shared for f in folders) and len({f[shared] for f in folders}) == 1:
        shared += 1
    return ["/".join(PurePosixPath(name).parts[shared:]) for name in names]


def _left_out(tree: Tree, names: Sequence[str]) -> tuple[str, ...]:
    """Say how many pictures a table does not speak of."""
    missing = len(set(tree.named(*ENDINGS)) - set(names))
    return (f"pictures that the table does not name, left out: {missing:,}",) if missing else ()
