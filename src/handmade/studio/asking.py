"""The workers: one process per loaded run, kept warm while it is used, gone when it is idle or memory is short."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from handmade import errors
from handmade.engine.memory import free_memory
from handmade.errors import HandmadeError
from handmade.studio.places import Full
from handmade.studio.processes import environment

WARM = 3  # runs that are kept loaded
IDLE = 600.0  # seconds after which an unused one is let go
LOADING = 120.0  # seconds that loading may take
STOPPING = 0.4  # seconds that stopped work has to end, before its worker is ended where nobody else uses it
TIGHT = 600_000_000  # bytes of free memory below which others are let go first
JUST = 0.5  # seconds in which whoever has got a worker asks it
OPEN = 64  # requests to one run at once
LINE = 64 * 2**20  # bytes of one message


class Broken(HandmadeError):
    """Something went wrong inside a room or a worker; the server goes on."""


@dataclass(eq=False)
class Worker:
    """One process that holds a run, seen from the server."""

    process: asyncio.subprocess.Process
    run: str
    form: dict[str, Any] = field(default_factory=dict)  # what it said when it was ready
    answers: dict[int, asyncio.Queue[dict[str, Any]]] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    memory: int = 0
    over: bool = False  # nobody reads its answers any more
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def read(self) -> None:
        """Hand every message to whoever waits for it, until the process ends; then tell all who still wait."""
        out = self.process.stdout
        while out is not None:
            try:
                line = await out.readline()
                if not line:
                    break
                message = json.loads(line)
                message["blobs"] = [await out.readexactly(size) for size in message.pop("sizes", [])]
            except (asyncio.IncompleteReadError, ValueError):
                break
            self.memory = message.get("memory", self.memory)
            if (queue := self.answers.get(message["id"])) is not None:
                queue.put_nowait(message)
        self.over = True
        self.end()  # it may still run, but what it says cannot be told apart any more
        for queue in self.answers.values():
            queue.put_nowait({"kind": "error", "class": "Broken", "detail": "the worker of this run ended; ask again"})

    async def ask(self, request: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Send a request; yield what comes, `done` last. Leaving early stops the work."""
        if len(self.answers) >= OPEN:
            raise Full(f"{OPEN} requests are open on this run already")
        number, queue = next(self.numbers), asyncio.Queue[dict[str, Any]]()
        self.answers[number], self.used = queue, time.monotonic()
        over = False
        try:
            await self._send({**request, "id": number})
            while True:
                message = await queue.get()
                if message["kind"] == "error":
                    over = True
                    raise fault(message)
                if message["kind"] == "over":
                    over = True
                    return
                yield message
                if message["kind"] == "done":
                    over = True
                    return
        finally:
            self.answers.pop(number, None)
            self.used = time.monotonic()
            if not over:
                asyncio.get_running_loop().create_task(self._stop(number))

    async def _stop(self, number: int) -> None:
        """Stop work that nobody waits for; end the whole process where it does not obey and serves nobody else."""
        queue = self.answers[number] = asyncio.Queue[dict[str, Any]]()
        try:
            await self._send({"do": "stop", "id": number})
            async with asyncio.timeout(STOPPING):
                while (await queue.get())["kind"] not in ("over", "error"):
                    pass
        except TimeoutError:
            if len(self.answers) == 1:
                self.end()
        except HandmadeError:
            pass  # it has ended meanwhile
        finally:
            self.answers.pop(number, None)

    async def _send(self, request: Mapping[str, Any]) -> None:
        if self.process.stdin is None or not self.alive:
            raise Broken("the worker of this run ended; ask again")
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            await self.process.stdin.drain()
        except (ConnectionError, RuntimeError):
            raise Broken("the worker of this run ended; ask again") from None

    @property
    def alive(self) -> bool:
        """Whether the process still runs and is listened to."""
        return self.process.returncode is None and not self.over

    def end(self) -> None:
        """End it at once; a model holds nothing that is not in its run."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class Workers:
    """All workers, by run and checkpoint."""

    def __init__(self, warm: int = WARM, idle: float = IDLE):
        self.warm, self.idle = warm, idle
        self.workers: dict[tuple[str, str | None, str], Worker] = {}
        self.locks: dict[tuple[str, str | None, str], asyncio.Lock] = {}
        self.starting = 0  # those that are being loaded
        self.tasks: set[asyncio.Task[Any]] = set()

    async def get(self, run: str, at: str | None = None, mark: str = "") -> Worker:
        """The worker of a run (as the commands name it), started where there is none yet; what loading says is raised.

        mark: how far the run has come; one that has been trained further is loaded anew
        """
        key = (run, at, mark)
        async with self.locks.setdefault(key, asyncio.Lock()):
            worker = self.workers.get(key)
            if worker is None or not worker.alive:
                self.workers.pop(key, None)
                self._make_room()
                self.starting += 1
                try:
                    worker = self.workers[key] = await self._start(run, at)
                finally:
                    self.starting -= 1
            worker.used = time.monotonic()
            return worker

    async def _start(self, run: str, at: str | None) -> Worker:
        words = [sys.executable, "-m", "handmade.studio.worker", run, *([at] if at else [])]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=environment(), limit=LINE,
        )  # fmt: skip
        worker = Worker(process, run)
        ready = worker.answers[0] = asyncio.Queue[dict[str, Any]]()
        task = asyncio.get_running_loop().create_task(worker.read())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        try:
            async with asyncio.timeout(LOADING):
                message = await ready.get()
        except TimeoutError:
            worker.end()
            raise Broken(f"loading took longer than {LOADING:.0f} seconds") from None
        except BaseException:
            worker.end()
            raise
        finally:
            worker.answers.pop(0, None)
        if message["kind"] != "ready":
            worker.end()
            raise fault(message)
        worker.form = message
        return worker

    def soon(self, loading: Coroutine[Any, Any, Worker]) -> None:
        """Load in the background; what goes wrong is told to whoever asks next."""

        async def quietly() -> None:
            with contextlib.suppress(HandmadeError):
                await loading

        task = asyncio.get_running_loop().create_task(quietly())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _make_room(self) -> None:
        """Let go of the longest unused, where too many are loaded or memory is short."""
        since = time.monotonic() - JUST  # who was given a worker just now has not asked it yet
        resting = sorted((w.used, key) for key, w in self.workers.items() if not w.answers and w.used < since)
        free = free_memory()
        while resting and (len(self.workers) + self.starting >= self.warm or (free is not None and free < TIGHT)):
            _, key = resting.pop(0)
            worker = self.workers.pop(key)
            free = None if free is None else free + worker.memory
            worker.end()

    def look(self) -> None:
        """Let go of those that nobody has used for a while; called now and then."""
        for key, worker in list(self.workers.items()):
            if not worker.alive or (not worker.answers and time.monotonic() - worker.used > self.idle):
                self.workers.pop(key)
                worker.end()

    def end(self) -> None:
        """End all."""
        for worker in self.workers.values():
            worker.end()
        self.workers.clear()

    def told(self) -> list[dict[str, Any]]:
        """What is loaded, for the machine's report."""
        return [{"run": worker.run.rpartition("/")[2] if not worker.run.startswith("zoo:") else worker.run,
                 "memory_mb": round(worker.memory / 1e6), "idle": round(time.monotonic() - worker.used, 1),
                 "open": len(worker.answers)} for worker in self.workers.values() if worker.alive]  # fmt: skip


async def last(messages: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """The answer at the end of a stream that nobody listens to."""
    found: dict[str, Any] = {}
    async for message in messages:
        found = message
    if found.get("kind") != "done":
        raise Broken("it was stopped before it was done")
    return found


def fault(message: Mapping[str, Any]) -> HandmadeError:
    """The error that a worker told of, as our own class."""
    kind = getattr(errors, str(message.get("class")), Broken)
    return (kind if isinstance(kind, type) and issubclass(kind, HandmadeError) else Broken)(str(message.get("detail")))
