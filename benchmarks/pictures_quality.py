"""The shipped runs that make pictures from noise and from words: are the pictures right, fresh, and made in few looks?

`python -m benchmarks pictures_quality`, or some parts: `python -m benchmarks.pictures_quality clothes words`. Parts that are
not run again keep the figures of the last time.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.pictures_judge import VALUES, Mouths
from benchmarks.record import Part, figure, record_parts
from handmade import api
from handmade.core import Judge
from handmade.from_noise import MIDDLE
from handmade.metrics.copies import copied, nearest_known
from handmade.metrics.image import frechet, kid
from handmade.recipe import read_recipe
from handmade.registry import find_recipe
from handmade.systems.text_to_image.system import LOUD

CLOTHES, FACES, FLOW, WORDS = (
    f"zoo:{name}" for name in ("diffusion/clothes", "diffusion/faces", "flow_matching/faces", "text_to_image/faces")
)
DCGAN, LARGE, CLIP = "zoo:dcgan/faces", "zoo:super_resolution/faces", "zoo:clip/faces"
EMOJI_STEPS = 800
MANY, SOME, SLOW = 2048, 1000, 500  # pictures: many, some, and those that take 250 looks each
SETS, DRAWN = 4, 2  # of clothes: real ones, and how often each one's labels are drawn
LOUDNESS = (  # guidance, the times between which it exaggerates, and steps
    (1.0, MIDDLE, 20), (2.0, MIDDLE, 20), (2.0, (0.2, 0.8), 40), (2.0, MIDDLE, 40), (2.0, (0.3, 0.7), 40),
    (1.5, MIDDLE, 40), (2.5, MIDDLE, 40), (2.0, MIDDLE, 60), (2.0, (0.3, 0.7), 60),
)  # fmt: skip
NEAR, STRIDES = 2.0, 60  # guidance and steps of the best of them
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
AGREE = {"hair": 0.99, "glasses": 0.99, "skin": 0.99, "background": 0.99, "cut": 0.97, "eyes": 0.97, "expression": 0.90}


def eyes_of(run: str) -> Judge:
    """The judge that a run's recipe names."""
    judge = api.judge_of(read_recipe(api.find_run(run).folder / "recipe.toml"), torch.device("cpu"))
    if judge is None:
        raise SystemExit(f"the recipe of {run} names no judge")
    return judge


def held(run: str, items: int) -> Any:
    """Held-out examples of a run's recipe."""
    return api.held_out(read_recipe(api.find_run(run).folder / "recipe.toml"), items)


def minutes(run: str) -> float:
    """How long training takes by the recipe's own account."""
    return find_recipe(run.removeprefix("zoo:"))[1]["expect"]["minutes"]


def loudness() -> Part:
    """How near drawn clothes come to the pictures of training, by guidance and steps: where NEAR and STRIDES are from."""
    system, judge = api.load(CLOTHES, precision="bf16"), eyes_of(CLOTHES)
    known = system.trained_on().pixels  # type: ignore[misc]
    seen = torch.cat([judge(system.data.encode(part)) for part in known.split(SOME)])  # 60,000, as many of each kind
    told = 1 + torch.arange(MANY)[:, None] % len(next(iter(system.data.labels.values())))
    rows = []
    for strength, loud, steps in LOUDNESS:
        walker = replace(system.walker, loud=loud)
        value = frechet(judge(walker.draw(told, 1000, strength, steps, "dpm++")), seen)
        rows.append({"guidance": strength, "loud": loud, "steps": steps, "frechet": round(value, 4)})
        print(rows[-1], flush=True)
    return rows, {}


