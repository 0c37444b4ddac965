"""`list` and `show`: what is in the house, read from the rooms' own files without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handmade.cli.main import Parser
from handmade.registry import Room, broken_rooms, find_recipe, find_room, rooms, zoo


def list_(parser: Parser, arguments: list[str]) -> int:
    """Print every room with its recipes and shipped runs."""
    parser.add_argument("--json", action="store_true", help="one JSON document")
    wanted = parser.parse_args(arguments)
    found, shipped = rooms(), zoo()
    if wanted.json:
        print(
            json.dumps({"rooms": [_room(room, shipped) for room in found.values()], "broken": broken_rooms()}, indent=1)
        )
        return 0
    for room in found.values():
        print(f"{room.name}: {room.system.get('story', room.title)}")
        for name, table in room.recipes.items():
            full = f"{room.name}/{name}"
            mark = "*" if full in shipped else " "
            print(f"  {mark} {full:<28} {table.get('about', '')}{_expected(table)}")
    for wrong in broken_rooms().values():
        print(f"\nleft out: {wrong}")
    print("\n* ships trained: `handmade ask zoo:ROOM/RECIPE generate`.  More: `handmade show ROOM/RECIPE`")
    return 0


def _expected(table: Mapping[str, Any]) -> str:
    expect = table.get("expect")
    return f"  [{expect['minutes']:g} min on {expect['device']}]" if expect else ""


def _room(room: Room, shipped: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": room.name,
        **{key: room.system.get(key) for key in ("title", "makes", "story", "paper")},
        "asks": room.asks,
        "recipes": [
            {"name": f"{room.name}/{name}", **{k: table[k] for k in ("about", "data", "expect") if k in table}}
            for name, table in room.recipes.items()
        ],
        "zoo": [f"zoo:{name}" for name in shipped if name.split("/")[0] == room.name],
    }


def show_(parser: Parser, arguments: list[str]) -> int:
    """Print one room or recipe: story, settings with defaults and help, asks."""
    parser.add_argument("name", metavar="ROOM[/RECIPE]")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    wanted = parser.parse_args(arguments)
    room, table = find_recipe(wanted.name) if "/" in wanted.name else (find_room(wanted.name), None)
    if wanted.json:
        settings = {name: field._asdict() for name, field in room.fields.items()}
        print(json.dumps({**_room(room, zoo()), "settings": settings, "recipe": table}, indent=1))
        return 0
    print(f"{room.title}\n{room.system.get('story', '')}\npaper: {room.system.get('paper', 'none')}\n")
    if table is not None:
        print(f"recipe {wanted.name}: {table.get('about', '')}{_expected(table)}")
        for part in ("data", "config", "train", "preview"):
            print(f"  {part:<8}", ", ".join(f"{key} = {value}" for key, value in table.get(part, {}).items()))
        print()
    print("settings (--config.NAME VALUE)")
    for name, field in room.fields.items():
        print(f"  {name:<14} {field.default:<12} {field.help}")
    print("\nasks (handmade ask RUN ASK)")
    for name, summary in room.asks.items():
        print(f"  {name:<14} {summary}")
    print("\nrecipes: " + ", ".join(f"{room.name}/{name}" for name in room.recipes))
    return 0
