"""Points in the plane: an SVG plot, a CSV table and a sheet."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts import terminal
from handmade.artifacts.artifact import Artifact
from handmade.artifacts.palette import INK, MUTED, PAPER, RULE, SERIES
from handmade.artifacts.plot import Axes, label
from handmade.artifacts.provenance import sidecar, svg_metadata, to_json
from handmade.errors import Diverged, UserError

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, HEIGHT = 640, 480
SCALE = 3  # drawn larger, then shrunk: smooth edges


@dataclass(frozen=True, eq=False)
class Points(Artifact):
    """Points (N, 2) in the curve's own units, x first."""

    points: Tensor
    formula: str  # of x; drawn as the title
    low: tuple[float, float]  # smallest x and y of the plot
    high: tuple[float, float]  # largest x and y of the plot
    curve: Tensor | None = None  # (M, 2) points of the true curve in order of x, drawn as a line

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2 or len(self.points) == 0:
            raise UserError(f"points must be (N, 2) with at least one point, not {tuple(self.points.shape)}")
        if not self.points.isfinite().all():
            raise Diverged("the points hold NaN or infinity: the weights have diverged; use an earlier checkpoint")

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield `points.svg`, `points.csv` and, with an origin, the table's sidecar."""
        yield "points.svg", self._svg().encode()
        rows = "".join(f"{x:.6g},{y:.6g}\n" for x, y in self.points.tolist())
        yield "points.csv", f"x,y\n{rows}".encode()
        if (note := self.note("points.csv")) is not None:
            yield sidecar("points.csv"), to_json(note).encode()

    def sample(self) -> dict[str, Any]:
        """Return the points, rounded to what a page can show."""
        return {
            "kind": "points",
            "formula": self.formula,
            "low": list(self.low),
            "high": list(self.high),
            "points": _rounded(self.points),
            "curve": [] if self.curve is None else _rounded(self.curve),
        }

    def picture(self) -> Image.Image:
        """Draw the plot."""
        big = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
        draw, axes = ImageDraw.Draw(big), self._axes(SCALE)
        for value in axes.x_ticks(6):
            draw.line((axes.x(value), axes.top, axes.x(value), axes.bottom), RULE, SCALE)
        for value in axes.y_ticks(5):
            draw.line((axes.left, axes.y(value), axes.right, axes.y(value)), RULE, SCALE)
        if self.curve is not None:
            line = [(axes.x(x), axes.y(y)) for x, y in self.curve.tolist()]
            draw.line(line, MUTED, 2 * SCALE, joint="curve")
        for x, y in self.points.tolist():
            if self._inside(x, y):
                draw.circle((axes.x(x), axes.y(y)), 3.2 * SCALE, SERIES[0])
        return self._labelled(big.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show a small plot of dots, two by four to a character in braille, or of plain stars."""
        fine = terminal.colour_wanted() if colour is None else colour
        across, down = (2, 4) if fine else (1, 1)
        columns, rows = max(10, min(width - 2, 60)), 16
        axes = Axes(0, 0, columns * across - 1, rows * down - 1, self.low, self.high)
        dots = {(round(axes.x(x)), round(axes.y(y))) for x, y in self.points.tolist() if self._inside(x, y)}
        lines = [
            "".join(_character(dots, column * across, row * down, fine) for column in range(columns)).rstrip()
            for row in range(rows)
        ]
        return "\n".join([f"y = {self.formula}, {len(self.points)} points", *lines])

    def _inside(self, x: float, y: float) -> bool:
        return self.low[0] <= x <= self.high[0] and self.low[1] <= y <= self.high[1]

    def _axes(self, scale: float) -> Axes:
        edges = (56 * scale, 40 * scale, (WIDTH - 20) * scale, (HEIGHT - 36) * scale)
        return Axes(*edges, self.low, self.high)

    def _labelled(self, picture: Image.Image) -> Image.Image:
        draw, axes = ImageDraw.Draw(picture), self._axes(1)
        small, title = ImageFont.load_default(size=13), ImageFont.load_default(size=16)
        for value in axes.x_ticks(6):
            draw.text((axes.x(value), axes.bottom + 8), label(value), MUTED, small, anchor="mt")
        for value in axes.y_ticks(5):
            draw.text((axes.left - 8, axes.y(value)), label(value), MUTED, small, anchor="rm")
        draw.text((axes.left, 20), f"y = {self.formula}", INK, title, anchor="lm")
        return picture

    def _svg(self) -> str:
        axes, formula = self._axes(1), html.escape(self.formula)
        grid = [f'<path d="M{_n(axes.x(v))} {_n(axes.top)}V{_n(axes.bottom)}"/>' for v in axes.x_ticks(6)]
        grid += [f'<path d="M{_n(axes.left)} {_n(axes.y(v))}H{_n(axes.right)}"/>' for v in axes.y_ticks(5)]
        words = [
            f'<text x="{_n(axes.x(v))}" y="{_n(axes.bottom + 18)}" text-anchor="middle">{label(v)}</text>'
            for v in axes.x_ticks(6)
        ]
        words += [
            f'<text x="{_n(axes.left - 8)}" y="{_n(axes.y(v) + 4)}" text-anchor="end">{label(v)}</text>'
            for v in axes.y_ticks(5)
        ]
        path = (
            "" if self.curve is None else " ".join(f"{_n(axes.x(x))},{_n(axes.y(y))}" for x, y in self.curve.tolist())
        )
        line = f'<polyline points="{path}" fill="none" stroke="{MUTED}" stroke-width="2"/>' if path else ""
        dots = "".join(
            f'<circle cx="{_n(axes.x(x))}" cy="{_n(axes.y(y))}" r="3.2"/>'
            for x, y in self.points.tolist()
            if self._inside(x, y)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="13">{svg_metadata(self.note("points.svg"))}'
            f"<title>{len(self.points)} points of a model that learns y = {formula}</title>"
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/><g stroke="{RULE}">{"".join(grid)}</g>'
            f'<g fill="{MUTED}">{"".join(words)}</g>{line}<g fill="{SERIES[0]}">{dots}</g>'
            f'<text x="{_n(axes.left)}" y="26" font-size="16" fill="{INK}">y = {formula}</text></svg>\n'
        )


def _rounded(points: Tensor) -> list[list[float]]:
    return [[float(f"{x:.4g}"), float(f"{y:.4g}")] for x, y in points.tolist()]


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _character(dots: set[tuple[int, int]], x: int, y: int, fine: bool) -> str:
    """One cell of a terminal plot; the bits of braille are those of Unicode 2800."""
    if not fine:
        return "*" if (x, y) in dots else " "
    bits = ((0, 0, 1), (0, 1, 2), (0, 2, 4), (1, 0, 8), (1, 1, 16), (1, 2, 32), (0, 3, 64), (1, 3, 128))
    code = sum(bit for dx, dy, bit in bits if (x + dx, y + dy) in dots)
    return chr(0x2800 + code) if code else " "
