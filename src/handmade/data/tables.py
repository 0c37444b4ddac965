"""Tables that describe pictures: csv with , or ;, tab-separated, jsonl, and the text tables of CelebA."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from handmade.data.tree import Tree, naming
from handmade.data.utf8 import text_of
from handmade.errors import UserError

MOST_BYTES = 500_000_000
KEYS = ("file_name", "filename", "image_id", "id", "image", "file", "path", "name")  # columns that may name the picture
CAPTIONS = ("text", "caption", "captions")
MOST_VALUES = 200  # an attribute has at most so many; a column with more is a number or a name
SWITCHES = {"1": "yes", "-1": "no", "0": "no", "true": "yes", "false": "no", "yes": "yes", "no": "no"}


@dataclass(frozen=True)
class Table:
    """Columns of text, all of one length."""

    columns: Mapping[str, list[str]]
    notes: tuple[str, ...] = ()  # what is said about rows that were left out

    def take(self, rows: Iterable[int]) -> Table:
        """These rows alone."""
        rows = list(rows)
        return Table({name: [values[row] for row in rows] for name, values in self.columns.items()}, self.notes)


def read_table(tree: Tree, name: str, strict: bool = True) -> Table:
    """Read any of the kinds above; a text file that is no table gives a table without columns.

    strict: a file that is not UTF-8, has an open quote or no row that fits its header is a UserError; without, it is read as
    well as it can be
    """
    with naming(name):
        content = tree.read(name, MOST_BYTES)
    text = text_of(content, name) if strict else _loosely(content)
    lines = [line for line in text.split("\n") if line.strip()]
    if name.lower().endswith(".jsonl"):
        return _columns([{str(k): v for k, v in row.items()} for row in map(_json, lines) if isinstance(row, dict)])
    if len(lines) > 2 and lines[0].strip().isdigit() and not any(mark in lines[1] for mark in ",;"):
        rows = [line.split() for line in lines[1:]]  # CelebA: a count, the names of all columns but the first, the rows
        head = ["image_id", *rows[0]]
        return _columns([dict(zip(head, row, strict=True)) for row in rows[1:] if len(row) == len(head)])
    head = lines[0] if lines else ""
    mark = max(",;\t", key=head.count)
    if mark not in head:
        return Table({})
    try:
        table = _separated(text[text.index(head) :], mark, name)
    except csv.Error:
        if strict:
            raise open_quote(name) from None
        return Table({})
    if strict and table.notes and not table.columns:
        raise UserError(f"no row of {name} can be used: {table.notes[0]}")
    return table


def open_quote(where: str) -> UserError:
    """What the reader of tables stumbles on."""
    return UserError(f"{where} has a quote that is not closed, or a cell of more than {csv.field_size_limit():,} letters: "
                     "close the quote, or take it away")  # fmt: skip


def _loosely(content: bytes) -> str:
    """Bytes as text, whatever they are."""
    kind = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return content.decode(kind, "replace").replace("\r\n", "\n").replace("\r", "\n")


def _separated(text: str, mark: str, name: str) -> Table:
    """The rows of a table divided by a sign; those with more cells than the header are left out and named."""
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    rows, wide = [], []
    for row in reader:
        if any(cell.strip() for cell in row.pop(None, ())):  # type: ignore[call-overload]
            wide.append(reader.line_num)
        elif any((cell or "").strip() for cell in row.values()):
            rows.append(row)
    if not wide:
        return _columns(rows)
    what = f"rows of {name} with more columns than its header, left out: {len(wide):,}, the first in line {wide[0]:,}"
    advice = f"put quotes around a text with {mark!r} in it"
    return replace(_columns(rows), notes=(f"{what}; {advice}",))


def attributes(table: Table, leave: set[str] | None = None) -> dict[str, list[str]]:
    """The columns that can be labels: few different values, some of them repeated, none empty, no fractions.

    1, true and 0, -1, false become yes and no.
    """
    found = {}
    for name, values in table.columns.items():
        distinct = set(values)
        if name in KEYS or name in CAPTIONS or name in (leave or ()) or "" in distinct:
            continue
        if distinct <= SWITCHES.keys() or {value.lower() for value in distinct} <= SWITCHES.keys():
            found[name] = [SWITCHES[value.lower()] for value in values]
        elif len(distinct) <= min(MOST_VALUES, max(2, len(values) - 1)) and not any(map(_fraction, distinct)):
            found[name] = values
    return found


def unfit(table: Table, names: Sequence[str]) -> dict[str, str]:
    """The columns that would be labels if no row were empty, and which are: attribute -> what is missing, in words."""
    found = {}
    for name, values in table.columns.items():
        empty = [row for row, value in enumerate(values) if value == ""]
        full = [row for row, value in enumerate(values) if value != ""]
        if empty and full and attributes(Table({name: [values[row] for row in full]})):
            found[name] = f"{len(empty):,} of {len(values):,} rows are empty, the first for {names[empty[0]]}"
    return found


def captions(table: Table) -> list[str]:
    """The column of captions, or an empty list."""
    return next((list(table.columns[name]) for name in CAPTIONS if name in table.columns), [])


def files_of(table: Table, pictures: Sequence[str]) -> dict[int, str]:
    """Row -> picture, where a key column names it: by path, file name, stem, or the number that its stem ends with."""
    known: dict[str, str] = {}
    for picture in pictures:
        stem = PurePosixPath(picture).stem
        for word in (stem.rsplit("-", 1)[-1], stem, PurePosixPath(picture).name, picture):
            known[word] = picture
    best: dict[int, str] = {}
    for key in KEYS:
        rows = {row: known[value] for row, value in enumerate(table.columns.get(key, ())) if value in known}
        if len(rows) > len(best):
            best = rows
    return best


def partition(tree: Tree, names: Sequence[str]) -> list[str]:
    """The splits that CelebA's list_eval_partition gives (2 is test), or an empty list."""
    for name in tree.named("partition.csv", "partition.txt"):
        lines = tree.read(name, MOST_BYTES).decode("utf-8-sig", "replace").replace(",", " ").splitlines()
        part = {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}
        if all(PurePosixPath(picture).name in part for picture in names):
            splits = ["test" if part[PurePosixPath(picture).name] == "2" else "train" for picture in names]
            return splits if len(set(splits)) == 2 else []
    return []


def _columns(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows to columns; a value that is missing is empty."""
    names = list(rows[0]) if rows else []
    return Table({name.strip(): [_text(row.get(name)) for row in rows] for name in names})


def _text(value: Any) -> str:
    """A value as one line."""
    return "" if value is None else str(value).strip().replace("\n", " ")


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _fraction(value: str) -> bool:
    try:
        return not float(value).is_integer()
    except (ValueError, OverflowError):
        return False
