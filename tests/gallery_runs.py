"""Run folders as a training leaves them, with samples that go from noise to the thing itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
import torch

from handmade.artifacts import Artifact, Images, Points, Text

ENVIRONMENT = {
    "handmade": "0.1.0",
    "device": "cpu",
    "name": "A processor with two cores",
    "cores": 2,
    "torch": "2.13.0",
    "choice": {"precision": "bf16", "channels_last": True, "threads": 2},
}


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def discs(n: int = 16, size: int = 32) -> torch.Tensor:
    """Pictures of a coloured disc on a coloured ground, (N, 3, H, W)."""
    line = torch.linspace(-1, 1, size)
    inside = ((line[:, None] ** 2 + line[None] ** 2) < 0.5).float()
    colours = torch.rand(2, n, 3, 1, 1, generator=random(1)) * 2 - 1
    return colours[0] * inside + colours[1] * (1 - inside)


def images_at(share: float, seed: int = 0, real: torch.Tensor | None = None) -> Images:
    real = discs() if real is None else real
    noise = torch.rand(real.shape, generator=random(seed)) * 2 - 1
    return Images(real * share + noise * (1 - share))


def points_at(share: float) -> Points:
    x = torch.linspace(0, 50, 256)
    y = torch.exp(x / 12)
    noise = torch.randn(256, 2, generator=random(0)) * torch.tensor([6.0, 12.0]) + torch.tensor([25.0, 30.0])
    made = torch.stack([x, y + torch.randn(256, generator=random(2))], 1) * share + noise * (1 - share)
    return Points(made, "exp(x / 12)", (0.0, 0.0), (50.0, 65.0), curve=torch.stack([x, y], 1))


def text_at(share: float) -> Text:
    any_number = torch.randint(0, 100, (40, 10), generator=random(0))
    right = torch.rand(40, 10, generator=random(1)) < share
    rows = torch.where(right, any_number // 5 * 5, any_number)
    return Text(tuple(" ".join(map(str, row)) for row in rows.tolist()), "numbers")


def make_run(
    folder: Path,
    name: str,
    artifact: Callable[[float], Artifact],
    *,
    players: dict[str, tuple[float, float]],
    scores: Callable[[float], dict[str, dict[str, Any]]],
    system: dict[str, Any],
    spec: dict[str, Any] | None = None,
    samples: int = 4,
    steps: int = 2000,
    seconds: float = 60.0,
    about: str = "a test",
    demo: dict[str, Any] | None = None,
) -> Path:
    """Write a whole run: recipe, environment, spec, events, samples."""
    folder.mkdir(parents=True)
    recipe: dict[str, Any] = {"format": 1, "name": name, "about": about, "data": {"source": "x"}, "system": system}
    recipe["preview"] = {"ask": "generate", "n": 16, "seed": 0}
    if demo:
        recipe["demo"] = demo
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
    (folder / "spec.json").write_text(json.dumps(spec or {"kind": "images", "channels": 3, "size": 32, "labels": {}}))
    events: list[dict[str, Any]] = [{"kind": "start", "step": 0, "seconds": 0.0, "steps": steps}]
    generator = random(5)
    for step in range(50, steps + 1, 50):
        share = step / steps
        wobble = torch.randn(len(players), generator=generator).tolist()
        losses = {
            player: end + (start - end) * math.exp(-5 * share) + 0.06 * jump
            for (player, (start, end)), jump in zip(players.items(), wobble, strict=True)
        }
        at = {"step": step, "seconds": round(share * seconds, 3)}
        events.append({"kind": "step", **at, "items_per_s": 480.1, "losses": losses, "log": {}, "steps": steps})
    for index in range(samples):
        share = index / max(1, samples - 1)
        step = round(share * steps)
        at = {"step": step, "seconds": round(share * seconds, 3)}
        sheet = artifact(1 - math.exp(-4 * share) if share < 1 else 1.0).preview(folder / "samples" / f"{step:06d}")[0]
        events.append({"kind": "sample", **at, "path": sheet.relative_to(folder).as_posix()})
        events.append({"kind": "score", **at, "scores": scores(share)})
    events.sort(key=lambda event: event["step"])
    events.append({"kind": "end", "step": steps, "seconds": seconds, "steps": steps})
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def score(
    value: float, floor: float | None, better: str = "lower", about: str = "", spread: float = 0.0
) -> dict[str, Any]:
    span = (value - spread, value + spread) if spread else (None, None)
    return {"value": value, "about": about, "better": better, "floor": floor, "low": span[0], "high": span[1]}


def shapes_run(folder: Path) -> Path:
    return make_run(
        folder,
        "shapes_gan/exponential",
        points_at,
        players={"discriminator": (0.3, 1.38), "generator": (2.0, 0.69)},
        scores=lambda share: {
            "distance": score(0.02 + 0.8 * math.exp(-6 * share), 0.016, about="between 1,000 drawn and real points"),
            "error": score(0.1 + 9 * math.exp(-6 * share), 0.0, about="median |y - f(x)|, in the unit of y"),
            "coverage": score(1 - math.exp(-6 * share), 1.0, "higher", "share of the range of x that is drawn"),
        },
        system={"title": "Shapes GAN", "story": "A forger learns to place points on a curve.", "makes": "points"},
        spec={"kind": "points", "formula": "exp(x / 12)", "low": [0, 0], "high": [50, 65]},
        about="an exponential curve, from 2,000 points",
        seconds=21,
    )


def numbers_run(folder: Path) -> Path:
    return make_run(
        folder,
        "numbers_gan/fives",
        text_at,
        players={"discriminator": (0.3, 1.2), "generator": (1.8, 0.8)},
        scores=lambda share: {
            "distance": score(0.01 + 0.9 * math.exp(-5 * share), 0.008, about="between drawn and true shares"),
            "valid": score(1 - 0.8 * math.exp(-6 * share), 1.0, "higher", "share of 5,120 numbers in the set"),
        },
        system={"title": "Numbers GAN", "story": "A forger learns the multiples of five.", "makes": "numbers"},
        spec={"kind": "numbers", "length": 10, "depth": 100, "members": list(range(0, 100, 5))},
        about="sequences of ten multiples of five",
        seconds=34,
    )


def pictures_run(folder: Path, real: torch.Tensor | None = None) -> Path:
    return make_run(
        folder,
        "dcgan/faces",
        lambda share: images_at(share, real=real),
        players={"discriminator": (0.4, 0.9), "generator": (3.2, 1.6)},
        scores=lambda share: {
            "kid": score(0.003 + 0.4 * math.exp(-6 * share), 0.0004, about="by the judge's features", spread=0.0008),
            "frechet": score(8 + 90 * math.exp(-5 * share), 4.2, about="256 drawn and 256 held-out"),
            "precision": score(0.8 * share, 0.91, "higher", "share that looks real"),
            "duplicates": score(0.0, 0.0, about="share of drawn pictures that nearly repeat another"),
        },
        system={
            "title": "DCGAN",
            "story": "A forger and a judge, both convolutional.",
            "makes": "images",
            "paper": "arXiv 1511.06434",
        },
        about="drawn faces, with and without glasses",
        seconds=185,
        steps=9000,
        samples=6,
        demo={"minutes": 3.2, "order": 3, "data": {"n": 6000}},
    )
