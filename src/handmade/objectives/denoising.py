"""The way from pictures to noise, and what a network that walks it back may be asked for: pure functions.

At time t in 0..1 a picture x has become  x_t = a_t x + s_t e  with noise e ~ N(0, 1): along a circle, a_t^2 + s_t^2 = 1 (Ho et
al. 2020, arXiv 2006.11239, equation 4), or straight, a_t + s_t = 1 (Liu et al. 2022, arXiv 2209.03003). Time is continuous, as
in Kingma et al. 2021 (arXiv 2107.00630): a sampler may then stop at any times it likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

FAINTEST = 1e-5  # least share of the picture in a^2 and of the noise in s^2, since guesses are divided by them

Prediction = Literal["noise", "picture", "velocity", "flow"]


class Levels(NamedTuple):
    """How much of a noisy picture is picture, and how much is noise; broadcast over pictures."""

    a: Tensor
    s: Tensor


Law = Callable[[Tensor], Levels]  # times (...) in 0..1 -> levels (...)


def linear(t: Tensor) -> Levels:
    """Noise added at a rate that grows evenly from 0.1 to 20: the DDPM's law in continuous time (Song et al. 2021, B.)."""
    return _levels((-0.1 * t - 9.95 * t.square()).exp())


def cosine(t: Tensor) -> Levels:
    """a^2 falls like a squared cosine, which spends fewer steps on pictures that are all noise (Nichol & Dhariwal 2021)."""
    start = 0.008
    return _levels(
        ((t + start) / (1 + start) * (math.pi / 2)).cos().square() / math.cos(start / (1 + start) * math.pi / 2) ** 2
    )


def _levels(kept: Tensor) -> Levels:
    """a^2 -> a and s, a little away from both ends."""
    kept = kept.clamp(FAINTEST, 1 - FAINTEST)
    return Levels(kept.sqrt(), (1 - kept).sqrt())


def straight(t: Tensor) -> Levels:
    """The shortest way: a = 1 - t, s = t (Liu et al. 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747)."""
    t = t.clamp(FAINTEST, 1 - FAINTEST)
    return Levels(1 - t, t)


LAWS: dict[str, Law] = {"linear": linear, "cosine": cosine}


def beyond(x: Tensor, margin: float) -> Tensor:
    """Move what is black (-1) or white (1) outwards by `margin`; clamping to -1..1 brings it back.

    Those values are often where a scale ends, and many pixels are just that. A guess that is a little wrong leaves grain where
    nothing should be; with a margin it errs where clamping mends it.
    """
    return torch.where(x.abs() >= 1, x * (1 + margin), x) if margin else x


def over(level: Tensor, x: Tensor) -> Tensor:
    """(B,) or () -> a shape that broadcasts over pictures x (B, ...)."""
    return level.view(-1, *[1] * (x.ndim - 1))


def noisy(x: Tensor, e: Tensor, at: Levels) -> Tensor:
    """x_t = a_t x + s_t e, all (B, ...)."""
    return over(at.a, x) * x + over(at.s, x) * e


def target(x: Tensor, e: Tensor, at: Levels, predict: Prediction) -> Tensor:
    """What the network is asked for, (B, ...): the noise e, the picture x, or the velocity v = a e - s x.

    v is what x_t turns into as t grows along its circle (Salimans & Ho 2022, arXiv 2202.00512): its size is the same at all
    times, where the noise says nothing of the picture at the end, and the picture nothing at the start. The flow e - x is
    the same for the straight law: the direction of the whole way.
    """
    if predict in ("noise", "flow"):
        return e if predict == "noise" else e - x
    return x if predict == "picture" else over(at.a, x) * e - over(at.s, x) * x


def picture_in(guess: Tensor, x_t: Tensor, at: Levels, predict: Prediction) -> Tensor:
    """The picture that a guess of any kind amounts to, (B, ...): the inverse of `target` given x_t."""
    a, s = over(at.a, x_t), over(at.s, x_t)
    if predict == "noise":
        return (x_t - s * guess) / a
    if predict == "flow":
        return (x_t - s * guess) / (a + s)
    return guess if predict == "picture" else a * x_t - s * guess


def squared_error(guess: Tensor, wanted: Tensor, edges: float = 0.0) -> Tensor:
    """E[|guess - wanted|^2] per number, a float32 scalar (Ho et al. 2020, equation 14: the simple loss).

    edges: what the error of a slope weighs beside it (`slope_error`)
    """
    d = guess.float() - wanted.float()
    return d.square().mean() + edges * slope_error(d) if edges else d.square().mean()


def slope_error(d: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """The squared errors of the slopes down and across, per slope, of errors d (..., H, W): outlines stand in them."""
    return (weight * d.diff(dim=-2).square()).mean() + (weight * d.diff(dim=-1).square()).mean()


def middle_times(normal: Tensor, shift: float = 0.0) -> Tensor:
    """(B,) normal draws -> (B,) times in 0..1, mostly in the middle, where guessing is hardest (Esser et al. 2024, 2403.03206).

    shift: above 0 towards noise, below towards pictures
    """
    return (normal + shift).sigmoid()
