"""What every system that makes pictures reports."""

from __future__ import annotations

import pytest
import torch

from handmade.core import Score
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.metrics.drawn import score_drawn
from handmade.samplers.walks import Walker
from handmade.systems.conditional_wgan.system import ConditionalWGAN
from handmade.systems.conditional_wgan.system import Config as ConditionalConfig
from handmade.systems.diffusion.system import Config as DiffusionConfig
from handmade.systems.diffusion.system import Diffusion


def pictures(n: int, seed: int, shade: float = 0.0) -> torch.Tensor:
    return (torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * 0.5 + shade


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 16, 40])
def test_any_number_of_held_out_pictures_gives_a_yardstick(n):
    """A user's own folder of ten pictures leaves one that is held out."""
    good = next(iter(score_drawn(pictures(n, 0), pictures(n, 1)).values()))
    bad = next(iter(score_drawn(pictures(n, 0), pictures(n, 1, shade=0.4)).values()))
    assert good.better == "lower" and good.value < bad.value


def test_enough_pictures_give_every_score_with_its_floor():
    scores = score_drawn(pictures(40, 0), pictures(40, 1))
    assert list(scores) == ["kid", "frechet", "precision", "recall", "duplicates"]
    assert all(score.floor is not None for score in scores.values())


def kinds(n: int, seed: int) -> torch.Tensor:
    """(n,) shades of -0.5 or 0.5: what is said of pictures."""
    return torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed)) - 0.5


def interval(scores: dict[str, Score]) -> tuple[float, float]:
    low, high = scores["kid"].low, scores["kid"].high
    assert low is not None and high is not None
    return low, high


def test_pictures_drawn_by_what_is_said_of_the_real_ones_are_no_nearer_than_others():
    said = kinds(400, 0)[:, None, None, None]
    real = pictures(400, 0) * 0.02 + said
    own, others = (pictures(400, 1) * 0.02 + told for told in (said, kinds(400, 9)[:, None, None, None]))
    near, fair = (score_drawn(real, own, paired=paired) for paired in (False, True))
    independent = score_drawn(real, others)
    assert interval(near)[1] < 0, "the same kinds in the same numbers: nearer than chance"
    assert near["frechet"].value == fair["frechet"].value  # halves that do not belong together, either way
    for scores in (fair, independent):
        assert interval(scores)[0] <= 0 <= interval(scores)[1]
        assert scores["recall"].value == pytest.approx(scores["recall"].floor, abs=0.1)


def held_out(data: ImageSpec) -> ImageBatch:
    return ImageBatch(torch.rand(6, data.channels, data.size, data.size) * 2 - 1, torch.zeros(6, 1, dtype=torch.long))


def test_a_walk_from_noise_is_scored_by_labels_of_training_pictures(monkeypatch):
    data, told = ImageSpec(1, 8, {"kind": ("a", "b", "c")}), []
    system = Diffusion(DiffusionConfig(width=16, multiples=(1, 1), blocks=1), data)
    system.remembered.fill_(2)
    really = Walker.draw
    monkeypatch.setattr(Walker, "draw", lambda self, asked, *a, **k: told.append(asked) or really(self, asked, *a, **k))
    with torch.no_grad():
        system.evaluate(held_out(data))
    assert [part.unique().tolist() for part in told] == [[3]]


def test_a_conditional_generator_is_scored_by_labels_of_training_pictures(monkeypatch):
    data, drawn = ImageSpec(1, 8, {"kind": ("a", "b", "c")}), []
    system = ConditionalWGAN(ConditionalConfig(width=8, latent=4), data)
    system.remembered.fill_(2)
    really = system._draw
    monkeypatch.setattr(system, "_draw", lambda z, code: drawn.append(code) or really(z, code))
    with torch.no_grad():
        system.evaluate(held_out(data))
    assert drawn[0].argmax(1).unique().tolist() == [2]
