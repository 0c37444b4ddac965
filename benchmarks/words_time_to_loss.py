"""The plays, letter by letter: the held-out loss of the classic small recipe, in how much of its time?

The classic recipe: 4 layers, width 128, 4 heads, 64 characters, batch 12, AdamW, 2,000 iterations in nanoGPT's form. Ours:
`gpt/plays-minute`. So that other work on the machine does not decide, the speeds of both are measured in turn, and ours is
given the steps that a third of the classic time allows, then those of the whole time; a linear decay ends with each.
`--threads 1` for a machine that others use too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

RECIPE, STEPS, ROUNDS, TOGETHER = "gpt/plays-minute", 2000, 9, 5
CLASSIC = {"context": 64, "layers": 4, "width": 128, "heads": 4}
SAME = 300  # steps after which bf16 and float32 are compared
ROWS = 2000  # held-out windows of 64 characters


def _data(recipe: Any, split: str) -> Any:
    from handmade.data.source import open_data

    return open_data(recipe.data, split)


def classic(threads: int | None) -> tuple[Callable[[], Any], str]:
    """A step of the classic loop on fresh windows."""
    import torch

    from benchmarks.words_baselines import PlainLoop
    from handmade.data.loader import Loader
    from handmade.recipe import load_recipe

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    windows, spec = _data(load_recipe(RECIPE, {"data.context": "64"}), "train")
    loop, loader = PlainLoop(spec.size, **CLASSIC, steps=STEPS), Loader(windows, 12)
    return lambda: loop.step(next(loader).tokens), f"float32, {torch.get_num_threads()} threads"


def ours(threads: int | None) -> tuple[Callable[[], Any], str]:
    """The engine's step on one batch of the recipe."""
    import handmade  # noqa: F401  it sets how threads wait, which torch reads when it is loaded

    # isort: split
    import torch

    from benchmarks.engine_step import engine_step
    from handmade import api
    from handmade.data.loader import Loader
    from handmade.recipe import load_recipe

    recipe = load_recipe(RECIPE, {"train.threads": str(threads)} if threads else {})
    windows, spec = _data(recipe, "train")
    torch.manual_seed(0)
    return engine_step(api.build(recipe, spec), next(Loader(windows, recipe.train.batch)), recipe.train)


def held_out(network: Any) -> float:
    """Mean surprise in nats at held-out characters, in windows of 64."""
    import torch
    from torch.nn.functional import cross_entropy

    from handmade.recipe import load_recipe

    windows, _ = _data(load_recipe(RECIPE, {"data.context": "64"}), "test")
    indices = torch.linspace(0, len(windows) - 1, min(ROWS, len(windows))).long()
    tokens = windows.batch(indices, torch.Generator().manual_seed(0)).tokens
    with torch.no_grad():
        losses = [
            cross_entropy(network(part[:, :-1]).mT.float(), part[:, 1:]) * len(part) for part in tokens.split(100)
        ]
    return float(sum(losses)) / len(tokens)


def train_classic(threads: int | None) -> float:
    """The classic recipe to its end; its held-out loss."""
    import torch

    from benchmarks.words_baselines import PlainLoop
    from handmade.data.loader import Loader
    from handmade.recipe import load_recipe

    torch.set_num_threads(threads or torch.get_num_threads())
    torch.manual_seed(0)
    windows, spec = _data(load_recipe(RECIPE, {"data.context": "64"}), "train")
    loop, loader = PlainLoop(spec.size, **CLASSIC, steps=STEPS), Loader(windows, 12)
    for _ in range(STEPS):
        loop.step(next(loader).tokens)
    return held_out(loop.network)


def train_ours(steps: int, threads: int | None, precision: str = "auto") -> float:
    """The recipe with so many steps; its held-out loss."""
    from handmade import api

    few = {"train.steps": str(steps), "train.sample_every": str(steps), "train.score_every": str(steps),
           "train.precision": precision, "train.threads": str(threads or "auto")}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = api.train(RECIPE, out=Path(folder) / "run", overrides=few)
        system: Any = api.load(run)
    return held_out(system.network)


def main() -> None:
    """Measure speeds, train three times, record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int)
    threads = parser.parse_known_args()[0].threads
    contestants = {
        "ours": Contestant("words_time_to_loss:ours", threads=threads),
        "classic": Contestant("words_time_to_loss:classic", threads=threads),
    }
    times = rounds(contestants, ROUNDS, TOGETHER)
    abouts = {name: contestant.about for name, contestant in contestants.items()}
    for contestant in contestants.values():
        contestant.close()
    speed = paired(times["ours"], times["classic"])  # steps of ours in the time of one classic step
    goal, allowed = train_classic(threads), {share: int(STEPS * speed["ratio"] * share) for share in (1 / 3, 1.0)}
    losses = {share: train_ours(steps, threads) for share, steps in allowed.items()}
    same = {precision: train_ours(SAME, threads, precision) for precision in ("float32", "bf16")}
    apart = abs(same["bf16"] / same["float32"] - 1)
    rows = [{"contestant": name, "about": abouts[name], "seconds": times[name]} for name in times]
    about = f"held-out loss of `gpt` on the plays in {{}} of the classic recipe's time, minus its {goal:.3f} nats"
    third, equal = losses[1 / 3] - goal, losses[1.0] - goal
    record(
        "words_time_to_loss",
        rows,
        third=figure(third, "at most 0", third <= 0, about.format("a third"), loss=losses[1 / 3], steps=allowed[1 / 3]),
        equal=figure(equal, "below 0", equal < 0, about.format("all"), loss=losses[1.0], steps=allowed[1.0]),
        bf16=figure(apart, "at most 0.01", apart <= 0.01,
                    f"held-out loss in bf16 apart from float32's after {SAME} same steps, as a share", **same),
        speed=speed,
        classic=goal,
    )  # fmt: skip


if __name__ == "__main__":
    main()
