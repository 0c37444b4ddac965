"""How long the words take that compute nothing, and how soon the first step comes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import figure, record

# A child's peak memory counts what its parent held when it started, so a small process starts it.
MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def _run(*words: str) -> tuple[float, float]:
    """Seconds and MiB of one command."""
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "handmade", *words]
    seconds, mib = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(mib)


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
