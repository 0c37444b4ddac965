"""Albums: pictures of any sizes, under names of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from handmade.artifacts import Album
from handmade.errors import UserError

ORIGIN = {"recipe": "cyclegan/smoke", "run": "runs/x", "step": 1, "ask": "translate", "arguments": {}}


def some(channels: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(256, (channels, height, width), generator=generator, dtype=torch.uint8)


def test_each_picture_is_saved_in_its_own_size_and_mode_under_its_name(tmp_path):
    given = [some(3, 7, 1000), some(1, 40, 20), some(4, 9, 9)]
    files = Album(given, ("wide.png", "grey.png", "clear.png")).save(tmp_path)
    assert [file.name for file in files] == ["wide.png", "grey.png", "clear.png", "sheet.png"]
    for file, levels in zip(files, given, strict=False):
        with Image.open(file) as picture:
            assert np.array_equal(np.asarray(picture).reshape(levels.movedim(0, 2).shape), levels.movedim(0, 2).numpy())


def test_pictures_say_where_they_come_from_and_which_item_they_are(tmp_path):
    from handmade.artifacts import read_origin

    files = Album([some(3, 5, 5), some(3, 6, 4)], ("a.png", "b.png"), origin=ORIGIN).save(tmp_path)
    assert [read_origin(file).get("item") for file in files] == [0, 1, None]


def test_the_sheet_shows_pictures_of_any_sizes_in_bounded_space():
    album = Album([some(3, 20, 7000), some(3, 3000, 30), some(1, 64, 64)], ("a.png", "b.png", "c.png"), ("x", "y", "z"))
    sheet = album.picture()
    assert sheet.mode == "RGB" and max(sheet.size) < 4200


def test_a_terminal_is_told_the_titles_without_signs_that_steer_it():
    told = Album([some(3, 8, 8)], ("a.png",), ("error 0.3\x1b[2J",)).text(40, colour=False)
    assert "error 0.3" in told and "\x1b" not in told
    assert Album([some(3, 8, 8)] * 2, ("a.png", "b.png")).text(40, colour=False).startswith("2 pictures")


@pytest.mark.parametrize("names", [("a.png", "a.png"), ("sheet.png", "b.png")])
def test_a_file_that_would_overwrite_another_is_refused_by_name(names):
    with pytest.raises(UserError, match=names[0]):
        Album([some(3, 8, 8)] * 2, names)


def test_what_is_no_picture_is_refused():
    for levels in ([], [some(2, 8, 8)], [torch.zeros(8, 8, dtype=torch.uint8)], [some(3, 0, 8)]):
        with pytest.raises(UserError):
            Album(levels, ("a.png",) * len(levels))
    with pytest.raises(UserError, match="title"):
        Album([some(3, 8, 8)] * 2, ("a.png", "b.png"), ("one",))
