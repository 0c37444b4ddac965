"""Folders of this machine from which training data may be picked: the allowed roots and what lies below, by ids.

An id is a keyed hash of the path, given out when its folder is listed; no id that was not given out leads anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Any

from handmade.studio.places import Missing, Places

MOST = 500  # folders that are listed at once
COUNTED = 5000  # files that are counted in one folder
KINDS = {
    "pictures": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    "texts": (".txt", ".md"),
    "tables": (".csv", ".tsv", ".tmx", ".json", ".jsonl", ".parquet"),
    "archives": (".zip", ".npz"),
}


class Folders:
    """What may be picked."""

    def __init__(self, places: Places):
        self.roots = [root.resolve() for root in places.roots]
        self.key = secrets.token_bytes(32)
        self.given: dict[str, Path] = {}

    def top(self) -> list[dict[str, Any]]:
        """The roots."""
        return [self._told(root) for root in self.roots if root.is_dir()]

    def below(self, name: str) -> dict[str, Any]:
        """A folder, the way to it, and the folders in it; links that lead out of the roots are left out."""
        path = self.path(name)
        inner = []
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_dir() and self._allowed(Path(entry.path)):
                    inner.append(Path(entry.path))
        parents = [parent for parent in reversed(path.parents) if self._allowed(parent)]
        return {"folder": self._told(path), "parents": [self._told(parent) for parent in parents],
                "folders": [self._told(folder) for folder in sorted(inner)[:MOST]]}  # fmt: skip

    def path(self, name: str) -> Path:
        """The folder that an id was given out for; Missing for any other, and where it has gone."""
        path = self.given.get(name)
        if path is None or not path.is_dir() or not self._allowed(path):
            raise Missing(name)
        return path

    def _allowed(self, path: Path) -> bool:
        real = path.resolve()
        return any(real == root or real.is_relative_to(root) for root in self.roots)

    def _told(self, path: Path) -> dict[str, Any]:
        """A folder with an id, and what kinds of files lie in it and one level below."""
        name = hmac.new(self.key, str(path.resolve()).encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[
            :20
        ]
        self.given[name] = path.resolve()
        counts = dict.fromkeys((*KINDS, "others"), 0)
        seen, names = 0, set()
        for place, folders, files in os.walk(path):
            below = len(Path(place).relative_to(path).parts)
            folders[:] = [f for f in folders if not f.startswith(".")] if below < 2 else []
            names |= {f.lower() for f in folders} if below == 0 else set()
            for file in files:
                ending = Path(file).suffix.lower()
                counts[next((kind for kind, endings in KINDS.items() if ending in endings), "others")] += 1
                seen += 1
            if seen > COUNTED:
                break
        return {
            "id": name,
            "name": path.name or str(path),
            **counts,
            "more": seen > COUNTED,
            "kind": _kind(counts, names),
        }


def _kind(counts: dict[str, int], folders: set[str]) -> str | None:
    """What could be learned from it."""
    if counts["pictures"] and {"traina", "trainb"} <= folders:
        return "domains"
    if counts["pictures"] or counts["archives"]:
        return "images"
    return "text" if counts["texts"] else "pairs" if counts["tables"] else None
