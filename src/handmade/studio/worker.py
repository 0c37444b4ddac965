"""A process that holds one trained run and answers what is asked of it; torch lives here and not in the server.

    python -m handmade.studio.worker RUN [AT]      requests as lines of JSON on standard input, answers by desk.Channel

It ends when the server does, because its standard input ends.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from handmade import api
from handmade.artifacts.artifact import SHEET, Artifact
from handmade.artifacts.provenance import png_bytes
from handmade.core import asks_of
from handmade.data.specs import spec_to_json
from handmade.errors import HandmadeError, UserError, did_you_mean
from handmade.studio.desk import Channel, Desk, Work
from handmade.studio.forms import ask_form
from handmade.studio.lesson import Lesson
from handmade.studio.tap import Tap

WRITERS = 24  # texts that are written at once
TOLD = 4000  # letters of an artifact as plain text
PLAIN = 200_000  # bytes of an artifact's own values that are passed on


class Worker:
    """One loaded run, its desk, and the lesson that can be had from it."""

    def __init__(self, channel: Channel, run: str, at: str | None):
        torch.set_num_threads(threads := _threads(run))
        self.channel, self.run = channel, run
        self.system = api.load(run, at)
        writes = spec_to_json(self.system.data)["kind"] == "text"
        self.asks = asks_of(self.system)
        self.desk = Desk(channel, self._do, WRITERS if writes else 2, lambda: torch.set_num_threads(threads))
        self.tap = Tap(self.system, self.desk, channel)
        self.lesson = Lesson(run)
        forms = [ask_form(ask, writes and "prompt" in {p.name for p in ask.parameters}) for ask in self.asks.values()]
        channel.send(
            {"id": 0, "kind": "ready", "step": self.system.step, "text": writes, "asks": forms, "memory": memory()}
        )

    def listen(self) -> None:
        """Take requests until the server goes."""
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if request["do"] == "stop":
                self.desk.stop(request["id"])
            else:
                self.desk.take(request)

    def _do(self, work: Work) -> None:
        match work.request["do"]:
            case "ask":
                self._ask(work)
            case "networks":
                self._done(work, self.lesson.networks())
            case "step":
                self._done(work, self.lesson.step(bool(work.request.get("again"))))

    def _ask(self, work: Work) -> None:
        """Run one ask; save what it made, or hand over its sheet alone."""
        request, began = work.request, time.perf_counter()
        work.state.clear()  # where it is done once more
        if request["ask"] not in self.asks:
            raise UserError(f'this run cannot be asked to "{request["ask"]}"{did_you_mean(request["ask"], self.asks)}')
        artifact: Artifact = getattr(self.system, request["ask"])(**request["arguments"])
        if rest := self.tap.rest(work, artifact):
            self.channel.send({"id": work.id, "kind": "told", "text": rest, "given": False, "tokens": []})
        told: dict[str, Any] = {
            "artifact": type(artifact).__name__.lower(),
            "sample": artifact.sample(),
            "fields": plain(artifact),
        }
        if request.get("stream") and isinstance(prompt := request["arguments"].get("prompt"), str):
            told["prompt_tokens"] = self.tap.count(prompt)
        if request.get("live"):
            picture = artifact.picture()
            blob = png_bytes(picture, artifact.note(SHEET))
            size = {"width": picture.width, "height": picture.height}
            self._done(work, {**told, **size, "seconds": time.perf_counter() - began}, [blob])
            return
        files = [path.name for path in artifact.save(Path(request["folder"]))]
        told.update(
            words=artifact.text(80, False)[:TOLD], origin=artifact.note(SHEET), seconds=time.perf_counter() - began
        )
        self._done(work, {**told, "files": files})

    def _done(self, work: Work, values: Mapping[str, Any], blobs: list[bytes] | None = None) -> None:
        self.channel.send({"id": work.id, "kind": "done", "memory": memory(), **values}, blobs or [])


def _threads(run: str) -> int:
    """One thread for text, which is written for many at once; for all else as many as there are cores."""
    spec = api.find_run(run).read_json("spec.json")
    return 1 if spec.get("kind") == "text" else torch.get_num_threads()


def plain(artifact: Artifact) -> dict[str, Any]:
    """The plain values among an artifact's fields: columns, titles, texts, rows, ..., as far as they are not too long."""
    told = {}
    for field in fields(artifact):
        value = getattr(artifact, field.name)
        if field.name != "origin" and (text := _as_json(value)) is not None and len(text) <= PLAIN:
            told[field.name] = json.loads(text)
    return told


def _as_json(value: Any) -> str | None:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None  # a tensor, which the files hold


def memory() -> int:
    """Bytes that this process holds at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    """Load the run, then serve; standard output belongs to the protocol alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), write_through=True)
    channel = Channel(out)
    try:
        worker = Worker(channel, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    except HandmadeError as error:
        channel.send({"id": 0, "kind": "error", "class": type(error).__name__, "detail": str(error)})
        time.sleep(0.2)  # the message is on its way
        return error.exit_code
    worker.listen()
    os._exit(0)  # threads that still work have nobody left to work for


if __name__ == "__main__":
    sys.exit(main())
