"""On a machine with a GPU: training steps of dcgan and gpt against the plain loops of step_time and words_step, run on it too.

The plain loops keep torch's defaults there: float32, in which convolutions use the tensor cores (TF32) and products do not.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

ROUNDS, STEPS = 7, 10
DCGAN = {"width": 64, "batch": 64, "threads": None, "device": "cuda"}
GPT = {"threads": None, "device": "cuda", "wide": True}


def main() -> None:
    """Take turns, and record the ratios."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("gpu_step measures a GPU, and torch sees none here")
    auto = {"precision": "auto", "channels_last": "auto"}
    games = {
        "`dcgan` at 64 px, batch 64": {
            "ours": Contestant("ours", **auto, at_once=False, **DCGAN),
            "plain": Contestant("PlainDCGAN", **DCGAN),
        },
        "`gpt` of 32 million parameters, batch 64 x 512": {
            "ours": Contestant("words_step:ours", precision="auto", **GPT),
            "plain": Contestant("words_step:theirs", loop="PlainLoop", **GPT),
        },
    }
    rows, figures = [], {}
    for game, contestants in games.items():
        times = rounds(contestants, ROUNDS, STEPS)
        rows += [_row(game, name, contestants[name].about, seconds) for name, seconds in times.items()]
        for contestant in contestants.values():
            contestant.close()
        ratio = paired(times["ours"], times["plain"])
        about = f"on a GPU, training steps of {game}, times those of the plain loop there"
        figures[game.split("`")[1]] = figure(ratio["ratio"], "at least 1", ratio["ratio"] >= 1, about, **ratio)
    record("gpu_step", rows, device="cuda", **figures)


def _row(game: str, name: str, about: str, seconds: list[float]) -> dict[str, Any]:
    milliseconds = round(1000 * statistics.median(seconds) / STEPS, 3)
    return {"game": game, "contestant": name, "about": about, "seconds": seconds, "ms_per_step": milliseconds}
