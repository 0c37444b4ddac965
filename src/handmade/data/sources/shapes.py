"""Points on a curve: the smallest data set on which a generator can be watched learning (book, chapter 3)."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Literal, NamedTuple

from handmade.asks import Range
from handmade.data.cache import digest
from handmade.data.formula import Formula
from handmade.data.source import Dataset, DataSource, Rows, Wanted
from handmade.data.specs import PointsSpec
from handmade.errors import UserError


class Curve(NamedTuple):
    """A formula and the range of x on which it is drawn."""

    formula: str
    low: float
    high: float


CURVES = {
    "exponential": Curve("1.08 ** x", 0, 50),
    "inverted_u": Curve("10 - x ** 2", -3, 3),
    "sine": Curve("sin(x)", -5, 5),
    "cosine": Curve("cos(x)", -5, 5),
    "quadratic": Curve("x ** 2", -3, 3),
}


def shapes(
    wanted: Wanted,
    curve: Literal["exponential", "inverted_u", "sine", "cosine", "quadratic"] = "exponential",
    formula: str = "",
    low: float = 0.0,
    high: float = 0.0,
    n: Annotated[int, Range(1, 1_000_000)] = 2048,
    seed: int = 0,
) -> tuple[Dataset, PointsSpec]:
    """Draw x evenly at random and set y = f(x); a batch is (B, 2) float32 in the curve's own units.

    curve: the curve whose points are drawn
    formula: a curve of your own in its place, such as sin(x) / x
    low: smallest x; where low and high are both 0, the curve's own range (for a formula -5 to 5)
    high: largest x
    n: number of points
    seed: which points are drawn
    """
    import torch

    chosen = _chosen(curve, formula, low, high)
    function = Formula(chosen.formula)
    y = function(torch.linspace(chosen.low, chosen.high, 10_001, dtype=torch.float64))
    if not y.isfinite().all():
        place = f"{chosen.low:g}..{chosen.high:g}"
        raise UserError(f'"{chosen.formula}" is not finite for every x in {place}: change low or high')
    spec = PointsSpec(chosen.formula, (chosen.low, float(y.min())), (chosen.high, float(y.max())))
    if spec.low[1] == spec.high[1]:
        raise UserError(f'"{chosen.formula}" is a flat line, which has no shape to learn: use x in it')
    name = digest("shapes", 1, chosen, n, seed, wanted.split)
    generator = torch.Generator().manual_seed(int(name[:15], 16))
    x = torch.rand(n, generator=generator, dtype=torch.float64) * (chosen.high - chosen.low) + chosen.low
    return Rows(torch.stack([x, function(x)], dim=1).float(), name), spec


def _chosen(curve: str, formula: str, low: float, high: float) -> Curve:
    """Lay the user's formula and range over the named curve."""
    chosen = Curve(Formula(formula).text, -5, 5) if formula else CURVES[curve]
    if low == high == 0:
        return Curve(chosen.formula, float(chosen.low), float(chosen.high))
    if not (isfinite(low) and isfinite(high) and low < high):
        raise UserError(f"low must be smaller than high, not {low:g} and {high:g}")
    return Curve(chosen.formula, low, high)


SOURCE = DataSource(
    name="shapes",
    title="Points on a curve",
    licence="none needed: computed",
    homepage="",
    note="2,048 points, computed in a moment",
    kind="points",
    build=shapes,
)
