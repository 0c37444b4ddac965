"""How long the words take that compute nothing, and how soon the first step comes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import figure, record


def _run(*words: str) -> tuple[float, float]:
    """Seconds and MiB of one command."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "handmade", *words], stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> None:
    """Run each word seven times; then train a small model and read when its first step was logged."""
    rows = []
    for words in (["--help"], ["list"], ["doctor"]):
        taken = [_run(*words) for _ in range(7)]
        rows.append(
            {"words": words, "seconds": statistics.median(t for t, _ in taken), "MiB": max(m for _, m in taken)}
        )
    firsts = [_first_step() for _ in range(5)]
    slowest, largest, first = max(r["seconds"] for r in rows), max(r["MiB"] for r in rows), statistics.median(firsts)
    record(
        "start_up",
        [*rows, {"first_step": firsts}],
        seconds=figure(slowest, "at most 0.2 s", slowest <= 0.2, "seconds for the slowest of --help, list, doctor"),
        memory=figure(largest, "at most 40 MiB", largest <= 40, "MiB for the largest of them"),
        first_step=figure(
            first, "at most 3 s", first <= 3, "seconds from Enter to the first training step of a small model"
        ),
    )


def _first_step() -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "shapes_gan/smoke", "--train.steps", "1", "--train.log_every", "1", "--out", f"{folder}/run"]
        began = time.time()
        subprocess.run([sys.executable, "-m", "handmade", *words], capture_output=True, check=True)
        lines = Path(folder, "run/events.jsonl").read_text().splitlines()
        return next(event["at"] for event in map(json.loads, lines) if event["kind"] == "step") - began
