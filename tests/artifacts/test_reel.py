"""Pictures in the order of time."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from handmade.artifacts import Reel, read_origin

ORIGIN = {"recipe": "room/smoke", "run": "runs/a", "ask": "film", "arguments": {"seed": 1}, "version": "0"}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_reel_saves_its_pictures_a_strip_and_a_film(channels, tmp_path):
    frames = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, channels, 16, 16)
    files = Reel(frames, origin=ORIGIN).save(tmp_path)
    assert [file.name for file in files] == [
        *(f"{i:06d}.png" for i in range(5)),
        "film.gif",
        "film.gif.json",
        "sheet.png",
    ]
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 5 and film.size == (256, 256)
        shades = []
        for index in range(5):
            film.seek(index)
            shades.append(film.convert("L").getpixel((100, 100)))
    assert shades == sorted(shades) and shades[0] < 5 and shades[-1] > 250
    assert read_origin(tmp_path / "film.gif")["ask"] == "film"


def test_the_same_pictures_give_the_same_film():
    frames = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    once, again = (dict(Reel(frames).items())["film.gif"] for _ in range(2))
    assert once == again
    with Image.open(io.BytesIO(once)) as film:
        assert film.info["duration"] == 250
