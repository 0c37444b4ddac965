"""How good translations are: few sentences are judged too."""

from __future__ import annotations

from handmade.metrics.translation import bleu, chrf

FEW = ["a b c d e f", *["z"] * 20], ["a b c d e f", *["y"] * 20]


def test_few_sentences_of_which_most_match_nothing_have_a_score_and_the_widest_interval():
    judged = chrf(*FEW)
    assert 0 < judged.value < 100 and (judged.low, judged.high) == (0.0, 100.0)


def test_a_perfect_translation_has_the_full_score():
    same = ["the cat sat on the mat today"] * 4
    assert round(bleu(same, same).value) == round(chrf(same, same).value) == 100
