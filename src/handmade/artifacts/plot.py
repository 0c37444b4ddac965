"""The geometry of a plot: values to places, round tick marks, short labels. Pillow drawings and SVG share it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Axes:
    """A rectangle on a page and the values at its edges."""

    left: float  # places on the page; y grows downwards there
    top: float
    right: float
    bottom: float
    low: tuple[float, float]  # smallest x and y
    high: tuple[float, float]  # largest x and y
    log: bool = False  # y in powers of ten

    def x(self, value: float) -> float:
        """Place of an x value, kept within the rectangle."""
        return self._place(value, self.low[0], self.high[0], self.left, self.right)

    def y(self, value: float) -> float:
        """Place of a y value, kept within the rectangle."""
        if self.log:
            low, high = math.log(self.low[1]), math.log(self.high[1])
            return self._place(math.log(max(value, self.low[1])), low, high, self.bottom, self.top)
        return self._place(value, self.low[1], self.high[1], self.bottom, self.top)

    def x_ticks(self, count: int = 5) -> list[float]:
        """Round x values, about `count` of them."""
        return ticks(self.low[0], self.high[0], count)

    def y_ticks(self, count: int = 5) -> list[float]:
        """Round y values, about `count` of them; 1, 2 and 5 of each power of ten where y is logarithmic."""
        if not self.log:
            return ticks(self.low[1], self.high[1], count)
        powers = range(math.floor(math.log10(self.low[1])), math.ceil(math.log10(self.high[1])) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            marks = [digit * 10.0**power for power in powers for digit in digits]
            inside = [mark for mark in marks if self.low[1] <= mark * (1 + 1e-9) and mark <= self.high[1] * (1 + 1e-9)]
            if len(inside) <= count + 1:
                break
        return inside

    @staticmethod
    def _place(value: float, low: float, high: float, start: float, end: float) -> float:
        share = 0.5 if high == low else (value - low) / (high - low)
        return start + (end - start) * min(1.0, max(0.0, share))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values between `low` and `high`: steps of 1, 2 or 5 times a power of ten, from three up."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    marks: list[float] = []
    for digit in (10, 5, 2, 1):
        step = digit * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if marks and len(marks) >= 3 and last - first + 1 > count + 1:
            break
        marks = [round(index * step, 12) for index in range(first, last + 1)]
    return marks


def label(value: float) -> str:
    """Write a number shortly: 0.0031, 0.5, 12, 2,500, 12k, 3.4M."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 10_000:
        return f"{value / 1e3:.3g}k"
    if size >= 1000:
        return f"{value:,.0f}"
    if size and size < 1e-4:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{value:.3g}"


def thin(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Reduce a curve to `most` points, each the mean of a stretch; the last point stays as it is."""
    if len(points) <= most:
        return points
    edges = [round(index * (len(points) - 1) / (most - 1)) for index in range(most)]
    stretches = [points[a:b] for a, b in pairwise(edges)]
    means = [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in stretches]
    return [*means, points[-1]]
