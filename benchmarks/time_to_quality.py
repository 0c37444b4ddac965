"""dcgan/faces against the plain loop, given the same time on two quiet cores.

Both learn from the same 10,000 faces and are judged on the same held-out ones by the same network. So that other work on the
machine does not decide, each gets the steps that its speed on a quiet machine (`step_time`) allows: 1,500 of the plain
loop's take as long as 14,000 of ours, half an hour. With fewer of the plain loop's (`--plain-steps`), our run is read where it
stood after the same share of its time. The plain loop can be trained apart (`--train-plain FILE`, `--plain FILE`), and
computed in bf16 (`--bf16`) to save time: `bf16_quality` shows that this changes nothing that matters. Where only our run is
new, `--recorded` takes the plain loop's scores of the last time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.baselines import PlainDCGAN
from benchmarks.record import figure, record, recorded
from handmade import api
from handmade.data.loader import Loader
from handmade.data.source import open_data
from handmade.metrics.drawn import score_drawn
from handmade.recipe import load_recipe

ITEMS, PLAIN_STEPS, OUR_STEPS = 512, 1500, 14_000  # steps in half an hour


def train_plain(steps: int, out: Path, bf16: bool = False) -> PlainDCGAN:
    """Train the plain loop, saving it now and then; goes on from what `out` holds."""
    dataset, _ = open_data({**load_recipe("dcgan/faces").data, "flip": False}, "train")
    loader = Loader(dataset, 64, seed=0)
    torch.manual_seed(0)
    loop, began = PlainDCGAN(), time.process_time()
    for step in range(1, steps + 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = loop.step(next(loader).pixels)
        if step % 100 == 0 or step == steps:
            spent = torch.tensor([step, time.process_time() - began])
            save_file({**loop.generator.state_dict(), "spent": spent}, out)
            print(step, f"{time.process_time() - began:.0f} s of processor time", losses, flush=True)
    return loop


def scored(wanted: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """The plain loop's steps, and the scores of what it then draws."""
    loop = PlainDCGAN()
    if wanted.plain:
        held = load_file(wanted.plain)
        steps = int(held.pop("spent")[0])
        loop.generator.load_state_dict(held)
    else:
        with torch.enable_grad():
            loop, steps = train_plain(wanted.plain_steps, Path("plain.safetensors"), wanted.bf16), wanted.plain_steps
    loop.generator.eval()
    noise = torch.randn(ITEMS, loop.latent, 1, 1, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([loop.generator(part) for part in noise.split(100)])
    recipe = load_recipe("dcgan/faces")
    scores = score_drawn(api.held_out(recipe, ITEMS).pixels, drawn, api.judge_of(recipe, torch.device("cpu")))
    return steps, {name: score._asdict() for name, score in scores.items()}


def scored_last() -> tuple[int, dict[str, Any]]:
    """The same, as it was recorded."""
    (row,) = (row for row in recorded("time_to_quality")[0] if row["contestant"] == "plain")
    return row["step"], row["scores"]


@torch.no_grad()
def main() -> None:
    """Score both and record the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train-plain", type=Path, help="only train the plain loop, into this file")
    parser.add_argument("--plain-steps", type=int, default=PLAIN_STEPS)
    parser.add_argument("--bf16", action="store_true", help="compute the plain loop's steps in bf16")
    parser.add_argument("--plain", type=Path, help="the plain loop, already trained")
    parser.add_argument("--recorded", action="store_true", help="the plain loop's scores of the last time")
    parser.add_argument("--run", default="zoo:dcgan/faces", help="our run")
    wanted, _ = parser.parse_known_args()
    if wanted.train_plain:
        with torch.enable_grad():
            train_plain(wanted.plain_steps, wanted.train_plain, wanted.bf16)
        return
    steps, theirs = scored_last() if wanted.recorded else scored(wanted)
    share = steps / PLAIN_STEPS
    ours = [event for event in api.find_run(wanted.run).events("score") if event["step"] <= share * OUR_STEPS][-1]
    kid, plain = ours["scores"]["kid"]["value"], theirs["kid"]["value"]
    rows = [
        {"contestant": "ours", "step": ours["step"], "scores": ours["scores"]},
        {"contestant": "plain", "step": steps, "scores": theirs},
    ]
    about = f"({kid:.3g} after {ours['step']} steps of 32, {plain:.3g} after {steps} of 64)"
    what = f"KID of `dcgan/faces` after {30 * share:.3g} minutes on two quiet cores, times the plain loop's {about}"
    record("time_to_quality", rows, kid=figure(kid / plain, "at most 0.5", kid / plain <= 0.5, what))


if __name__ == "__main__":
    main()