def clothes() -> Part:
    """Frechet distance of drawn and held-out clothes beside that of held-out ones; few looks and many.

    The distance of two sets of 2,048 real ones lies between 0.14 and 0.28 by chance, so means are taken over all pairs
    of four sets, and each set that is drawn has the labels of one of them, with which it is not compared. They are drawn
    in bf16, which is half as fast again.
    """
    system, judge = api.load(CLOTHES), eyes_of(CLOTHES)
    real = held(CLOTHES, SETS * MANY)
    told = (real.labels + 1).split(MANY)
    seen = [judge(part) for part in real.pixels.split(MANY)]
    quick_walker, apart = api.load(CLOTHES, precision="bf16").walker, []
    for seed in range(DRAWN * SETS):
        own = seed % SETS
        drawn = judge(quick_walker.draw(told[own], seed, NEAR, STRIDES, "dpm++"))
        apart.append([frechet(drawn, part) for k, part in enumerate(seen) if k != own])
        print(seed, [round(value, 3) for value in apart[-1]], flush=True)
    value = statistics.mean(itertools.chain(*apart))
    floor = statistics.mean(itertools.starmap(frechet, itertools.combinations(seen, 2)))
    what = f"{len(apart)} times {MANY:,} pictures of `diffusion/clothes`, in {STRIDES} steps with a guidance of {NEAR}"
    eyes = f"in the features of `classifier/clothes`, times that of real ones ({value:.3f} over {floor:.3f})"
    about = f"Frechet distance of {what}, to held-out ones {eyes}; settings chosen on the pictures of training"
    figures = {"clothes frechet": figure(value / floor, "at most 1.5", value / floor <= 1.5, about)}
    few = judge(system.walker.draw(told[0][:SLOW], 0, 1.0, 20, "dpm++"))  # unguided: a step is one look at the network
    slow = judge(system.walker.draw(told[0][:SLOW], 0, 1.0, 250, "ddpm"))
    quick, long = kid(few, seen[1]), kid(slow, seen[1])
    about = f"KID of `diffusion/clothes` in 20 looks of dpm++ ({quick.value:.4f}) beside 250 of ddpm ({long.value:.4f})"
    holds = quick.value <= max(1.1 * long.value, long.high)
    figures["clothes looks"] = figure(quick.value, "at most 1.1 times, or within its interval", holds, about)
    rows = [{"part": "clothes", "frechet": apart, "floor": floor, "kid_20": quick._asdict(), "kid_250": long._asdict()}]
    few_told, real_few = told[0][:SOME], real.pixels[:SOME]
    return rows, {**figures, **memory(CLOTHES, quick_walker.draw(few_told, 100, NEAR, STRIDES, "dpm++"), real_few)}


def faces() -> Part:
    """KID of faces beside that of dcgan/faces, both by the same judge on the same held-out faces."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    plain = api.evaluate(DCGAN, SOME)["kid"]
    for run in (FACES, FLOW):
        system, judge, real = api.load(run), eyes_of(run), held(run, SOME)
        told, seen = system.chosen("", SOME, seed=0), judge(real.pixels)  # labels of training pictures, not of these
        drawn = system.walker.draw(told, 0, 1.0, 20, "dpm++")
        quick, slow = kid(judge(drawn), seen), kid(judge(system.walker.draw(told[:SLOW], 0, 1.0, 250, "ddpm")), seen)
        name, ratio = run[4:], quick.value / plain.value
        about = (
            f"KID of `{name}` ({quick.value:.4f}, {minutes(run):.0f} minutes of training) over that of `dcgan/faces`"
        )
        about = f"{about} ({plain.value:.3f}, {minutes(DCGAN):.0f} minutes)"
        figures[f"{name} kid"] = figure(ratio, "at most 0.25", ratio <= 0.25, about)
        about = f"KID of `{name}` in 20 looks of dpm++ ({quick.value:.4f}) beside 250 of ddpm ({slow.value:.4f})"
        holds = quick.value <= max(1.1 * slow.value, slow.high)
        figures[f"{name} looks"] = figure(quick.value, "at most 1.1 times, or within its interval", holds, about)
        figures |= memory(run, drawn, real.pixels)
        rows.append({"part": name, "kid_20": quick._asdict(), "kid_250": slow._asdict(), "dcgan": plain._asdict()})
    return rows, figures


def memory(run: str, few: Tensor, real: Tensor) -> dict[str, Any]:
    """Share of drawn pictures that lie nearer to a training picture than any held-out one does."""
    known = api.load(run).trained_on()  # type: ignore[misc]
    known = getattr(known, "pictures", known).pixels
    share, border = copied(few, real, known), float(nearest_known(real, known).distance.min())
    about = (
        f"share of {len(few):,} pictures of `{run[4:]}` nearer to a training picture than any of {len(real):,} held-out"
    )
    about = f"{about} ones is (root mean square {border:.3f})"
    return {f"{run[4:]} copies": figure(share, "at most 0.01", share <= 0.01, about)}


def words() -> Part:
    """Whether pictures show what captions of unseen combinations ask for, by the eyes of an independent classifier."""
    system, judge, real = api.load(WORDS), eyes_of(WORDS), held(WORDS, 500)
    refiner, lips = system.borrowed["refiner"], Mouths()
    rows: list[dict[str, Any]] = []
    for strength in STRENGTHS:
        coarse = system.walker.draw(real.tokens, 0, strength, 20, "dpm++")
        fine = torch.cat([refiner.enlarge(part, seed=0) for part in coarse.split(50)]) if strength == LOUD else None
        for stage, drawn in (("coarse", coarse), ("refined", fine)):
            if drawn is not None:
                shares = seen_in(drawn, real.labels, system.data.labels, judge, lips)
                rows.append(
                    {"part": "words", "guidance": strength, "stage": stage, "spread": spread(judge(drawn)), **shares}
                )
    shown = next(row for row in rows if row["stage"] == "refined")
    most = seen_in(real.pixels, real.labels, system.data.labels, judge, lips)
    figures = {}
    for name, goal in AGREE.items():
        about = (
            f"share of {len(real.labels)} refined pictures of `text_to_image/faces`, captions of unseen combinations,"
        )
        eyes = "a judge of mouths" if name == "expression" else "`classifier/faces`"
        about = f"{about} in which {eyes} sees the {name} asked for (of real ones: {most[name]:.3f})"
        figures[f"words {name}"] = figure(shown[name], f"at least {goal}", shown[name] >= goal, about)
    drawn = system.walker.draw(real.tokens, 1, LOUD, 20, "dpm++")
    return [*rows, {"part": "words", "stage": "real", **most}], {**figures, **memory(WORDS, drawn, real.pixels)}


def seen_in(drawn: Tensor, labels: Tensor, named: Any, judge: Judge, lips: Mouths) -> dict[str, float]:
    """Attribute -> share of pictures in which what was asked for is seen: expressions by `lips`, all else by `judge`."""
    odds = judge.odds(drawn)
    shares = {}
    for column, (name, values) in enumerate(named.items()):
        known, seen = (VALUES, lips.odds(drawn)) if name == "expression" else (judge.labels[name], odds[name])
        asked = torch.tensor([known.index(value) for value in values])[labels[:, column]]
        shares[name] = round(float((seen.argmax(1) == asked).float().mean()), 4)
    return shares


def spread(features: Tensor) -> float:
    """How different pictures are: the mean distance between two of them, in the judge's features."""
    return round(float(torch.pdist(features).mean()), 4)


