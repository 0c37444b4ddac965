"""A run on one sheet: its curves, and its samples from the first to the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts.history import History, Measured, history, open_picture, read_events
from handmade.artifacts.palette import FLOOR, INK, MUTED, PAPER, RULE, SERIES, YARDSTICK
from handmade.artifacts.plot import Axes, label, thin
from handmade.errors import Damaged

SCALE = 3  # lines are drawn larger, then shrunk: smooth edges
WIDTH, HEIGHT = 1200, 400
SHOWN = 5  # samples on a progress sheet
MARGIN = 28


class Line(NamedTuple):
    """One curve of a panel."""

    name: str
    points: list[tuple[float, float]]
    colour: str


class Panel(NamedTuple):
    """One plot: its title, its curves, the band of an interval, and the floor as a dashed line."""

    title: str
    lines: Sequence[Line]
    floor: float | None = None
    band: Sequence[tuple[float, float, float]] = ()  # step, low, high
    log: bool = False


def curves(events: Iterable[Mapping[str, Any]], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Draw each player's loss and, where there are scores, the yardstick over training with its floor."""
    return draw_panels(panels(history(events)), size)


def progress_sheet(run: Path) -> Image.Image:
    """Put a run's curves and its samples, first to last, on one sheet; missing parts leave no gap."""
    told = history(read_events(run), Path(run))
    parts = [_heading(Path(run).resolve().name, told), draw_panels(panels(told), (WIDTH, HEIGHT))]
    if strip := _evolution(told):
        parts.append(strip)
    sheet = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def panels(told: History) -> list[Panel]:
    """Choose what to plot: the losses, and the yardstick if the run has one."""
    lines = [
        Line(player, thin([(p.step, p.value) for p in points], 240), SERIES[index % len(SERIES)])
        for index, (player, points) in enumerate(told.losses.items())
    ]
    chosen = [Panel("loss", lines)]
    if told.yardstick is not None:
        scores = told.scores[told.yardstick]
        chosen.append(
            Panel(
                f"{told.yardstick} on held-out data, {scores[-1].better} is better",
                [Line(told.yardstick, [(s.step, s.value) for s in scores], YARDSTICK)],
                scores[-1].floor,
                [(s.step, s.low, s.high) for s in scores if s.low is not None and s.high is not None],
                wide_range(scores),
            )
        )
    return chosen


def wide_range(scores: Sequence[Measured]) -> bool:
    """Tell whether a score fell through more than one power of ten and a half: then powers of ten show it better."""
    values = [s.value for s in scores] + [s.floor for s in scores if s.floor is not None]
    return min(values) > 0 and max(values) > 30 * min(values)


