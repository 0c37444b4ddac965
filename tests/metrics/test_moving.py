"""The rule that sees what moves: it names drawn clips right, and nothing where there is nothing."""

from __future__ import annotations

import math

import pytest
import torch

from elsewhere import THERE, Elsewhere
from handmade.data.source import open_data
from handmade.metrics.moving import OUTLINES, agreement, look, score_moving, wilson

OBJECTS, COLOURS, WAYS = tuple(OUTLINES), ("red", "green", "blue"), ("right", "down", "left", "up")


def disc(
    way: tuple[float, float] = (1.0, 0.0), colour: tuple[float, ...] = (1, -1, -1), frames: int = 6
) -> torch.Tensor:
    """A disc of radius 4 that goes `way` pixels a frame over black, (F, 3, 24, 24)."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    clip = torch.full((frames, 3, 24, 24), -1.0)
    for k in range(frames):
        inside = (4.5 - torch.hypot(x - 11.5 - way[0] * (k - 2.5), y - 11.5 - way[1] * (k - 2.5))).clamp(0, 1)
        clip[k] = -1 + inside * (torch.tensor(colour)[:, None, None] + 1)
    return clip


@pytest.mark.parametrize(
    ("way", "named"), [((1, 0), "right"), ((0, 1), "down"), ((-1.2, 0.3), "left"), ((0.2, -1), "up")]
)
def test_the_direction_is_that_of_the_line_through_the_middles(way, named):
    seen = look(disc(way)[None], OBJECTS, COLOURS, WAYS)
    assert WAYS[int(seen.direction)] == named and OBJECTS[int(seen.object)] == "circle"


def test_the_colour_is_the_nearest_hue_whatever_the_light():
    for light in (0.3, 1.0):
        paints = [
            tuple(light * (part + 1) - 1 for part in colour) for colour in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1))
        ]
        clips = torch.stack([disc(colour=paint) for paint in paints])
        assert look(clips, OBJECTS, COLOURS, WAYS).colour.tolist() == [0, 1, 2]


def test_where_nothing_is_or_nothing_moves_nothing_is_named():
    nothing, still, grey = torch.zeros(6, 3, 24, 24), disc((0, 0)), disc(colour=(0.5, 0.5, 0.5))
    vanishing = disc()
    vanishing[3] = -1
    seen = look(torch.stack([nothing, still, grey, vanishing]), OBJECTS, COLOURS, WAYS)
    assert seen.object.tolist() == [-1, 0, 0, -1]
    assert seen.colour.tolist() == [-1, 0, -1, 0]
    assert seen.direction.tolist() == [-1, -1, 0, -1]


@pytest.mark.parametrize(("size", "frames", "least"), [(32, 16, 0.99), (16, 8, 0.98)])
def test_held_out_clips_are_named_right(size, frames, least):
    dataset, spec = open_data({"source": "clips", "n": 50, "held_out": 144, "size": size, "frames": frames}, "test")
    batch = dataset.batch(torch.arange(144), torch.Generator())
    right = agreement(batch.pixels, batch.labels, spec.labels)
    assert set(right) == {"all", "object", "colour", "direction"}
    assert float(right["all"].float().mean()) >= least
    noisy = agreement(batch.pixels + 0.1 * torch.randn(batch.pixels.shape), batch.labels, spec.labels)
    assert float(noisy["all"].float().mean()) >= least - 0.1
    wrong = agreement(batch.pixels.roll(1, 0), batch.labels, spec.labels)
    assert float(wrong["all"].float().mean()) == 0


def test_scores_have_a_floor_of_real_clips_and_an_interval():
    clips = torch.stack([disc(), disc((0, 1)), disc((-1, 0)), disc((0, -1))])
    labels = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 0]])  # the last goes up, and right was asked for
    names = {"object": OBJECTS, "colour": COLOURS, "direction": WAYS}
    scores = score_moving(clips, clips[:1].expand(4, -1, -1, -1, -1), labels, names)
    assert next(iter(scores)) == "agreement"
    assert scores["agreement"].value == scores["direction"].value == 0.75
    assert scores["agreement"].floor == 0.5 and scores["colour"].value == 1.0
    assert scores["agreement"].low < 0.75 < scores["agreement"].high


def test_the_interval_of_a_share_is_wilsons():
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson(1.0, 36)[1] == 1.0 and wilson(1.0, 36)[0] == pytest.approx(1 / (1 + 1.96**2 / 36), abs=1e-6)
    assert math.isclose(wilson(0.0, 10)[0], 0.0)


def test_clips_that_a_gpu_drew_are_looked_at_too():
    clips, labels = torch.stack([disc(), disc((0, 1))]), torch.tensor([[0, 0, 0], [0, 0, 1]])
    names = {"object": OBJECTS, "colour": COLOURS, "direction": WAYS}
    wanted = score_moving(clips, clips, labels, names)
    with Elsewhere():
        assert score_moving(clips.to(THERE), clips.to(THERE), labels.to(THERE), names) == wanted
