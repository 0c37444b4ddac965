"""conditional_wgan/faces as shipped: do its pictures show what was asked for, by the eyes of classifier/faces?

Pictures are drawn by the asks that a user has: a thousand for each of glasses and hair, every value as often as the others,
all other labels as they come; two hundred fades from no glasses to glasses. KID is set beside that of dcgan/faces on the same
held-out faces, with the minutes that each was trained.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.record import figure, record
from handmade import api
from handmade.core import Judge
from handmade.recipe import load_recipe
from handmade.systems.conditional_wgan.scores import monotonic

RUN, PLAIN = "zoo:conditional_wgan/faces", "zoo:dcgan/faces"
PICTURES, FADES, STEPS = 1000, 200, 8
GOALS = {"glasses": 0.98, "hair": 0.95}


def agreement(system: Any, judge: Judge, name: str) -> list[dict[str, Any]]:
    """For each value of an attribute: how many pictures were asked for, and the share in which the judge sees it."""
    values, rows = system.data.labels[name], []
    for value in values:
        n = -(-PICTURES // len(values))
        seen = judge.odds(system.generate(n=n, seed=0, label=f"{name}={value}").pixels)[name].argmax(1)
        right = (seen == judge.labels[name].index(value)).float().mean()
        rows.append({"attribute": name, "value": value, "pictures": n, "share": round(float(right), 4)})
    return rows


def minutes(name: str) -> float:
    """How long a shipped run was trained."""
    return api.find_run(name).trained_for() / 60


@torch.no_grad()
def main() -> None:
    """Ask the shipped run, and record what the judge saw."""
    system: Any = api.load(RUN)
    judge = api.judge_of(load_recipe("conditional_wgan/faces"), torch.device("cpu"))
    if judge is None:
        raise SystemExit("the recipe conditional_wgan/faces names no judge")
    rows, figures = [], {}
    for name, goal in GOALS.items():
        found = agreement(system, judge, name)
        n = sum(row["pictures"] for row in found)
        share = sum(row["pictures"] * row["share"] for row in found) / n
        about = (
            f"share of {n} pictures of `conditional_wgan/faces` in which `classifier/faces` sees the {name} asked for"
        )
        figures[name] = figure(share, f"at least {goal}", share >= goal, about)
        rows += found
    fades = system.fade(
        start="glasses=no", end="glasses=yes", steps=STEPS, seeds=",".join(map(str, range(FADES)))
    ).pixels
    rising = monotonic(fades, STEPS + 1, "glasses", "yes", judge).value
    about = f"share of {FADES} fades to glasses in {STEPS} steps in which their probability rises and never falls"
    figures["fade"] = figure(rising, "at least 0.95", rising >= 0.95, about)
    ours, plain = (api.evaluate(name, PICTURES)["kid"] for name in (RUN, PLAIN))
    times = f"{ours.value:.3g} after {minutes(RUN):.0f} minutes, {plain.value:.3g} after {minutes(PLAIN):.0f}"
    ratio = ours.value / plain.value
    about = f"KID of `conditional_wgan/faces` times that of `dcgan/faces` ({times})"
    figures["kid"] = figure(ratio, "at most 1.5", ratio <= 1.5, about)
    rows += [{"run": name, "kid": kid._asdict()} for name, kid in ((RUN, ours), (PLAIN, plain))]
    record("handles_conditional", rows, **figures)


if __name__ == "__main__":
    main()
