"""What an experienced eye says when it looks at the curves of a run: a few plain lines, each with its reason in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handmade.artifacts.history import History, Measured, Point

FEW = 8  # points of a curve below which nothing is said of it


def remarks(told: History) -> list[dict[str, str]]:
    """The doctor's remarks: level (good, note, warn) and text."""
    found = [*_of_scores(told), *_of_losses(told)]
    return [{"level": level, "text": text} for level, text in found]


def _of_scores(told: History) -> list[tuple[str, str]]:
    """Is it getting better by its own yardstick, and how far is the floor?"""
    if told.yardstick is None:
        return []
    curve: Sequence[Measured] = told.scores[told.yardstick]
    name, last = told.yardstick.replace("_", " "), curve[-1]
    best = (min if last.better == "lower" else max)(curve, key=lambda score: score.value)
    found = []
    if len(curve) > 1 and best is curve[0]:
        found.append(
            (
                "warn",
                f"{name} has not improved since step {curve[0].step:,}: still {curve[0].value:.3g}, now {last.value:.3g}",
            )
        )
    elif len(curve) > 2 and best is not last and _outside(best, last):
        found.append(
            (
                "warn",
                f"{name} was best at step {best.step:,} ({best.value:.3g}, now {last.value:.3g}): the best weights are kept",
            )
        )
    elif len(curve) > 1:
        found.append(
            ("good", f"{name} went from {curve[0].value:.3g} to {last.value:.3g} on examples it has never seen")
        )
    if last.floor is not None and _reached(last):
        found.append(("good", f"{name} has reached its floor of {last.floor:.3g}: more training cannot be seen in it"))
    return found


def _outside(best: Measured, last: Measured) -> bool:
    """Whether the last score is worse than the best one by more than its interval."""
    if last.low is None or last.high is None:
        return abs(last.value - best.value) > 0.05 * abs(best.value)
    return not last.low <= best.value <= last.high


def _reached(score: Measured) -> bool:
    floor = score.floor or 0.0
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return low <= floor if score.better == "lower" else high >= floor


def _of_losses(told: History) -> list[tuple[str, str]]:
    """Has one player lost the game, or has the only loss stopped falling?"""
    curves = {name: curve for name, curve in told.losses.items() if len(curve) >= FEW}
    if len(curves) == 1:
        ((name, curve),) = curves.items()
        first, before, now = _mean(curve[: FEW // 2]), _mean(_part(curve, 0.5, 0.75)), _mean(_part(curve, 0.75, 1.0))
        if now > 1.2 * first > 0:
            return [
                ("warn", f"the {name}'s loss has risen from {first:.3g} to {now:.3g}: a lower learning rate may help")
            ]
        if before > 0 and abs(now - before) < 0.005 * before:
            return [("note", f"the {name}'s loss has hardly moved in the last quarter ({before:.4g} to {now:.4g})")]
        return []
    found = []
    for name, curve in curves.items():
        late = _mean(_part(curve, 0.9, 1.0))
        if 0 <= late < 0.02 and max(point.value for point in curve) > 0.3:
            found.append(
                ("warn", f"the {name} wins nearly always (loss {late:.2g}): its opponent has little left to learn from")
            )
    return found


def _part(curve: Sequence[Any], start: float, end: float) -> Sequence[Point]:
    return curve[int(start * len(curve)) : max(int(start * len(curve)) + 1, int(end * len(curve)))]


def _mean(curve: Sequence[Point]) -> float:
    return sum(point.value for point in curve) / len(curve)
