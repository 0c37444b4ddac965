"""What may happen between two lines: work stopped as it ends, a picture asked for as it is dropped, runs loaded at once."""

from __future__ import annotations

import asyncio
import ctypes
import queue
import threading
import time

from commands import until
from handmade.studio.asking import Worker, Workers
from handmade.studio.desk import Desk, Stopped
from handmade.studio.live import Pictures


class Heard:
    """A channel that remembers which requests are over."""

    def __init__(self):
        self.over = queue.SimpleQueue()

    def send(self, message, blobs=()):
        if message["kind"] == "over":
            self.over.put(message["id"])


def test_a_stop_that_comes_as_its_work_ends_never_hits_the_next(monkeypatch):
    heard, stopping, finished = Heard(), threading.Event(), []
    interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def late(thread, error):
        if error is not None:
            stopping.set()
            time.sleep(0.1)  # meanwhile the work ends by itself
        return interrupt(thread, error)

    def do(work):
        if work.id == 1:
            stopping.wait(10)
        finished.append(work.id)

    monkeypatch.setattr(ctypes.pythonapi, "PyThreadState_SetAsyncExc", late)
    desk = Desk(heard, do, hands=1, prepare=lambda: None)
    desk.take({"id": 1})
    until(lambda: desk.open[1].thread)
    desk.stop(1)
    desk.take({"id": 2})
    assert [heard.over.get(timeout=10) for _ in range(2)] == [1, 2]
    assert finished == [1, 2] and not desk.open


def test_work_is_stopped_in_the_middle_and_before_it_begins():
    heard, begun, interrupted = Heard(), threading.Event(), []

    def do(work):
        begun.set()
        try:
            while True:
                time.sleep(0.001)
        except Stopped:
            interrupted.append(work.id)
            raise

    desk = Desk(heard, do, hands=1, prepare=lambda: None)
    desk.take({"id": 1})
    desk.take({"id": 2})
    assert begun.wait(10)
    desk.stop(2)
    desk.stop(1)
    assert [heard.over.get(timeout=10) for _ in range(2)] == [1, 2] and interrupted == [1]


class Slow:
    """A worker that takes a moment for a picture."""

    def __init__(self):
        self.asked = 0

    async def ask(self, request):
        self.asked += 1
        await asyncio.sleep(0.05)
        yield {"kind": "done", "blobs": [b"picture"], "number": self.asked}


def test_a_picture_that_is_asked_for_as_it_is_dropped_is_made_anew():
    async def play():
        worker = Slow()
        pictures = Pictures(worker)
        first = asyncio.create_task(pictures.get("generate", {"seed": 1}))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(pictures.get("generate", {"seed": 1}))
        first.cancel()
        await asyncio.sleep(0)
        assert (await second)["number"] == 1  # somebody still waited for it
        third = asyncio.create_task(pictures.get("generate", {"seed": 2}))
        await asyncio.sleep(0.01)
        third.cancel()
        await asyncio.sleep(0)
        answer = await pictures.get("generate", {"seed": 2})  # its task is cancelled, and has not ended yet
        assert answer["number"] == 3 and not pictures.making and not pictures.waiting

    asyncio.run(play())


def test_runs_that_load_at_once_count_and_a_worker_just_given_is_not_taken_away(monkeypatch):
    class Process:
        returncode = None

        def kill(self):
            self.returncode = -9

    async def start(self, run, at):
        await asyncio.sleep(0.02)
        return Worker(Process(), run)

    async def play():
        monkeypatch.setattr(Workers, "_start", start)
        workers = Workers(warm=2)
        old = await workers.get("old")
        new = await asyncio.gather(workers.get("a"), workers.get("b"))
        assert old.alive  # it was given this very moment, and is asked next
        for worker in (old, *new):
            worker.used -= 60
        one, two = await asyncio.gather(workers.get("c"), workers.get("d"))
        assert one.alive and two.alive and len(workers.workers) == 2 and not workers.starting

    asyncio.run(play())
