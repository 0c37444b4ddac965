"""Systems and recipes as the page shows them, from the rooms' own files: nothing here knows a system by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from handmade.data.source import sources
from handmade.registry import Room, rooms
from handmade.studio.cards import Cards
from handmade.studio.forms import config_settings, data_kind, data_settings, takes_files, train_settings
from handmade.studio.pages import modules, objective, safe_html
from handmade.studio.places import ID, Missing
from handmade.studio.runs import Runs


class Systems:
    """All rooms."""

    def __init__(self, runs: Runs, cards: Cards):
        self.runs, self.cards = runs, cards

    def all(self) -> list[dict[str, Any]]:
        """Every system in short."""
        by_system: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs.all():
            by_system.setdefault(run["system"], []).append(run)
        return [self._short(room, by_system.get(room.name, [])) for room in rooms().values() if ID.fullmatch(room.name)]

    def _short(self, room: Room, runs: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": room.name, "title": room.title, "makes": room.system.get("makes", ""), "story": room.system.get("story", ""),
            "paper": room.system.get("paper"), "asks": [{"name": name, "summary": text} for name, text in room.asks.items()],
            "recipes": [self.recipe_line(room, name, table) for name, table in room.recipes.items()],
            "zoo": [run["id"] for run in runs if run["shipped"]], "runs": [run["id"] for run in runs if not run["shipped"]],
            "card": self.cards.card(room.name),
        }  # fmt: skip

    def recipe_line(self, room: Room, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        """One recipe in short."""
        data = table.get("data", {})
        return {
            "id": f"{room.name}.{name}", "name": f"{room.name}/{name}", "about": table.get("about", ""), "data": data,
            "data_kind": data_kind(data), "takes_files": takes_files(data), "expect": table.get("expect"),
            "gpu": name.endswith("-gpu"),
        }  # fmt: skip

    def one(self, name: str) -> dict[str, Any]:
        """Everything about one system."""
        room = self.room(name)
        runs = self.runs.all(name)
        readme = room.folder / "README.md"
        match = re.search(r"arXiv (\d{4}\.\d{4,5})", str(room.system.get("paper", "")))
        return {
            **self._short(room, runs), "readme": safe_html(readme.read_text("utf-8", "replace") if readme.is_file() else ""),
            "objective": objective(room), "modules": modules(room), "settings": config_settings(room, {}),
            "links": {"paper": f"https://arxiv.org/abs/{match[1]}" if match else None},
        }  # fmt: skip

    def source(self, name: str, file: str) -> dict[str, Any]:
        """The lines of one source file of a room."""
        room = self.room(name)
        if file not in {module["file"] for module in modules(room)}:
            raise Missing(file)
        return {"file": file, "lines": (room.folder / file).read_text("utf-8").splitlines()}

    def room(self, name: str) -> Room:
        """A room by its name; Missing where there is none."""
        known = rooms()
        if name not in known:
            raise Missing(name)
        return known[name]

    def recipe_name(self, name: str) -> str:
        """`dcgan.faces` -> `dcgan/faces`; Missing where there is no such recipe."""
        system, _, recipe = name.partition(".")
        if recipe not in self.room(system).recipes:
            raise Missing(name)
        return f"{system}/{recipe}"

    def recipe(self, name: str) -> dict[str, Any]:
        """One recipe with everything that can be set."""
        full = self.recipe_name(name)
        room = self.room(full.split("/")[0])
        table = room.recipes[full.split("/")[1]]
        return {
            **self.recipe_line(room, full.split("/")[1], table), "config": config_settings(room, table.get("config", {})),
            "train": train_settings(table.get("train", {})), "data_options": data_settings(table.get("data", {})),
            "preview": table.get("preview", {}),
        }  # fmt: skip

    def data(self) -> list[dict[str, Any]]:
        """The built-in data sets."""
        return [{"name": s.name, "title": s.title, "licence": s.licence, "homepage": s.homepage, "note": s.note, "kind": s.kind,
                 "needs_fetching": bool(s.files or s.gather)} for s in sources().values()]  # fmt: skip
