"""How good generated pictures are: distances between sets of features, copies, and likeness of two pictures.

The feature functions take arrays (N, D) that some network has made of pictures. That network decides what they see:
always give its name with the number, and the same number for real against real (`floor`) beside it.
KID is the headline: it is unbiased, so that 330 and 1,500 pictures of one quality score the same. The Frechet distance
is biased upwards for few pictures: compare it at equal numbers only.
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
    """Kernel distance of two feature sets (N, D), (M, D): 0 for equal distributions, by chance a little below it.

    The unbiased squared MMD with k(x, y) = (x . y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401). The paper
    averages over subsets; here all pairs are used, which is less noisy, and the interval comes from the delete-one
    jackknife, whose variance is never too small on average (Efron and Stein 1981). Many papers print it times 1000.
    """
    a, b = _features(a, b, small)
    aa, bb = _others(a), _others(b)  # (N,), (M,)
    ab, ba = _kernel_sums(a, b)  # (N,), (M,)
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
    """Frechet distance of the Gaussians that fit two feature sets (N, D), (M, D) (Heusel et al. 2017, 1706.08500).

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
    0.05: among 1,600 drawn faces the two that are most alike differ by 0.066, so real faces score 0.
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
    pictures = len(a)
    a, b = ((x.flatten(0, 1)[:, None].float() + 1) / 2 for x in (a, b))  # (N*C, 1, H, W) in [0, 1], as the paper has it
    window = _window(min(11, *a.shape[2:])).to(a.device)

    def blur(x: Tensor) -> Tensor:
        return conv2d(conv2d(x, window[None, None, :, None]), window[None, None, None, :])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return likeness.view(pictures, -1).mean(1)


def floor(metric: Callable[[Tensor, Tensor], Result], real: Tensor, seed: int = 0) -> Result:
    """Measure real against real: `metric` between two disjoint random halves of `real`. Nobody can be better.

    A biased metric (the Frechet distance) must be given as many fakes as one half holds to be compared with it.
    """
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed)).to(real.device)
    half = len(real) // 2
    return metric(real[order[:half]], real[order[half : 2 * half]])


def _features(a: Tensor, b: Tensor, small: bool) -> tuple[Tensor, Tensor]:
    """Check two feature sets; return them as float32."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UserError(f"features must be (N, D) and (M, D), not {tuple(a.shape)} and {tuple(b.shape)}")
    fewest, least = min(len(a), len(b)), 3 if small else SMALLEST
    if fewest < least:
        raise UserError(f"{fewest} items are too few for a distance between sets: take at least {least}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise UserError("the features hold NaN or infinity: the pictures or the judge are broken")
    return a.float(), b.float()


def _kernel_sums(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the kernel over all pairs, for each row of `a` and for each row of `b`: -> (N,), (M,) float64."""
    of_a, of_b = [], torch.zeros(len(b), dtype=torch.float64, device=b.device)
    for part in a.split(CHUNK):
        kernel = (part @ b.T).div_(a.shape[1]).add_(1.0).pow_(3)  # (CHUNK, M)
        of_a.append(kernel.sum(1, dtype=torch.float64))
        of_b += kernel.sum(0, dtype=torch.float64)
    return torch.cat(of_a), of_b


def _others(a: Tensor) -> Tensor:
    """Sum the kernel of each row with all the other rows: (N, D) -> (N,) float64."""
    itself = (a.square().sum(1).div(a.shape[1]) + 1.0).pow(3).double()
    return _kernel_sums(a, a)[0] - itself


def _share_inside(points: Tensor, cloud: Tensor, k: int) -> float:
    """Share of `points` in at least one ball around a member of `cloud` with radius its k-th neighbour's distance."""
    radii = [torch.cdist(part, cloud).kthvalue(k + 1, dim=1).values for part in cloud.split(CHUNK)]  # + 1: itself
    reach = torch.cat(radii)  # (M,)
    inside = [(torch.cdist(part, cloud) <= reach).any(1) for part in points.split(CHUNK)]
    return float(torch.cat(inside).double().mean())


def _window(size: int) -> Tensor:
    """A Gaussian of the largest odd width up to `size`, sum 1."""
    reach = (size - 1) // 2
    weights = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * 1.5**2))
    return weights / weights.sum()
