"""The CLIP room: what it learns, and what can be asked of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from elsewhere import THERE, Elsewhere
from handmade.core import Dice
from handmade.data.specs import CaptionBatch, CaptionSpec
from handmade.engine.devices import World
from handmade.engine.turns import Table, players_of
from handmade.errors import UserError
from handmade.systems.clip.system import CLIP, SHARPEST, Config

WORDS = ("red", "green", "blue", "square", "a")
SPEC = CaptionSpec(3, 8, {}, WORDS, 4)
SMALL = Config(width=8, multiples=(1,), words=16, layers=1, shared=8, group=3, lr=5e-3)


def squares(n: int) -> CaptionBatch:
    """Red, green and blue squares in turn, and what they are called."""
    pixels = -torch.ones(n, 3, 8, 8)
    for row in range(n):
        pixels[row, row % 3] = 1 - 0.02 * row
    return CaptionBatch(pixels, SPEC.tokens_of([f"a {WORDS[row % 3]} square" for row in range(n)]), torch.zeros(n, 0))


@pytest.fixture(scope="module")
def taught() -> CLIP:
    torch.manual_seed(0)
    system = CLIP(SMALL, SPEC)
    table = Table(system, players_of(system), World())
    for step in range(120):
        list(table.play([squares(12)], seed=step))
    return system.eval()


@pytest.fixture
def pictures(tmp_path):
    for name, colour in (("apple", (250, 0, 0)), ("leaf", (0, 250, 0)), ("sea", (0, 0, 250))):
        Image.fromarray(np.full((12, 12, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_pictures_and_sentences_find_each_other(taught):
    with torch.no_grad():
        scores = taught.evaluate(squares(9))
    assert scores["finds_sentence"].value == scores["finds_picture"].value == 1.0
    assert scores["loss"].value < 0.1


def test_a_folder_is_searched_by_text(taught, pictures):
    found = taught.search(images=pictures, text="green", n=2)
    assert len(found.levels) == 2
    assert found.titles[0].endswith("leaf.png") and found.levels[0][1].min() > 200


def test_the_sentence_that_fits_is_named(taught, pictures):
    table = taught.caption_match(image=pictures / "sea.png", captions="a red square | a blue square | a green square")
    assert table.rows[0][:2] == ("sea.png", "a blue square")
    assert sum(row[2] for row in table.rows) == pytest.approx(1, abs=1e-3)


def test_a_model_on_a_gpu_answers_too(pictures):
    with Elsewhere():
        system = CLIP(SMALL, SPEC).to(THERE).eval()
        assert len(system.caption_match(image=pictures, captions="a red square | a blue square").rows) == 6
        assert len(system.search(images=pictures, text="green").levels) == 3
        assert len(system.nearest_words(text="green", n=3).rows) == 3


def test_words_that_were_never_in_a_caption_are_said(taught, pictures):
    heard: list[str] = []
    taught.tell = heard.append
    try:
        taught.search(images=pictures, text="green leaf")
    finally:
        del taught.tell
    assert '"leaf"' in "".join(heard)
    for text, told in (("leaf", "no word of it"), ("?", "empty")):
        with pytest.raises(UserError, match=told):
            taught.search(images=pictures, text=text)
    with pytest.raises(UserError, match="at least two sentences"):
        taught.caption_match(image=pictures, captions="one | ")


def test_the_sharpness_has_a_limit_and_does_not_decay():
    system = CLIP(SMALL, SPEC)
    with torch.no_grad():
        system.log_sharpness.fill_(50.0)
    assert system.sharpness.item() == pytest.approx(SHARPEST)
    groups = system.optimizers()["pair"].param_groups
    assert [len(group["params"]) for group in groups if group["weight_decay"] == 0] == [1]


def test_one_pair_alone_is_no_group():
    with pytest.raises(UserError, match="group must be at least 2"):
        CLIP(Config(group=1), SPEC)


def test_the_loss_starts_at_chance():
    torch.manual_seed(1)
    system = CLIP(SMALL, SPEC)
    system.dice = Dice(0)
    with torch.no_grad():
        system.point.weight.zero_()
        system.point.bias.fill_(1.0)
    (turn,) = system.objective(squares(6))
    assert turn.player == "pair" and turn.loss.item() >= np.log(3) - 1e-4
