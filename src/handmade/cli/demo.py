"""`demo`: train small models of several families, make things with them, and write a gallery page.

Rooms join by saying so in a recipe: `demo = { minutes = 0.6, order = 1 }`, with tables that replace parts of the recipe
(`data = { n = 6000 }`). The time given is shared in proportion to those minutes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handmade.cli.main import BEGAN, Parser, talking
from handmade.errors import HandmadeError, UserError
from handmade.recipe import Recipe, load_recipe
from handmade.registry import rooms

MINUTES = 4.3  # after installation; with loading torch and writing the page the whole stays under five


@dataclass(frozen=True)
class Part:
    """One recipe's share of the demo."""

    recipe: Recipe
    minutes: float
    order: float


def demo_(parser: Parser, arguments: list[str]) -> int:
    """Train, make, and show."""
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"time for all models together (default {MINUTES})"
    )
    parser.add_argument("--out", help="the folder for runs and gallery (default: the next free one under demo/)")
    parser.add_argument("--only", help="recipes, separated by commas (default: all that take part)")
    parser.add_argument("--json", action="store_true", help="one JSON document: gallery, runs and their scores")
    wanted = parser.parse_args(arguments)
    if not 0 < wanted.minutes < 1e4:
        raise UserError(f"minutes must be more than 0, not {wanted.minutes:g}")
    parts = _parts(wanted.only)
    _say(f"{len(parts)} models in about {wanted.minutes:g} minutes on this machine: "
         + ", ".join(part.recipe.name for part in parts))  # fmt: skip
    from handmade.engine.run import new_folder

    folder = Path(wanted.out) if wanted.out else new_folder(Path("demo"), "gallery")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: choose another --out")
    runs = _train(parts, folder, BEGAN + 60 * wanted.minutes)
    page = _gallery(runs, folder)
    if wanted.json:
        scores = {run.name: next(iter([e["scores"] for e in run.events("score")][::-1]), {}) for run in runs}
        print(json.dumps({"gallery": str(page), "runs": [str(run.folder) for run in runs], "scores": scores}, indent=1))
    else:
        _say(f"\ndone in {(time.monotonic() - BEGAN) / 60:.1f} minutes; open the gallery in a browser:")
        print(page.resolve())
    return 0


def _parts(only: str | None) -> list[Part]:
    """The recipes that take part, in their order."""
    found = []
    for room in rooms().values():
        for name, table in room.recipes.items():
            if demo := table.get("demo"):
                found.append(_part(f"{room.name}/{name}", demo))
    if only:
        names = only.split(",")
        found = [part for part in found if part.recipe.name in names]
        if len(found) < len(names):
            raise UserError(f"not all of {only} take part in the demo")
    return sorted(found, key=lambda part: part.order)


def _part(name: str, demo: Mapping[str, Any]) -> Part:
    overrides = {f"{part}.{key}": value for part, table in demo.items() if isinstance(table, Mapping)
                 for key, value in table.items()}  # fmt: skip
    return Part(load_recipe(name, overrides), float(demo["minutes"]), float(demo.get("order", 99)))


def _train(parts: list[Part], folder: Path, deadline: float) -> list[Any]:
    """Train one after the other, sharing what is left of the time; data sets are drawn meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    from handmade import api
    from handmade.data.source import open_data
    from handmade.engine.observers import Console

    runs = []
    with ThreadPoolExecutor(1) as drawing, talking() as progress:
        for part in parts:
            drawing.submit(open_data, part.recipe.data, "train")
        for index, part in enumerate(parts):
            now = time.monotonic()
            share = part.minutes / sum(rest.minutes for rest in parts[index:])
            minutes = (deadline - now) * share / 60
            _say(f"\n{part.recipe.room.title}: {part.recipe.about} ({part.recipe.name}, {60 * minutes:.0f} seconds)")
            out = folder / part.recipe.name.replace("/", "-")
            try:
                run = api.train(
                    part.recipe, out=out, minutes=max(minutes, 0.02), observers=[Console()], progress=progress
                )
            except HandmadeError as error:
                error.args = (f"{part.recipe.name}: {error}",)
                raise
            runs.append(run)
    return runs


def _gallery(runs: list[Any], folder: Path) -> Path:
    from handmade.gallery import write_gallery

    return write_gallery([run.folder for run in runs], folder / "index.html")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