def large() -> Part:
    """Sharper than cubic interpolation: faces by the shipped run, emoji by its recipe, trained here for a few minutes."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        steps = {"train.steps": str(EMOJI_STEPS), "train.score_every": str(EMOJI_STEPS), "train.threads": "1"}
        emoji = api.train("super_resolution/emoji", out=Path(folder) / "run", overrides=steps)
        for name, run in (("faces", LARGE), ("emoji", emoji)):
            scores = {key: round(score.value, 4) for key, score in api.evaluate(run, 100).items()}
            rows.append({"part": "large", "of": name, **scores})
            for measure, about in (("psnr", "dB of peak signal-to-noise"), ("ssim", "structural similarity")):
                gain, plain = scores[measure] - scores[f"{measure}_bicubic"], scores[f"{measure}_bicubic"]
                about = f"{about} by which `super_resolution/{name}` is above cubic interpolation ({plain:.4g})"
                figures[f"{name} {measure}"] = figure(gain, "above 0", gain > 0, f"{about}, 4 times larger, held out")
    return rows, figures


def search() -> Part:
    """Which of 500 unseen sentences a picture finds."""
    scores = {name: score.value for name, score in api.evaluate(CLIP, 500).items()}
    about = (
        "share of 500 held-out pictures whose own sentence is the nearest of 500 by `clip/faces`; combinations unseen"
    )
    found = scores["finds_sentence"]
    return [{"part": "search", **scores}], {"search": figure(found, "above 0.5", found > 0.5, about)}


PARTS: dict[str, Callable[[], Part]] = {
    "loudness": loudness, "clothes": clothes, "faces": faces, "words": words, "large": large, "search": search,
}  # fmt: skip


@torch.no_grad()
def main(names: list[str] | None = None) -> None:
    """Run the parts that are named, or all, and record them beside those that were measured before."""
    record_parts("pictures_quality", PARTS, names)


if __name__ == "__main__":
    main(sys.argv[1:])
