"""Fifty kills at random moments: none of them may cost a step that was acknowledged, or change the end."""

import pytest

from engine.test_processes import kill_and_resume


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_fifty_random_moments_a_run_ends_as_if_it_had_not_been(tmp_path, background):
    assert kill_and_resume(tmp_path, background, kills=50, steps=600, seed=1) >= 5
