"""`handmade demo` as a newcomer runs it: how long it takes and how much memory it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.record import figure, record


def main() -> None:
    """Run the demo once with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HANDMADE_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-m", "handmade", "demo", "--json", "--out", f"{folder}/demo"]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        out, _ = process.communicate()
        watcher.join()
        minutes = (time.perf_counter() - began) / 60
        page = Path(json.loads(out)["gallery"])
        size = page.stat().st_size / 2**20
    record(
        "demo",
        [{"scores": json.loads(out)["scores"], "page_MiB": round(size, 2)}],
        minutes=figure(minutes, "under 5", minutes < 5, "minutes for `handmade demo` with nothing cached"),
        memory=figure(peak[0], "under 2", peak[0] < 2, "GB of memory at its peak, all processes together"),
    )


def _watch(process: subprocess.Popen, peak: list[float]) -> None:
    """Keep the largest sum of the memory of a process and its children, shared pages divided among them."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_memory(pid) for pid in _family(process.pid)) / 1e6)
        time.sleep(0.5)


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # the thread has just ended
    return found


def _memory(pid: int) -> int:
    """Proportional memory in kB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # the process has just ended
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
