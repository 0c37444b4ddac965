"""Find rooms by folder and read what they say of themselves, without importing torch.

A room is a folder with `system.py`, `recipes.toml` and `README.md`. Rooms that come with the package are in `systems/`;
your own are looked for in the folders of HANDMADE_ROOMS and in `rooms/` under the store. Nothing is registered by hand.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from handmade.core import System

PACKAGE = Path(__file__).parent
ZOO = PACKAGE / "zoo"


def store() -> Path:
    """The folder for what belongs to this user: HANDMADE_HOME, or `handmade` in the platform's data folder."""
    if home := os.environ.get("HANDMADE_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "handmade"


class Field(NamedTuple):
    """One setting of a room's Config, as its source states it."""

    kind: str
    default: str
    help: str


@dataclass(frozen=True)
class Room:
    """One folder: what it is, and its recipes as raw tables."""

    name: str
    folder: Path
    system: Mapping[str, Any]  # title, class, makes, story, paper
    recipes: Mapping[str, Mapping[str, Any]]

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.system.get("title", self.name)

    @cached_property
    def source(self) -> str:
        """The text of the file that holds the system's class."""
        return (self.folder / f"{self.system['class'].split(':')[0]}.py").read_text("utf-8")

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The settings of the room's Config, read from its source: name -> kind, default, help."""
        lines = self.source.splitlines()
        body = next(
            (n.body for n in ast.parse(self.source).body if isinstance(n, ast.ClassDef) and n.name == "Config"), []
        )
        found = {}
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                _, _, comment = lines[node.lineno - 1].partition("  # ")
                found[node.target.id] = Field(ast.unparse(node.annotation), ast.unparse(node.value), comment.strip())
        return found

    @cached_property
    def asks(self) -> dict[str, str]:
        """What the system can be asked for, read from its source: name -> first line of its docstring."""
        return _asks(self.source, self.system["class"].split(":")[1])


def _asks(source: str, wanted: str) -> dict[str, str]:
    """The asks of one class of a source text; those it inherits from a module of ours come first."""
    tree = ast.parse(source)
    kind = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == wanted), None)
    if kind is None:
        return {}
    found: dict[str, str] = {}
    bases = {base.id for base in kind.bases if isinstance(base, ast.Name)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("handmade."):
            path = PACKAGE.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            for alias in node.names:
                if alias.name in bases and path.is_file():
                    found |= _asks(path.read_text("utf-8"), alias.name)
    for node in kind.body:
        marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.FunctionDef) and any(isinstance(mark, ast.Name) and mark.id == "ask" for mark in marks):
            found[node.name.removesuffix("_")] = (ast.get_docstring(node) or "").split("\n")[0]
    return found


def room_folders() -> Iterator[Path]:
    """Every folder that may hold rooms, the package's own first."""
    yield PACKAGE / "systems"
    yield from (Path(part) for part in os.environ.get("HANDMADE_ROOMS", "").split(os.pathsep) if part)
    yield store() / "rooms"


def rooms() -> dict[str, Room]:
    """All whole rooms by name, in alphabetical order; the package's own win where names collide."""
    return _look()[0]


def broken_rooms() -> dict[str, str]:
    """Rooms of your own that cannot be read: name -> what is wrong. One of them does not take the house with it."""
    return _look()[1]


def _look() -> tuple[dict[str, Room], dict[str, str]]:
    found: dict[str, Room] = {}
    broken: dict[str, str] = {}
    for folder in room_folders():
        for path in sorted(folder.glob("*/recipes.toml")):
            name = path.parent.name
            if name in found:
                continue
            try:
                found[name] = _read(path)
            except UserError as error:
                if folder == PACKAGE / "systems":
                    raise
                broken[name] = str(error)
    return dict(sorted(found.items())), broken


def _read(path: Path) -> Room:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        system = tables["system"]
        if system["class"].count(":") != 1:
            raise KeyError("class")
        room = Room(path.parent.name, path.parent, system, tables.get("recipe", {}))
        if PACKAGE not in path.parents:
            ast.parse(room.source)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    except KeyError as error:
        raise UserError(f"{path} lacks [system] {error}; a room states title, class, makes and story there") from None
    except (OSError, SyntaxError) as error:
        raise UserError(f"the room {path.parent} cannot be read: {error}") from None
    return room


def find_room(name: str) -> Room:
    """Return the room, or raise UserError with what is wrong with it, or with the nearest name."""
    known, broken = _look()
    if name in broken:
        raise UserError(broken[name])
    if name not in known:
        raise UserError(f'no room "{name}"{did_you_mean(name, known)}')
    return known[name]


def find_recipe(name: str) -> tuple[Room, Mapping[str, Any]]:
    """Return the room and the raw table of `ROOM/RECIPE`; a room alone is no recipe."""
    room_name, slash, recipe_name = name.partition("/")
    room = find_room(room_name)
    if not slash or recipe_name not in room.recipes:
        raise UserError(f'no recipe "{name}"{did_you_mean(name, [f"{room.name}/{r}" for r in room.recipes])}')
    return room, room.recipes[recipe_name]


def system_class(room: Room) -> type[System]:
    """Import the room's system class; this is where torch is loaded."""
    module_name, class_name = room.system["class"].split(":")
    return getattr(room_module(room, module_name), class_name)


def room_module(room: Room, name: str) -> ModuleType:
    """Import one file of a room, once."""
    qualified = f"handmade.systems.{room.name}.{name}"
    path = room.folder / f"{name}.py"
    module = sys.modules.get(qualified)
    if module is None or Path(module.__file__ or "") != path:
        spec = importlib.util.spec_from_file_location(qualified, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UserError(f"room {room.name} has no {path.name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[qualified] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[qualified]  # half-made: once it is mended, it is imported anew
            raise
    return module


def zoo() -> dict[str, Path]:
    """The trained runs that ship with the package: `ROOM/RECIPE` -> run folder."""
    return {f"{p.parent.parent.name}/{p.parent.name}": p.parent for p in sorted(ZOO.glob("*/*/recipe.toml"))}
