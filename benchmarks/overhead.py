"""What the engine costs: its step on a tiny DCGAN against the same game written by hand."""

from __future__ import annotations

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

ROUNDS, STEPS = 61, 12  # many short rounds, so that what else the machine does meets both alike


def main() -> None:
    """Take turns, and record the ratio."""
    contestants = {"ours": Contestant("tiny_ours"), "by hand": Contestant("tiny_hand")}
    times = rounds(contestants, ROUNDS, STEPS)
    for contestant in contestants.values():
        contestant.close()
    ratio = paired(times["by hand"], times["ours"])
    rows = [{"contestant": name, "ms_per_step": [round(1000 * t / STEPS, 3) for t in ts]} for name, ts in times.items()]
    record("overhead", rows, overhead=figure(ratio["ratio"], "at most 1.05", ratio["ratio"] <= 1.05,
           "engine's step on a tiny DCGAN, times a hand-written loop", **ratio))  # fmt: skip
