"""Who watches a run: one line in the terminal that stays in place, or a plain line now and then where it cannot."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

Event = Mapping[str, Any]
Observer = Callable[[Event], None]
EVERY = 10.0  # seconds between plain lines


class Console:
    """Talks to standard error: rate, time left, each player's loss, and the room's yardstick beside its floor."""

    def __init__(self, stream: TextIO | None = None, unit: str = "items"):
        self.stream, self.unit = stream or sys.stderr, unit
        self.in_place = self.stream.isatty() and not _dumb()
        self.score, self.spoken, self.began, self.open = "", 0.0, time.monotonic(), False
        self.first: tuple[int, float] | None = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event["kind"]:
            case "note":
                self._line(event["text"])
            case "score":
                self.score = _score(event["scores"])
            case "step":
                self._progress(event)
            case "end":
                self._progress(event, last=True)

    def _progress(self, event: Event, last: bool = False) -> None:
        now = time.monotonic()
        if last:
            text = f"step {event['step']}  done in {clock(event['seconds'])}  {self.score}"
        elif now - self.spoken >= (0.1 if self.in_place else EVERY):
            text = "  ".join(part for part in (*self._parts(event), self.score) if part)
        else:
            return
        self.spoken = now
        if self.in_place:
            width = _width() - 1
            self.stream.write("\r" + text[:width].ljust(width) + ("\n" if last else ""))
            self.open = not last
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def _parts(self, event: Event) -> list[str]:
        step, steps = event["step"], event["steps"]
        if self.first is None:
            self.first = (step, event["seconds"])
        done, took = step - self.first[0], event["seconds"] - self.first[1]
        left = clock(took / done * (steps - step)) + " left" if done else ""
        losses = "  ".join(f"{name} {value:.3f}" for name, value in event["losses"].items())
        return [f"step {step}/{steps}", f"{event['items_per_s']:,.0f} {self.unit}/s", left, losses]

    def _line(self, text: str) -> None:
        if self.open:
            self.stream.write("\n")
            self.open = False
        self.stream.write(text + "\n")
        self.stream.flush()


def _score(scores: Mapping[str, Mapping[str, Any]]) -> str:
    name, score = next(iter(scores.items()))
    floor = f" (floor {score['floor']:.3g})" if score.get("floor") is not None else ""
    return f"{name} {score['value']:.3g}{floor}"


def clock(seconds: float) -> str:
    """`1:05` or `2:03:09`."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _dumb() -> bool:
    import os

    return os.environ.get("TERM") == "dumb" or bool(os.environ.get("CI"))


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns
