"""Each count of music against a piece that can be counted by hand."""

from __future__ import annotations

import pytest
import torch

from handmade.metrics.music import (
    FIFTH,
    HOLD,
    OCTAVE,
    REST,
    copied,
    density,
    distance,
    equality,
    histograms,
    inside,
    longest_shared,
    melody,
    overlap,
    parallels,
    pitch_classes,
    polyphony,
    ranges,
    repeated,
    repetition,
    score_rolls,
    sounding,
)

PIECE = torch.tensor([[72, 60], [HOLD, HOLD], [74, REST], [HOLD, HOLD], [REST, 62], [72, HOLD], [72, 64], [HOLD, HOLD]])


def voices(*lines: list[int]) -> torch.Tensor:
    return torch.tensor(lines).T


def random_pieces(n: int, seed: int = 0, low: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    pitches = torch.randint(low, low + 24, (n, 32, 4), generator=generator)
    return torch.where(torch.rand(n, 32, 4, generator=generator) < 0.6, HOLD, pitches)


def test_what_is_held_sounds_on_and_a_rest_that_is_held_is_a_rest():
    assert sounding(PIECE).T.tolist() == [[72, 72, 74, 74, -1, 72, 72, 72], [60, 60, -1, -1, 62, 62, 64, 64]]
    assert sounding(torch.tensor([[HOLD], [60], [HOLD]])).flatten().tolist() == [-1, 60, 60]
    assert torch.equal(sounding(PIECE.expand(3, 2, -1, -1))[2, 1], sounding(PIECE))


def test_pitch_classes_are_shares_and_rests_are_none():
    shares = pitch_classes(torch.tensor([60, 72, 67, REST]))
    assert shares[0] == pytest.approx(2 / 3) and shares[7] == pytest.approx(1 / 3) and shares.sum() == pytest.approx(1)
    assert torch.equal(pitch_classes(torch.tensor([REST])), torch.full((12,), 1 / 12, dtype=torch.float64))


def test_overlap_is_what_two_histograms_have_in_common():
    a, b = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
    assert overlap(a, a) == 1 and overlap(a, b) == 0.5 and overlap(a, torch.tensor([0.0, 0, 1])) == 0


def test_density_counts_notes_in_a_beat_of_four_steps():
    assert density(PIECE) == 7 / 2  # seven notes in two beats
    assert density(PIECE.expand(5, -1, -1)) == 7 / 2


def test_polyphony_counts_voices_where_any_sounds():
    assert polyphony(PIECE) == pytest.approx((2 * 5 + 1 * 3) / 8)
    assert polyphony(torch.full((4, 4), REST)) == 0


def test_ranges_and_what_lies_inside():
    assert ranges(PIECE) == [(72, 74), (60, 64)]
    assert inside(PIECE, [(72, 73), (60, 64)]) == pytest.approx(6 / 7)
    assert ranges(torch.full((2, 1), REST)) == [(0, 127)] and inside(torch.full((2, 1), REST), [(0, 1)]) == 1


def test_four_equal_voices_are_equal_and_the_books_fault_shows():
    same = torch.tensor([60, 64, 67, 72]).unsqueeze(1).expand(4, 4)
    assert equality(same) == 1
    assert equality(voices([60, 62], [60, 50], [40, 41])) == pytest.approx(1 / 6)
    assert equality(torch.full((4, 2), REST)) == 0, "two that rest sound nothing"
    assert equality(torch.tensor([[60], [61]])) == 0


def test_parallel_fifths_and_octaves_of_two_voices():
    fifths = voices([67, 69, 71], [60, 62, 64])
    assert parallels(fifths, FIFTH) == 1 and parallels(fifths, OCTAVE) == 0
    octaves = voices([72, 74, 76], [48, 50, 52])
    assert parallels(octaves, OCTAVE) == 1 and parallels(octaves, FIFTH) == 0
    oblique = voices([67, 69], [60, 60])
    assert parallels(oblique, FIFTH) == 0, "one voice stands still"
    contrary = voices([67, 79, 67], [60, 48, 60])
    assert parallels(contrary, FIFTH) == 0, "a fifth, a fifth and two octaves: against each other"
    one_of_two = voices([67, 69, 72], [60, 62, 64])
    assert parallels(one_of_two, FIFTH) == 0.5


def test_repetition_counts_runs_that_came_before():
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4], run=4) == pytest.approx(1 / 5)
    assert repetition(list(range(20))) == 0 and repetition([7] * 8, run=4) == pytest.approx(4 / 5)
    assert repetition([1, 2]) == 0


