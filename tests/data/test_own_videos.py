"""The user's own clips: animations, films and folders of frames, with a table of sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from handmade.data import own_videos
from handmade.data.source import for_path, kind_of, open_data
from handmade.data.videos import Videos
from handmade.errors import UserError

WORDS = ("a red dot comes", "a red dot goes", "it grows", "it shrinks")


def greys(frames: int, size: tuple[int, int] = (12, 12)) -> list[Image.Image]:
    return [Image.new("L", size, round(255 * place / max(1, frames - 1))) for place in range(frames)]


def animation(path: Path, frames: int = 8, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = greys(frames, **options)
    first.save(path, save_all=True, append_images=others, duration=50)


def numbered(folder: Path, frames: int = 12) -> None:
    folder.mkdir(parents=True)
    for place, frame in enumerate(greys(frames)):
        frame.save(folder / f"frame{place}.png")


def table(folder: Path, rows: dict[str, str], head: str = "file_name,text") -> Path:
    (folder / "metadata.csv").write_text("\n".join([head, *(f"{name},{text}" for name, text in rows.items())]))
    return folder


def own(path: Path, split: str = "train", **options) -> Videos:
    dataset, spec = open_data({"path": str(path), "kind": "videos", "size": 8, "frames": 4, **options}, split)  # type: ignore[arg-type]
    assert isinstance(dataset, Videos) and dataset.spec == spec
    return dataset


def levels(dataset: Videos, row: int = 0) -> list[int]:
    return dataset.pixels[row, :, 0, 4, 4].tolist()


def test_animations_folders_and_films_become_clips_of_one_length(tmp_path: Path):
    for name in ("a.gif", "b.webp", "c.png"):
        animation(tmp_path / name)
    numbered(tmp_path / "d")
    table(tmp_path, dict(zip(("a.gif", "b.webp", "c.png", "d"), WORDS, strict=True)))
    train, test = own(tmp_path), own(tmp_path, "test")
    assert len(train) + len(test) == 4 and len(test) >= 1
    assert {*train.captions, *test.captions} == set(WORDS)
    assert train.report.lines() == ["clips with a metadata table: 4 pictures, 0 broken"]
    for dataset in (train, test):
        for row in range(len(dataset)):
            assert levels(dataset, row)[0] < 8 and levels(dataset, row)[-1] > 247
            assert levels(dataset, row) == sorted(levels(dataset, row))
    batch = train.batch(torch.arange(len(train)), torch.Generator())
    assert batch.pixels.shape[1:] == (4, 3, 8, 8) and batch.pixels.min() >= -1 and batch.pixels.max() <= 1
    assert batch.tokens.shape == (len(train), train.spec.longest) and batch.labels.shape == (len(train), 0)


def test_frames_of_a_folder_go_by_their_numbers(tmp_path: Path):
    numbered(tmp_path / "d", frames=12)  # by letters, frame10 would come before frame2
    clip = own(table(tmp_path, {"d": "it grows"}), frames=12)
    assert levels(clip) == [round(255 * place / 11) for place in range(12)]


def test_a_short_clip_stays_on_some_frames_and_other_columns_are_labels(tmp_path: Path):
    animation(tmp_path / "in" / "a.gif", frames=2)
    animation(tmp_path / "in" / "b.gif", frames=2)
    table(tmp_path / "in", {"a.gif": "it grows,slow", "b.gif": "it shrinks,slow"}, "file_name,text,speed")
    clip = own(tmp_path, channels=1)
    assert clip.pixels.shape[1:] == (4, 1, 8, 8) and levels(clip) == [0, 0, 255, 255]
    assert clip.spec.labels == {"speed": ("slow",)}


def test_a_film_is_read_where_av_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("av")
    from handmade.artifacts.film import mp4_bytes

    (tmp_path / "a.mp4").write_bytes(mp4_bytes([frame.convert("RGB") for frame in greys(8, (16, 16))], 0.1, 0.0))
    (tmp_path / "b.mp4").write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    for name in "cdef":
        animation(tmp_path / f"{name}.gif")
    table(tmp_path, {"a.mp4": WORDS[0], "b.mp4": WORDS[1], **{f"{name}.gif": WORDS[2] for name in "cdef"}})
    assert kind_of(tmp_path) == "videos"
    clips = [own(tmp_path, split) for split in ("train", "test")]
    assert [name for name, _ in clips[0].report.broken] == ["b.mp4"]
    film = next(clip for clip in clips if WORDS[0] in clip.captions)
    assert levels(film, list(film.captions).index(WORDS[0])) == pytest.approx([0, 73, 182, 255], abs=6)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"reading a.mp4 needs av: type pip install av"):
        own(tmp_path)


def test_broken_clips_are_named_and_too_many_are_an_error(tmp_path: Path):
    for name in "abcdefgh":
        animation(tmp_path / f"{name}.gif")
    (tmp_path / "b.gif").write_bytes((tmp_path / "b.gif").read_bytes()[:60])
    rows = {f"{name}.gif": "it grows" for name in "abcdefgh"}
    clips = own(table(tmp_path, rows))
    assert [name for name, _ in clips.report.broken] == ["b.gif"] and clips.report.count == 7
    again = own(tmp_path)  # from the cache
    assert again.report == clips.report and torch.equal(again.pixels, clips.pixels)
    (tmp_path / "c.gif").write_text("not a clip")
    with pytest.raises(
        UserError, match=r"3 of 9 clips .* are broken \(b.gif: broken.*none.gif: there is no such file"
    ) as error:
        own(table(tmp_path, {**rows, "none.gif": "it grows"}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("limit", "says"), [("MOST_FRAMES", "frames, more than the 3 allowed"), ("MOST_BYTES", "more than the"),
                        ("MOST_PIXELS", "pixels is more than")])  # fmt: skip
def test_clips_larger_than_our_limits_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, says: str
):
    animation(tmp_path / "a.gif")
    monkeypatch.setattr(own_videos, limit, 3)
    with pytest.raises(UserError, match=says):
        own(table(tmp_path, {"a.gif": "it grows"}))


@pytest.mark.parametrize(
    ("head", "rows", "says"),
    [
        (
            "file_name,text",
            {"a.gif": "it grows", "b.gif": "  "},
            "1 of 2 clips have an empty caption, the first is b.gif",
        ),
        ("file_name,about", {"a.gif": "it grows"}, "needs the columns file_name and text"),
        ("file_name,text", {"a.txt": "it grows"}, "there is no such file"),
        ("file_name,text", {"../a.gif": "it grows"}, "there is no such file"),
    ],
)
def test_a_table_that_does_not_fit_is_one_plain_line(tmp_path: Path, head: str, rows: dict[str, str], says: str):
    animation(tmp_path / "a.gif")
    animation(tmp_path / "b.gif")
    with pytest.raises(UserError, match=says) as error:
        own(table(tmp_path, rows, head))
    assert "\n" not in str(error.value)


def test_without_a_table_the_user_hears_what_is_needed(tmp_path: Path):
    animation(tmp_path / "a.gif")
    with pytest.raises(UserError, match="holds no clips with captions: put a metadata.csv"):
        own(tmp_path)


def test_a_recipe_of_clips_takes_a_folder_and_keeps_what_fits(tmp_path: Path):
    found = for_path({"source": "clips", "of": "shapes", "size": 16, "frames": 8}, tmp_path)
    assert found == {"path": str(tmp_path), "kind": "videos", "size": 16, "frames": 8, "channels": 3}
