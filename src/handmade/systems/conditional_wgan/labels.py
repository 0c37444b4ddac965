"""Labels as a network takes them, and the words in which a user names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from handmade.data.specs import ImageSpec
from handmade.errors import UserError
from handmade.samplers.latents import seed_numbers


def code_of(labels: Tensor, data: ImageSpec) -> Tensor:
    """(B, A) labels -> (B, V) codes: a one-hot vector per attribute, side by side."""
    sizes = [len(values) for values in data.labels.values()]
    return torch.cat([one_hot(column, size) for column, size in zip(labels.T, sizes, strict=True)], 1).float()


def surprise(scores: Tensor, labels: Tensor, data: ImageSpec) -> Tensor:
    """sum_a E[-log p_a(y_a | x)] in nats: (B, V) scores of the values are the logits of each attribute's odds p_a.

    Odena et al. 2017 (arXiv 1610.09585), whose critic names what it sees beside judging it.
    """
    logits = scores.split([len(values) for values in data.labels.values()], 1)
    return torch.stack([cross_entropy(given, true) for given, true in zip(logits, labels.T, strict=True)]).sum()


def with_labels(labels: Tensor, named: Mapping[str, int], data: ImageSpec) -> Tensor:
    """(N, A) labels with the attributes that are named set, all else as it was."""
    changed = labels.clone()
    for name, value in named.items():
        changed[:, list(data.labels).index(name)] = value
    return changed


class Change(NamedTuple):
    """What changes along one side of a grid: labels, or the seed."""

    start: Mapping[str, int]
    end: Mapping[str, int]
    seeds: tuple[int, int] | None = None


def read_change(text: str, data: ImageSpec, side: str) -> Change:
    """Read "glasses=no..yes" or "seed=3..8", or several with commas between; UserError naming the nearest label.

    Two dots, because a shell would take an arrow for a file to write.
    """
    starts, ends, seeds = [], [], None
    for part in text.split(","):
        name, equals, values = (word.strip() for word in part.partition("="))
        start, dots, end = (word.strip() for word in values.partition(".."))
        if not (equals and dots and start and end):
            raise UserError(f'{side}="{text}": say what changes, from what to what, such as "{example(data)}"')
        if name == "seed" and name not in data.labels:
            first, last = seed_numbers(f"{start},{end}")
            seeds = (first, last)
        else:
            starts.append(f"{name}={start}")
            ends.append(f"{name}={end}")
    return Change(data.codes(",".join(starts), side), data.codes(",".join(ends), side), seeds)


def read_sides(across: str, down: str, data: ImageSpec) -> tuple[Change, Change]:
    """What changes across, and what down; a side that is left out takes what the other leaves free (`example`).

    UserError where both sides change the same: its values would be added up to what is no value.
    """
    given = {side: read_change(text, data, side) for side, text in (("across", across), ("down", down)) if text}
    for side in ("across", "down"):
        if side not in given:
            taken = [name for other in given.values() for name in other.start]
            given[side] = read_change(example(data, taken), data, side)
    right, below = given["across"], given["down"]
    both = [name for name in right.start if name in below.start] or ["the seed"] * bool(right.seeds and below.seeds)
    if both:
        raise UserError(
            f'across="{across}" and down="{down}" both change {both[0]}: let one side change something else'
        )
    return right, below


def example(data: ImageSpec, taken: Collection[str] = ()) -> str:
    """The change of the first attribute that is not taken, from its first value to its last; the seed's where there is none."""
    for name, values in data.labels.items():
        if name not in taken:
            return f"{name}={values[0]}..{values[-1]}"
    return "seed=0..1"
