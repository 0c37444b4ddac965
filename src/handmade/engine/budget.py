"""Fit a run into wall-clock time: measure what steps, samples and scores cost here, and size the run accordingly.

The learning-rate schedule follows the run's progress, so it ends where the run ends. The plan is reviewed while the run
goes on, because a laptop gets hot and other programs want their share.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from handmade.errors import UserError

SAMPLES = 36  # pictures of the run over its length
SCORE_SHARE = 0.06  # at most this share of the time goes into scores
RESERVE = 3.0  # seconds kept for the end, beside a last sample, score and checkpoint: the film and the sheet


def check_minutes(minutes: float | None) -> None:
    """Raise UserError for a time that nobody can train for."""
    if minutes is not None and not 0 < minutes < 1e6:
        raise UserError(f"minutes must be more than 0 and less than a million, not {minutes}")


@dataclass
class Costs:
    """Seconds that one of each took, the latest first guess included."""

    step: float = 0.0
    sample: float = 0.0
    score: float = 0.0
    save: float = 0.5

    def learn(self, kind: str, seconds: float) -> None:
        """Take a new measurement into account."""
        known = getattr(self, kind)
        setattr(self, kind, seconds if known == 0 else 0.7 * known + 0.3 * seconds)


@dataclass
class Budget:
    """How many steps a run has, and how often it samples and scores; with a deadline these follow the clock."""

    steps: int
    sample_every: int
    score_every: int
    deadline: float | None = None  # of time.monotonic()
    costs: Costs = field(default_factory=Costs)
    reviewed: float = 0.0

    def review(self, step: int, now: float | None = None) -> bool:
        """Plan the rest of the run again; return whether the number of steps changed."""
        if self.deadline is None or self.costs.step == 0:
            return False
        now = time.monotonic() if now is None else now
        costs, left = self.costs, self.deadline - now
        left -= RESERVE + costs.sample + costs.score + costs.save
        scores = min(12, int(SCORE_SHARE * max(left, 0) / costs.score)) if costs.score else 12
        rest = max(0.0, 1 - step / self.steps) if self.reviewed else 1.0
        left -= rest * (SAMPLES * costs.sample + scores * costs.score)
        steps = max(step + 1, step + int(left / costs.step))
        self.reviewed = now
        if abs(steps - self.steps) <= 0.01 * self.steps:
            return False
        self.steps = steps
        self.sample_every = max(1, steps // SAMPLES)
        self.score_every = max(1, steps // max(1, scores))
        return True

    def should_review(self, now: float) -> bool:
        """Every few seconds, and more often towards the end."""
        return self.deadline is not None and now - self.reviewed > max(1.0, min(10.0, (self.deadline - now) / 10))
