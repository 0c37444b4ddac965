"""Latents and the paths between them."""

import pytest
import torch

from elsewhere import THERE, Elsewhere
from handmade.errors import UserError
from handmade.samplers.latents import first_latents, latents, seed_numbers, spherical, square, walk


def test_a_larger_number_continues_the_same_series():
    assert torch.equal(latents(3, 20, seed=5), latents(8, 20, seed=5)[:3])
    assert not torch.equal(latents(1, 20, seed=5), latents(1, 20, seed=6))


def test_latents_are_standard_normal():
    z = latents(400, 50, seed=0)
    assert z.mean().abs() < 0.03
    assert (z.std() - 1).abs() < 0.03


def test_spherical_starts_and_ends_at_its_ends_and_keeps_the_length_between():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    middle = spherical(a, b, torch.tensor([0.5]))
    assert torch.allclose(spherical(a, b, torch.tensor([0.0])), a, atol=1e-6)
    assert torch.allclose(spherical(a, b, torch.tensor([1.0])), b, atol=1e-6)
    assert torch.allclose(middle, torch.full((2,), 2**0.5), atol=1e-6)  # 45 degrees, at length 2


def test_spherical_between_equal_points_is_that_point():
    a = latents(1, 30, seed=1)[0]
    assert torch.allclose(spherical(a, a, torch.tensor([0.3])), a, atol=1e-4)


def test_a_walk_visits_every_stop_with_equal_strides():
    stops = latents(3, 40, seed=2)
    path = walk(stops, steps=4)
    assert path.shape == (9, 40)
    assert torch.allclose(path[[0, 4, 8]], stops, atol=1e-5)


def test_a_square_has_its_corners_at_the_corners():
    corners = latents(4, 40, seed=3)
    cells = square(corners, side=5)
    assert cells.shape == (25, 40)
    assert torch.allclose(cells[[0, 4, 20, 24]], corners, atol=1e-5)


def test_seeds_are_read_from_a_text():
    assert seed_numbers("4, -9") == [4, -9]
    assert torch.equal(first_latents("4, 9", 10), torch.cat([latents(1, 10, 4), latents(1, 10, 9)]))
    with pytest.raises(UserError, match="whole numbers separated by commas"):
        first_latents("four", 10)


def test_paths_lie_where_their_stops_are():
    with Elsewhere():
        stops = latents(4, 10, seed=3).to(THERE)
        assert walk(stops, steps=3).device == square(stops, side=3).device == THERE
