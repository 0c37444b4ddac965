"""Routes that only read: systems, recipes, runs, comparisons, and the stream of all that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from handmade import __version__
from handmade.errors import UserError
from handmade.gallery.words import TERMS
from handmade.studio.asking import last
from handmade.studio.events import Tail, follow
from handmade.studio.machine import report
from handmade.studio.models import StepWanted
from handmade.studio.places import Missing
from handmade.studio.results import content_type
from handmade.studio.security import FILES_POLICY
from handmade.studio.studio import Studio

STREAM = {"cache-control": "no-store", "x-accel-buffering": "no"}


def reading(studio: Studio) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api")
    _systems(studio, routes)
    _runs(studio, routes)

    @routes.get("/events")
    async def events(run: Annotated[list[str] | None, Query(max_length=24)] = None,
                     cursor: Annotated[list[str] | None, Query(max_length=24)] = None) -> StreamingResponse:  # fmt: skip
        """All that changes, as server-sent events; the runs that are named are followed."""
        known = dict(word.split("~", 1) for word in cursor or () if "~" in word)
        names = list(dict.fromkeys(run or ()))
        if len(names) > 24:
            raise UserError("at most 24 runs can be followed at once")
        tails = [(name, Tail(await asyncio.to_thread(studio.places.run, name), known.get(name))) for name in names]
        for name, tail in tails:
            if name not in known:
                await asyncio.to_thread(tail.read)

        def hello() -> Mapping[str, Any]:
            cursors = {name: tail.cursor for name, tail in tails}
            return {"version": __version__, "cursors": cursors, "jobs": studio.jobs.all()["jobs"]}

        return StreamingResponse(follow(studio.hub, hello, tails), media_type="text/event-stream", headers=STREAM)

    @routes.get("/machine")
    async def machine() -> dict[str, Any]:
        """What this machine is, what is loaded, and how much is free."""
        return {**await report(studio.places), "workers": studio.workers.told(), "roots": len(studio.folders.roots)}

    @routes.get("/glossary")
    def glossary() -> dict[str, Any]:
        """The field's words in plain English."""
        return {"terms": TERMS}

    return routes


def _systems(studio: Studio, routes: APIRouter) -> None:
    @routes.get("/systems")
    async def systems() -> dict[str, Any]:
        """Every system with its recipes, runs and card; missing cards are made meanwhile."""
        await studio.cards.make_all()
        return {"systems": await asyncio.to_thread(studio.systems.all)}

    @routes.get("/systems/{system}")
    def system(system: str) -> dict[str, Any]:
        """One system: README, objective and its source, settings."""
        return studio.systems.one(system)

    @routes.get("/systems/{system}/card.png")
    def card(system: str) -> Response:
        """What its run made, as a picture."""
        path = studio.cards.file(studio.systems.room(system).name)
        if path is None:
            raise Missing(system)
        return file_response(path.read_bytes(), "card.png")

    @routes.get("/systems/{system}/source/{file}")
    def source(system: str, file: str) -> dict[str, Any]:
        """The lines of one of its source files."""
        return studio.systems.source(system, file)

    @routes.get("/systems/{system}/networks")
    async def networks(system: str, run: str | None = None) -> dict[str, Any]:
        """Its networks, layers, parameters and shapes, measured on a live model."""
        found = await asyncio.to_thread(studio.lesson_run, system, run)
        return {"run": found, **_lesson(await last((await studio.worker(found)).ask({"do": "networks"})))}

    @routes.post("/systems/{system}/step")
    async def step(system: str, wanted: StepWanted) -> dict[str, Any]:
        """One training step on a copy, turn by turn."""
        found = await asyncio.to_thread(studio.lesson_run, system, wanted.run)
        return {
            "run": found,
            **_lesson(await last((await studio.worker(found)).ask({"do": "step", "again": wanted.again}))),
        }

    @routes.get("/recipes/{recipe}")
    def recipe(recipe: str) -> dict[str, Any]:
        """One recipe with everything that can be set."""
        return studio.systems.recipe(recipe)

    @routes.get("/data")
    def data() -> dict[str, Any]:
        """The built-in data sets."""
        return {"sources": studio.systems.data()}


def _runs(studio: Studio, routes: APIRouter) -> None:
    @routes.get("/runs")
    def runs(system: str | None = None) -> dict[str, Any]:
        """All runs in short."""
        return {"runs": studio.runs.all(system)}

    @routes.get("/runs/{run}")
    def run(run: str) -> JSONResponse:
        """One run with its curves and samples."""
        return JSONResponse(studio.runs.long(run))

    @routes.get("/runs/{run}/events")
    def run_events(run: str, after: str | None = None) -> JSONResponse:
        """The events that came after a cursor."""
        return JSONResponse(studio.runs.events(run, after))

    @routes.get("/runs/{run}/sheet.png")
    def sheet(run: str) -> Response:
        """Its newest sample."""
        return file_response(studio.runs.sheet(run).read_bytes(), "sheet.png")

    @routes.get("/runs/{run}/samples/{step}/{file}")
    def sample(run: str, step: str, file: str) -> Response:
        """A file of one sample."""
        return file_response(studio.runs.sample(run, step, file).read_bytes(), file, lasting=True)

    @routes.get("/runs/{run}/films/{file}")
    def film(run: str, file: str) -> Response:
        """A film of the training."""
        return file_response(studio.runs.film(run, file).read_bytes(), file)

    @routes.get("/compare")
    def compare(runs: Annotated[list[str], Query(max_length=12)]) -> JSONResponse:
        """Runs side by side."""
        return JSONResponse(studio.runs.compare(runs))


def _lesson(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("id", "kind", "blobs", "memory")}


def file_response(content: bytes, name: str, download: bool = False, lasting: bool = False) -> Response:
    """A file that a model has made: fixed content type, and a policy under which it can do nothing if opened by itself."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    headers = {
        "content-security-policy": FILES_POLICY,
        "content-disposition": f'{"attachment" if download else "inline"}; filename="{safe}"',
        "cache-control": "private, max-age=31536000, immutable" if lasting else "no-cache",
    }
    return Response(content, media_type=content_type(name), headers=headers)
