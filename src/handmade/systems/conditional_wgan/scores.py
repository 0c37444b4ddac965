"""What an independent judge sees in pictures that were drawn by label."""

from __future__ import annotations

import torch
from torch import Tensor

from handmade.core import Judge, Score
from handmade.data.specs import ImageBatch, ImageSpec

WOBBLE = 0.01  # by which a probability may fall from one picture of a fade to the next, and must rise over the whole


def known_to(judge: Judge, data: ImageSpec) -> list[str]:
    """The attributes of which the judge can name every value."""
    return [name for name, values in data.labels.items() if set(values) <= set(judge.labels.get(name, ()))]


def agreement(drawn: Tensor, held_out: ImageBatch, data: ImageSpec, judge: Judge) -> dict[str, Score]:
    """For each attribute the share of pictures, drawn by the labels of the held-out ones, that the judge names so.

    The floor is the share that it names right of the held-out pictures themselves.
    """
    scores, seen, best = {}, judge.odds(drawn), judge.odds(held_out.pixels)
    for name in known_to(judge, data):
        column = held_out.labels[:, list(data.labels).index(name)].cpu()
        asked = torch.tensor([judge.labels[name].index(value) for value in data.labels[name]])[column]
        share, most = (float((odds[name].argmax(1).cpu() == asked).float().mean()) for odds in (seen, best))
        about = f"share of {len(drawn)} drawn pictures in which the judge sees the {name} asked for"
        scores[f"agreement_{name}"] = Score(share, about, "higher", most)
    return scores


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
