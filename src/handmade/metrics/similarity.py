"""How like two pictures are, pair by pair; structural similarity lives in `image.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from handmade.core import Score
from handmade.errors import UserError
from handmade.metrics.image import ssim


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of picture pairs (N, C, H, W) in [-1, 1] -> (N,) decibels: 10 log10(range^2 / mean error^2).

    An error below an eighth of a level of 8 bits counts as that eighth, so that equal pictures score 66.2, not infinity.
    """
    if a.shape != b.shape or a.ndim != 4:
        raise UserError(f"pictures must come in pairs (N, C, H, W), not {tuple(a.shape)} and {tuple(b.shape)}")
    error = (a.float() - b.float()).square().flatten(1).mean(1).clamp_min((2 / 255 / 8) ** 2)
    return 10 * torch.log10(4 / error)


def score_alike(real: Tensor, back: Tensor) -> dict[str, Score]:
    """How far pictures (N, C, H, W) in [-1, 1] are from what has come back of them, in three measures."""
    about = f"mean over {len(real)} held-out pictures and what comes back of them"
    error = (real - back).abs().mean() * 127.5
    return {
        "psnr": Score(float(psnr(real, back).mean()), f"peak signal-to-noise ratio in dB, {about}", "higher"),
        "ssim": Score(float(ssim(real, back).mean()), f"structural similarity, {about}", "higher"),
        "l1": Score(float(error), f"difference in levels of 255, {about}"),
    }
