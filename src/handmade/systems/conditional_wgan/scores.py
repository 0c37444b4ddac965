"""What an independent judge sees in fades from one label to another."""

from __future__ import annotations

from torch import Tensor

from handmade.core import Judge, Score

WOBBLE = 0.01  # by which a probability may fall from one picture of a fade to the next, and must rise over the whole


def monotonic(faded: Tensor, pictures: int, name: str, value: str, judge: Judge) -> Score:
    """Share of fades towards a value in which the judge's probability of it rises, and never falls on the way.

    faded: (N * pictures, C, H, W), so many pictures to a fade
    """
    odds = judge.odds(faded)[name][:, judge.labels[name].index(value)].view(-1, pictures)
    rises, never_falls = odds[:, -1] - odds[:, 0] > WOBBLE, (odds.diff(dim=1) >= -WOBBLE).all(1)
    share = float((rises & never_falls).float().mean())
    about = (
        f"share of {len(odds)} fades to {name}={value} in {pictures - 1} steps whose probability rises and never falls"
    )
    return Score(share, f"{about}, by the judge's eyes", "higher")
