"""What a user hands to an ask: pictures of their own, and labels in words."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from handmade.data.given import given_squares
from handmade.data.specs import ImageSpec
from handmade.errors import UserError

FACES = ImageSpec(3, 64, {"glasses": ("no", "yes"), "hair": ("black", "blond"), "Smiling": ("-1", "1")})


def picture(path: Path, width: int = 20, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(path)
    return path


def test_a_file_gives_one_square(tmp_path):
    names, squares = given_squares(picture(tmp_path / "me.jpg"), 16, 3)
    assert names == ["me.jpg"]
    assert squares.shape == (1, 3, 16, 16)
    assert squares.dtype == torch.uint8
    assert (squares.float() - 200).abs().max() <= 2


def test_a_folder_and_a_zip_give_every_picture_by_name(tmp_path):
    for name in ("b.png", "a.png", "deep/c.png"):
        picture(tmp_path / "mine" / name)
    (tmp_path / "mine/notes.txt").write_text("not a picture")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as packed:
        for path in (tmp_path / "mine").rglob("*.png"):
            packed.write(path, path.relative_to(tmp_path / "mine"))
    for place in ("mine", "mine.zip"):
        names, squares = given_squares(tmp_path / place, 8, 1)
        assert names == ["a.png", "b.png", "deep/c.png"]
        assert squares.shape == (3, 1, 8, 8)


def test_what_is_no_picture_is_named(tmp_path):
    picture(tmp_path / "mine/a.png")
    (tmp_path / "mine/b.png").write_text("only words")
    with pytest.raises(UserError, match=r"b\.png cannot be used: not a picture"):
        given_squares(tmp_path / "mine", 8, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures in"):
        given_squares(tmp_path / "empty", 8, 3)
    with pytest.raises(UserError, match="does not exist"):
        given_squares(tmp_path / "nowhere", 8, 3)
    with pytest.raises(UserError, match="--image FILE"):
        given_squares(Path(), 8, 3)


def test_labels_are_read_from_words():
    assert FACES.codes("glasses=yes, hair=black") == {"glasses": 1, "hair": 0}
    assert FACES.codes("") == {}
    assert FACES.codes("glasses=1,Smiling=no") == {"glasses": 1, "Smiling": 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("glases=yes", 'no attribute "glases"; did you mean "glasses"?'),
        ("hair=blnd", 'no value "blnd"; did you mean "blond"?'),
        ("hair", "give hair one value"),
        ("hair=black,hair=blond", "give hair one value"),
    ],
)
def test_a_wrong_label_is_answered_with_the_nearest(text, said):
    with pytest.raises(UserError) as caught:
        FACES.codes(text)
    assert said in str(caught.value)
