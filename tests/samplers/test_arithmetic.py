"""Equations over codes, groups, straight lines."""

import pytest
import torch

from handmade.errors import UserError
from handmade.samplers.arithmetic import Term, group_means, one_hots, straight, strengths, terms


def test_an_equation_is_read_with_its_signs():
    assert terms("a - b + c") == [Term(1, "a"), Term(-1, "b"), Term(1, "c")]
    assert terms("  glasses=yes, hair=black  -  my-photo.png ") == [
        Term(1, "glasses=yes, hair=black"),
        Term(-1, "my-photo.png"),
    ]
    assert terms("- a + b") == [Term(-1, "a"), Term(1, "b")]


@pytest.mark.parametrize("equation", ["", "  ", "a - ", "a + - b", "a -  + b"])
def test_an_equation_with_a_term_missing_is_refused(equation):
    with pytest.raises(UserError, match="write terms with"):
        terms(equation)


def test_groups_are_means_of_their_members_and_an_empty_one_is_the_mean_of_all():
    codes = torch.tensor([[1.0, 0.0], [3.0, 0.0], [8.0, 6.0]])
    members = one_hots(torch.tensor([[0], [0], [1]]), [3])
    assert group_means(codes, members).tolist() == [[2, 0], [8, 6], [4, 2]]


def test_labels_stand_side_by_side():
    told = one_hots(torch.tensor([[1, 2], [0, 0]]), [2, 3])
    assert told.tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert one_hots(torch.zeros(4, 0, dtype=torch.int64), []).shape == (4, 0)


def test_a_straight_line_visits_its_stops_in_equal_strides():
    path = straight(torch.tensor([[0.0], [1.0], [3.0]]), steps=2)
    assert path.flatten().tolist() == [0, 0.5, 1, 2, 3]


def test_strengths_are_numbers_within_reach():
    assert strengths("0.25, 1,-2") == [0.25, 1.0, -2.0]
    for text in ("", "much", "1,,2", "nan", "11", "inf"):
        with pytest.raises(UserError, match="give numbers"):
            strengths(text)
