"""The stage: what a model made at each moment of its training, as frames that the reader moves through.

Pictures become WebP at a quality that keeps the page small; points and text travel as values and are drawn by the page.
Music is seen as pictures of its piano rolls, and what was made last can be heard.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from handmade.artifacts.history import Sample, open_picture
from handmade.artifacts.plot import Axes, label
from handmade.artifacts.sheet import duration
from handmade.errors import Damaged
from handmade.gallery.story import LARGEST, Story

MOST = 24  # frames of a film
TRIES = ((MOST, 720, 82), (MOST, 640, 64), (16, 560, 52), (10, 480, 42), (5, 400, 36), (2, 320, 30))
POINTS, LINES, LETTERS = 600, 16, 60  # of one frame
PROSE = 700  # letters of a passage
NOTES = 2000  # of a piece that is played
RATE, LONGEST = 22_050, 40  # of the sound on a page: samples a second, seconds


class Stage(NamedTuple):
    """The HTML of a stage and the values its script needs."""

    html: str
    data: dict[str, Any]


def stage(story: Story, budget: int) -> Stage | None:
    """Build the stage of a run with about `budget` bytes of pictures at most; None where the run has no samples."""
    samples = story.told.samples
    if not samples:
        return None
    samples = _spread(samples, MOST)
    values = [value for sample in samples if (value := _sample(sample)) is not None]
    for kind, build in (("points", _points), ("text", _text), ("passage", _passage)):
        if [value["kind"] for value in values] == [kind] * len(samples):
            return build(story, samples, values)
    screen = _pictures(story, samples, budget)
    last = values[-1] if len(values) == len(samples) and values[-1]["kind"] == "music" else None
    return screen if screen is None or last is None else screen._replace(html=screen.html + _player(story, last))


def _player(story: Story, value: dict[str, Any]) -> str:
    """The sound of the last sample, small enough for a page."""
    from handmade.midi import Note, Piece
    from handmade.sound import render, sound_bytes

    piece = Piece(tuple(Note(*note) for note in value["notes"]))
    played = render(piece, value["instruments"], RATE)[: LONGEST * RATE]
    sound = base64.b64encode(sound_bytes(played.mean(1, keepdims=True), RATE, "mp3", quality=0.3)).decode()
    title = html.escape(f"The music that {story.title} made last", quote=True)
    return f'<audio controls preload="none" aria-label="{title}" src="data:audio/mpeg;base64,{sound}"></audio>'


def _pictures(story: Story, samples: Sequence[Sample], budget: int) -> Stage | None:
    opened = []
    for sample in samples:
        try:
            opened.append((sample, open_picture(sample.path)))
        except Damaged as error:
            story.faults.append(str(error))
    if not opened:
        return None
    most, side, quality = _fitting([picture for _, picture in opened], budget)
    chosen = _spread(opened, most)
    frames = [_encode(picture, side, quality) for _, picture in chosen[:-1]]
    frames.append(_encode(chosen[-1][1], side, min(92, quality + 12)))
    samples = [sample for sample, _ in chosen]
    width, height = chosen[-1][1].size
    alt = f"what {story.title} made after {samples[-1].step:,} steps"
    images = "".join(
        f'<img src="data:image/webp;base64,{base64.b64encode(frame).decode()}" width="{width}" height="{height}" '
        f'alt="{html.escape(alt) if index == len(frames) - 1 else ""}"{"" if index == len(frames) - 1 else " hidden"}>'
        for index, frame in enumerate(frames)
    )
    crisp = " crisp" if width < 480 else ""
    return Stage(f'<div class="screen pictures{crisp}">{images}</div>', _moments("pictures", samples))


def _fitting(pictures: list[Image.Image], budget: int) -> tuple[int, int, int]:
    """Choose the number of frames, their side and quality: the first try that keeps to the budget, judged by three."""
    probes = [pictures[0], pictures[len(pictures) // 2], pictures[-1]]
    for most, side, quality in TRIES[:-1]:
        size = sum(len(_encode(picture, side, quality)) for picture in probes) / 3
        if size * min(most, len(pictures)) <= 0.9 * budget:  # the last frame is finer than the others
            return most, side, quality
    return TRIES[-1]


def _points(story: Story, samples: Sequence[Sample], values: Sequence[dict[str, Any]]) -> Stage:
    """A plot whose dots the page moves from one sample to the next."""
    last = values[-1]
    low, high = tuple(last["low"]), tuple(last["high"])
    axes = Axes(40, 12, 628, 446, low, high)
    width, height = axes.right - axes.left, axes.bottom - axes.top
    grid = [f'<path class="grid" d="M{axes.left} {axes.y(v):.1f}H{axes.right}"/>' for v in axes.y_ticks(5)]
    grid += [f'<path class="grid" d="M{axes.x(v):.1f} {axes.top}V{axes.bottom}"/>' for v in axes.x_ticks(6)]
    words = [
        f'<text class="tick" x="{axes.left - 7}" y="{axes.y(v) + 5:.1f}" text-anchor="end">{label(v)}</text>'
        for v in axes.y_ticks(5)
    ]
    words += [
        f'<text class="tick" x="{axes.x(v):.1f}" y="{axes.bottom + 22}" text-anchor="middle">{label(v)}</text>'
        for v in axes.x_ticks(6)
    ]
    curve = "L".join(f"{axes.x(x):.1f} {axes.y(y):.1f}" for x, y in last["curve"])
    frames = [[_place(x, y, axes) for x, y in value["points"][:POINTS]] for value in values]
    dots = "".join(f'<circle cx="{x / 10:g}" cy="{y / 10:g}" r="3.4"/>' for x, y in frames[-1])
    formula = html.escape(f"y = {last['formula']}")
    alt = (
        f"{len(frames[-1])} points that {story.title} made after {samples[-1].step:,} steps, around the curve {formula}"
    )
    drawing = (
        f'<div class="screen points"><svg viewBox="0 0 640 480" role="img" aria-label="{html.escape(alt)}">'
        + "".join(grid + words)
        + (f'<path class="truth" d="M{curve}"/>' if curve else "")
        + f'<svg class="dots" x="{axes.left}" y="{axes.top}" width="{width}" height="{height}" '
        + f'viewBox="{axes.left} {axes.top} {width} {height}">{dots}</svg>'
        + f'<text class="formula" x="{axes.left + 12}" y="34">{formula}</text></svg></div>'
    )
    return Stage(drawing, {**_moments("points", samples), "frames": frames})


def _text(story: Story, samples: Sequence[Sample], values: Sequence[dict[str, Any]]) -> Stage:
    """Lines of text, one block per sample; numbers outside the set that was to be learned are struck out."""
    members = story.spec.get("members") if story.spec.get("kind") == "numbers" else None
    allowed = {str(member) for member in members} if isinstance(members, list) else None
    blocks = []
    for index, value in enumerate(values):
        hidden = "" if index == len(values) - 1 else " hidden"
        lines = [_line(line[:LETTERS], allowed) for line in value["lines"][:LINES]]
        blocks.append(f'<div class="lines"{hidden}>{"".join(lines)}</div>')
    table = " table" if allowed is not None else ""
    hint = '<p class="hint">Struck out: not one of the numbers it should learn.</p>' if allowed is not None else ""
    return Stage(f'<div class="screen text{table}">{"".join(blocks)}{hint}</div>', _moments("text", samples))


def _passage(story: Story, samples: Sequence[Sample], values: Sequence[dict[str, Any]]) -> Stage:
    """Running text as prose, one block per sample, one above the other so that nothing on the page moves."""
    blocks = []
    for index, value in enumerate(values):
        hidden = "" if index == len(values) - 1 else " hidden"
        whole, given = value["text"][:PROSE], value["given"]
        if len(value["text"]) > PROSE:
            whole = whole[: whole.rfind(" ")] if " " in whole[given:] else whole
            whole += " \u2026"
        begun = f'<span class="given">{html.escape(whole[:given])}</span>' if given else ""
        blocks.append(f'<div class="lines"{hidden}>{begun}{html.escape(whole[given:])}</div>')
    return Stage(f'<div class="screen text prose">{"".join(blocks)}</div>', _moments("text", samples))


def _line(line: str, allowed: set[str] | None) -> str:
    if allowed is None:
        return f"<p>{html.escape(line)}</p>"
    words = [f"<span>{w}</span>" if w in allowed else f"<s>{html.escape(w)}</s>" for w in line.split()]
    return f"<p>{' '.join(words)}</p>"


def _sample(sample: Sample) -> dict[str, Any] | None:
    """Read the values beside a sheet, if they are there and are what `Artifact.sample` writes."""
    path = sample.path.with_name("sample.json")
    try:
        if path.stat().st_size > LARGEST:
            return None
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if value.get("kind") == "text":
        lines = value.get("lines")
        return value if isinstance(lines, list) and all(isinstance(line, str) for line in lines) else None
    if value.get("kind") == "passage":
        given = value.get("given")
        sound = (
            isinstance(value.get("text"), str) and isinstance(given, int) and not isinstance(given, bool) and given >= 0
        )
        return value if sound else None
    if value.get("kind") == "music":
        return value if _is_music(value) else None
    if value.get("kind") != "points" or not isinstance(value.get("formula"), str):
        return None
    value = {**value, "curve": value.get("curve") or []}
    pairs = [value.get("low"), value.get("high"), *_list(value.get("points")), *_list(value["curve"])]
    sound = value.get("points") and all(_is_pair(pair) for pair in pairs)
    return value if sound and all(a < b for a, b in zip(value["low"], value["high"], strict=True)) else None


def _is_music(value: dict[str, Any]) -> bool:
    """Whether these are notes that can be played: start, length, pitch, velocity and track, in a few minutes."""
    from handmade.sound import INSTRUMENTS

    notes, played = _list(value.get("notes")), _list(value.get("instruments"))
    limits = (600, 600, 127, 127, len(played) - 1)  # the largest value of each; the smallest is 0
    return (
        all(name in INSTRUMENTS for name in played)
        and len(notes) <= NOTES
        and all(isinstance(note, list) and len(note) == len(limits) for note in notes)
        and all(
            isinstance(part, int if place > 1 else int | float) and not isinstance(part, bool) and 0 <= part <= most
            for note in notes
            for place, (part, most) in enumerate(zip(note, limits, strict=True))
        )
    )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e15 for v in value)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _place(x: float, y: float, axes: Axes) -> tuple[int, int]:
    """Tenths of a unit of the drawing; a point outside stays outside, at most one plot away."""
    across = (x - axes.low[0]) / (axes.high[0] - axes.low[0])
    up = (y - axes.low[1]) / (axes.high[1] - axes.low[1])
    across, up = min(2.0, max(-1.0, across)), min(2.0, max(-1.0, up))
    return (
        round(10 * (axes.left + across * (axes.right - axes.left))),
        round(10 * (axes.bottom - up * (axes.bottom - axes.top))),
    )


def _moments(kind: str, samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "kind": kind,
        "steps": [sample.step for sample in samples],
        "times": [duration(sample.seconds) for sample in samples],
    }


def _encode(picture: Image.Image, side: int, quality: int) -> bytes:
    """Encode as WebP; without loss where that is small, as it is for large flat pixels."""
    factor = min(1.0, side / max(picture.size))
    if factor < 1:
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    lossy, exact = io.BytesIO(), io.BytesIO()
    picture.save(lossy, format="WEBP", quality=quality, method=2)
    if picture.getcolors(4096) is not None:
        picture.save(exact, format="WEBP", lossless=True, quality=60)
        if exact.tell() < lossy.tell():
            return exact.getvalue()
    return lossy.getvalue()


def _spread(items: list[Any], most: int) -> list[Any]:
    """Choose at most `most` items, first and last among them, denser at the start where more happens."""
    if len(items) <= most:
        return items
    last = len(items) - 1
    places = sorted({round(last * math.pow(index / (most - 1), 1.4)) for index in range(most)})
    return [items[place] for place in places]
