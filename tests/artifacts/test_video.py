"""Clips as files: GIF with its origin inside, MP4 beside it, and strips of frames on the sheet."""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from handmade.artifacts import Video, read_origin
from handmade.artifacts.provenance import GIF_COMMENT, KEYWORD
from handmade.errors import Damaged, Diverged, UserError

ORIGIN = {"recipe": "text_to_video/shapes", "run": "runs/x", "version": "0.1.0", "ask": "generate",
          "arguments": {"prompt": "a «red» circle " * 40, "n": 2}}  # fmt: skip
FILMS = importlib.util.find_spec("av") is not None


def clips(n: int = 2, frames: int = 5, channels: int = 3, size: int = 8) -> torch.Tensor:
    return torch.linspace(-1, 1, n * frames).view(n, frames, 1, 1, 1).expand(n, frames, channels, size, size)


def test_every_clip_is_an_animation_with_its_frames_in_order(tmp_path):
    files = Video(clips(), rate=5, hold=1.0).save(tmp_path)
    names = [file.name for file in files]
    assert names == (
        ["000000.gif", "000000.mp4", "000001.gif", "000001.mp4"] if FILMS else ["000000.gif", "000001.gif"]
    ) + ["sheet.png"]
    with Image.open(files[0]) as film:
        assert film.n_frames == 5 and film.size == (256, 256)
        times, levels = [], []
        for place in range(5):
            film.seek(place)
            times.append(film.info["duration"])
            levels.append(film.convert("L").getpixel((9, 9)))
    assert times == [200, 200, 200, 200, 1200]
    assert levels == sorted(levels) and levels[0] == 0


def test_a_film_can_be_opened(tmp_path):
    av = pytest.importorskip("av")
    Video(clips(1, size=7), names=("mine",)).save(tmp_path)
    with av.open(str(tmp_path / "mine.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 5 + 4  # half a second of the last at 8 a second


def test_every_file_knows_where_it_comes_from_and_has_the_same_bytes_each_time(tmp_path):
    video = Video(clips(), titles=("one", "two"), origin=ORIGIN)
    files, again = video.save(tmp_path / "a"), video.save(tmp_path / "b")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]
    for file in files:
        if file.suffix != ".json":
            origin = read_origin(file)
            assert origin["file"] == file.name and origin["arguments"]["prompt"] == ORIGIN["arguments"]["prompt"]
            assert origin.get("item") == (None if file.name == "sheet.png" else int(file.stem))
    with Image.open(files[0]) as film:
        assert film.n_frames == 5 and film.info["comment"].startswith(KEYWORD)


def test_a_note_in_a_gif_that_is_damaged_or_absent_is_said(tmp_path):
    file = Video(clips(1), origin=ORIGIN).save(tmp_path)[0]
    whole = file.read_bytes()
    place = whole.index(GIF_COMMENT)
    file.write_bytes(
        whole[:place] + whole[place : place + 40].replace(b"handmade {", b"handmade [") + whole[place + 40 :]
    )
    with pytest.raises(Damaged, match="note of origin is not JSON"):
        read_origin(file)
    for broken in (whole[:place], b"GIF89a", whole[: place + 30]):
        file.write_bytes(broken)
        with pytest.raises((UserError, Damaged)):
            read_origin(file)
    plain = Video(clips(1)).save(tmp_path / "plain")[0]
    with pytest.raises(UserError, match="does not say where it comes from"):
        read_origin(plain)


def test_the_sheet_shows_strips_of_a_dozen_frames_at_most(tmp_path):
    picture = Video(clips(3, frames=30, size=16), titles=("a", "b", "c")).picture()
    assert picture.width > 12 * 64 and picture.height > 3 * 64
    assert Video(clips(1, frames=2, channels=1, size=16)).picture().width < 3 * 66


def test_a_page_gets_the_first_clips_as_one_animation():
    sample = Video(clips(10)).sample()
    assert sample["kind"] == "video" and sample["of"] == 10
    with Image.open(io.BytesIO(base64.b64decode(sample["gif"]))) as film:
        assert film.n_frames == 5 and film.size == (sample["width"], sample["height"])


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_sees_the_first_clip(colour):
    assert "2 clips of 5 frames, 8 x 8 pixels" in Video(clips()).text(60, colour)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Video(torch.zeros(2, 3, 8, 8)), "must be"),
        (lambda: Video(torch.zeros(1, 3, 2, 8, 8)), "1, 3 or 4 channels"),
        (lambda: Video(clips(), titles=("one",)), "2 clips cannot have 1 titles"),
        (lambda: Video(clips(), names=("a", "a")), "2 clips cannot have 1 file names"),
        (lambda: Video(clips(), rate=0), "more than 0 frames a second"),
    ],
)
def test_what_is_no_clip_is_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_weights_that_diverged_are_not_saved(tmp_path: Path):
    with pytest.raises(Diverged):
        Video(clips() * torch.nan)
