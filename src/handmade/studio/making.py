"""Routes that make things: asks, at once, as a stream, or on the live socket for sliders; and what has been made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from handmade.errors import HandmadeError
from handmade.studio.asking import Worker
from handmade.studio.events import sse
from handmade.studio.live import Live
from handmade.studio.models import AskWanted, KeepWanted
from handmade.studio.reading import STREAM, file_response
from handmade.studio.studio import Studio, asked


def making(studio: Studio) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api")
    _results(studio, routes)

    @routes.get("/runs/{run}/asks")
    async def asks(run: str, at: str | None = None) -> dict[str, Any]:
        """What a run can be asked for, as forms; loads it."""
        worker = await studio.worker(run, at)
        short = await asyncio.to_thread(studio.runs.short, run)
        return {"run": run, "step": worker.form["step"], "text": worker.form["text"], "asks": worker.form["asks"],
                "system": short["system"]}  # fmt: skip

    @routes.post("/runs/{run}/warm", status_code=202)
    async def warm(run: str) -> dict[str, Any]:
        """Load a run early; answers at once."""
        await asyncio.to_thread(studio.places.run, run)
        studio.workers.soon(studio.worker(run))
        return {}

    @routes.post("/runs/{run}/asks/{ask}")
    async def make(run: str, ask: str, wanted: AskWanted, request: Request) -> JSONResponse:
        """Ask a run for something and keep what it makes."""
        worker = await studio.worker(run, wanted.at)

        async def whole() -> Any:
            return [made async for _, made in _made(studio, worker, run, ask, wanted, False)][-1]

        return JSONResponse(await while_listening(request, whole()))

    @routes.post("/runs/{run}/asks/{ask}/stream")
    async def stream(run: str, ask: str, wanted: AskWanted) -> StreamingResponse:
        """The same, telling what it makes as it comes."""
        worker = await studio.worker(run, wanted.at)
        studio.arguments(worker, ask, wanted)  # mistakes are answered plainly, before the stream begins

        async def told() -> AsyncIterator[bytes]:
            try:
                async for kind, made in _made(studio, worker, run, ask, wanted, True):
                    yield sse(kind, made)
            except HandmadeError as error:
                yield sse("error", {"detail": str(error)})

        return StreamingResponse(told(), media_type="text/event-stream", headers=STREAM)

    @routes.websocket("/live")
    async def live(socket: WebSocket) -> None:
        """Sliders: of each channel the newest question is answered, with a picture that is not kept."""
        await socket.accept()
        await Live(studio, socket).serve()

    return routes


async def while_listening(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Do work for as long as the client is there; what it gives, or nothing for one that has gone."""
    doing, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await doing if doing.done() else None
    finally:
        leaving.cancel()
        doing.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _made(
    studio: Studio, worker: Worker, run: str, ask: str, wanted: AskWanted, stream: bool
) -> AsyncIterator[tuple[str, Any]]:
    """What comes while something is made, then the result, written down. Who leaves early leaves nothing behind."""
    arguments = await asyncio.to_thread(studio.arguments, worker, ask, wanted)
    system = (await asyncio.to_thread(studio.runs.short, run))["system"]
    name, folder = await asyncio.to_thread(studio.results.begin)
    finished = False
    request = {"do": "ask", "ask": ask, "arguments": arguments, "folder": str(folder), "stream": stream}
    answers = worker.ask(request)
    try:
        async for message in answers:
            if message["kind"] == "told":
                yield "text", {"text": message["text"], "given": message["given"], "tokens": message["tokens"]}
            elif message["kind"] == "done":
                made = await asyncio.to_thread(studio.results.end, name, asked(run, system, ask, wanted), message)
                finished = True
                yield "result", made
    finally:
        await answers.aclose()  # type: ignore[attr-defined]
        if not finished:
            studio.results.drop(name)


def _results(studio: Studio, routes: APIRouter) -> None:
    @routes.get("/results")
    def results(run: str | None = None) -> JSONResponse:
        """What has been made, newest first."""
        return JSONResponse({"results": studio.results.all(run)})

    @routes.get("/results/{result}")
    def result(result: str) -> JSONResponse:
        """One result."""
        return JSONResponse(studio.results.view(studio.results.about(result)))

    @routes.get("/results/{result}/files/{file}")
    def file(result: str, file: str, download: bool = False) -> Response:
        """One file of a result."""
        path = studio.results.file(result, file)
        return file_response(path.read_bytes(), path.name, download, lasting=True)

    @routes.get("/results/{result}/all.zip")
    def zipped(result: str) -> Response:
        """All its files."""
        name, content = studio.results.zipped(result)
        return file_response(content, name, download=True)

    @routes.post("/results/{result}/keep")
    def keep(result: str, wanted: KeepWanted | None = None) -> dict[str, Any]:
        """Let it stay."""
        return studio.results.keep(result, wanted.kept if wanted else True)

    @routes.post("/results/{result}/recreate")
    async def recreate(result: str) -> dict[str, Any]:
        """Make it again from its origin and compare the bytes."""
        return await studio.results.recreate(result)

    @routes.delete("/results/{result}")
    def drop(result: str) -> dict[str, Any]:
        """Throw it away."""
        studio.results.about(result)
        studio.results.drop(result)
        return {}
