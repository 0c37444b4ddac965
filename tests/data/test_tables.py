"""Tables beside pictures: other encodings, line breaks in quotes, rows that are too wide, and files that are no tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handmade.data.source import open_data
from handmade.errors import UserError


def folder(tmp_path: Path, paint: Any, table: str | bytes, name: str = "metadata.csv") -> dict:
    """Twelve pictures i0.png to i11.png beside a table."""
    for number in range(12):
        paint(tmp_path / f"i{number}.png", number)
    (tmp_path / name).write_bytes(table if isinstance(table, bytes) else table.encode())
    return {"path": str(tmp_path), "size": 8}


def rows(text: str, head: str = "file_name,text\n") -> str:
    return head + "".join(f"i{number}.png,{text.format(number)}\n" for number in range(12))


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "labels.csv"])
def test_a_table_in_another_encoding_is_refused_in_one_line(name, tmp_path, paint):
    text = rows("café {}")
    if name.endswith("jsonl"):
        text = "".join(f'{{"file_name": "i{number}.png", "text": "café {number}"}}\n' for number in range(12))
    for encoding, looks in (("latin1", "latin1"), ("utf-16", "utf-16")):
        place = tmp_path / encoding
        place.mkdir()
        data = folder(place, paint, text.encode(encoding), name)
        with pytest.raises(UserError, match=f"{name} is not UTF-8: .*it looks like {looks}; save it as UTF-8"):
            open_data({**data, "kind": "captions"})


def test_stray_files_that_are_no_tables_stop_nothing(tmp_path, paint):
    data = folder(tmp_path, paint, "notes,caf\xe9\na,b,c\n".encode("latin1"), "notes.txt")
    (tmp_path / "b.csv").write_bytes(b"\x00\xff\xfe,;\n")
    (tmp_path / "c.txt").write_text('a,"' + "x,y\n" * 50_000)
    (tmp_path / "d.txt").write_text("Dear you,\nI, for one, write, with commas,\n")
    dataset, _ = open_data(data)
    assert dataset.report.layout == "pictures without labels" and dataset.report.count == 12


def test_line_breaks_in_quotes_survive_as_spaces(tmp_path, paint):
    for ends in ("\n", "\r\n"):
        data = folder(tmp_path, paint, rows('"a red\ncat {}"').replace("\n", ends))
        dataset, _ = open_data({**data, "kind": "captions"})
        assert dataset.captions and all(caption.startswith("a red cat ") for caption in dataset.captions)


def test_rows_that_are_too_wide_are_named(tmp_path, paint):
    text = rows("a cat {}").replace("a cat 1\n", "a cat, sitting\n").replace("a cat 4\n", "a cat 4,\n")
    dataset, _ = open_data({**folder(tmp_path, paint, text), "kind": "captions"})
    assert dataset.report.count == 11
    said = "rows of metadata.csv with more columns than its header, left out: 1, the first in line 3; put quotes around"
    assert any(line.startswith(said) for line in dataset.report.lines())
    assert "pictures that the table does not name, left out: 1" in dataset.report.lines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rows("a cat, {}"), "no row of metadata.csv can be used: rows .* with more columns than its header"),
        (rows("cat {}") + 'i0.png,"cat\n' + "i1.png,cat\n" * 20_000, "metadata.csv has a quote that is not closed"),
    ],
)
def test_a_table_of_which_nothing_can_be_used_is_one_clear_line(text, said, tmp_path, paint):
    with pytest.raises(UserError, match=said):
        open_data({**folder(tmp_path, paint, text), "kind": "captions"})
