"""A recipe is a named, repeatable experiment, as data: TOML in, checked frozen dataclasses out.

No code, no class names, no paths of code, no environment switches. An unknown key is an error that names the nearest one.
Everything that decides a result is written back into the run's `recipe.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from handmade.data.source import anchored, check_data, for_path
from handmade.errors import UserError, did_you_mean
from handmade.plan import Plan
from handmade.registry import Room, find_recipe, find_room

FORMAT = 1  # of run folders; a run written by a later format is refused


@dataclass(frozen=True)
class Recipe:
    """What to train, on which data, how, and what to show meanwhile."""

    name: str  # ROOM/RECIPE
    about: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    train: Plan = field(default_factory=Plan)
    preview: Mapping[str, Any] = field(default_factory=dict)  # ask = name, and its arguments
    judge: str | None = None  # zoo:ROOM/RECIPE of a network whose features judge pictures
    start: str | None = None  # run whose weights, and settings of the networks, training begins with
    borrow: Mapping[str, str] = field(default_factory=dict)  # name -> run whose system is lent, frozen
    demo: Mapping[str, Any] | None = None  # minutes, order, and tables that replace parts of the recipe in the demo
    expect: Mapping[str, Any] | None = None  # written by the benchmark, never by hand

    @property
    def room(self) -> Room:
        """The room this recipe belongs to."""
        return find_room(self.name.split("/")[0])

    def to_toml(self) -> str:
        """The whole recipe as TOML, with the format of run folders and the room's own lines about itself."""
        values = {k: v for k, v in asdict(self).items() if v is not None}
        values["train"] = {k: v for k, v in values["train"].items() if v is not None}
        return tomli_w.dumps({"format": FORMAT, **values, "system": dict(self.room.system)})


def load_recipe(name: str, overrides: Mapping[str, str] | None = None, data: Path | str | None = None) -> Recipe:
    """Read `ROOM/RECIPE` and lay `overrides` over it: `{"train.steps": "500", "config.width": "32"}`.

    data: a folder or file of the user's own, in place of the recipe's source
    Raises UserError for an unknown recipe, key or value. Torch is not loaded.
    """
    room, table = find_recipe(name)
    if data is not None:
        table = {**table, "data": for_path(table.get("data", {}), data)}
    recipe = check(room, name, _merge(table, overrides or {}, name))
    check_data(recipe.data)
    return replace(recipe, data=anchored(recipe.data))


def read_recipe(path: Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read the `recipe.toml` of a run; raise UserError where a newer version wrote it."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a run: it has no recipe.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    if not isinstance(written := table.pop("format", FORMAT), int):
        raise UserError(f"{path} is not ours: its format is {written!r}, not a whole number")
    if written > FORMAT:
        raise UserError(f"{path.parent} was written by a newer version of handmade: update handmade to use it")
    name = str(table.pop("name", ""))
    table.pop("system", None)
    return check(find_room(name.split("/")[0]), name, _merge(table, overrides or {}, name))


def check(room: Room, name: str, table: Mapping[str, Any]) -> Recipe:
    """Check a raw table against what recipes and this room's Config know."""
    known = {f.name for f in fields(Recipe)} - {"name"}
    for key in table:
        if key not in known:
            raise UserError(f'recipe {name}: no setting "{key}"{did_you_mean(key, known)}')
    for key in table.get("config", {}):
        if key not in room.fields:
            raise UserError(f'recipe {name}: no setting "config.{key}"{did_you_mean(key, room.fields)}')
    plan = table.get("train", {})
    for key in plan:
        if key not in (allowed := [f.name for f in fields(Plan)]):
            raise UserError(f'recipe {name}: no setting "train.{key}"{did_you_mean(key, allowed)}')
    values = {**table, "train": _validated(Plan, plan, f"recipe {name}: train")}
    return Recipe(name=name, **values)


def build_config(kind: type, values: Mapping[str, Any], name: str) -> Any:
    """Make a room's Config from a recipe's table, kinds checked."""
    return _validated(kind, values, f"recipe {name}: config")


def _validated(kind: type, values: Mapping[str, Any], where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where.split(": ")[-1], *(str(part) for part in first["loc"][:1])])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{where.split(': ')[0]}: {place} cannot be {first['input']!r}: {message}") from None


def _merge(table: Mapping[str, Any], overrides: Mapping[str, str], name: str) -> dict[str, Any]:
    """Lay dotted overrides over a raw table; a value is read as TOML, or else as plain text."""
    for key in ("data", "config", "train", "preview", "borrow"):
        if not isinstance(table.get(key, {}), Mapping):
            raise UserError(f"recipe {name}: {key} must be a table of settings, not {table[key]!r}")
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in table.items()}
    for dotted, text in overrides.items():
        head, _, key = dotted.partition(".")
        parts = [f.name for f in fields(Recipe) if f.name not in {"name", "expect", "demo"}]
        if head not in parts or (key == "") != (head in {"about", "judge", "start"}):
            raise UserError(f'recipe {name}: no setting "{dotted}"{did_you_mean(dotted, _settings(name, parts))}')
        if key:
            merged.setdefault(head, {})[key] = _value(text)
        else:
            merged[head] = text
    return merged


def _settings(name: str, parts: list[str]) -> list[str]:
    """Every dotted name a user may set, for the hint."""
    room = find_room(name.split("/")[0])
    return [f"train.{f.name}" for f in fields(Plan)] + [f"config.{key}" for key in room.fields] + ["judge"]


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
