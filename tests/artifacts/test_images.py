from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from handmade.artifacts import Images, contact_sheet
from handmade.artifacts.images import nearly_square
from handmade.data.specs import ImageSpec
from handmade.errors import Diverged, UserError


def some(n: int, channels: int = 3, size: int = 8) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_each_item_is_one_png_with_the_very_levels_of_the_spec(tmp_path, channels, mode):
    pixels = some(3, channels, 7)
    files = Images(pixels).save(tmp_path)
    assert [file.name for file in files] == ["000000.png", "000001.png", "000002.png", "sheet.png"]
    wanted = ImageSpec(channels, 7).decode(pixels).permute(0, 2, 3, 1).numpy()
    for file, levels in zip(files[:-1], wanted, strict=True):
        with Image.open(file) as picture:
            assert picture.mode == mode
            assert np.array_equal(np.asarray(picture).reshape(levels.shape), levels)


def test_pixels_beyond_the_range_are_cut_not_wrapped(tmp_path):
    file = Images(torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2)).save(tmp_path)[0]
    with Image.open(file) as picture:
        assert list(picture.tobytes()) == [0, 255]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (7, 3), (8, 4), (16, 4), (64, 8), (13, 4)])
def test_the_sheet_is_nearly_square_and_leaves_no_gap_where_the_number_allows(n, columns):
    assert nearly_square(n) == columns
    assert Images(some(n)).picture().mode == "RGB"


def test_a_sheet_with_empty_places_and_given_columns_shows_every_picture():
    white = torch.ones(5, 1, 64, 64)
    sheet = np.asarray(Images(white, columns=2).picture().convert("L"))
    assert int((sheet == 255).sum()) == 5 * 64 * 64


def test_small_pictures_are_magnified_without_blur():
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 1, 2, 2)
    sheet = Images(checks).picture()
    assert min(sheet.size) >= 64
    assert {colour for _, colour in sheet.getcolors() or []} == {(255, 255, 255), (0, 0, 0), (25, 27, 34)}


def test_ten_thousand_pictures_still_make_a_sheet_of_bounded_size():
    sheet = contact_sheet([Image.new("L", (28, 28))] * 10_000)
    assert max(sheet.size) <= 4096 * 1.2


def test_titles_are_drawn_under_the_tiles():
    plain, titled = (
        Images(some(2, size=64)).picture(),
        Images(some(2, size=64), titles=("cat", "a very long " * 9)).picture(),
    )
    assert titled.height > plain.height
    assert titled.width == plain.width


def test_rows_without_titles_take_no_room_for_them():
    def height(titles=()):
        return Images(some(6, size=64), columns=2, titles=titles).picture().height

    last, all_rows = height(("",) * 4 + ("cat", "dog")), height(("cat", "dog") * 3)
    assert height() == height(("",) * 6) < last < all_rows
    assert 3 * (last - height()) == all_rows - height()


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 2, 8, 8), (3, 8, 8), (2, 3, 0, 8)])
def test_shapes_that_are_no_pictures_are_refused(shape):
    with pytest.raises(UserError, match="pictures must be"):
        Images(torch.zeros(shape))


def test_titles_and_columns_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="2 pictures cannot have 1 titles"):
        Images(some(2), titles=("one",))
    with pytest.raises(UserError, match="at least one column"):
        Images(some(2), columns=0)


def test_nan_is_a_diverged_model_not_a_black_picture():
    with pytest.raises(Diverged, match="NaN"):
        Images(torch.full((1, 1, 2, 2), math.nan))


def test_the_terminal_shows_colour_or_plain_characters_within_its_width():
    images = Images(some(5))
    plain, coloured = images.text(40, colour=False), images.text(40, colour=True)
    assert plain.startswith("5 pictures, 8 x 8 pixels\n")
    assert plain.isascii()
    assert max(map(len, plain.splitlines())) <= 40
    assert coloured.count("▀") <= 40 * len(coloured.splitlines())
    assert coloured.endswith("\x1b[0m")


def test_text_is_plain_where_standard_output_is_no_terminal(capsys):
    assert "\x1b" not in Images(some(1)).text()


def test_odd_sizes_and_weights_that_want_gradients_are_drawn():
    pixels = torch.zeros(3, 1, 5, 11, requires_grad=True).to(torch.bfloat16)
    assert Images(pixels).picture().width > Images(pixels).picture().height


def test_long_titles_are_broken_into_lines_and_short_ones_stay_on_one():
    def sheet(title):
        return Images(torch.zeros(2, 3, 64, 64), titles=("a", title)).picture()

    short, long, endless = sheet("b"), sheet("a smiling face with long green hair"), sheet("word " * 200)
    assert short.height < long.height < endless.height < short.height + 64
    assert sheet("unbreakable" * 40).height == short.height
