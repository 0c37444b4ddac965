"""Before the start: how long, how much memory, how much disk. At once from an earlier run here or the recipe's own figures,
then from a measurement: the engine's calibration, in a process of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handmade.artifacts.history import history, read_events
from handmade.engine.memory import free_memory
from handmade.errors import HandmadeError
from handmade.recipe import Recipe, load_recipe, read_recipe
from handmade.registry import find_recipe
from handmade.studio.forms import check_overrides
from handmade.studio.places import Missing, Places, read_json, write_json
from handmade.studio.processes import environment

PATIENCE = 600.0  # seconds that a measurement may take: data may have to be drawn for it
RESERVE = 1.3  # how much more memory training takes than its first steps did
KEPT = 200  # measurements that are remembered


class Estimates:
    """All estimates of a studio."""

    def __init__(self, places: Places, tell: Callable[[str, Mapping[str, Any]], None]):
        self.places, self.tell, self.folder = places, tell, places.make("estimates")
        self.wanted: dict[str, tuple[Recipe, float | None, str | None]] = {}
        self.measuring: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.turn = asyncio.Semaphore(1)

    def check(self, recipe: str, overrides: Mapping[str, str], data: Path | None) -> tuple[Recipe, dict[str, str]]:
        """The recipe as it would be trained; UserError for what is wrong with it."""
        room, table = find_recipe(recipe)
        given = check_overrides(room, table, overrides)
        return load_recipe(recipe, given, data), given

    async def ask(
        self, recipe: Recipe, overrides: Mapping[str, str], data: Path | None, minutes: float | None
    ) -> dict[str, Any]:
        """What is known by now; what is not known yet is measured."""
        named = json.dumps([recipe.name, sorted(overrides.items()), str(data)])
        key = hashlib.sha256(named.encode()).hexdigest()[:20]
        name = f"{key}-{minutes:g}" if minutes else key
        if len(self.wanted) > KEPT:
            self.wanted.pop(next(iter(self.wanted)))
        self.wanted[name] = (recipe, minutes, None)
        if read_json(self.folder / f"{key}.json") is None and key not in self.measuring:
            self.measuring.add(key)
            request = {"recipe": recipe.name, "overrides": dict(overrides), "data": str(data) if data else None}
            task = asyncio.get_running_loop().create_task(self._measure(key, name, request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return await asyncio.to_thread(self.one, name)

    def one(self, name: str) -> dict[str, Any]:
        """An estimate that was asked for."""
        if name not in self.wanted:
            raise Missing(name)
        recipe, minutes, error = self.wanted[name]
        key = name.split("-")[0]
        measured = read_json(self.folder / f"{key}.json")
        state = "measuring" if key in self.measuring else "failed" if error else "ready"
        return {
            "id": name,
            "state": state,
            "error": error,
            **_told(recipe, minutes, measured, self._earlier(recipe), self.places),
        }

    def _earlier(self, recipe: Recipe) -> dict[str, Any] | None:
        """What an earlier run of the same settings on this machine took per step."""
        for folder in list(self.places.own_runs().values())[:40]:
            try:
                same = read_recipe(folder / "recipe.toml")
            except HandmadeError:
                continue  # a run of another version tells nothing here
            if (same.name, same.config, same.train.batch, same.data) == (
                recipe.name,
                recipe.config,
                recipe.train.batch,
                recipe.data,
            ):
                told = history(read_events(folder))
                if told.step >= 20 and told.seconds:
                    sizes = [p.stat().st_size for p in (folder / "checkpoints").glob("*/**/*.safetensors")]
                    steps = len(list((folder / "checkpoints").glob("*/MANIFEST.json"))) or 1
                    return {"seconds_per_step": told.seconds / told.step, "checkpoint": sum(sizes) / steps}
        return None

    async def _measure(self, key: str, name: str, request: Mapping[str, Any]) -> None:
        """One measurement at a time; whatever becomes of it, it is over afterwards."""
        try:
            async with self.turn:
                measured = await self._measured(request)
            if "error" not in measured:
                await asyncio.to_thread(write_json, self.folder / f"{key}.json", measured)
        except (OSError, ValueError) as failed:  # no process, no answer, or nowhere to write it
            measured = {"error": f"the measurement broke down: {failed}"}
        finally:
            self.measuring.discard(key)
        error = measured.get("error")
        for wanted in [w for w in self.wanted if w.split("-")[0] == key]:
            recipe, minutes, _ = self.wanted[wanted]
            self.wanted[wanted] = (recipe, minutes, error)
            self.tell("estimate", await asyncio.to_thread(self.one, wanted))

    async def _measured(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What a process of its own has measured, or why it has not."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "handmade.studio.measure", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE):
                out, _ = await process.communicate(json.dumps(request).encode() + b"\n")
            return json.loads(out) if out else {"error": "the measurement broke down"}
        except TimeoutError:
            return {"error": f"measuring took longer than {PATIENCE / 60:.0f} minutes"}
        finally:
            if process.returncode is None:
                process.kill()

    def end(self) -> None:
        """Stop measuring."""
        for task in self.tasks:
            task.cancel()


def _told(recipe: Recipe, minutes: float | None, measured: Mapping[str, Any] | None, earlier: Mapping[str, Any] | None,
          places: Places) -> dict[str, Any]:  # fmt: skip
    """Time, memory and disk, with a sentence about them and a warning for each that does not fit."""
    known = measured or earlier or {}
    source = "measured" if measured else "earlier run" if earlier else "expect" if recipe.expect else "none"
    per_step, steps = known.get("seconds_per_step"), recipe.train.steps
    if minutes is None and per_step is not None:
        samples = steps / recipe.train.sample_every * known.get("seconds_per_sample", 0.0)
        time = (steps * per_step + samples + known.get("starting", 0.0)) / 60
    else:
        time = minutes if minutes is not None else (recipe.expect or {}).get("minutes")
    if minutes is not None and per_step:
        steps = max(1, round(minutes * 60 / per_step))
    disk = None
    if checkpoint := known.get("checkpoint"):
        kept = recipe.train.keep + 2  # the best, and one that is being written
        disk = (checkpoint * kept + known.get("sheet", 4e5) * steps / recipe.train.sample_every) / 1e6
    memory = RESERVE * known["memory"] / 1e6 if "memory" in known else None
    free = (free_memory() or 0) / 1e6
    room = shutil.disk_usage(places.home.parent if not places.home.exists() else places.home).free / 1e6
    warnings = []
    if memory and free and memory > free:
        warnings.append(
            f"it needs about {memory:,.0f} MB of memory and {free:,.0f} MB are free: close programs, or choose a smaller batch"
        )
    if disk and disk > room:
        warnings.append(f"it needs about {disk:,.0f} MB of disk and {room:,.0f} MB are free")
    if time and time > 24 * 60:
        warnings.append("it takes more than a day here: give it a time budget, or choose a smaller recipe")
    return {
        "source": source,
        "words": _words(source, time, recipe),
        "steps": steps,
        "minutes": float(f"{time:.3g}") if time else None,
        "seconds_per_step": per_step,
        "memory_mb": round(memory) if memory else None,
        "disk_mb": round(disk, 1) if disk else None,
        "free_memory_mb": round(free),
        "free_disk_mb": round(room),
        "fits": not ((memory and free and memory > free) or (disk and disk > room)),
        "warnings": warnings,
    }


def _words(source: str, minutes: float | None, recipe: Recipe) -> str:
    span = "some time" if minutes is None else _span(minutes)
    match source:
        case "measured":
            return f"about {span}, measured on this machine just now"
        case "earlier run":
            return f"about {span}, as an earlier run here took"
        case "expect":
            return f"about {span} on {(recipe.expect or {}).get('device', 'the machine it was measured on')}"
        case _:
            return "not measured yet" if minutes is None else f"{span}, as you have chosen"


def _span(minutes: float) -> str:
    if minutes < 1.5:
        return f"{max(1, round(minutes * 60))} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
