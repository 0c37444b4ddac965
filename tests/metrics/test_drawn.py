"""What every system that makes pictures reports."""

from __future__ import annotations

import pytest
import torch

from handmade.metrics.drawn import score_drawn


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
