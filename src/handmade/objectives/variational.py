"""Terms of the evidence lower bound: what a variational autoencoder pays for its code and for its picture, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

STEP = 2 / 255  # from one level of a pixel to the next, levels lying in [-1, 1]
FAR = 1e4  # stands for infinity: beyond every level, and finite, so that no gradient becomes 0 x infinity


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each row: (N, L), (N, L) -> (N,) nats (Kingma and Welling 2014, 1312.6114, B).

    1/2 sum (mean^2 + variance - 1 - log variance): what it costs to say z to somebody who expects standard noise.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def discretised_logistic(pixels: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """-log p(pixels) of each picture under a logistic cut to 256 levels: (N, ...), (N, ...), scale -> (N,) nats.

    p(x) = s((x - mean + STEP/2) / scale) - s((x - mean - STEP/2) / scale), s the sigmoid; the darkest and the brightest
    level take what lies beyond them (Kingma et al. 2016, arXiv 1606.04934, appendix). A sum over all 256 levels is 1, so
    that it can be compared in bits with any other model of pixels, and a smaller scale is not endlessly better. Computed
    by s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)), which loses no digits however small p is.
    """
    rate = torch.exp(-log_scale)
    dark, bright = pixels < STEP / 2 - 1, pixels > 1 - STEP / 2
    upper, lower = (
        (pixels + STEP / 2).masked_fill(bright, FAR),
        (pixels - STEP / 2).masked_fill(dark, -FAR),
    )  # its edges
    inside = (~(dark | bright)).flatten(1).sum(1)  # (N,) levels with two edges
    above, below = softplus((mean - upper) * rate), softplus((lower - mean) * rate)
    return above.flatten(1).sum(1) + below.flatten(1).sum(1) - inside * torch.log(-torch.expm1(-STEP * rate))


def bits_per_dim(nats: Tensor, dimensions: int) -> Tensor:
    """Nats of a whole picture -> bits of each of its numbers."""
    return nats / (dimensions * math.log(2))
