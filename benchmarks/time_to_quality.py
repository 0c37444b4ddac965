"""dcgan/faces against the plain loop, given the same time: 30 minutes on two quiet cores.

Both learn from the same 10,000 faces and are judged on the same held-out ones by the same network. So that other work on
the machine does not decide, each takes the number of steps that its speed, measured by `step_time` on a quiet machine, allows
in that time. The plain loop's half can be trained apart (`--train-plain FILE`) and handed in (`--plain FILE`); its steps may
then be computed in bf16 (`--bf16`), to save time: `bf16_quality` shows that this changes nothing that matters.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.baselines import PlainDCGAN
from benchmarks.record import figure, record
from handmade import api
from handmade.data.loader import Loader
from handmade.data.source import open_data
from handmade.metrics.drawn import score_drawn
from handmade.recipe import load_recipe

ITEMS = 2000


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


@torch.no_grad()
def main() -> None:
    """Score both and record the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train-plain", type=Path, help="only train the plain loop, into this file")
    parser.add_argument("--plain-steps", type=int, default=1500)
    parser.add_argument("--bf16", action="store_true", help="compute the plain loop's steps in bf16")
    parser.add_argument("--plain", type=Path, help="the plain loop, already trained")
    parser.add_argument("--run", default="zoo:dcgan/faces", help="our run")
    wanted, _ = parser.parse_known_args()
    if wanted.train_plain:
        with torch.enable_grad():
            train_plain(wanted.plain_steps, wanted.train_plain, wanted.bf16)
        return
    loop = PlainDCGAN()
    if wanted.plain:
        held = load_file(wanted.plain)
        steps = int(held.pop("spent")[0])
        loop.generator.load_state_dict(held)
    else:
        with torch.enable_grad():
            loop, steps = train_plain(wanted.plain_steps, Path("plain.safetensors")), wanted.plain_steps
    loop.generator.eval()
    noise = torch.randn(ITEMS, loop.latent, 1, 1, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([loop.generator(part) for part in noise.split(100)])
    recipe = load_recipe("dcgan/faces")
    theirs = score_drawn(api.held_out(recipe, ITEMS).pixels, drawn, api.judge_of(recipe, torch.device("cpu")))
    ours = api.evaluate(wanted.run, ITEMS)
    kid, plain = ours["kid"], theirs["kid"]
    taken = api.find_run(wanted.run).marked("latest")
    rows = [{"contestant": name, "steps": steps_, "scores": {key: score._asdict() for key, score in scores.items()}}
            for name, steps_, scores in (("ours", taken, ours), ("plain", steps, theirs))]  # fmt: skip
    ratio, copies = kid.value / plain.value, ours["duplicates"].value
    about = f"({kid.value:.3g} after {taken} steps of 32, {plain.value:.3g} after {steps} of 64, floor {kid.floor:.2g})"
    record(
        "time_to_quality",
        rows,
        kid=figure(ratio, "at most 0.5", ratio <= 0.5,
                   f"KID of `dcgan/faces` after 30 minutes on two quiet cores, times the plain loop's {about}"),
        duplicates=figure(copies, "at most 0.01", copies <= 0.01, "share of its pictures that nearly repeat another"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
