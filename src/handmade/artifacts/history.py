"""What a run has recorded: losses, scores and samples over training, read from its folder.

Reads `events.jsonl` as a kill at any moment may have left it: a half line is passed over, and where a step is told
twice, the later account stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from handmade.errors import Damaged

LARGEST = 16_000_000  # pixels of a picture; a sheet of ours is far below
LINE = 1_000_000  # characters of an event


class Point(NamedTuple):
    """One value on a curve."""

    step: int
    seconds: float
    value: float


class Measured(NamedTuple):
    """One score at one moment: the value with its interval, and the floor that nobody can be better than."""

    step: int
    seconds: float
    value: float
    floor: float | None
    low: float | None
    high: float | None
    better: str
    about: str


class Sample(NamedTuple):
    """One preview that the run has kept."""

    step: int
    seconds: float
    path: Path  # the sheet


@dataclass(frozen=True)
class History:
    """The account of a run, in order of step."""

    losses: Mapping[str, list[Point]] = field(default_factory=dict)  # player -> curve
    scores: Mapping[str, list[Measured]] = field(default_factory=dict)  # name -> curve; the first is the yardstick
    samples: list[Sample] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0  # trained, over all resumes
    rate: float | None = None  # items per second, the middle value

    @property
    def yardstick(self) -> str | None:
        """The room's own first score."""
        return next(iter(self.scores), None)


def read_events(run: Path) -> list[dict[str, Any]]:
    """Read `events.jsonl`; no file is no events."""
    path = Path(run) / "events.jsonl"
    if not path.is_file():
        return []
    events = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line) if len(line) <= LINE else None
            except (ValueError, RecursionError):
                continue  # the line that was being written when the run was killed
            if isinstance(event, dict) and isinstance(event.get("kind"), str):
                events.append(event)
    return events


def history(events: Iterable[Mapping[str, Any]], run: Path = Path()) -> History:
    """Order events into curves; `run` is the folder that the paths of samples start from."""
    losses: dict[str, dict[int, Point]] = {}
    scores: dict[str, dict[int, Measured]] = {}
    samples: dict[int, Sample] = {}
    rates: list[float] = []
    step, seconds = 0, 0.0
    for event in events:
        at = event.get("step")
        if not isinstance(at, int) or at < 0:
            continue
        time = _number(event.get("seconds"))
        step, seconds = at, seconds if time is None else time
        if event["kind"] == "step":
            rates += [rate] if (rate := _number(event.get("items_per_s"))) else []
            for player, value in _table(event.get("losses")).items():
                if (loss := _number(value)) is not None:
                    losses.setdefault(player, {})[at] = Point(at, seconds, loss)
        elif event["kind"] == "score":
            for name, score in _table(event.get("scores")).items():
                if (measured := _measured(at, seconds, score)) is not None:
                    scores.setdefault(name, {})[at] = measured
        elif event["kind"] == "sample" and (path := _inside(run, event.get("path"))) is not None:
            samples[at] = Sample(at, seconds, path)
    return History(
        {player: _in_order(curve) for player, curve in losses.items() if curve},
        {name: _in_order(curve) for name, curve in scores.items() if curve},
        _in_order(samples),
        step,
        seconds,
        sorted(rates)[len(rates) // 2] if rates else None,
    )


def open_picture(path: Path) -> Image.Image:
    """Open a picture of a run as RGB; raise Damaged where it is not one, or larger than any of ours."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > LARGEST:
                raise Damaged(f"{path} has {picture.width} x {picture.height} pixels: more than a sheet can have")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Damaged(f"{path} is not a readable PNG picture: {error}") from None


def _measured(step: int, seconds: float, score: Any) -> Measured | None:
    table = _table(score)
    value = _number(table.get("value"))
    if value is None:
        return None
    floor, low, high = (_number(table.get(name)) for name in ("floor", "low", "high"))
    better = "higher" if table.get("better") == "higher" else "lower"
    return Measured(step, seconds, value, floor, low, high, better, str(table.get("about", "")))


def _inside(run: Path, path: Any) -> Path | None:
    """The file that an event names, if it lies in the run's folder."""
    if not isinstance(path, str) or "\0" in path:
        return None
    whole = (Path(run) / path).resolve()
    return whole if whole.is_relative_to(Path(run).resolve()) else None


def _in_order(curve: Mapping[int, Any]) -> list[Any]:
    return [curve[step] for step in sorted(curve)]


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond any float
        return None
