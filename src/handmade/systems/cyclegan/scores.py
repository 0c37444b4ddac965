"""How good translations are: against the true partners where these are known, against the wanted kind where not."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import NamedTuple

from torch import Tensor

from handmade.core import Judge, Score
from handmade.metrics.drawn import score_drawn

FEWEST = 8  # held-out pictures of a kind whose two halves still have a distance


class Way(NamedTuple):
    """One of the two ways, on held-out pictures (N, C, H, W)."""

    given: Tensor
    made: Tensor
    real: Tensor  # of the kind that was to be made, unrelated to the given ones
    true: Tensor | None  # what each given picture should become, where that is known


def to_partners(ways: Mapping[str, Way]) -> dict[str, Score]:
    """How near translations come to the true partners, and how much changed where given and true are the same."""
    near, outside = {}, {}
    for name, (given, made, _, true) in ways.items():
        if true is not None:
            near[name] = float((made - true).abs().mean() / (given - true).abs().mean())
            same = (given == true).all(1, keepdim=True)  # (N, 1, H, W)
            outside[name] = float(((made - given).abs().mean(1, keepdim=True) * same).sum() / same.sum()) * 127.5
    about = "distance to the true partner, as a share of the untouched picture's"
    n = len(next(iter(ways.values())).given)
    unchanged = f"mean change in 1/255 where picture and partner are the same, {n} held-out pictures each way"
    return {
        "partner": Score(mean(near.values()), f"{about}, {n} held-out pictures each way"),
        **{f"to {name}": Score(value, f"{about}, {n} turned {name}") for name, value in near.items()},
        "outside": Score(mean(outside.values()), unchanged),
    }


def to_kinds(ways: Mapping[str, Way], judge: Judge | None) -> dict[str, Score]:
    """How near translations come to pictures of the wanted kind, where no partners are known: their kernel distance.

    Nothing where too few pictures were held out: a score during training must not end it.
    """
    if any(len(way.given) < FEWEST for way in ways.values()):
        return {}
    found = [score_drawn(way.real, way.made, judge)["kid"] for way in ways.values()]
    floor = mean(score.floor or 0.0 for score in found)
    return {"kid": Score(mean(score.value for score in found), f"{found[0].about}, mean of both ways", "lower", floor)}


def seen_as(ways: Mapping[str, Way], attribute: str, judge: Judge | None) -> dict[str, Score]:
    """In how many translations a judge that knows the attribute sees the wanted kind; the floor is that of real ones."""
    values = judge.labels.get(attribute, ()) if judge else ()
    if judge is None or not ways.keys() <= {*values}:
        return {}
    scores = {}
    for name, way in ways.items():
        made, real = (
            float((judge.odds(pixels)[attribute].argmax(1) == values.index(name)).float().mean())
            for pixels in (way.made, way.real)
        )
        about = f"share of {len(way.made)} translations in which the judge sees {attribute} {name}"
        scores[f"seen as {name}"] = Score(made, about, "higher", real)
    return scores