def test_a_melody_is_the_same_in_every_key():
    line = torch.tensor([60, HOLD, 62, 64, HOLD, HOLD, 60])
    assert melody(line) == [(2, 2), (2, 1), (-4, 3)]
    assert melody(torch.where(line >= 0, line + 5, line)) == melody(line)


def test_the_longest_shared_run_is_found_wherever_it_lies():
    generator = torch.Generator().manual_seed(0)
    a, b = ([(int(x), 1) for x in torch.randint(-9, 9, (300,), generator=generator)] for _ in range(2))
    b[200:217] = a[40:57]
    others = [[(50, 1)] * 3, b]
    naive = max(
        length
        for length in range(1, 40)
        for start in range(len(a) - length + 1)
        if any(a[start : start + length] == b[at : at + length] for at in range(len(b) - length + 1))
    )
    assert longest_shared(a, others) == naive >= 17
    assert longest_shared(a, []) == 0 and longest_shared([], [b]) == 0 and longest_shared(a, [a]) == 300


def test_histograms_see_each_voice_and_each_pair():
    shares = histograms(random_pieces(5), 16)
    assert len(shares) == 4 * 3 + 6 and all(part.sum() == pytest.approx(1) for part in shares)


def test_the_distance_is_nothing_to_itself_and_large_to_another_key_and_rhythm():
    pieces, near, far = random_pieces(200), random_pieces(200, 1), random_pieces(200, 2, low=80)
    assert distance(pieces, pieces, 16) == pytest.approx(0)
    assert distance(pieces, near, 16) < 0.1 < 0.2 < distance(pieces, far, 16)
    assert distance(pieces, far, 16) == pytest.approx(distance(far, pieces, 16))


def test_scores_of_real_music_against_itself_are_near_their_floors():
    real = random_pieces(300)
    scores = score_rolls(real, random_pieces(300, 5), 16)
    assert next(iter(scores)) == "distance"
    assert scores["distance"].value == pytest.approx(scores["distance"].floor, abs=0.02)
    assert scores["pitches"].value > 0.95 and scores["density"].value < 0.05 and scores["inside"].value == 1
    for made in (torch.full((300, 32, 4), REST), torch.full((300, 32, 4), 60)):
        worse = score_rolls(real, made, 16)
        assert worse["distance"].value > 3 * scores["distance"].value
    assert score_rolls(real, torch.full((300, 32, 4), 60), 16)["equality"].value == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_pieces_give_rough_scores_not_errors(n):
    assert all(score.about for score in score_rolls(random_pieces(n), random_pieces(n, 1), 16).values())


def test_a_copy_is_found_in_any_key_and_any_piece():
    old = random_pieces(30)
    made = old[[7, 3]] + torch.where(old[[7, 3]] >= 0, 3, 0)
    own = [len(melody(line)) for piece in made for line in piece.unbind(-1)]
    assert copied(made, old) == pytest.approx((max(own[:4]) + max(own[4:])) / 2)
    assert copied(random_pieces(4, 9), old) < 4


def test_a_bar_that_comes_again_is_repeated():
    assert repeated(PIECE.repeat(2, 1), 8) == pytest.approx(13 / 16), "rests are not counted"
    assert repeated(PIECE, 8) == 0 and repeated(torch.tensor([[60], [HOLD], [HOLD], [61]]), 2) == 0.5
