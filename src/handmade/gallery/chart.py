"""Curves of a run as inline SVG that follows the page's colours."""

from __future__ import annotations

import html
from collections.abc import Sequence

from handmade.artifacts.plot import Axes
from handmade.artifacts.sheet import Panel, limits
from handmade.gallery.words import number

WIDTH, HEIGHT = 400, 210


def chart(panel: Panel, title: str) -> str:
    """Draw a panel: curves, floor, interval, and a marker that the page moves to the moment shown beside it.

    title: HTML of the heading; everything that comes from the run is escaped here
    """
    low, high = limits(panel)
    axes = Axes(44, 8, WIDTH - 8, HEIGHT - 24, low, high, panel.log)
    body = [*_grid(axes), *_band(panel, axes), *_floor(panel, axes)]
    for index, line in enumerate(panel.lines):
        places = [(axes.x(x), axes.y(y)) for x, y in line.points]
        colour = "yard" if panel.floor is not None or panel.band else f"s{index % 6}"
        body.append(f'<path class="line {colour}" d="{_path(places)}"/>')
        if len(places) < 30:
            body += [f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places]
    body.append(
        f'<path class="now" data-left="{axes.left}" data-right="{axes.right}" data-last="{high[0]:.0f}" '
        f'd="M0 {axes.top}V{axes.bottom}" transform="translate({axes.right})"/>'
    )
    return (
        f'<figure class="chart"><figcaption><h4>{title}</h4>{_legend(panel)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(_in_words(panel), quote=True)}">'
        f"{''.join(body)}</svg></figure>"
    )


def _grid(axes: Axes) -> list[str]:
    marks = []
    for value in axes.y_ticks(4):
        y = axes.y(value)
        marks.append(f'<path class="grid" d="M{axes.left} {y:.1f}H{axes.right}"/>')
        marks.append(f'<text class="tick" x="{axes.left - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in axes.x_ticks(4):
        x = axes.x(value)
        anchor = "end" if x > axes.right - 12 else "middle"
        marks.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{number(value)}</text>')
    return marks


def _band(panel: Panel, axes: Axes) -> list[str]:
    if len(panel.band) < 2:
        return []
    edge = [(axes.x(x), axes.y(high)) for x, _, high in panel.band]
    edge += [(axes.x(x), axes.y(low)) for x, low, _ in reversed(panel.band)]
    return [f'<path class="band" d="{_path(edge)}Z"/>']


def _floor(panel: Panel, axes: Axes) -> list[str]:
    if panel.floor is None:
        return []
    return [f'<path class="floor" d="M{axes.left} {axes.y(panel.floor):.1f}H{axes.right}"/>']


def _legend(panel: Panel) -> str:
    keys = [(f"s{index % 6}", line.name) for index, line in enumerate(panel.lines)] if len(panel.lines) > 1 else []
    keys += [("dashed", f"floor {number(panel.floor)}")] if panel.floor is not None else []
    return "".join(f'<span class="key {style}">{html.escape(name)}</span>' for style, name in keys)


def _in_words(panel: Panel) -> str:
    """The chart for those who do not see it."""
    told = [
        f"{line.name} goes from {number(line.points[0][1])} to {number(line.points[-1][1])}"
        for line in panel.lines
        if line.points
    ]
    if not told:
        return f"{panel.title}: no values yet"
    last = max(line.points[-1][0] for line in panel.lines if line.points)
    floor = f"; the floor is {number(panel.floor)}" if panel.floor is not None else ""
    return f"{panel.title} over {last:,.0f} steps: {', '.join(told)}{floor}"


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) if places else ""
