"""Fitting a run into wall-clock time."""

import time

import pytest

from commands import hand
from handmade.engine.budget import RESERVE, Budget


def budget(steps=1000, deadline=100.0, **costs):
    made = Budget(steps, 250, 1000, deadline)
    for kind, seconds in costs.items():
        setattr(made.costs, kind, seconds)
    return made


def test_without_a_deadline_the_plan_stands():
    made = budget(deadline=None, step=1.0)
    assert not made.review(10, now=50.0) and made.steps == 1000


def test_steps_fill_the_time_that_is_left():
    made = budget(step=0.1, save=0.5)
    assert made.review(0, now=0.0)
    assert made.steps == pytest.approx((100 - RESERVE - 0.5) / 0.1, abs=1)


def test_samples_and_scores_are_paid_for():
    plain, dear = budget(step=0.1), budget(step=0.1, sample=0.5, score=1.0)
    plain.review(0, now=0.0)
    dear.review(0, now=0.0)
    saved = (plain.steps - dear.steps) * 0.1
    scores = dear.steps // dear.score_every
    assert saved == pytest.approx(36 * 0.5 + scores * 1.0 + 1.5, abs=3)


def test_scores_take_a_small_share_of_the_time():
    made = budget(step=0.1, score=5.0)
    made.review(0, now=0.0)
    assert made.steps // made.score_every <= 2


def test_a_slow_machine_shrinks_the_run():
    made = budget(step=0.1)
    made.review(0, now=0.0)
    before = made.steps
    made.costs.step = 0.2
    made.review(before // 4, now=25.0)
    assert made.steps < 0.75 * before


def test_time_that_is_over_leaves_one_step():
    made = budget(step=0.1)
    made.review(500, now=150.0)
    assert made.steps == 501


def test_small_differences_change_nothing_so_that_schedules_stay_smooth():
    made = budget(step=0.1)
    made.review(0, now=0.0)
    assert not made.review(100, now=10.0)


def test_reviews_come_more_often_towards_the_end():
    made = budget()
    made.reviewed = 50.0
    assert not made.should_review(54.0) and made.should_review(56.0)
    made.reviewed = 95.0
    assert made.should_review(96.5)


def test_a_run_with_minutes_ends_inside_them(tmp_path):
    began = time.monotonic()
    assert hand("train", "toy_gan/smoke", "--out", tmp_path / "one", "--train.steps", 1).code == 0
    least = time.monotonic() - began  # on a machine that others use too, one step may take longer than the budget
    began = time.monotonic()
    done = hand("train", "toy_gan/smoke", "--minutes", "0.15", "--out", tmp_path / "run", "--json")
    took = time.monotonic() - began
    assert done.code == 0, done
    assert took <= max(9.5, 2 * least), f"{took:.1f} seconds of 9"
    assert done.json()["step"] > 1


def test_minutes_for_a_run_at_the_end_of_its_plan_train_it_further(tmp_path):
    run = tmp_path / "run"
    assert hand("train", "toy_gan/smoke", "--out", run, "--train.steps", 20).code == 0
    done = hand("resume", run, "--minutes", "0.1", "--json")
    assert done.code == 0 and done.json()["step"] > 20, done