def limits(panel: Panel) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest step and value of a panel; the first wild losses may leave the plot at the top."""
    points = [point for line in panel.lines for point in line.points]
    if not points:
        return (0.0, 0.0), (1.0, 1.0)
    values = sorted(value for _, value in points)
    low, high = values[0], values[-1]
    if panel.floor is None and len(values) > 20:
        high = min(high, 1.3 * values[round(0.98 * (len(values) - 1))] - 0.3 * low)
    if panel.floor is not None:
        low, high = min(low, panel.floor), max(high, panel.floor)
    if panel.log:
        return (0.0, low / 1.4), (max(1.0, *(x for x, _ in points)), high * 1.4)
    space = (high - low or abs(high) or 1.0) * 0.06
    bottom = 0.0 if 0 <= low <= 0.3 * high else low - space
    return (0.0, bottom), (max(1.0, *(x for x, _ in points)), high + space)


def draw_panels(chosen: Sequence[Panel], size: tuple[int, int]) -> Image.Image:
    """Draw panels side by side on one RGB picture."""
    big = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    places = [_axes(panel, index, len(chosen), size) for index, panel in enumerate(chosen)]
    for panel, axes in zip(chosen, places, strict=True):
        _draw_lines(ImageDraw.Draw(big), panel, axes)
    picture = big.resize(size, Image.Resampling.LANCZOS)
    for panel, axes in zip(chosen, places, strict=True):
        _draw_words(ImageDraw.Draw(picture), panel, axes)
    return picture


def _axes(panel: Panel, index: int, count: int, size: tuple[int, int]) -> Axes:
    width = size[0] / count
    low, high = limits(panel)
    left = index * width
    return Axes(left + 64, 72, left + width - MARGIN, size[1] - 44, low, high, panel.log)


def _draw_lines(draw: ImageDraw.ImageDraw, panel: Panel, axes: Axes) -> None:
    """Draw all that has no words, SCALE times as large."""

    def at(x: float, y: float) -> tuple[float, float]:
        return axes.x(x) * SCALE, axes.y(y) * SCALE

    right, left = axes.right * SCALE, axes.left * SCALE
    for value in axes.y_ticks():
        height = axes.y(value) * SCALE
        draw.line((left, height, right, height), RULE, SCALE)
    if len(panel.band) > 1:
        edge = [at(x, high) for x, _, high in panel.band] + [at(x, low) for x, low, _ in reversed(panel.band)]
        draw.polygon(edge, fill=_pale(YARDSTICK))
    if panel.floor is not None:
        height, dash = axes.y(panel.floor) * SCALE, 7 * SCALE
        for start in range(int(left), int(right), 2 * dash):
            draw.line((start, height, min(start + dash, right), height), FLOOR, 2 * SCALE)
    for line in panel.lines:
        places = [at(x, y) for x, y in line.points]
        if len(places) > 1:
            draw.line(places, line.colour, round(2.2 * SCALE), joint="curve")
        if len(places) < 30:
            for place in places:
                draw.circle(place, 3.6 * SCALE, line.colour)


def _draw_words(draw: ImageDraw.ImageDraw, panel: Panel, axes: Axes) -> None:
    small, title = ImageFont.load_default(size=14), ImageFont.load_default(size=17)
    draw.text((axes.left, 24), panel.title, INK, title, anchor="lm")
    for value in axes.y_ticks():
        draw.text((axes.left - 8, axes.y(value)), label(value), MUTED, small, anchor="rm")
    for value in axes.x_ticks():
        draw.text((axes.x(value), axes.bottom + 10), label(value), MUTED, small, anchor="mt")
    draw.text((axes.right, axes.bottom + 28), "step", MUTED, small, anchor="rt")
    left = axes.left
    legend = [(line.name, line.colour) for line in panel.lines] if len(panel.lines) > 1 else []
    legend += [(f"floor {label(panel.floor)}: real against real", FLOOR)] if panel.floor is not None else []
    for name, colour in legend:
        for start, end in ((0, 7), (11, 18)) if colour == FLOOR else ((0, 18),):
            draw.line((left + start, 52, left + end, 52), colour, 3)
        draw.text((left + 25, 52), name, MUTED, small, anchor="lm")
        left += 25 + small.getlength(name) + 22
    if not any(line.points for line in panel.lines):
        middle = ((axes.left + axes.right) / 2, (axes.top + axes.bottom) / 2)
        draw.text(middle, "no values yet", MUTED, title, anchor="mm")


def _heading(name: str, told: History) -> Image.Image:
    page = Image.new("RGB", (WIDTH, 76), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 30), name, INK, ImageFont.load_default(size=26), anchor="lm")
    facts = f"{told.step:,} steps in {duration(told.seconds)}"
    facts += f", {label(told.rate)} items a second" if told.rate else ""
    draw.text((MARGIN, 60), facts, MUTED, ImageFont.load_default(size=15), anchor="lm")
    return page


def _evolution(told: History) -> Image.Image | None:
    """Lay samples side by side from the first to the last; a picture that cannot be read says so in its place."""
    if not told.samples:
        return None
    count = min(SHOWN, len(told.samples))
    chosen = [told.samples[round(i * (len(told.samples) - 1) / max(1, count - 1))] for i in range(count)]
    width = (WIDTH - 2 * MARGIN - (SHOWN - 1) * 16) // SHOWN
    tiles: list[Image.Image | None] = []
    for sample in chosen:
        try:
            tiles.append(_fit(open_picture(sample.path), width))
        except Damaged:
            tiles.append(None)
    strip = Image.new("RGB", (WIDTH, max([tile.height for tile in tiles if tile] or [40]) + 60), PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size=15)
    for index, (sample, tile) in enumerate(zip(chosen, tiles, strict=True)):
        left = MARGIN + index * (width + 16)
        draw.text((left, 14), f"step {sample.step:,}, {duration(sample.seconds)}", MUTED, font, anchor="lm")
        if tile:
            strip.paste(tile, (left, 32))
        else:
            draw.text((left, 52), "cannot be read", MUTED, font, anchor="lm")
    return strip


def duration(seconds: float) -> str:
    """Write a time in the words of a clock: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _fit(picture: Image.Image, width: int) -> Image.Image:
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _pale(colour: str) -> tuple[int, int, int]:
    """The colour at a fifth of its strength on paper."""
    parts = [(int(colour[i : i + 2], 16), int(PAPER[i : i + 2], 16)) for i in (1, 3, 5)]
    red, green, blue = (round(0.2 * ink + 0.8 * paper) for ink, paper in parts)
    return red, green, blue
