"""Memory that was freed and kept (engine/memory.py) against the C library's own habit: seconds of the same steps.

A step of training of several recipes, and the drawing of clothes. With a variable of the C library in the environment the
engine leaves it alone; the one that is set here changes nothing itself. `--threads 1` for a machine that others use too.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

ROUNDS = 7
TRAINED = ("diffusion/clothes", "vae/faces", "gpt/plays", "dcgan/faces", "text_to_video/shapes")
DRAWN = "zoo:diffusion/clothes"
ALONE = {"MALLOC_ARENA_TEST": "8"}  # on 64-bit machines that is the library's own number


def training(recipe: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """The engine's step on a recipe, with its first batch, in bf16."""
    import handmade  # noqa: F401  it sets how threads wait, which torch reads when it is loaded

    # isort: split
    import torch

    from benchmarks.engine_step import engine_step
    from handmade import api
    from handmade.data.loader import Loader
    from handmade.data.source import open_data
    from handmade.recipe import load_recipe

    read = load_recipe(recipe)
    dataset, spec = open_data(read.data)
    torch.manual_seed(0)
    how = {"precision": "bf16", "channels_last": not recipe.startswith("gpt"), "threads": threads or 2}
    plan = dataclasses.replace(read.train, **how)  # type: ignore[arg-type]
    return engine_step(api.build(read, spec), next(Loader(dataset, plan.batch, seed=0)), plan)


def drawing(run: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """Two stops of the walk of 128 pictures."""
    import torch

    from handmade import api

    torch.set_num_threads(threads or 2)
    system: Any = api.load(run)
    told = torch.zeros(128, len(system.data.labels), dtype=torch.int64)
    return torch.no_grad()(lambda: system.walker.draw(told, 0, 1.0, 2, "dpm++")), f"{threads or 2} threads"


def peak(contestant: Contestant) -> float:
    """Most memory that it has had so far, in GB."""
    lines = Path(f"/proc/{contestant.process.pid}/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9


def main() -> None:
    """Take turns, and record the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int)
    threads = parser.parse_known_args()[0].threads
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    for name, kind, options in (
        *((recipe, "pages:training", {"recipe": recipe}) for recipe in TRAINED),
        ("drawing clothes", "pages:drawing", {"run": DRAWN}),
    ):
        kept, alone = (Contestant(kind, env=env, threads=threads, **options) for env in ({}, ALONE))
        times = rounds({"kept": kept, "alone": alone}, ROUNDS, 2)
        speed = paired(times["kept"], times["alone"])
        memory = peak(kept) / peak(alone)
        rows.append({"of": name, "about": kept.about, **times, "memory": round(memory, 3)})
        kept.close()
        alone.close()
        what = "`" + name + "` trained" if kind == "pages:training" else "clothes drawn"
        about = f"{what} with freed memory kept, times the speed without; {memory:.2f} times the memory at its peak"
        figures[name] = figure(speed["ratio"], "at least 1.0", speed["ratio"] >= 1.0, about, **speed)
    median = statistics.median(entry["ratio"] for entry in figures.values())
    record("pages", rows, **figures, median=round(median, 3))


if __name__ == "__main__":
    main()
