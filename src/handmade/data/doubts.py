"""Tables of doubtful labels: written by `handmade data doubt`, mended by hand, read again as corrections.

One row a picture: file_name, attribute, label, believed, doubt, correction. Only rows whose last column is filled in
count, and nothing of the user's is moved or overwritten: the pictures keep their places and their own table its words.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from handmade.data.specs import value_code
from handmade.data.utf8 import text_of
from handmade.errors import UserError, did_you_mean


class Doubt(NamedTuple):
    """One picture whose label a probe that never saw it disbelieves; the fields are the table's columns."""

    file_name: str
    attribute: str
    label: str  # what the user's own table or folder says
    believed: str  # what the probe says
    doubt: float  # 1 minus the probability that the probe gives to the label
    correction: str = ""  # for the user to fill in


NEEDED = ("file_name", "attribute", "correction")


def is_doubts(columns: Iterable[str]) -> bool:
    """Whether a table with these columns is one of ours, which says nothing about pictures by itself."""
    return set(Doubt._fields) <= set(columns)


def write_doubts(path: Path, doubts: Iterable[Doubt]) -> None:
    """Write the table; UserError where a file is already there, since it may hold a person's work."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Doubt._fields)
    table.writerows([*doubt[:4], f"{doubt.doubt:.3f}", doubt.correction] for doubt in doubts)
    try:
        with open(path, "x", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
    except FileExistsError:
        raise UserError(f"{path} exists, and may hold work of yours: choose another --out") from None


def read_corrections(
    path: Path, names: Sequence[str], labels: Mapping[str, Sequence[str]]
) -> list[tuple[int, int, int]]:
    """The filled-in rows as (row of the picture, column of the attribute, new code).

    Raises UserError, in one line, for a file, an attribute or a value that these pictures do not have.
    """
    if not path.is_file():
        raise UserError(f"corrections: {path} does not exist; `handmade data doubt` writes such a table")
    lines = text_of(path.read_bytes(), str(path)).splitlines()
    mark = max(",;\t", key=lines[0].count) if lines else ","  # spreadsheets of some countries save with semicolons
    table = csv.DictReader(lines, delimiter=mark)
    if lacking := [name for name in NEEDED if name not in (table.fieldnames or ())]:
        raise UserError(f"{path} has no column {lacking[0]}: corrections have the columns {', '.join(Doubt._fields)}")
    rows, found = {name: row for row, name in enumerate(names)}, {}
    for line, cells in enumerate(table, start=2):
        name, attribute, value = ((cells[column] or "").strip() for column in NEEDED)
        if not value:
            continue
        where = f"{path}, line {line}"
        if name not in rows:
            raise UserError(f'{where}: no picture "{name}" among the {len(names):,}; it is named from their folder on')
        if attribute not in labels:
            raise UserError(f'{where}: no attribute "{attribute}"{did_you_mean(attribute, labels)}')
        column = list(labels).index(attribute)
        code = value_code(value, labels[attribute], where)
        if found.setdefault((rows[name], column), code) != code:
            raise UserError(f"{where}: {name} is corrected twice, and not alike")
    return [(*place, code) for place, code in found.items()]
