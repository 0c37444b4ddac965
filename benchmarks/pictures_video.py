"""text_to_video/shapes as shipped: do its clips show the object, colour and direction that were asked for?

Clips are made by the ask that a user has, ten for each of the 36 combinations that training never saw; the sentence names
object, colour, direction and the ground. A rule looks at them (metrics/moving.py); its floor is the share that it finds in real
clips of the same combinations. Then how long one clip takes on one core.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.record import figure, record
from handmade import api
from handmade.data.source import open_data
from handmade.data.sources import _moving as moving
from handmade.metrics.moving import agreement

RUN = "zoo:text_to_video/shapes"
EACH = 10  # clips of every combination
GOAL = 0.85
TIMED = 8  # clips, made together


def asked() -> list[tuple[str, list[int]]]:
    """The sentence and the labels of each held-out combination; the grounds take turns."""
    found, grounds = [], tuple(moving.GROUNDS)
    for what, name in enumerate(moving.OBJECTS):
        for colour, paint in enumerate(moving.COLOURS):
            way, ground = moving.apart(what, colour), (what + colour) % len(grounds)
            article = "an" if paint == "orange" else "a"
            sentence = (
                f"{article} {paint} {name} moves {tuple(moving.DIRECTIONS)[way]} on a {grounds[ground]} background"
            )
            found.append((sentence, [what, colour, way]))
    return found


@torch.no_grad()
def main() -> None:
    """Ask the shipped run, and record what the rule saw."""
    torch.set_num_threads(1)
    system: Any = api.load(RUN)
    names = {name: system.data.labels[name] for name in ("object", "colour", "direction")}
    rows, right = [], []
    for sentence, labels in asked():
        clips = system.generate(prompt=sentence, n=EACH, seed=0).clips
        found = agreement(clips, torch.tensor([labels] * EACH), names)
        rows.append({"prompt": sentence, **{name: float(seen.float().mean()) for name, seen in found.items()}})
        right.append(found["all"])
    share = float(torch.cat(right).float().mean())
    options = {"size": system.data.size, "frames": system.data.frames}
    real, spec = open_data({"source": "clips", "held_out": 360, **options}, "test")
    batch = real.batch(torch.arange(len(real)), torch.Generator())
    floor = float(agreement(batch.pixels, batch.labels, spec.labels)["all"].float().mean())
    before = time.process_time()
    system.generate(prompt=sentence, n=TIMED)
    seconds = (time.process_time() - before) / TIMED
    about = (f"share of {EACH * len(rows)} clips of `text_to_video/shapes`, of combinations never trained on, in which a "
             f"rule finds the object, colour and direction asked for ({floor:.3g} of real clips)")  # fmt: skip
    figures = {
        "agreement": figure(share, f"at least {GOAL}", share >= GOAL, about),
        "seconds": {"value": round(seconds, 3), "about": f"seconds of one core for a clip, {TIMED} made together"},
    }
    record("pictures_video", rows, **figures)


if __name__ == "__main__":
    main()
