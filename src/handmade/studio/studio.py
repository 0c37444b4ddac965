"""All parts of one studio, and what ties them together: which run a request means, and which files it may name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handmade.errors import UserError, did_you_mean
from handmade.studio.asking import Worker, Workers
from handmade.studio.cards import Cards
from handmade.studio.estimates import Estimates
from handmade.studio.events import Hub
from handmade.studio.folders import Folders
from handmade.studio.jobs import Jobs
from handmade.studio.models import AskWanted, DataChoice, FileChoice
from handmade.studio.places import Busy, Places
from handmade.studio.results import Results
from handmade.studio.runs import Runs
from handmade.studio.systems import Systems
from handmade.studio.uploads import Uploads

LOOK = 15.0  # seconds between looks at idle workers


@dataclass
class Studio:
    """One server's parts."""

    places: Places
    slots: int = 1  # trainings at once
    hub: Hub = field(default_factory=Hub)
    workers: Workers = field(default_factory=Workers)

    def __post_init__(self) -> None:
        self.runs = Runs(self.places)
        self.jobs = Jobs(self.places, self.hub.tell, self.runs.training, self.slots)
        self.cards, self.estimates = Cards(self.places, self.hub.tell), Estimates(self.places, self.hub.tell)
        self.systems = Systems(self.runs, self.cards)
        self.uploads, self.folders, self.results = Uploads(self.places), Folders(self.places), Results(self.places)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """While the server is there: the queue is looked after, idle workers are let go; trainings outlive it."""
        self.hub.loop = asyncio.get_running_loop()
        self.jobs.begin()
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            self.hub.loop = None
            self.cards.end()
            self.estimates.end()
            self.workers.end()
            await asyncio.to_thread(self.jobs.end)

    def leave(self) -> None:
        """Somebody has asked the server to end: streams and work in flight end now, so that nothing holds it up."""
        if self.hub.loop is not None:
            self.hub.loop.call_soon_threadsafe(self.hub.end)
            self.hub.loop.call_soon_threadsafe(self.workers.end)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self.workers.look()

    async def worker(self, run: str, at: str | int | None = None) -> Worker:
        """The process that holds a run."""
        named, mark = await asyncio.to_thread(lambda: (self.places.named(run), self.places.mark(run)))
        return await self.workers.get(named, None if at is None else str(at), mark)

    def lesson_run(self, system: str, run: str | None) -> str:
        """The run that a system is explained by; Busy where there is none yet."""
        self.systems.room(system)
        found = run or self.cards.run_of(system)
        if found is None:
            raise Busy("no run of this system is here yet: train its smoke recipe first, it takes a minute")
        if run is not None and self.runs.short(run)["system"] != system:
            raise UserError(f"{run} is a run of another system")
        return found

    def data(self, choice: DataChoice | None) -> Path | None:
        """The folder or file of the data that was chosen."""
        if choice is None:
            return None
        return self.uploads.path(choice.upload) if choice.upload else self.folders.path(str(choice.folder))

    def arguments(self, worker: Worker, ask: str, wanted: AskWanted) -> dict[str, Any]:
        """What is sent to a worker: ids become the paths of files that are ours, and no text is ever taken for a path."""
        forms = {form["name"]: form for form in worker.form["asks"]}
        if ask not in forms:
            raise UserError(f'this run cannot be asked to "{ask[:60]}"{did_you_mean(ask[:60], forms)}')
        kinds = {parameter["name"]: parameter for parameter in forms[ask]["parameters"]}
        sent = {}
        for name, value in wanted.arguments.items():
            file = name in kinds and kinds[name]["kind"] == "file"
            if isinstance(value, FileChoice):
                if not file:
                    raise UserError(f"{name[:60]} takes no file")
                sent[name] = str(self._file(value))
            elif file and value not in (None, ""):
                raise UserError(f"{name} takes a file that was uploaded or made here, not a text")
            elif not file and value is not None:
                sent[name] = value
        for name, parameter in kinds.items():
            if parameter["required"] and name not in sent:
                raise UserError(f"{name}: choose a file ({parameter['help']})")
        return sent

    def _file(self, choice: FileChoice) -> Path:
        if choice.upload:
            return self.uploads.path(choice.upload, choice.file)
        return self.results.file(str(choice.result), str(choice.file))

    def used_data(self) -> set[str]:
        """Every path that a job or a run of yours learns from."""
        words = {word for job in self.jobs.jobs.values() for word in job.words}
        paths = {str(_path_of(folder)) for folder in self.places.own_runs().values()}
        return words | paths


def _path_of(folder: Path) -> Any:
    """The path in a run's data table, from the text of its recipe."""
    lines = (folder / "recipe.toml").read_text("utf-8", "replace").splitlines()
    return next((line for line in lines if line.startswith("path = ")), "")


def asked(run: str, system: str, ask: str, wanted: AskWanted) -> Mapping[str, Any]:
    """What was asked, as it is written beside the answer."""
    arguments = {
        name: value.model_dump() if isinstance(value, FileChoice) else value for name, value in wanted.arguments.items()
    }
    return {"run": run, "system": system, "ask": ask, "arguments": arguments, "at": wanted.at}
