"""Points in the latent space of a GAN, and paths between them: pure functions.

Latents are standard normal, so almost all of them lie on a sphere of radius sqrt(L). Straight lines between two of them cut
through the empty middle, where the generator was never trained; paths here follow the sphere (White 2016, arXiv 1609.04468).
"""

from __future__ import annotations

import torch
from torch import Tensor

from handmade.core import seeded


def latents(n: int, length: int, seed: int) -> Tensor:
    """(n, length) standard normal noise; row i depends on `seed` and i alone, so a larger n continues the same series."""
    generator = seeded(seed)
    return torch.stack([torch.randn(length, generator=generator) for _ in range(n)])


def spherical(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Points on the great circle from `start` to `end`, both (..., L), at t in 0..1 of shape (..., 1) (Shoemake 1985).

    Lengths are interpolated too, so t = 0 and t = 1 return the ends themselves.
    """
    cosine = torch.cosine_similarity(start, end, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = cosine.arccos().clamp_min(1e-4)  # below, the arc is a straight line and sin(angle) / angle is 1
    from_start, to_end = ((1 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()
    return from_start * start + to_end * end


def walk(stops: Tensor, steps: int) -> Tensor:
    """(K, L) stops -> ((K - 1) * steps + 1, L): every stop, and `steps` equal strides of the sphere from each to the next."""
    strides = torch.linspace(0, 1, steps + 1)[:-1].unsqueeze(-1)  # (steps, 1)
    legs = [spherical(a, b, strides) for a, b in zip(stops, stops[1:], strict=False)]  # K - 1 of (steps, L)
    return torch.cat([*legs, stops[-1:]])


def square(corners: Tensor, side: int) -> Tensor:
    """(4, L) corners in reading order -> (side * side, L), row by row, the corners at the corners."""
    t = torch.linspace(0, 1, side).unsqueeze(-1)  # (side, 1)
    left, right = spherical(corners[0], corners[2], t), spherical(corners[1], corners[3], t)  # (side, L)
    rows = spherical(left.unsqueeze(1), right.unsqueeze(1), t)  # (side, side, L)
    return rows.flatten(0, 1)
