"""The README tells the truth: its words exist, its rooms are there, its numbers are those of the results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.record import BEGIN, END, figure, paired, table
from handmade.cli.main import WORDS
from handmade.registry import find_recipe, rooms, zoo

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_every_word_of_the_readme_exists():
    words = set(re.findall(r"^handmade (\w+)", README, re.MULTILINE)) | set(re.findall(r"`handmade (\w+)", README))
    assert words and words <= set(WORDS)


def test_every_recipe_of_the_readme_exists():
    for name in set(re.findall(r"handmade train (\w+/[\w-]+)", README)):
        assert find_recipe(name)
    for name in set(re.findall(r"zoo:(\w+/[\w-]+)", README)):
        assert name in zoo()


def test_every_room_is_in_the_readme():
    for name, room in rooms().items():
        if "handmade/systems" in room.folder.as_posix():
            assert f"`{name}`" in README


def test_the_numbers_are_those_of_the_results():
    written = README.split(BEGIN)[1].split(END)[0].strip()
    assert written == table()


def test_a_ratio_is_the_median_of_rounds_taken_in_turn():
    assert paired([1.0, 2.0, 4.0], [2.0, 5.0, 8.0]) == {"ratio": 2.0, "low": 2.0, "high": 2.5}


def test_a_goal_that_was_missed_says_so(tmp_path, monkeypatch):
    import json

    import benchmarks.record as record

    monkeypatch.setattr(record, "RESULTS", tmp_path)
    result = {"machine": {"name": "x", "cores": 2}, "commit": "abc", "figures": {"a": figure(1.5, "2", False, "speed")}}
    (tmp_path / "a.json").write_text(json.dumps(result), "utf-8")
    assert "| speed | 1.5 (missed) | 2 | x, 2 cores, abc |" in record.table()


def test_a_figure_that_was_not_measured_again_keeps_the_commit_at_which_it_was(tmp_path, monkeypatch):
    import json

    import benchmarks.record as record

    monkeypatch.setattr(record, "RESULTS", tmp_path)
    assert record.recorded("a") == ([], {})
    old = {"machine": {}, "commit": "abc", "rows": [], "figures": {"a": figure(1.5, "2", True, "speed")}}
    (tmp_path / "a.json").write_text(json.dumps(old), "utf-8")
    _, figures = record.recorded("a")
    figures["b"] = figure(3, "2", True, "size")
    result = {"machine": {"name": "x", "cores": 2}, "commit": "def", "figures": figures}
    (tmp_path / "a.json").write_text(json.dumps(result), "utf-8")
    assert "| speed | 1.5 | 2 | x, 2 cores, abc |\n| size | 3 | 2 | x, 2 cores, def |" in record.table()


def test_parts_that_are_not_run_again_stay_and_others_are_replaced(tmp_path, monkeypatch):
    import json

    import benchmarks.record as record

    monkeypatch.setattr(record, "RESULTS", tmp_path)

    def part(value):
        return lambda: ([{"seen": value}], {f"{value}": figure(value, "1", True, "size")})

    record.record_parts("a", {"one": part(1), "two": part(2)})
    record.record_parts("a", {"one": part(3), "two": part(4)}, ["two"])
    result = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert result["rows"] == [{"part": "one", "seen": 1}, {"part": "two", "seen": 4}]
    assert set(result["figures"]) == {"1", "2", "4"} and "commit" not in result["figures"]["4"]
    record.record_parts("a", {"one": part(5), "two": part(6)})
    assert set(json.loads((tmp_path / "a.json").read_text("utf-8"))["figures"]) == {"5", "6"}


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_targets(target):
    makefile = (Path(__file__).parent.parent / "Makefile").read_text("utf-8")
    assert f"\n{target}: " in makefile and f"make {target}" in README
