"""Your own sentence pairs: a table, an Anki export, two parallel files, or a translation memory.

| layout | what it looks like |
|---|---|
| `.csv` | columns with a header, such as `en,fr`; a column is found by its name, or named with `columns` |
| `.tsv`, `.txt` | columns divided by tabs, header or none: the first is the source, the second the target; Anki's exports |
| `NAME.en` + `NAME.fr` | the same line of both files belongs together (Moses, OPUS); give either file, or their folder |
| `.tmx` | a translation memory |
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated
from xml.etree import ElementTree

from handmade.asks import Range
from handmade.data.pairs import Pair, PairDataset, Report, divide, open_pairs
from handmade.data.source import DataSource, Wanted
from handmade.data.specs import PairSpec
from handmade.data.tables import open_quote
from handmade.data.tree import Tree, open_tree
from handmade.data.utf8 import text_of
from handmade.errors import UserError

MOST_BYTES = 1 << 30  # of one file
NAMES = {  # language -> what a column or a file of it may be called
    "en": ("en", "eng", "english", "anglais"), "fr": ("fr", "fra", "fre", "french", "français", "francais"),
    "de": ("de", "deu", "ger", "german", "deutsch"), "es": ("es", "spa", "spanish", "español"),
    "it": ("it", "ita", "italian", "italiano"), "pt": ("pt", "por", "portuguese"), "nl": ("nl", "nld", "dut", "dutch"),
}  # fmt: skip
ANKI = re.compile(r"#(separator|html|tags|columns|notetype|deck|guid|if matches)( column)?:(.*)\n")
MARKS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "colon": ":", "space": " "}  # as Anki names them
SIDES = ("source", "src", "from", "text"), ("target", "tgt", "trg", "to", "translation")
Rows = Iterable[tuple[str, str]]


def open_own_pairs(
    wanted: Wanted,
    path: str = ".",
    direction: str = "en-fr",
    columns: str = "",
    longest: Annotated[int, Range(1, 500)] = 40,
    vocabulary: Annotated[int, Range(300, 50_000)] = 4000,
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.05,
) -> tuple[PairDataset, PairSpec]:
    """Read sentence pairs; `dataset.report` says what was found.

    path: a .csv, .tsv, .txt or .tmx file, one of two parallel files, or a folder of any of these
    direction: from which language into which, such as en-fr
    columns: names of the source and the target column, such as english,french, where they are not clear
    longest: words of the longest source sentence that is kept
    vocabulary: tokens of the codec that both languages share
    held_out: share of the sentences that are never trained on
    """
    languages = direction.lower().split("-")
    if len(languages) != 2 or not all(languages) or languages[0] == languages[1]:
        raise UserError(f'direction must be two languages such as en-fr, not "{direction}"')
    layout, found = read_pairs(
        Path(path).expanduser(), languages, [name.strip() for name in columns.split(",") if name]
    )
    rows = [Pair(" ".join(left.split()), " ".join(right.split())) for left, right in found]
    kept = [row for row in rows if row.source and row.target and len(row.source.split()) <= longest]
    if not kept:
        raise UserError(f"{path} holds no pair of at most {longest} words ({len(rows):,} pairs read): raise longest")
    dataset, spec = open_pairs(wanted, *divide(kept, held_out), languages, vocabulary)
    report = Report(layout, len(rows), len(rows) - len(kept), longest, rows[0])
    return replace(dataset, report=report), spec


def read_pairs(path: Path, languages: Sequence[str], columns: Sequence[str] = ()) -> tuple[str, list[tuple[str, str]]]:
    """What the files are in words, and their rows; UserError, in one line, for what is missing or broken."""
    if not path.exists():
        raise UserError(f"{path} does not exist: give a .csv, .tsv, .txt or .tmx file, or two parallel files")
    folder = path.is_dir() or path.suffix.lower() == ".zip"
    tree = open_tree(path if folder else path.parent)
    if not folder:
        twin = _twins([path.name, *(name for name in tree.sizes if "/" not in name)], languages, path.name)
        if twin:
            return "two parallel files", _parallel(tree, twin)
        return _read(tree, path.name, languages, columns)
    if twin := _twins(list(tree.sizes), languages):
        return "two parallel files", _parallel(tree, twin)
    names = tree.named(".csv", ".tsv", ".tmx", ".txt")
    if not names:
        raise UserError(f"no pairs among the {len(tree.entries):,} files in {path}: "
                        f"give .csv, .tsv or .tmx files, or NAME.{languages[0]} and NAME.{languages[1]}")  # fmt: skip
    rows: list[tuple[str, str]] = []
    for name in names:
        layout, found = _read(tree, name, languages, columns)
        rows += found
    return layout if len(names) == 1 else f"{len(names):,} files", rows


def _read(tree: Tree, name: str, languages: Sequence[str], columns: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """One file by its ending."""
    where = name if tree.packed else str(tree.root / name)
    content = tree.read(name, MOST_BYTES)
    if name.lower().endswith(".tmx"):
        return "a translation memory", list(_tmx(content, languages, where))
    text = text_of(content, where)
    if not text.strip():
        raise UserError(f"{where} is empty: it holds no pairs")
    if ANKI.match(text):
        return "an Anki export", list(_table(_anki(text, where), languages, columns, where, True))
    tabs = "\t" in text.split("\n", 1)[0]
    if not tabs and not name.lower().endswith((".csv", ".tsv")):
        raise UserError(f"{where} has one column: a pair file needs two, divided by a tab, "
                        f"or a second file for {languages[1]} beside it")  # fmt: skip
    if tabs:  # quotes mean nothing special there
        rows = [line.split("\t") for line in text.split("\n") if line.strip()]
    else:
        rows = _cells(text, max(",;", key=text.split("\n", 1)[0].count), where)
    return ("a table divided by tabs" if tabs else "a table"), list(_table(rows, languages, columns, where, tabs))


def _anki(text: str, where: str) -> list[list[str]]:
    """The fields of an Anki export: the lines at its head name what divides them, and columns that hold none."""
    head, start = {}, 0
    while found := ANKI.match(text, start):
        head[found[1] + (found[2] or "")] = found[3].strip()
        start = found.end()
    told = head.get("separator", "tab")
    mark = MARKS.get(told.lower(), told if len(told) == 1 else "\t")
    others = {int(value) - 1 for name, value in head.items() if name.endswith(" column") and value.isdecimal()}
    rows = [
        [cell for place, cell in enumerate(row) if place not in others] for row in _cells(text[start:], mark, where)
    ]
    if not rows:
        raise UserError(f"{where} holds no pairs below the lines that Anki writes at its head")
    return rows


def _cells(text: str, mark: str, where: str) -> list[list[str]]:
    """The rows of a table whose cells may stand in quotes."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=mark):
            if any(row):
                rows.append(row)
    except csv.Error:
        raise open_quote(f"{where}, row {len(rows) + 1:,}") from None
    return rows


