"""Recipes and asks as forms: every field with its kind, default, range, choices and one line of help."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from handmade.asks import Ask, Parameter
from handmade.data.source import OWN, find_source, sources
from handmade.errors import UserError, did_you_mean
from handmade.plan import Plan
from handmade.registry import PACKAGE, Field, Room

KINDS = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "str": "str",
    "Count": "int",
    "Share": "float",
    "StrictBool": "bool",
}
LONGEST = 1000  # letters of one setting


def ask_form(ask: Ask, streams: bool) -> dict[str, Any]:
    """One ask as the page draws it."""
    return {"name": ask.name, "summary": ask.summary, "streams": streams,
            "parameters": [_parameter(parameter) for parameter in ask.parameters]}  # fmt: skip


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """A file has no default on a page: one with a default name must be given, one without may be left out."""
    file = parameter.kind is Path
    limits = parameter.limits
    return {
        "name": parameter.name,
        "kind": "file" if file else parameter.kind.__name__,
        "default": None if file else parameter.default,
        "required": file and parameter.default != Path(),
        "help": parameter.help,
        "choices": list(parameter.choices),
        "low": limits.low if limits else None,
        "high": limits.high if limits else None,
    }


def config_settings(room: Room, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The room's own settings; `table`: the values that a recipe gives."""
    return [_setting(f"config.{name}", f, table.get(name)) for name, f in room.fields.items()]


def train_settings(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How to train; `table`: the values that a recipe gives."""
    return [_setting(f"train.{name}", f, table.get(name)) for name, f in _plan().items()]


def data_settings(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of a recipe's data."""
    if "source" not in data:
        return []
    told = []
    for parameter in find_source(str(data["source"])).options.parameters:
        form = _parameter(parameter)
        form.pop("required")
        told.append({**form, "name": f"data.{parameter.name}", "default": str(parameter.default),
                     "value": data.get(parameter.name)})  # fmt: skip
    return told


def _setting(name: str, found: Field, value: Any) -> dict[str, Any]:
    """A field as its source states it: kinds, choices and ranges are read from the text of its annotation."""
    kind, choices, low, high = found.kind.removesuffix(" | None"), [], None, None
    if match := re.fullmatch(r"Annotated\[(\w+), (?:Range\(([-\d._e]+), ([-\d._e]+)\)|.*)\]", kind):
        kind = match[1]
        low, high = (float(match[2]), float(match[3])) if match[2] else (None, None)
    if match := re.fullmatch(r"Literal\[(.*)\](?: \| (?:StrictBool|Count))?", kind):
        choices = [str(choice) for choice in ast.literal_eval(f"({match[1]},)")]  # what is set is text
        kind = "choice" if kind.endswith("]") else "str"
    told = kind if kind == "choice" else KINDS.get(kind, "other")
    return {"name": name, "kind": told, "default": found.default, "value": value, "help": found.help,
            "choices": choices, "low": low, "high": high}  # fmt: skip


def _plan() -> dict[str, Field]:
    """The settings of a plan, read from its source as a room's are."""
    path = PACKAGE / "plan.py"
    text = path.read_text("utf-8")
    lines, found = text.splitlines(), {}
    body = next(n.body for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == "Plan")
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            _, _, comment = lines[node.lineno - 1].partition("  # ")
            found[node.target.id] = Field(ast.unparse(node.annotation), ast.unparse(node.value), comment.strip())
    return found


def data_kind(data: Mapping[str, Any]) -> str | None:
    """What kind of examples a recipe learns from, and so which files of one's own it takes."""
    if "path" in data:
        return str(data.get("kind", "images"))
    known = sources()
    source = known.get(str(data.get("source", "")))
    return source.kind if source else None


def takes_files(data: Mapping[str, Any]) -> bool:
    """Whether your own files can take the place of a recipe's data."""
    return data_kind(data) in OWN


def check_overrides(room: Room, recipe: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, str]:
    """Settings that a page may change: of the plan, the room's Config and the data, never a path, a run or an address."""
    data = {form["name"] for form in data_settings(recipe.get("data", {})) if form["kind"] != "file"}
    allowed = {*(f"train.{f.name}" for f in fields(Plan)), *(f"config.{name}" for name in room.fields), *data}
    for name, value in overrides.items():
        if name not in allowed:
            raise UserError(f'no setting "{name[:80]}"{did_you_mean(name[:80], allowed)}')
        if len(value) > LONGEST or not value.isprintable():
            raise UserError(f"{name} must be one plain line of at most {LONGEST} letters")
        if name.startswith("data.") and re.search(r"[/\\]|\.\.|^~", value):
            raise UserError(f"{name} cannot be {value[:80]!r}: files are chosen by dropping them or by their folder")
    return dict(overrides)
