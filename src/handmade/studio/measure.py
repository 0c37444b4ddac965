"""A process that measures what a recipe will cost here: `python -m handmade.studio.measure`, a line of JSON in, one out.

It opens the data and builds the system as training would, lets the engine's own calibration choose, and times a sample, a
save and the scores' data. What it opened stays in the cache, so the training that follows finds it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from handmade import api
from handmade.core import System
from handmade.data.loader import Loader
from handmade.data.source import open_data
from handmade.engine import calibrate
from handmade.engine.devices import World, choose_device, cut
from handmade.engine.state import seed_all
from handmade.engine.turns import players_of
from handmade.errors import HandmadeError
from handmade.recipe import Recipe, load_recipe

SECONDS = 4.0  # about how long the calibration may take
SHEET = 400_000  # bytes of a sample, where there is none to weigh


def measure(recipe: Recipe) -> dict[str, Any]:
    """Seconds per step, per sample and until the first step; bytes of memory and of a checkpoint."""
    began = time.perf_counter() - time.process_time()  # with what it took to load torch
    dataset, spec = open_data(recipe.data, "train")
    loader = Loader(dataset, recipe.train.batch, recipe.train.seed)
    seed_all(recipe.train.seed)
    system = api.build(recipe, spec)
    batch = next(iter(system.stream(loader)))
    plan = recipe.train
    if "auto" not in (plan.precision, plan.channels_last, plan.threads):
        plan = replace(plan, threads="auto")  # so that there is something to time
    world = World(device=choose_device())  # as training will
    part = cut(batch, 0, plan.accumulate)
    choice, timings = calibrate.choose(system, part, plan, world, SECONDS)
    system.to(world.device)
    starting = time.perf_counter() - began
    step = next((t.seconds for t in timings if t.choice == choice), timings[0].seconds)
    return {
        "seconds_per_step": step * plan.accumulate, "seconds_per_sample": _sample(system, recipe), "starting": starting,
        "checkpoint": _checkpoint(system, recipe), "memory": _peak(), "sheet": SHEET, "choice": str(choice),
    }  # fmt: skip


def _sample(system: System, recipe: Recipe) -> float:
    """Seconds of the preview ask."""
    arguments = dict(recipe.preview)
    name = str(arguments.pop("ask", ""))
    if not name:
        return 0.0
    began = time.perf_counter()
    getattr(system, name)(**arguments)
    return time.perf_counter() - began


def _checkpoint(system: System, recipe: Recipe) -> int:
    """Bytes of weights, averages and what the optimizers remember (two numbers for each that is trained)."""
    weights = sum(t.numel() * t.element_size() for t in system.state_dict().values())
    trained = sum(p.numel() * p.element_size() for player in players_of(system).values() for p in player.parameters)
    averaged = [child for name, child in system.named_children() if name in recipe.train.ema]
    return weights + 2 * trained + sum(p.numel() * p.element_size() for child in averaged for p in child.parameters())


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    """Read what is wanted, measure, answer."""
    wanted = json.loads(sys.stdin.readline())
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        told = measure(
            load_recipe(wanted["recipe"], wanted["overrides"], Path(wanted["data"]) if wanted["data"] else None)
        )
    except HandmadeError as error:
        told = {"error": str(error)}
    out.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
