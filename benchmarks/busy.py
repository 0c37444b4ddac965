"""With one core kept busy by another process: training with the threads that the engine chose, against one thread.

The engine chose two threads while the machine was quiet. Where two are held (`--train.threads 2`) they wait for each other.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

SETTLING = 120  # steps until the engine has noticed


def main() -> None:
    """Spin one core, take turns, and record the ratio; the same without the spinner for comparison."""
    options = {"width": 32, "batch": 64, "precision": "bf16", "channels_last": True}
    threads = {"chosen": None, "two threads": 2, "one thread": 1}
    contestants = {name: Contestant("ours", threads=count, **options) for name, count in threads.items()}
    quiet = rounds(contestants, 5, 3)
    spin = "while True: pass"
    if hasattr(os, "sched_setaffinity"):
        spin = f"import os\nos.sched_setaffinity(0, {{0}})\n{spin}"
    spinner = subprocess.Popen([sys.executable, "-c", spin])
    try:
        contestants["chosen"].steps(SETTLING)
        busy = rounds(contestants, 7, 10)
    finally:
        spinner.kill()
        spinner.wait()
    for contestant in contestants.values():
        contestant.close()
    ratio = paired(busy["chosen"], busy["one thread"])
    held, calm = (paired(times["two threads"], times["one thread"]) for times in (busy, quiet))
    rows = [{"contestant": name, "busy": busy[name], "quiet": quiet[name]} for name in contestants]
    about = "`dcgan` training that chose two threads, times the speed of one thread, while another process keeps one core busy"
    record("busy", rows, busy=figure(ratio["ratio"], "at least 0.9", ratio["ratio"] >= 0.9, about, **ratio),
           held=held, quiet=calm)  # fmt: skip


if __name__ == "__main__":
    main()
