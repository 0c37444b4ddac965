"""What an independent judge sees in pictures that were drawn by label or from a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from handmade.core import Judge, Score


def known_to(judge: Judge, named: Mapping[str, Sequence[str]]) -> list[str]:
    """The attributes of which the judge can name every value."""
    return [name for name, values in named.items() if set(values) <= set(judge.labels.get(name, ()))]


def agreement(drawn: Tensor, real: Tensor, labels: Tensor, named: Mapping[str, Sequence[str]],
              judge: Judge) -> dict[str, Score]:  # fmt: skip
    """For each attribute the share of pictures (N, C, H, W), drawn by the labels of real ones, that the judge names so.

    labels: (N, A), one column per attribute of `named`. The floor is the share that the judge names right of the real
    pictures (N, C, H, W) themselves.
    """
    scores, seen, best = {}, judge.odds(drawn), judge.odds(real)
    for name in known_to(judge, named):
        column = labels[:, list(named).index(name)].cpu()
        asked = torch.tensor([judge.labels[name].index(value) for value in named[name]])[column]
        share, most = (float((odds[name].argmax(1).cpu() == asked).float().mean()) for odds in (seen, best))
        about = f"share of {len(drawn)} drawn pictures in which the judge sees the {name} asked for"
        scores[f"agreement_{name}"] = Score(share, about, "higher", most)
    return scores
