"""dcgan/faces after 30 minutes on two cores, against the plain loop given the same time.

Both learn from the same 10,000 faces and are judged on the same held-out ones by the same network. The plain loop runs as
many steps as it takes in that time on a quiet machine, at the speed measured here just before.
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.baselines import PlainDCGAN
from benchmarks.record import figure, record
from handmade import api
from handmade.data.loader import Loader
from handmade.data.source import open_data
from handmade.metrics.drawn import score_drawn
from handmade.recipe import load_recipe

ITEMS = 2000


def plain(minutes: float, log: list[dict]) -> PlainDCGAN:
    """Train the plain loop by the wall clock."""
    recipe = load_recipe("dcgan/faces")
    dataset, _ = open_data({**recipe.data, "flip": False}, "train")
    loader = Loader(dataset, 64, seed=0)
    torch.manual_seed(0)
    loop, began, steps = PlainDCGAN(), time.monotonic(), 0
    while time.monotonic() - began < 60 * minutes:
        losses = loop.step(next(loader).pixels)
        steps += 1
        if steps % 100 == 0:
            log.append({"step": steps, "seconds": time.monotonic() - began, "losses": losses})
            print(log[-1], flush=True)
    log.append({"step": steps, "seconds": time.monotonic() - began})
    return loop


@torch.no_grad()
def main() -> None:
    """Train the plain loop, take our run of the same length, and record both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--run", help="our run, already trained with the same --minutes (default: train it now)")
    wanted, _ = parser.parse_known_args()
    run = api.find_run(wanted.run) if wanted.run else api.train("dcgan/faces", minutes=wanted.minutes)
    recipe = load_recipe("dcgan/faces")
    log: list[dict] = []
    with torch.enable_grad():
        loop = plain(wanted.minutes, log)
    loop.generator.eval()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(ITEMS, loop.latent, 1, 1, generator=generator)
    drawn = torch.cat([loop.generator(part) for part in noise.split(100)])
    real = api.held_out(recipe, ITEMS).pixels
    theirs = score_drawn(real, drawn, api.judge_of(recipe, torch.device("cpu")))
    ours = api.evaluate(run, ITEMS)
    ratio = ours["kid"].value / theirs["kid"].value
    end = next(run.events("end"))
    rows = [{"contestant": "ours", "steps": end["step"], "seconds": end["seconds"],
             "scores": {name: score._asdict() for name, score in ours.items()}},
            {"contestant": "plain", "steps": log[-1]["step"], "seconds": log[-1]["seconds"],
             "scores": {name: score._asdict() for name, score in theirs.items()}}]  # fmt: skip
    copies = ours["duplicates"].value
    record(
        "time_to_quality",
        rows,
        kid=figure(ratio, "at most 0.5", ratio <= 0.5,
                   f"KID of `dcgan/faces` after {wanted.minutes:g} minutes, times the plain loop's "
                   f"({ours['kid'].value:.4g} against {theirs['kid'].value:.4g}, floor {ours['kid'].floor:.2g})"),
        duplicates=figure(copies, "at most 0.01", copies <= 0.01, "share of its pictures that nearly repeat another"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
