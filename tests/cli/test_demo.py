"""The demo as a newcomer runs it, shortened: models are trained, things are made, and one page shows them."""

from __future__ import annotations

import re
import time
from pathlib import Path

from commands import hand


def test_the_demo_trains_and_writes_one_page_that_needs_nothing_else(tmp_path: Path):
    began = time.monotonic()
    done = hand("demo", "--minutes", "0.35", "--only", "shapes_gan/exponential,numbers_gan/fives", "--json",
                "--out", tmp_path / "demo")  # fmt: skip
    assert done.code == 0, done
    told = done.json()
    page = Path(told["gallery"]).read_text("utf-8")
    assert time.monotonic() - began < 60
    assert set(told["scores"]) == {"shapes_gan-exponential", "numbers_gan-fives"}
    for run in told["runs"]:
        assert (Path(run) / "film.gif").is_file() and (Path(run) / "progress.png").is_file()
    assert ("handmade resume" in page and "data:image" in page) or "<svg" in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//(?!arxiv\.org)""", page)


def test_demo_refuses_what_does_not_take_part(tmp_path: Path):
    done = hand("demo", "--only", "shapes_gan/nothing", "--out", tmp_path / "demo")
    assert done.code == 2 and "take part" in done.complaint()
    assert not (tmp_path / "demo").exists()
