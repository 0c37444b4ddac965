"""Where things lie, and the ids they go by: no route takes a path, only names that this file has given out.

An id is looked up in a table of what there is; nothing that comes from outside is ever joined to a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handmade.errors import HandmadeError, UserError
from handmade.registry import store, zoo

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Missing(HandmadeError):
    """An id that names nothing; the answer is the same whatever the reason."""


class Full(HandmadeError):
    """Too much is waiting already; the answer says when to come again."""


class Busy(HandmadeError):
    """Not possible in this state."""


@dataclass(frozen=True)
class Places:
    """The folders of one studio."""

    runs: Path = field(default_factory=lambda: Path(os.environ.get("HANDMADE_RUNS", "runs")).absolute())
    home: Path = field(default_factory=lambda: (store() / "studio").absolute())
    roots: tuple[Path, ...] = ()  # folders below which training data may be picked

    def make(self, name: str) -> Path:
        """A private folder of the studio, made where it is not there yet; UserError where it cannot be."""
        folder = self.home / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write into {self.home}: {error.strerror}; set HANDMADE_HOME to another folder"
            ) from None
        return folder

    def own_runs(self) -> dict[str, Path]:
        """Your own runs by id, newest first; a link that leads out of the folder of runs is none."""
        found: list[tuple[float, str, Path]] = []
        top = self.runs.resolve()
        for path in self.runs.glob("*/recipe.toml"):
            folder = path.parent
            with contextlib.suppress(OSError):
                if folder.resolve().parent == top:
                    found.append((path.stat().st_mtime, run_id(folder.name), folder))
        return {name: folder for _, name, folder in sorted(found, key=lambda row: (-row[0], row[1]))}

    def shipped_runs(self) -> dict[str, Path]:
        """The runs that came with the package, by id: `zoo.dcgan.faces`."""
        return {f"zoo.{name.replace('/', '.')}": folder for name, folder in zoo().items()}

    def run(self, name: str) -> Path:
        """The folder of a run; Missing where no run goes by that id."""
        folder = self.own_runs().get(name) or self.shipped_runs().get(name)
        if folder is None:
            raise Missing(name)
        return folder

    def named(self, name: str) -> str:
        """A run as the commands name it: a path, or `zoo:ROOM/RECIPE`."""
        folder = self.run(name)
        return f"zoo:{folder.parent.name}/{folder.name}" if name in self.shipped_runs() else str(folder)

    def mark(self, name: str) -> str:
        """How far a run has come: it changes with every checkpoint."""
        found = []
        for file in ("latest", "best"):
            with contextlib.suppress(OSError):
                found.append((self.run(name) / file).read_text("utf-8").strip())
        return "-".join(found)


def run_id(folder: str) -> str:
    """The id of a run folder: its name, where that is fit for an address, else a hash of it."""
    plain = ID.fullmatch(folder) and not folder.startswith("zoo.")
    return folder if plain else f"run-{hashlib.sha256(folder.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def fresh_id() -> str:
    """An id that sorts by the time it was made and cannot be guessed."""
    return f"{int(time.time() * 1000):011x}-{secrets.token_hex(4)}"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a small file in one move, so that neither a reader nor a kill sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    draft.write_text(json.dumps(values, ensure_ascii=False), "utf-8")
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A small file of ours, or None where it is missing or damaged."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
