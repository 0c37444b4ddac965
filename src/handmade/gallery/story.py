"""Everything the page tells of one run, read from its folder; what is missing or broken is said, not hidden."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handmade.artifacts.history import History, history, read_events
from handmade.artifacts.sheet import duration

LARGEST = 2_000_000  # bytes of a recipe, an environment or a sample


@dataclass(frozen=True)
class Story:
    """One run in words and numbers."""

    run: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    spec: Mapping[str, Any]
    told: History
    faults: list[str] = field(default_factory=list)  # what could not be read

    @property
    def name(self) -> str:
        """ROOM/RECIPE, or the folder's name."""
        return text(self.recipe.get("name")) or self.run.name

    @property
    def title(self) -> str:
        """What a person calls the system."""
        return text(table(self.recipe.get("system")).get("title")) or self.name

    @property
    def place(self) -> str:
        """The run folder as a command names it: from where the page was written, if it lies below."""
        try:
            return self.run.resolve().relative_to(Path.cwd()).as_posix()
        except ValueError:
            return self.run.resolve().as_posix()

    @property
    def choice(self) -> Mapping[str, Any]:
        """How the networks computed: precision, threads."""
        return table(self.environment.get("choice")) or self.environment

    def commands(self) -> list[tuple[str, str]]:
        """What made this run, and the ways to go on, each with its words."""
        place = shlex.quote(self.place)
        return [
            ("The command that made it", self._made()),
            ("Train it further", f"handmade resume {place} --minutes 20"),
            ("Make more", f"handmade ask {place} {self._ask()}"),
        ]

    def _made(self) -> str:
        if command := text(self.environment.get("command")):
            return command
        changes = [
            f" --{part}.{key} {shlex.quote(_toml(value))}"
            for part, values in table(self.recipe.get("demo")).items()
            for key, value in table(values).items()
        ]
        minutes = max(0.1, self.told.seconds / 60)
        return f"handmade train {shlex.quote(self.name)} --minutes {minutes:.1f}{''.join(changes)}"

    def _ask(self) -> str:
        preview = table(self.recipe.get("preview"))
        ask = text(preview.get("ask")) or "generate"
        if prompt := text(preview.get("prompt")).strip():
            return f"{shlex.quote(ask)} --prompt {shlex.quote(prompt)} --seed 1"
        return "generate --n 16 --seed 1" if ask == "generate" else shlex.quote(ask)


def read_story(run: Path) -> Story:
    """Read a run folder; missing parts are empty, broken ones are named in `faults`."""
    faults: list[str] = []
    recipe = _read(run / "recipe.toml", tomllib.loads, faults)
    environment, spec = (_read(run / name, json.loads, faults) for name in ("environment.json", "spec.json"))
    return Story(run, recipe, environment, spec, history(read_events(run), run), faults)


def machine(stories: list[Story]) -> str:
    """Name the machine in words: its processor or GPU, cores, versions."""
    known = next((story.environment for story in stories if story.environment), {})
    name = text(known.get("name")) or text(known.get("cpu"))
    cores = known.get("cores")
    parts = [
        "one GPU" if known.get("device") == "cuda" and not name else name,
        f"{cores} cores" if isinstance(cores, int) and known.get("device") == "cpu" else "",
        f"torch {known['torch']}" if text(known.get("torch")) else "",
    ]
    return ", ".join(part for part in parts if part) or "this machine"


def total_time(stories: list[Story]) -> str:
    """The time that all runs trained, together."""
    return duration(sum(story.told.seconds for story in stories))


def text(value: Any) -> str:
    """A text from outside, or nothing: never more than a few lines."""
    return value[:2000] if isinstance(value, str) else ""


def table(value: Any) -> Mapping[str, Any]:
    """A table from outside, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def _read(path: Path, parse: Callable[[str], Any], faults: list[str]) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST // 1_000_000} MB")
        return table(parse(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        faults.append(f"{path.name} could not be read: {str(error).splitlines()[0][:200]}")
        return {}


def _toml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
