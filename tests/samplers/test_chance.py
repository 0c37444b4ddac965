"""Labels that nobody named: as often as in training, together with what is named, the same for the same seed."""

from __future__ import annotations

import torch

from handmade.samplers.chance import KEPT, left_to_chance, newest, untrained


def test_before_training_every_value_is_as_likely():
    memory = untrained([2, 5])
    assert memory.shape == (KEPT, 2) and torch.equal(memory, untrained([2, 5]))
    assert all(abs(int((memory[:, 1] == value).sum()) - KEPT / 5) < 60 for value in range(5))
    assert untrained([]).shape == (KEPT, 0)


def test_a_memory_keeps_the_newest():
    memory = newest(untrained([2, 5]), torch.ones(3, 2, dtype=torch.int64), torch.full((4, 2), 7))
    assert memory.shape == (KEPT, 2)
    assert memory[:3].eq(1).all() and memory[3:7].eq(7).all() and torch.equal(memory[7:], untrained([2, 5])[:-7])
    assert torch.equal(newest(memory, torch.zeros(2 * KEPT, 2, dtype=torch.int64)), torch.zeros(KEPT, 2))


def test_what_is_not_named_comes_as_often_as_in_training_beside_what_is():
    rows = torch.tensor([[0, 0]] * 3 + [[1, 2]] * 1).repeat(
        KEPT // 4, 1
    )  # hair 0 only with glasses 0, and three in four
    drawn = left_to_chance(rows, {}, 2000, seed=3)
    assert abs(float((drawn[:, 0] == 0).float().mean()) - 0.75) < 0.04
    assert torch.equal(drawn[:, 1], 2 * drawn[:, 0]), "labels come together as they do in training"
    named = left_to_chance(rows, {0: 1}, 50, seed=3)
    assert named.eq(torch.tensor([1, 2])).all()
    unheard = left_to_chance(rows, {1: 1}, 50, seed=3)
    assert unheard[:, 1].eq(1).all() and set(unheard[:, 0].tolist()) == {0, 1}
    assert set(rows[:, 1].tolist()) == {0, 2}, "the memory stays as it was"


def test_a_larger_number_continues_the_series_of_a_seed():
    memory = untrained([2, 5])
    assert torch.equal(left_to_chance(memory, {}, 9, seed=4)[:4], left_to_chance(memory, {}, 4, seed=4))
    assert not torch.equal(left_to_chance(memory, {}, 9, seed=5), left_to_chance(memory, {}, 9, seed=4))
    assert left_to_chance(untrained([]), {}, 3, seed=0).shape == (3, 0)
