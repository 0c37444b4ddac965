"""The diffusion room at 32 px with dimension 64: training and a step of sampling against the plain U-Net of equal parameters.

35.7 million parameters each, four sizes, two blocks a size on either way. `--threads 1` for a machine that others use too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

BATCH, SIZE, ROUNDS = 16, 32, 7
CONFIG = {"width": 64, "multiples": (1, 1, 4, 7), "blocks": 2}  # 35.68 million parameters, the plain one has 35.71
SAME = {"optimizer": "adamw", "lr": 1e-3}  # both sides move by the same rule


def ours(what: str, precision: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """The engine's step on the diffusion room, or one stop of a walk with the system as the engine has prepared it."""
    import handmade  # noqa: F401  it sets how threads wait, which torch reads when it is loaded

    # isort: split
    import torch

    from benchmarks.engine_step import engine_step
    from handmade.data.specs import ImageBatch, ImageSpec
    from handmade.plan import Plan
    from handmade.registry import find_room, system_class
    from handmade.samplers.diffusion import SAMPLERS

    kind = system_class(find_room("diffusion"))
    torch.manual_seed(0)
    system: Any = kind(sys.modules[kind.__module__].Config(**CONFIG, **SAME), ImageSpec(3, SIZE))
    batch = ImageBatch(torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1, torch.zeros(BATCH, 0, dtype=torch.int64))
    plan = Plan(batch=BATCH, precision=precision, clip=1.0, threads=threads or "auto")
    step, about = engine_step(system, batch, plan)
    if what == "training":
        return step, about
    system.eval()
    walker, noise = system.walker, lambda: torch.randn(BATCH, 3, SIZE, SIZE)
    believe = walker.believe(batch.labels, 1.0)

    @torch.inference_mode()
    def stop() -> Any:
        return list(SAMPLERS["ddpm"](believe, batch.pixels, torch.tensor([0.5, 0.499]), walker.law, noise))

    return stop, about


def theirs(what: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """The plain loop's step, or one step of its way back."""
    import torch

    from benchmarks.pictures_baselines import PlainLoop

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    loop, pixels = PlainLoop(), torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1
    step = (lambda: loop.step(pixels)) if what == "training" else (lambda: loop.denoise(pixels, 500))
    return step, f"float32, {torch.get_num_threads()} threads"


def main() -> None:
    """Take turns, and record the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int)
    threads = parser.parse_known_args()[0].threads
    figures, rows = {}, []
    for what, wanted in {"training": 1.6, "sampling": 2.2}.items():
        contestants = {
            "ours": Contestant("pictures_speed:ours", what=what, precision="auto", threads=threads),
            "ours, float32": Contestant("pictures_speed:ours", what=what, precision="float32", threads=threads),
            "plain": Contestant("pictures_speed:theirs", what=what, threads=threads),
        }
        times = rounds(contestants, ROUNDS, 1)
        rows += [_row(what, name, contestants[name].about, seconds) for name, seconds in times.items()]
        for contestant in contestants.values():
            contestant.close()
        ratio, float32 = (paired(times[name], times["plain"]) for name in ("ours", "ours, float32"))
        told = "training" if what == "training" else "a step of sampling"
        figures[what] = figure(ratio["ratio"], f"at least {wanted}", ratio["ratio"] >= wanted,
                               f"`diffusion` at 32 px, dimension 64, {told}: times the images/s of the "
                               "denoising-diffusion-pytorch form at equal parameters", **ratio)  # fmt: skip
        figures[f"{what}_float32"] = float32
    record("pictures_speed", rows, **figures)


def _row(what: str, name: str, about: str, seconds: list[float]) -> dict[str, Any]:
    rate = BATCH / statistics.median(seconds)
    return {"what": what, "contestant": name, "about": about, "seconds": seconds, "images_per_s": round(rate, 1)}


if __name__ == "__main__":
    main()
