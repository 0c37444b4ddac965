"""Routes that change something: jobs, estimates, uploads, folders, and throwing things away."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request

from handmade.errors import UserError
from handmade.studio.models import EstimateWanted, JobWanted, ResumeWanted, TrashWanted, UploadWanted
from handmade.studio.places import Missing
from handmade.studio.reading import file_response
from handmade.studio.studio import Studio


def doing(studio: Studio) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api")
    _jobs(studio, routes)
    _uploads(studio, routes)

    @routes.post("/estimates")
    async def estimate(wanted: EstimateWanted) -> dict[str, Any]:
        """How long, how much memory, how much disk; measured meanwhile where it is not known."""
        name = await asyncio.to_thread(studio.systems.recipe_name, wanted.recipe)
        data = await asyncio.to_thread(studio.data, wanted.data)
        recipe, given = await asyncio.to_thread(studio.estimates.check, name, wanted.overrides, data)
        return await studio.estimates.ask(recipe, given, data, wanted.minutes)

    @routes.get("/estimates/{estimate}")
    def one_estimate(estimate: str) -> dict[str, Any]:
        """An estimate that was asked for, as far as it is known by now."""
        return studio.estimates.one(estimate)

    @routes.get("/folders")
    def roots() -> dict[str, Any]:
        """The folders below which training data may be picked."""
        return {"folders": studio.folders.top()}

    @routes.get("/folders/{folder}")
    def folder(folder: str) -> dict[str, Any]:
        """One folder and those in it."""
        return studio.folders.below(folder)

    @routes.delete("/runs/{run}")
    def throw_away(run: str, wanted: TrashWanted) -> dict[str, Any]:
        """Move a run into the trash; its name must be typed."""
        studio.runs.throw_away(run, wanted.name)
        studio.hub.tell("runs", {})
        return {}

    @routes.post("/runs/{run}/evaluate", status_code=201)
    def evaluate(run: str) -> dict[str, Any]:
        """Score a run on held-out examples, as a job."""
        short = studio.runs.short(run)
        return studio.jobs.other("evaluate", short["recipe"], ["evaluate", studio.places.named(run), "--json"], run)

    @routes.post("/data/{source}/prepare", status_code=201)
    def prepare(source: str) -> dict[str, Any]:
        """Fetch or draw a data set, as a job; only this asks anything of the network."""
        if source not in {known["name"] for known in studio.systems.data()}:
            raise Missing(source)
        return studio.jobs.other("prepare", source, ["data", "prepare", source])

    return routes


def _jobs(studio: Studio, routes: APIRouter) -> None:
    @routes.post("/jobs", status_code=201)
    def train(wanted: JobWanted) -> dict[str, Any]:
        """Put a training into the queue."""
        if wanted.resume is not None:
            run = studio.runs.short(wanted.resume)
            return studio.jobs.resume_run(wanted.resume, wanted.minutes, run["recipe"])
        name = studio.systems.recipe_name(str(wanted.recipe))
        return studio.jobs.train(
            name, wanted.minutes, wanted.overrides, studio.data(wanted.data), wanted.start, wanted.name
        )

    @routes.get("/jobs")
    def jobs() -> dict[str, Any]:
        """Every job, newest first."""
        return studio.jobs.all()

    @routes.get("/jobs/{job}")
    def job(job: str) -> dict[str, Any]:
        """One job."""
        return studio.jobs.one(job)

    @routes.post("/jobs/{job}/{verb}")
    def act(
        job: str, verb: Literal["pause", "stop", "resume", "cancel", "first"], wanted: ResumeWanted | None = None
    ) -> dict[str, Any]:
        """pause and stop save; resume goes on; cancel leaves the queue; first goes to its head."""
        return studio.jobs.act(job, verb, wanted.minutes if wanted else None)

    @routes.delete("/jobs/{job}")
    def forget(job: str) -> dict[str, Any]:
        """Forget an ended job; its run stays."""
        studio.jobs.forget(job)
        return {}


def _uploads(studio: Studio, routes: APIRouter) -> None:
    @routes.post("/uploads", status_code=201)
    def begin(wanted: UploadWanted) -> dict[str, Any]:
        """A new, empty upload."""
        return studio.uploads.begin(wanted.name, wanted.purpose)

    @routes.get("/uploads")
    def uploads() -> dict[str, Any]:
        """All uploads."""
        return {"uploads": studio.uploads.all()}

    @routes.get("/uploads/{upload}")
    def upload(upload: str) -> dict[str, Any]:
        """One upload."""
        return studio.uploads.view(studio.uploads.about(upload))

    @routes.put("/uploads/{upload}/files")
    def add(upload: str, name: str, request: Request) -> dict[str, Any]:
        """Take one file, its bytes as the body; of a .zip all its files."""
        studio.uploads.about(upload)
        body = request.scope.get("upload")
        if body is None:
            raise UserError("the file is empty")
        files, refused = studio.uploads.add(upload, name, body)
        return {"file": files[0], "files": files[:200], "count": len(files), "refused": refused[:200]}

    @routes.get("/uploads/{upload}/files/{file}")
    def file(upload: str, file: str) -> Any:
        """The bytes of one file, as they are kept."""
        path = studio.uploads.path(upload, file)
        return file_response(path.read_bytes(), path.name)

    @routes.post("/uploads/{upload}/files/{file}/recreate")
    async def recreate(upload: str, file: str) -> dict[str, Any]:
        """Make a file again that a run of this studio made, and compare the bytes."""
        path = await asyncio.to_thread(studio.uploads.original, upload, file)
        return await studio.results.again(path)

    @routes.delete("/uploads/{upload}")
    def drop(upload: str) -> dict[str, Any]:
        """Forget an upload that nothing learns from."""
        studio.uploads.drop(upload, studio.used_data())
        return {}
