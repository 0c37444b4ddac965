"""dcgan at 64 px, batch 64, the paper's width: images per second against plain loops of the same two networks.

The plain loops take turns and judge what was drawn a second time. Ours can do the same, as its recipes do, or judge it once and
let both players move at once (`config.at_once`): both are measured.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

BATCH, STEPS, ROUNDS = 64, 2, 15


def main() -> None:
    """Take turns, and record the ratios."""
    ours = {"width": 64, "batch": BATCH, "threads": None}
    plain = {"width": 64, "batch": BATCH, "threads": None}
    contestants = {
        "ours": Contestant("ours", precision="auto", channels_last="auto", at_once=True, **ours),
        "ours, in turns": Contestant("ours", precision="auto", channels_last="auto", at_once=False, **ours),
        "ours, float32": Contestant("ours", precision="float32", channels_last="auto", at_once=True, **ours),
        "plain": Contestant("PlainDCGAN", **plain),
        "book": Contestant("BookDCGAN", **plain),
    }
    times = rounds(contestants, ROUNDS, STEPS)
    rows = [_row(name, contestants[name].about, seconds) for name, seconds in times.items()]
    for contestant in contestants.values():
        contestant.close()
    speed = paired(times["ours"], times["plain"])
    book = paired(times["ours"], times["book"])
    float32 = paired(times["ours, float32"], times["plain"])
    turns, turns_book = (paired(times["ours, in turns"], times[loop]) for loop in ("plain", "book"))
    record(
        "step_time",
        rows,
        plain=figure(speed["ratio"], "at least 2.4", speed["ratio"] >= 2.4,
                     "`dcgan` training at 64 px, both at once, times the images/s of the common example's loop", **speed),
        book=figure(book["ratio"], "at least 3.0", book["ratio"] >= 3.0, "... times the images/s of the book's loop", **book),
        float32=figure(float32["ratio"], "at least 1.15", float32["ratio"] >= 1.15,
                       "... in float32, times the common example's loop", **float32),
        turns=figure(turns["ratio"], "at least 2.2", turns["ratio"] >= 2.2,
                     "... in turns, as the recipes do, times the common example's loop", **turns),
        turns_book=figure(turns_book["ratio"], "at least 2.7", turns_book["ratio"] >= 2.7,
                          "... in turns, times the book's loop", **turns_book),
        images_per_s=rows[0]["images_per_s"],
    )  # fmt: skip


def _row(name: str, about: str, seconds: list[float]) -> dict[str, Any]:
    rate = BATCH * STEPS / statistics.median(seconds)
    return {"contestant": name, "about": about, "seconds": seconds, "images_per_s": round(rate, 1)}
