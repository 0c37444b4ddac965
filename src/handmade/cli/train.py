"""`train` and `resume`: one process or several, a number of steps or of minutes."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from handmade.cli.main import BEGAN, Parser, take_overrides, talking
from handmade.errors import UserError
from handmade.recipe import load_recipe

if TYPE_CHECKING:
    from handmade.engine.run import Run


def train_(parser: Parser, arguments: list[str]) -> int:
    """Train a recipe into a new run."""
    parser.epilog = "Any setting of the recipe can be changed: --train.steps 500 --config.width 32 --data.size 32"
    parser.add_argument("recipe", metavar="ROOM/RECIPE")
    parser.add_argument("--data", help="your own folder or file, in place of the recipe's data")
    parser.add_argument("--start", metavar="RUN", help="a run whose weights training begins with, in place of new ones")
    parser.add_argument("--out", help="the run's folder (default: the next free one under runs/)")
    _shared(parser)
    words, overrides = take_overrides(arguments)
    wanted = parser.parse_args(words)
    if wanted.start is not None:
        overrides["start"] = wanted.start
    recipe = load_recipe(wanted.recipe, overrides, wanted.data)  # mistakes come out here, before torch is loaded
    if wanted.devices != 1 and "WORLD_SIZE" not in os.environ:
        return _launch(wanted.devices, ["train", *arguments])
    from handmade import api
    from handmade.engine.observers import Console

    with talking() as progress:
        run = api.train(recipe, out=wanted.out, minutes=wanted.minutes, progress=progress,
                        observers=[Console()], began=BEGAN)  # fmt: skip
    return _report(run, wanted.json)


def resume_(parser: Parser, arguments: list[str]) -> int:
    """Go on with a run."""
    parser.add_argument("run", metavar="RUN", help="a path, a name under runs/, or `latest`")
    _shared(parser)
    words, overrides = take_overrides(arguments)
    wanted = parser.parse_args(words)
    if wanted.devices != 1 and "WORLD_SIZE" not in os.environ:
        return _launch(wanted.devices, ["resume", *arguments])
    from handmade import api
    from handmade.engine.observers import Console

    with talking() as progress:
        run = api.resume(wanted.run, minutes=wanted.minutes, overrides=overrides, progress=progress,
                         observers=[Console()], began=BEGAN)  # fmt: skip
    return _report(run, wanted.json)


def _shared(parser: Parser) -> None:
    parser.add_argument("--minutes", type=float, help="a wall-clock budget in place of a number of steps")
    parser.add_argument("--devices", type=int, default=1, help="processes on this machine (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON document about the run on standard output")


def _launch(devices: int, arguments: list[str]) -> int:
    """Start the same command in several processes and wait for them."""
    from handmade.engine.launch import launch

    if not 1 <= devices <= 64:
        raise UserError(f"devices must lie between 1 and 64, not {devices}")
    return launch(devices, arguments)


def _report(run: Run, as_json: bool) -> int:
    """Say where the run is and how to go on; with several processes, only the first one talks."""
    from handmade.recipe import read_recipe

    if os.environ.get("RANK", "0") != "0":
        return 0
    scores = next((event["scores"] for event in reversed(list(run.events("score")))), {})
    if as_json:
        print(json.dumps({"run": str(run.folder), "step": run.marked("latest"), "scores": scores}, indent=1))
        return 0
    ask = read_recipe(run.folder / "recipe.toml").preview.get("ask", "")
    print(run.folder)
    print(f"  handmade ask {run.folder} {ask}\n  handmade resume {run.folder} --minutes 20", file=sys.stderr)
    return 0
