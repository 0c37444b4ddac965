"""Tables and passages: what is saved is what was given, and a script can read it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from handmade.artifacts import Passages, Table
from handmade.errors import UserError

TABLE = Table(("token", "T = 1"), (("·the", 0.5), ('a "b", c', 0.25)), {"the": 0.5, "b": 0.25}, bars=("T = 1",))


def test_a_table_is_saved_for_spreadsheets_scripts_and_eyes(tmp_path: Path):
    files = [path.name for path in TABLE.save(tmp_path)]
    assert files == ["table.csv", "table.values.json", "table.png", "sheet.png"]
    with (tmp_path / "table.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [["token", "T = 1"], ["·the", "0.5"], ['a "b", c', "0.25"]]
    assert json.loads((tmp_path / "table.values.json").read_text()) == {"the": 0.5, "b": 0.25}
    with Image.open(tmp_path / "table.png") as picture:
        assert picture.width > picture.height > 100


def test_longer_bars_are_larger_numbers():
    picture = TABLE.picture().convert("RGB")
    coloured = [sum(picture.getpixel((x, y)) == (47, 111, 219) for x in range(picture.width)) for y in (73, 103)]
    assert coloured[0] == pytest.approx(2 * coloured[1], abs=3) and coloured[1] > 50


def test_a_table_shows_its_columns_in_a_terminal():
    lines = TABLE.text(40).splitlines()
    assert lines[0].split() == ["token", "T", "=", "1"] and lines[1].endswith("0.5")
    assert all(len(line) <= 12 for line in TABLE.text(12).splitlines())


def test_tables_without_rows_or_with_crooked_ones_are_refused():
    for rows in ((), (("one",),)):
        with pytest.raises(UserError):
            Table(("a", "b"), rows)


def test_passages_keep_their_line_breaks_each_in_a_file(tmp_path: Path):
    texts = ("HAMLET:\nTo be,\n\nor not", "é\ttab")
    files = [path.name for path in Passages(texts).save(tmp_path)]
    assert files == ["000000.txt", "000001.txt", "sheet.png"]
    assert [(tmp_path / name).read_bytes().decode() for name in files[:2]] == list(texts)


def test_passages_are_wrapped_and_parted_in_a_terminal():
    lines = Passages(("word " * 30, "second")).text(40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[-2:] == ["-" * 20, "second"]
    assert "".join(lines[:-2]) == "word " * 30
    assert Passages(("",)).text() == "" and Passages(("",)).picture().width
    with pytest.raises(UserError):
        Passages(())
