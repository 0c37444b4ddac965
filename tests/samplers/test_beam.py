"""Search over a table of odds that is small enough to try everything."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from handmade.samplers.beam import beam_search, greedy

BEGIN, END = 0, 1


class Grammar:
    """Odds of the next token given the last two, drawn at random for each input; remembers what it was asked."""

    def __init__(self, inputs: int, vocabulary: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        shape = (inputs, vocabulary, vocabulary, vocabulary)
        self.odds = (2 * torch.randn(shape, generator=generator)).log_softmax(-1)
        self.inputs, self.last = torch.arange(inputs), torch.zeros(inputs, dtype=torch.int64)
        self.sizes: list[int] = []

    def step(self, tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Go on from `rows` of the last call."""
        self.sizes.append(len(rows))
        before = self.last if len(self.sizes) > 1 else torch.zeros_like(self.last)
        self.inputs, before = self.inputs[rows], before[rows]
        self.last = tokens
        return self.odds[self.inputs, before, tokens]

    def log_odds(self, row: int, path: tuple[int, ...]) -> float:
        """Of a whole path and its end mark."""
        total, before, last = 0.0, 0, BEGIN
        for token in (*path, END):
            total += float(self.odds[row, before, last, token])
            before, last = last, token
        return total


def everything(grammar: Grammar, row: int, longest: int, penalty: float) -> tuple[float, tuple[int, ...]]:
    """The best path of all."""
    vocabulary = [token for token in range(grammar.odds.shape[1]) if token != END]
    paths = itertools.chain.from_iterable(itertools.product(vocabulary, repeat=n) for n in range(longest + 1))
    scores = ((grammar.log_odds(row, path) / ((6 + len(path)) / 6) ** penalty, path) for path in paths)
    return max(scores)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(penalty):
    grammar = Grammar(inputs=5, vocabulary=4, seed=3)
    found = beam_search(grammar.step, BEGIN, END, [4] * 5, beams=200, penalty=penalty)
    for row in range(5):
        score, path = everything(grammar, row, 4, penalty)
        assert found[row][0].tokens == path
        assert found[row][0].score == pytest.approx(score, rel=1e-5)
        assert found[row][0].log_odds == pytest.approx(grammar.log_odds(row, path), rel=1e-5)


def test_a_wider_beam_is_better_than_a_narrow_one_somewhere_and_worse_nowhere_here():
    better = 0
    for seed in range(60):
        found = [beam_search(Grammar(1, 6, seed).step, BEGIN, END, [6], beams, 0.0)[0][0] for beams in (1, 64)]
        if all(len(written.tokens) < 6 for written in found):  # both found an end
            assert found[1].log_odds >= found[0].log_odds - 1e-6
            better += found[1].log_odds > found[0].log_odds + 1e-6
    assert better > 3


def test_greedy_takes_the_likeliest_token_each_time():
    grammar = Grammar(inputs=6, vocabulary=5, seed=1)
    for row, written in enumerate(greedy(grammar.step, BEGIN, END, [8] * 6)):
        before, last = 0, BEGIN
        for token in written.tokens:
            assert token == int(grammar.odds[row, before, last].argmax())
            before, last = last, token
        assert len(written.tokens) == 8 or int(grammar.odds[row, before, last].argmax()) == END


@pytest.mark.parametrize("beams", [1, 3])
def test_searching_together_finds_what_searching_alone_finds(beams):
    longest = [2, 7, 4, 0, 5]
    together = beam_search(Grammar(5, 6, 7).step, BEGIN, END, longest, beams)
    for row, most in enumerate(longest):
        alone = Grammar(5, 6, 7)
        alone.odds, alone.inputs, alone.last = alone.odds[row : row + 1], alone.inputs[:1], alone.last[:1]
        single = beam_search(alone.step, BEGIN, END, [most], beams)[0]
        assert [written.tokens for written in together[row]] == [written.tokens for written in single]


def test_no_sequence_is_longer_than_allowed_and_finished_inputs_cost_nothing():
    grammar = Grammar(inputs=4, vocabulary=5, seed=2)
    grammar.odds[..., END] = -50.0  # nothing wants to end
    grammar.odds[1, ..., END] = 0.0  # but one input does, at once
    found = beam_search(grammar.step, BEGIN, END, [3, 3, 5, 0], beams=2)
    assert [len(written[0].tokens) for written in found] == [3, 0, 5, 0]
    assert grammar.sizes[0] == 4 and grammar.sizes[-1] == 2, "only the longest is still searched"
    assert [len(written.tokens) for written in greedy(Grammar(2, 5, 0).step, BEGIN, END, [0, 0])] == [0, 0]
    assert beam_search(Grammar(1, 5, 0).step, BEGIN, END, []) == []


def test_a_length_penalty_makes_sequences_longer():
    lengths = []
    for penalty in (0.0, 2.0):
        found = [beam_search(Grammar(1, 6, seed).step, BEGIN, END, [8], 8, penalty)[0][0] for seed in range(30)]
        lengths.append(sum(len(written.tokens) for written in found))
        assert all(math.isfinite(written.score) for written in found)
    assert lengths[1] > lengths[0]
