"""Music on the page: its rolls to see, and the last of them to hear."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from pathlib import Path

import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from gallery_runs import make_run, score
from handmade.artifacts import Music
from handmade.gallery import write_gallery
from handmade.gallery.stage import stage
from handmade.gallery.story import read_story
from handmade.midi import Note, Piece


def music_at(share: float) -> Music:
    notes = tuple(Note(0.25 * i, 0.25, 60 + round(12 * share) + i % 5, 80, v) for i in range(16) for v in range(2))
    return Music((Piece(notes, ("soprano", "alto"), 90.0),) * 2, "choir")


def music_run(folder: Path) -> Path:
    return make_run(
        folder, "musegan/chorales", music_at, players={"critic": (0.0, -1.0), "generator": (0.0, 1.0)},
        scores=lambda share: {"distance": score(1 - share, 0.05, about="of statistics")},
        system={"title": "MuseGAN", "story": "Four voices.", "makes": "music"},
    )  # fmt: skip


def test_the_last_sample_can_be_heard(tmp_path):
    page = write_gallery([music_run(tmp_path / "run")], tmp_path / "page.html").read_text()
    assert page.count("<audio controls") == 1 and "media-src data:" in page and "what real music score" in page
    found = re.search(r'src="data:audio/mpeg;base64,([^"]+)"', page)
    assert found
    told = soundfile.info(io.BytesIO(base64.b64decode(found[1])))
    assert 8 < told.duration < 11, "two pieces of four seconds, a beat apart, and their echo"
    assert len(found[1]) < 150_000


@pytest.mark.parametrize(
    "change",
    [
        {"instruments": ["tuba", "tuba"]},
        {"instruments": []},
        {"notes": [[0, 1, 60, 80]]},
        {"notes": [[0, 1, 60, 80, 7]]},
        {"notes": [[0, 1, "60", 80, 0]]},
        {"notes": [[0, 1e9, 60, 80, 0]]},
        {"notes": [[0, 1, 60, 80, 0]] * 3000},
        {"notes": None},
    ],
)
def test_a_sample_that_is_no_music_is_shown_without_its_sound(tmp_path, change):
    run = music_run(tmp_path / "run")
    for path in run.rglob("sample.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    made = stage(read_story(run), 1_000_000)
    assert made and "<img" in made.html and "<audio" not in made.html
