"""Copies are found, and chance is not called a copy."""

from __future__ import annotations

import pytest
import torch

from handmade.metrics.copies import averaged, copied, nearest_known


def pictures(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_nearest_is_found_whether_kept_as_levels_or_as_numbers():
    known = (torch.rand(50, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255).byte()
    drawn = known[[7, 31]].float() / 127.5 - 1
    found = nearest_known(drawn, known)
    assert found.index.tolist() == [7, 31] and found.distance.max() < 1e-3


def test_the_distance_is_the_root_mean_square():
    assert nearest_known(torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 3, 64, 64)).distance.item() == pytest.approx(
        0.5
    )


def test_copies_are_counted_and_fresh_pictures_are_not():
    known, unseen = pictures(40, 0), pictures(40, 1)
    drawn = torch.cat([known[:3] + 0.01, pictures(17, 2) * 1.2])
    assert copied(drawn, unseen, known) == pytest.approx(3 / 20)


def test_small_pictures_stay_as_they_are():
    assert torch.equal(averaged(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 8, 8))
    assert averaged(torch.ones(1, 1, 48, 48)).shape == (1, 1, 32, 32)
