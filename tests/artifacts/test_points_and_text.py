from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from PIL import Image

from handmade.artifacts import Points, Text
from handmade.errors import Diverged, UserError


def some_points(**more) -> Points:
    x = torch.linspace(0, 10, 50)
    return Points(torch.stack([x, x**2], 1), "x ** 2", (0.0, 0.0), (10.0, 100.0), **more)


def test_points_save_a_plot_a_table_and_a_sheet(tmp_path):
    files = some_points().save(tmp_path)
    assert [file.name for file in files] == ["points.svg", "points.csv", "sheet.png"]
    rows = (tmp_path / "points.csv").read_text().splitlines()
    assert rows[0] == "x,y"
    assert len(rows) == 51
    assert [float(v) for v in rows[-1].split(",")] == [10.0, 100.0]
    plot = ElementTree.parse(tmp_path / "points.svg")
    assert len(plot.findall(".//{http://www.w3.org/2000/svg}circle")) == 50
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (640, 480)


def test_points_outside_the_plot_are_in_the_table_but_not_drawn(tmp_path):
    points = Points(torch.tensor([[1.0, 1.0], [1e9, -1e9]]), "x", (0.0, 0.0), (2.0, 2.0))
    points.save(tmp_path)
    assert (tmp_path / "points.svg").read_text().count("<circle") == 1
    assert "1e+09,-1e+09" in (tmp_path / "points.csv").read_text()


def test_the_true_curve_is_drawn_where_it_is_known(tmp_path):
    curve = torch.tensor([[0.0, 0.0], [10.0, 100.0]])
    some_points(curve=curve).save(tmp_path)
    assert "<polyline" in (tmp_path / "points.svg").read_text()
    assert some_points(curve=curve).picture().tobytes() != some_points().picture().tobytes()


def test_a_formula_is_escaped_in_the_plot(tmp_path):
    Points(torch.zeros(1, 2), "<script>alert(1)</script>", (0.0, 0.0), (1.0, 1.0)).save(tmp_path)
    assert "<script" not in (tmp_path / "points.svg").read_text()


def test_points_that_are_no_points_are_refused():
    with pytest.raises(UserError, match="points must be"):
        Points(torch.zeros(3, 3), "x", (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(Diverged, match="NaN"):
        Points(torch.tensor([[0.0, math.inf]]), "x", (0.0, 0.0), (1.0, 1.0))


def test_points_in_the_terminal_are_stars_or_braille():
    plain = some_points().text(40, colour=False)
    assert plain.isascii()
    assert "*" in plain.splitlines()[1]  # the curve ends at the top right
    assert len(plain.splitlines()) == 17
    assert any(0x2800 < ord(c) <= 0x28FF for c in some_points().text(40, colour=True))


def test_a_preview_holds_the_values_beside_the_sheet(tmp_path):
    sheet, values = some_points().preview(tmp_path)
    assert (sheet.name, values.name) == ("sheet.png", "sample.json")
    told = json.loads(values.read_text())
    assert told["kind"] == "points"
    assert told["points"][-1] == [10.0, 100.0]
    assert json.loads(Text(("1 2",)).preview(tmp_path)[1].read_text()) == {"kind": "text", "lines": ["1 2"], "of": 1}


def test_text_is_one_line_per_item_and_nothing_else(tmp_path):
    lines = tuple(f"{n} {n + 5}" for n in range(40))
    files = Text(lines, "numbers").save(tmp_path)
    assert [file.name for file in files] == ["numbers.txt", "sheet.png"]
    assert (tmp_path / "numbers.txt").read_bytes() == "".join(f"{line}\n" for line in lines).encode()
    shown = Text(lines).text(80).splitlines()
    assert shown[0] == "0 5"
    assert shown[-1] == "... 16 more"


def test_text_that_would_break_its_lines_or_leave_its_folder_is_refused():
    with pytest.raises(UserError, match="one line"):
        Text(("a\nb",))
    with pytest.raises(UserError, match="cannot be saved as"):
        Text(("a",), "../a")
    with pytest.raises(UserError, match="at least one line"):
        Text(())


def test_text_of_any_width_has_a_picture():
    assert Text(("",)).picture().mode == "RGB"
    assert Text(("word " * 100, "a")).picture().width < 2000
    assert Text(tuple("1 2 3" for _ in range(25))).picture().height > Text(("1 2 3",) * 24).picture().height
