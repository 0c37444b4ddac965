"""What the gallery shows of each system: something that a run of it really made, made once in a process and kept.

python -m handmade.studio.cards FOLDER RUN ...      one card for each run, a line on standard output when it is there
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handmade.registry import rooms
from handmade.studio.places import Places, read_json, write_json
from handmade.studio.processes import environment


class Cards:
    """The cards of all systems."""

    def __init__(self, places: Places, tell: Callable[[str, Mapping[str, Any]], None]):
        self.places, self.tell, self.folder = places, tell, places.make("cards")
        self.making: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def run_of(self, system: str) -> str | None:
        """The run that stands for a system: a shipped one, else the newest of yours that has weights."""
        shipped = [name for name in self.places.shipped_runs() if name.split(".")[1] == system]
        own = [
            name
            for name, folder in self.places.own_runs().items()
            if _system_of(folder) == system and (folder / "latest").exists()
        ]
        return next(iter([*shipped, *own]), None)

    def card(self, system: str) -> dict[str, Any] | None:
        """The card of a system as it is now; None where no run of it is there."""
        run = self.run_of(system)
        if run is None:
            return None
        key = self._key(run)
        about = read_json(self.folder / key / "card.json")
        state = "making" if key in self.making else "none" if about is None or about.get("error") else "ready"
        sheet = self.folder / key / "sheet.png"
        return {
            "run": run, "state": state, "sample": (about or {}).get("sample"),
            "picture": f"/api/systems/{system}/card.png?v={key}" if state == "ready" and sheet.exists() else None,
        }  # fmt: skip

    def file(self, system: str) -> Path | None:
        """The picture of a card."""
        run = self.run_of(system)
        path = self.folder / self._key(run) / "sheet.png" if run else None
        return path if path and path.is_file() else None

    def _key(self, run: str) -> str:
        """A run in its present state."""
        folder = self.places.run(run)
        latest = (folder / "latest").read_text("utf-8").strip() if (folder / "latest").is_file() else ""
        return hashlib.sha256(f"{folder.resolve()}:{latest}".encode()).hexdigest()[:16]

    async def make_all(self) -> None:
        """Begin to make what is missing, all in one process that loads torch once."""
        wanted = {key: pair for key, pair in (await asyncio.to_thread(self._missing)).items() if key not in self.making}
        if wanted:
            self.making |= set(wanted)
            task = asyncio.get_running_loop().create_task(self._make(wanted))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _missing(self) -> dict[str, tuple[str, str]]:
        """The cards that are not there: key -> system and run."""
        runs = [(system, run) for system in rooms() if (run := self.run_of(system))]
        keys = {self._key(run): (system, run) for system, run in runs}
        return {key: pair for key, pair in keys.items() if read_json(self.folder / key / "card.json") is None}

    async def _make(self, wanted: Mapping[str, tuple[str, str]]) -> None:
        pairs = [word for key, (_, run) in wanted.items() for word in (key, self.places.named(run))]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "handmade.studio.cards", str(self.folder), *pairs,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**environment(), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            while process.stdout is not None and (line := await process.stdout.readline()):
                key = line.decode().strip()
                if key in wanted:
                    self.making.discard(key)
                    system = wanted[key][0]
                    self.tell("card", {"system": system, "card": await asyncio.to_thread(self.card, system)})
            await process.wait()
        finally:
            self.making -= set(wanted)
            if process.returncode is None:
                process.kill()

    def end(self) -> None:
        """Stop making; what is missing is made another time."""
        for task in self.tasks:
            task.cancel()


def _system_of(folder: Path) -> str:
    """The system of a run, from the first lines of its recipe."""
    for line in (folder / "recipe.toml").read_text("utf-8", "replace").splitlines()[:5]:
        if line.startswith("name = "):
            return line.removeprefix("name = ").strip('"').split("/")[0]
    return ""


def make(folder: Path, run: str) -> None:
    """Make one card: the run's own preview, as it is made while training. What goes wrong is written down."""
    from handmade import api
    from handmade.errors import HandmadeError
    from handmade.recipe import read_recipe

    folder.mkdir(parents=True, exist_ok=True)
    try:
        recipe = read_recipe(api.find_run(run).folder / "recipe.toml")
        arguments = dict(recipe.preview)
        name = str(arguments.pop("ask", "generate"))
        artifact = getattr(api.load(run), name)(**arguments)
        artifact.preview(folder)
        write_json(folder / "card.json", {"run": run, "sample": artifact.sample()})
    except HandmadeError as error:
        write_json(folder / "card.json", {"run": run, "error": str(error)})
    except Exception as error:  # one room's fault must not leave the gallery without the others
        write_json(folder / "card.json", {"run": run, "error": f"{type(error).__name__}: {error}"[:500]})


def main() -> int:
    """Make the cards that are named, and say so line by line."""
    os.nice(5)
    out, sys.stdout = sys.stdout, sys.stderr
    words = sys.argv[2:]
    for key, run in zip(words[::2], words[1::2], strict=True):
        make(Path(sys.argv[1]) / key, run)
        out.write(f"{key}\n")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
