"""Numbers of texts in closed form, and the runs that two texts share against a slow search."""

from __future__ import annotations

import math

import pytest
import torch

from handmade.metrics.text import bits_per_byte, perplexity, shared_runs


def test_a_bit_per_byte_is_log_two_nats_each():
    assert bits_per_byte(100 * math.log(2), 50) == pytest.approx(2.0)


def test_perplexity_of_a_fair_die_is_six():
    assert perplexity(math.log(6)) == pytest.approx(6)


def slow(new: list[int], old: list[int], shortest: int) -> set[tuple[int, int]]:
    """All runs by brute force: (start, length), none inside another."""
    longest = []
    for i in range(len(new)):
        best = 0
        for j in range(len(old)):
            n = 0
            while i + n < len(new) and j + n < len(old) and new[i + n] == old[j + n]:
                n += 1
            best = max(best, n)
        longest.append(best)
    return {(i, n) for i, n in enumerate(longest) if n >= shortest and (i == 0 or longest[i - 1] <= n)}


@pytest.mark.parametrize("seed", range(6))
def test_shared_runs_are_those_of_a_slow_search(seed):
    torch.manual_seed(seed)
    new, old = torch.randint(3, (60,)), torch.randint(3, (200,)).int()
    runs = shared_runs(new, old, 4)
    assert {(run.start, run.length) for run in runs} == slow(new.tolist(), old.tolist(), 4)
    assert [run.length for run in runs] == sorted((run.length for run in runs), reverse=True)
    for run in runs:
        assert torch.equal(new[run.start : run.start + run.length], old[run.found : run.found + run.length].long())


def test_a_planted_copy_is_found_where_it_stands():
    torch.manual_seed(0)
    old = torch.randint(1000, (5000,))
    new = torch.cat([torch.randint(1000, (40,)), old[700:730], torch.randint(1000, (40,))])
    (run,) = shared_runs(new, old, 5)
    assert (run.start, run.length, run.found) == (40, 30, 700)


def test_texts_shorter_than_a_run_share_none():
    assert shared_runs(torch.tensor([1, 2]), torch.tensor([1, 2]), 3) == []