def _table(rows: list[list[str]], languages: Sequence[str], columns: Sequence[str], where: str, tabs: bool) -> Rows:
    """The two columns that are wanted, found by name in the header, or the first two where there is none."""
    head = [cell.strip().lower() for cell in rows[0]]
    places = [_column(head, languages, columns, side) for side in (0, 1)]
    if None in places and not columns and tabs and not any(place is not None for place in places) and len(head) >= 2:
        places, start = [0, 1], 0  # no header: Anki
    elif None in places:
        lacks = (columns or languages)[places.index(None)] if len(columns or languages) == 2 else ",".join(columns)
        raise UserError(f"{where} has no column for {lacks} (columns: {', '.join(rows[0])[:200]}); "
                        "name both with --data.columns SOURCE,TARGET")  # fmt: skip
    else:
        start = 1
    for number, row in enumerate(rows[start:], start + 1):
        if len(row) <= max(places):  # type: ignore[type-var]
            raise UserError(f"{where}, row {number:,} has {len(row)} columns, too few for a pair: {str(row)[:60]}")
        if start and not tabs and any(cell.strip() for cell in row[len(head) :]):
            raise UserError(f"{where}, row {number:,} has {len(row)} columns, and the header {len(head)}: "
                            f"put quotes around a text that holds a comma: {str(row)[:60]}")  # fmt: skip
        yield row[places[0]], row[places[1]]  # type: ignore[index]


def _column(head: Sequence[str], languages: Sequence[str], columns: Sequence[str], side: int) -> int | None:
    """Where a header names this side, or None."""
    if columns:
        wanted = (columns[side].lower(),) if len(columns) == 2 else ()
    else:
        wanted = (*NAMES.get(languages[side], (languages[side],)), *SIDES[side])
    return next((head.index(name) for name in wanted if name in head), None)


def _twins(names: Sequence[str], languages: Sequence[str], given: str = "") -> tuple[str, str] | None:
    """Two files whose names differ in the language alone: corpus.en and corpus.fr, en.txt and fr.txt, train.en.txt ..."""
    known = set(names)
    for name in [given] if given else sorted(known):
        parts = PurePosixPath(name).name.split(".")
        for place, part in enumerate(parts):
            for mine, other in ((0, 1), (1, 0)):
                if part.lower() == languages[mine]:
                    twin = str(
                        PurePosixPath(name).with_name(".".join([*parts[:place], languages[other], *parts[place + 1 :]]))
                    )
                    if twin in known:
                        return (name, twin) if mine == 0 else (twin, name)
    return None


def _parallel(tree: Tree, twins: tuple[str, str]) -> list[tuple[str, str]]:
    """Line by line."""
    left, right = ([*text_of(tree.read(name, MOST_BYTES), name).split("\n")] for name in twins)
    left, right = (lines[:-1] if lines[-1] == "" else lines for lines in (left, right))
    if len(left) != len(right):
        raise UserError(
            f"{twins[0]} has {len(left):,} lines and {twins[1]} has {len(right):,}: parallel files have the same"
        )
    return list(zip(left, right, strict=True))


def _tmx(content: bytes, languages: Sequence[str], where: str) -> Iterator[tuple[str, str]]:
    """The units of a translation memory that have both languages, whichever country they are of."""
    if b"<!ENTITY" in content:
        raise UserError(f"{where} defines entities, which a translation memory does not need: it is not read")
    found, known = 0, set()
    try:
        for _, unit in ElementTree.iterparse(io.BytesIO(content)):
            if unit.tag != "tu":
                continue
            said: dict[str, str] = {}
            for side in unit.iter("tuv"):
                language = side.get("{http://www.w3.org/XML/1998/namespace}lang") or side.get("lang") or ""
                segment = side.find("seg")
                said.setdefault(language.lower().split("-")[0], "" if segment is None else "".join(segment.itertext()))
            known |= said.keys()
            if languages[0] in said and languages[1] in said:
                found += 1
                yield said[languages[0]], said[languages[1]]
            unit.clear()
    except ElementTree.ParseError as error:
        raise UserError(f"{where} is no whole XML file: {error}") from None
    if not found:
        raise UserError(
            f"{where} has no pair of {languages[0]} and {languages[1]} (languages: {', '.join(sorted(known))})"
        )


OWN_PAIRS = DataSource(
    name="path",
    title="Your own sentence pairs",
    licence="yours",
    homepage="",
    note="",
    kind="pairs",
    build=open_own_pairs,
)
