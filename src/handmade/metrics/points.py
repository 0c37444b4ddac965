"""How well generated points lie on a curve, and whether they cover it: one good point, made again and again, fails."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from handmade.errors import UserError

CELLS = 20
ENOUGH = 0.25  # of the points that a cell should hold


def curve_error(points: Tensor, curve: Callable[[Tensor], Tensor]) -> float:
    """Median of |y - f(x)| over points (N, 2), in the unit of y."""
    points = _checked(points, "points")
    return float((points[:, 1] - curve(points[:, 0])).abs().median())


def coverage(x: Tensor, real: Tensor, cells: int = CELLS, enough: float = ENOUGH) -> float:
    """Share of the range that is covered, between 0 and 1.

    The range of the real values (M,) is cut into cells that hold equally many of them; a cell counts as covered where
    the generated values (N,) put at least `enough` of what belongs there. 20 points per cell or more are fair.
    """
    x, real = _checked(x, "x"), _checked(real, "real x")
    inner = torch.quantile(real, torch.linspace(0, 1, cells + 1, dtype=torch.float64)[1:-1])  # (cells - 1,)
    space = (real.max() - real.min()) / cells / 2  # values a little outside still belong to the first and last cell
    inside = x[(x >= real.min() - space) & (x <= real.max() + space)]
    counts = torch.bincount(torch.bucketize(inside, inner), minlength=cells)  # (cells,)
    return float((counts >= max(1.0, enough * len(x) / cells)).double().mean())


def wasserstein(x: Tensor, y: Tensor) -> float:
    """Wasserstein-1 distance of two sets of numbers (N,), (M,): how far the mass of one must move to make the other.

    The area between the two cumulative distributions, exact for sets of different sizes (Vallender 1974).
    """
    x, y = _checked(x, "x").sort().values, _checked(y, "y").sort().values
    places = torch.cat([x, y]).sort().values
    below_x = torch.searchsorted(x, places[:-1], right=True).double() / len(x)
    below_y = torch.searchsorted(y, places[:-1], right=True).double() / len(y)
    return float(((below_x - below_y).abs() * places.diff()).sum())


def _checked(values: Tensor, name: str) -> Tensor:
    if len(values) == 0 or not values.isfinite().all():
        raise UserError(f"{name} must be finite numbers, at least one")
    return values.detach().cpu().double()
