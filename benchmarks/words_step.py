"""Training a GPT of 5 million parameters: tokens per second against plain loops of the same sizes.

6 layers, width 256, 8 heads, 256 tokens, batch 12, 80 characters; with as many threads as cores and with one each.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.record import Part, figure, paired, record_parts
from benchmarks.workers import Contestant, rounds

BATCH, CONTEXT, VOCABULARY, ROUNDS = 12, 256, 80, 9
SIZES = {"layers": 6, "width": 256, "heads": 8}
WIDE = {"layers": 10, "width": 512, "heads": 8}  # for a GPU: 32 million parameters, 64 x 512 tokens at once


def batch(wide: bool = False) -> Any:
    """Tokens that can be learnt: each follows from the one before, with some luck."""
    import torch

    generator, (n, length) = torch.Generator().manual_seed(0), (64, 512) if wide else (BATCH, CONTEXT)
    rows = torch.randint(VOCABULARY, (n, length + 1), generator=generator)
    for t in range(1, length + 1):
        rows[:, t] = (rows[:, t - 1] * 7 + rows[:, t] // 20) % VOCABULARY
    return rows


def ours(
    precision: str, threads: int | None, optimizer: str = "adamw", device: str = "cpu", wide: bool = False
) -> tuple[Callable[[], Any], str]:
    """The engine's step on the gpt room."""
    import handmade  # noqa: F401  it sets how threads wait, which torch reads when it is loaded

    # isort: split
    import torch

    from benchmarks.engine_step import engine_step
    from handmade.data.specs import TextBatch, TextSpec
    from handmade.plan import Plan
    from handmade.registry import find_room, system_class

    kind = system_class(find_room("gpt"))
    rates = {"lr": 1e-3, "rest_lr": 3e-3} if optimizer == "adamw" else {}
    config = sys.modules[kind.__module__].Config(**(WIDE if wide else SIZES), optimizer=optimizer, **rates)
    torch.manual_seed(0)
    letters = "".join(chr(33 + i) for i in range(VOCABULARY))
    tokens = batch(wide)
    spec = TextSpec({"kind": "chars", "characters": letters}, tokens.shape[1] - 1)
    plan = Plan(batch=len(tokens), precision=precision, threads=threads or "auto")
    return engine_step(kind(config, spec), TextBatch(tokens, torch.ones(len(tokens), dtype=torch.bool)), plan, device)


def theirs(loop: str, threads: int | None, device: str = "cpu", wide: bool = False) -> tuple[Callable[[], Any], str]:
    """A plain loop."""
    import torch

    from benchmarks import words_baselines

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    tokens = batch(wide).to(device)
    with torch.device(device):
        made = getattr(words_baselines, loop)(VOCABULARY, tokens.shape[1] - 1, **(WIDE if wide else SIZES))
    return lambda: made.step(tokens), f"float32, {torch.get_num_threads()} threads"


def main() -> None:
    """Measure with all cores and with one thread each, and record both."""
    record_parts("words_step", {"all": lambda: speed(None), "alone": lambda: speed(1)})


def speed(threads: int | None) -> Part:
    """Take turns, and return the rows and the ratios."""
    contestants = {
        "ours": Contestant("words_step:ours", precision="auto", threads=threads),
        "ours, float32": Contestant("words_step:ours", precision="float32", threads=threads),
        "ours, Muon": Contestant("words_step:ours", precision="auto", threads=threads, optimizer="muon"),
        "plain": Contestant("words_step:theirs", loop="PlainLoop", threads=threads),
        "book": Contestant("words_step:theirs", loop="BookLoop", threads=threads),
    }
    times = rounds(contestants, ROUNDS, 1)
    rows = [_row(name, contestants[name].about, seconds) for name, seconds in times.items()]
    for contestant in contestants.values():
        contestant.close()
    each, key = ("one thread each", "alone ") if threads else ("as many threads as cores", "")
    first = f"`gpt` training, 5 million parameters, {each}, AdamW, times the tokens/s of nanoGPT's form"
    goals = (
        ("plain", "ours", "plain", 1.8, first),
        ("book", "ours", "book", 2.7, "... times the tokens/s of the book's loop"),
        ("float32", "ours, float32", "plain", 1.0, "... in float32, times nanoGPT's form"),
        ("muon", "ours, Muon", "plain", 1.5, "... with Muon, times nanoGPT's form with AdamW"),
    )
    figures = {}
    for name, ours, theirs, goal, about in goals:
        ratio = paired(times[ours], times[theirs])
        figures[key + name] = figure(ratio["ratio"], f"at least {goal}", ratio["ratio"] >= goal, about, **ratio)
    return rows, figures


def _row(name: str, about: str, seconds: list[float]) -> dict[str, Any]:
    rate = BATCH * CONTEXT / statistics.median(seconds)
    return {"contestant": name, "about": about, "seconds": seconds, "tokens_per_s": round(rate)}


if __name__ == "__main__":
    main()
