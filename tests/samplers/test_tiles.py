"""Tiles cover a picture, overlap, and count everywhere."""

from __future__ import annotations

import itertools

import pytest
import torch

from handmade.samplers.tiles import tiles


@pytest.mark.parametrize("length", [64, 65, 200, 256, 257, 300, 447, 449, 7000])
def test_tiles_cover_a_side_and_overlap(length):
    columns = [tile.columns for tile in tiles(48, length, 256, 64)]
    assert columns[0].start == 0 and columns[-1].stop == length
    assert all(part.stop - part.start == min(length, 256) for part in columns)
    assert all(0 < b.start - a.start <= 192 for a, b in itertools.pairwise(columns))


def test_every_place_counts_and_the_middle_of_a_tile_counts_most():
    total = torch.zeros(300, 500)
    for tile in tiles(300, 500, 256, 64):
        assert tile.weight.min() > 0 and tile.weight.max() == 1
        assert tile.weight[0, 0] < tile.weight[0, 128] < tile.weight[128, 128]
        total[tile.rows, tile.columns] += tile.weight
    assert total.min() > 0
