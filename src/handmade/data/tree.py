"""The files below a folder, or inside a .zip that stays packed, seen in one way: names, sizes, bytes."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from handmade.errors import Damaged, UserError

MOST_FILES = 2_000_000
MOST_GROWTH = 200  # a .zip that unpacks to more than this many times its size is a bomb; pictures hardly shrink


class Entry(NamedTuple):
    """One file: its name below the root with forward slashes, its size in bytes, when it last changed."""

    name: str
    size: int
    changed: int


@dataclass(frozen=True)
class Tree:
    """The files of one folder, one .zip or one single file, sorted by name."""

    root: Path
    entries: tuple[Entry, ...]
    packed: zipfile.ZipFile | None = field(default=None, repr=False)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """File name -> bytes."""
        return {entry.name: entry.size for entry in self.entries}

    def named(self, *endings: str) -> list[str]:
        """Names of the files that end so, capitals or not."""
        return [entry.name for entry in self.entries if entry.name.lower().endswith(endings)]

    def read(self, name: str, most: int) -> bytes:
        """The bytes of one file; Damaged where it is missing, cannot be read, or is larger than `most`."""
        if name not in self.sizes:
            raise Damaged("there is no such file")
        if self.sizes[name] > most:
            raise Damaged(f"{self.sizes[name] / 1e6:,.0f} MB, more than the {most / 1e6:,.0f} MB allowed")
        try:
            with self.packed.open(name) if self.packed else open(self.root / name, "rb") as file:
                content = file.read(self.sizes[name] + 1)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise Damaged(f"cannot be read: {error}") from None  # RuntimeError is how a .zip asks for a password
        if len(content) > self.sizes[name]:
            raise Damaged("has grown since the folder was listed")
        return content


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of a file before what is wrong with it."""
    try:
        yield
    except Damaged as error:
        raise Damaged(f"{name}: {error}") from None


def open_tree(path: Path) -> Tree:
    """List a folder, a .zip or a single file; UserError where there is nothing, Damaged for a broken .zip."""
    if path.is_dir():
        return Tree(path, tuple(_listed(path)))
    if not path.exists():
        raise UserError(f"{path} does not exist: give a folder of pictures, a .zip, a .npz or a .parquet file")
    if path.suffix.lower() == ".zip":
        return _opened(path)
    about = path.stat()
    return Tree(path.parent, (Entry(path.name, about.st_size, about.st_mtime_ns),))


def _listed(folder: Path) -> list[Entry]:
    """Every visible file below a folder; links to folders are not followed, so that no circle can catch us."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _hidden(name)]
        for name in files:
            path = Path(place, name)
            if not _hidden(name) and path.is_file():
                about = path.stat()
                found.append(Entry(path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
        if len(found) > MOST_FILES:
            raise UserError(f"{folder} holds more than {MOST_FILES:,} files: choose a smaller folder")
    return sorted(found)


def _opened(path: Path) -> Tree:
    """The files inside a .zip, after its own list of sizes has been looked at."""
    try:
        packed = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise Damaged(f"{path} cannot be read as a .zip: {error}") from None
    files = [entry for entry in packed.infolist() if not entry.is_dir()]
    entries = [entry for entry in files if not any(map(_hidden, PurePosixPath(entry.filename).parts))]
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or total > MOST_GROWTH * path.stat().st_size + 100_000_000:
        raise UserError(f"{path} would unpack to {len(entries):,} files, {total / 1e9:,.1f} GB: too much for its size")
    listed = sorted(Entry(e.filename, e.file_size, e.CRC) for e in entries)  # a checksum tells a change too
    return Tree(path, tuple(listed), packed)


def _hidden(name: str) -> bool:
    """Files that systems leave behind, which nobody means."""
    return (name.startswith(".") and name != "..") or name in ("__MACOSX", "Thumbs.db")
