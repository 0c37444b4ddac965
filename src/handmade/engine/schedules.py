"""Learning rates over a run: functions of its progress in 0..1, so that a time budget can stretch or shrink a run."""

from __future__ import annotations

import math

from handmade.core import Schedule


def constant(progress: float) -> float:
    """The same learning rate throughout."""
    return 1.0


def linear(progress: float) -> float:
    """Falls evenly to zero."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Half a cosine down to zero (Loshchilov & Hutter 2016, arXiv 1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SHAPES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}


def with_warmup(shape: Schedule, warmup: float) -> Schedule:
    """Rise from zero during the first `warmup` share of the run, then follow the shape over the rest."""
    if warmup == 0:
        return shape
    return lambda progress: progress / warmup if progress < warmup else shape((progress - warmup) / (1 - warmup))
