"""Points in the latent space of a GAN, and paths between them: pure functions.

Latents are standard normal, so almost all of them lie near a sphere of radius sqrt(L). A straight line between two
cuts through the empty middle, where the generator was never trained; paths here follow the sphere (White 2016, arXiv
1609.04468).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from handmade.core import seeded
from handmade.errors import UserError


def latents(n: int, length: int, seed: int) -> Tensor:
    """(n, length) standard normal noise; row i depends on `seed` and i alone: a larger n continues the series."""
    generator = seeded(seed)
    return torch.stack([torch.randn(length, generator=generator) for _ in range(n)])


def seed_numbers(seeds: str) -> list[int]:
    """The seeds in a text such as "0,1,2"; UserError for anything else."""
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f'seeds must be whole numbers separated by commas, such as "0,1,2,3", not "{seeds}"') from None
    if long := [number for number in numbers if abs(number) >= 2**63]:
        raise UserError(f"seeds must have fewer digits than {long[0]}")
    return numbers


def first_latents(seeds: str, length: int) -> Tensor:
    """The first latent of each seed in a text such as "0,1,2", (K, length); UserError for anything else."""
    return torch.cat([latents(1, length, seed) for seed in seed_numbers(seeds)])


def spherical(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Points on the great circle from `start` to `end`, both (..., L), at t in 0..1 of shape (..., 1) (Shoemake 1985).

    Lengths are interpolated too, so t = 0 and t = 1 return the ends themselves.
    """
    cosine = torch.cosine_similarity(start, end, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = cosine.arccos().clamp_min(1e-4)  # below, the arc is a straight line and sin(angle) / angle is 1
    from_start, to_end = ((1 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()
    return from_start * start + to_end * end


def walk(stops: Tensor, steps: int) -> Tensor:
    """(K, L) stops -> ((K - 1) * steps + 1, L): all stops, and `steps` equal strides between each two."""
    strides = torch.linspace(0, 1, steps + 1, device=stops.device)[:-1].unsqueeze(-1)  # (steps, 1)
    legs = [spherical(a, b, strides) for a, b in pairwise(stops)]  # K - 1 of (steps, L)
    return torch.cat([*legs, stops[-1:]])


def square(corners: Tensor, side: int) -> Tensor:
    """(4, L) corners in reading order -> (side * side, L), row by row, the corners at the corners."""
    t = torch.linspace(0, 1, side, device=corners.device).unsqueeze(-1)  # (side, 1)
    left, right = spherical(corners[0], corners[2], t), spherical(corners[1], corners[3], t)  # (side, L)
    rows = spherical(left.unsqueeze(1), right.unsqueeze(1), t)  # (side, side, L)
    return rows.flatten(0, 1)
