"""With one core kept busy by another process: two threads against our own one-thread step."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds


def main() -> None:
    """Spin one core, take turns, and record the ratio; the same without the spinner for comparison."""
    options = {"width": 32, "batch": 64, "precision": "bf16", "channels_last": True}
    contestants = {"two threads": Contestant("ours", threads=2, **options),
                   "one thread": Contestant("ours", threads=1, **options)}  # fmt: skip
    quiet = rounds(contestants, 7, 3)
    spin = "while True: pass"
    if hasattr(os, "sched_setaffinity"):
        spin = f"import os\nos.sched_setaffinity(0, {{0}})\n{spin}"
    spinner = subprocess.Popen([sys.executable, "-c", spin])
    try:
        busy = rounds(contestants, 9, 3)
    finally:
        spinner.kill()
        spinner.wait()
    for contestant in contestants.values():
        contestant.close()
    ratio, calm = paired(busy["two threads"], busy["one thread"]), paired(quiet["two threads"], quiet["one thread"])
    rows = [{"contestant": name, "busy": busy[name], "quiet": quiet[name]} for name in contestants]
    record("busy", rows, busy=figure(ratio["ratio"], "at least 0.9", ratio["ratio"] >= 0.9,
           "two threads, times the speed of one thread, while another process keeps one core busy", **ratio),
           quiet=calm)  # fmt: skip
