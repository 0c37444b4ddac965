"""How good generated pictures are: distances between sets of features, copies, and likeness of two pictures.

The feature functions take arrays (N, D) that some network has made of pictures: which network decides what they can see,
so always give its name with the number, and the same number for real against real (`floor`) beside it.
KID is the headline: it is unbiased, so that 330 pictures and 1,500 pictures of one quality score the same. The Frechet
distance is biased upwards for few pictures: compare it at equal numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d

from handmade.errors import UserError

SMALLEST = 256  # items below which a distance between sets says little; `small=True` for tests and first looks
CHUNK = 1024  # rows at a time: memory stays below CHUNK x N
Result = TypeVar("Result")


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class PrecisionRecall(NamedTuple):
    """Share of fakes that look real, and share of reals that the fakes can reach."""

    precision: float
    recall: float


class Nearest(NamedTuple):
    """For each row the nearest row of the other set and how far it is."""

    index: Tensor  # (N,) int64
    distance: Tensor  # (N,)


def kid(a: Tensor, b: Tensor, small: bool = False) -> Estimate:
    """Kernel distance of two feature sets (N, D), (M, D): 0 for equal distributions, and it may fall below it by chance.

    The unbiased squared MMD with k(x, y) = (x . y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401). The paper averages
    over subsets; here all pairs are used, which is less noisy, and the interval comes from the delete-one jackknife, whose
    variance is never too small on average (Efron and Stein 1981). Multiply by 1000 for the scale many papers print.
    """
    a, b = _features(a, b, small)
    aa, bb = _kernel_sums(a, a) - _kernel(a, a), _kernel_sums(b, b) - _kernel(b, b)  # (N,), (M,) without the pair of one
    ab, ba = _kernel_sums(a, b), _kernel_sums(b, a)  # (N,), (M,)
    n, m = len(a), len(b)

    def distance(within_a: Tensor, within_b: Tensor, between: Tensor, n: int, m: int) -> Tensor:
        return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * between / (n * m)

    value = distance(aa.sum(), bb.sum(), ab.sum(), n, m)
    without_a = distance(aa.sum() - 2 * aa, bb.sum(), ab.sum() - ab, n - 1, m)  # (N,) each with one row left out
    without_b = distance(aa.sum(), bb.sum() - 2 * bb, ab.sum() - ba, n, m - 1)  # (M,)
    variance = without_a.var(correction=0) * (n - 1) + without_b.var(correction=0) * (m - 1)
    half = 1.96 * math.sqrt(variance)
    return Estimate(float(value), float(value) - half, float(value) + half)


def frechet(a: Tensor, b: Tensor, small: bool = False) -> float:
    """Frechet distance of the Gaussians that fit two feature sets (N, D), (M, D) (Heusel et al. 2017, arXiv 1706.08500).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances. Call it FID only with Inception features.
    """
    a, b = (features.double() for features in _features(a, b, small))
    cov_a, cov_b = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(a.shape[1], -1)  # (D, D)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()  # tr (A B)^(1/2)
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(apart + cov_a.trace() + cov_b.trace() - 2 * cross))


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, small: bool = False) -> PrecisionRecall:
    """Share of fakes inside the cloud of reals, and the other way round (Kynkaanniemi et al. 2019, arXiv 1904.06991).

    The cloud of a set is the union of balls around its members that reach to their k-th nearest neighbour.
    """
    real, fake = _features(real, fake, small)
    if not 1 <= k < min(len(real), len(fake)):
        raise UserError(f"k must lie between 1 and the number of items less one, not {k}")
    return PrecisionRecall(_share_inside(fake, real, k), _share_inside(real, fake, k))


def nearest(fake: Tensor, real: Tensor) -> Nearest:
    """Find for each fake the nearest real, on features (N, D), (M, D) or pixels of one shape; Euclidean distance."""
    if fake.shape[1:] != real.shape[1:] or len(real) == 0:
        raise UserError(f"fakes {tuple(fake.shape)} and reals {tuple(real.shape)} must be items of the same shape")
    fake, real = fake.flatten(1).float(), real.flatten(1).float()
    found = [torch.cdist(part, real).min(1) for part in fake.split(CHUNK)]
    return Nearest(torch.cat([part.indices for part in found]), torch.cat([part.values for part in found]))


def duplicates(pixels: Tensor, threshold: float = 0.05, size: int = 32) -> float:
    """Share of pictures (N, C, H, W) in [-1, 1] that are a near copy of another one among them.

    A near copy differs by less than `threshold` in the root mean square over pixels, after averaging down to `size`.
    """
    if len(pixels) < 2:
        return 0.0
    small = (adaptive_avg_pool2d(pixels.float(), size) if max(pixels.shape[2:]) > size else pixels.float()).flatten(1)
    reach = threshold * math.sqrt(small.shape[1])
    copies = 0
    for start, part in zip(range(0, len(small), CHUNK), small.split(CHUNK), strict=True):
        apart = torch.cdist(part, small)  # (CHUNK, N)
        apart[torch.arange(len(part)), torch.arange(start, start + len(part))] = math.inf  # not of itself
        copies += int((apart.min(1).values < reach).sum())
    return copies / len(small)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of picture pairs (N, C, H, W) in [-1, 1] -> (N,), 1 for equal pictures (Wang et al. 2004).

    Window of 11 x 11 with sigma 1.5, constants 0.01 and 0.03 of the range, all from the paper; no padding. Pictures
    smaller than the window get the largest odd window that fits.
    """
    if a.shape != b.shape or a.ndim != 4:
        raise UserError(f"pictures must come in pairs (N, C, H, W), not {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.flatten(0, 1)[:, None].float(), b.flatten(0, 1)[:, None].float()  # (N*C, 1, H, W)
    window = _window(min(11, *a.shape[2:])).to(a.device)

    def blur(x: Tensor) -> Tensor:
        return conv2d(conv2d(x, window[None, None, :, None]), window[None, None, None, :])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return likeness.mean((1, 2, 3)).view(-1, *_per_picture(likeness, a)).mean(1)


def floor(metric: Callable[[Tensor, Tensor], Result], real: Tensor, seed: int = 0) -> Result:
    """Measure real against real: `metric` between two disjoint random halves of `real`. Nobody can be better."""
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed)).to(real.device)
    half = len(real) // 2
    return metric(real[order[:half]], real[order[half : 2 * half]])
