"""Whether drawn pictures are copies of training pictures: the nearest of them, and how near real ones come by chance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from handmade.metrics.image import Nearest, nearest

SIDE = 32  # pixels to which pictures are averaged before they are compared
CHUNK = 1024


def averaged(pixels: Tensor) -> Tensor:
    """(N, C, H, W) uint8, or float in [-1, 1] -> (N, C, 32, 32) in [-1, 1]; smaller ones stay as they are."""
    parts = []
    for part in pixels.split(CHUNK):
        levels = part.float() / 127.5 - 1 if part.dtype == torch.uint8 else part.float()
        parts.append(adaptive_avg_pool2d(levels, min(SIDE, pixels.shape[-1])))
    return torch.cat(parts)


def nearest_known(drawn: Tensor, known: Tensor) -> Nearest:
    """For each drawn picture (N, C, H, W) the nearest of those trained on (M, C, H, W), and how far.

    The distance is the root mean square over all numbers of both, averaged to 32 px, in units of [-1, 1].
    """
    a, b = averaged(drawn), averaged(known)
    found = nearest(a, b)
    return Nearest(found.index, found.distance / a[0].numel() ** 0.5)


def copied(drawn: Tensor, unseen: Tensor, known: Tensor) -> float:
    """Share of drawn pictures that lie nearer to a training picture than any unseen real one does, (N|M|K, C, H, W)."""
    border = nearest_known(unseen, known).distance.min()
    return float((nearest_known(drawn, known).distance < border).float().mean())
