"""Inside a worker: who works for whom. Every request has a thread, and can be told to stop at any moment.

Text is written for many at once, a token each in turn; other asks, which fill the processor, are done two at a time.
"""

from __future__ import annotations

import ctypes
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from handmade.errors import HandmadeError


class Stopped(BaseException):
    """The one who asked has gone. No `except Exception` on the way may hold it up."""


class Work:
    """One request that is being done."""

    def __init__(self, request: Mapping[str, Any]):
        self.request, self.id = request, request["id"]
        self.stopped, self.thread = False, 0  # the thread that does it, while it may be interrupted
        self.lock = threading.RLock()  # held while it is interrupted, and when that must no longer happen
        self.state: dict[str, Any] = {}  # what the tap has heard, for this request alone


class Channel:
    """Messages to the server: a line of JSON, then as many raw bytes as it says. One thread writes, so none is cut."""

    def __init__(self, out: IO[bytes]):
        self.out, self.waiting = out, queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def send(self, message: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Queue a message; a SimpleQueue takes it in one step, whatever interrupts this thread."""
        self.waiting.put((message, blobs))

    def _write(self) -> None:
        while True:
            message, blobs = self.waiting.get()
            line = json.dumps({**message, "sizes": [len(blob) for blob in blobs]}, ensure_ascii=False)
            self.out.write(b"".join([line.encode("utf-8", "replace"), b"\n", *blobs]))
            self.out.flush()


class Desk:
    """The threads of a worker."""

    def __init__(self, channel: Channel, do: Callable[[Work], None], hands: int, prepare: Callable[[], None]):
        self.channel, self.do, self.prepare = channel, do, prepare
        self.todo: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.open: dict[int, Work] = {}
        self.here = threading.local()
        for _ in range(hands):
            threading.Thread(target=self._serve, daemon=True).start()

    @property
    def current(self) -> Work | None:
        """The request that this thread is doing."""
        return getattr(self.here, "work", None)

    def take(self, request: Mapping[str, Any]) -> None:
        """Put a request on the desk."""
        work = Work(request)
        self.open[work.id] = work
        self.todo.put(work)

    def stop(self, name: int) -> None:
        """Stop a request: now if it waits, at its next step of Python if it is being done."""
        work = self.open.get(name)
        if work is None or work.stopped:
            return
        work.stopped = True
        with work.lock:
            if work.thread:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(work.thread), ctypes.py_object(Stopped))

    def _serve(self) -> None:
        self.prepare()
        while True:
            self._one(self.todo.get())

    def _one(self, work: Work) -> None:
        """Do a request, unless it was stopped before; Stopped can come from where its thread is known until it is closed."""
        self.here.work = work
        try:
            work.thread = threading.get_ident()
            if not work.stopped:
                self._do(work)
            self._close(work)
        except Stopped:
            self._close(work)
        self.here.work = None
        self.open.pop(work.id, None)
        self.channel.send({"id": work.id, "kind": "over"})

    def _do(self, work: Work) -> None:
        try:
            self.do(work)
        except HandmadeError as error:
            self.channel.send({"id": work.id, "kind": "error", "class": type(error).__name__, "detail": str(error)})
        except Exception as error:  # a fault of a room must not end the worker; it is told in one line
            told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.channel.send({"id": work.id, "kind": "error", "class": "Broken", "detail": told})

    def _close(self, work: Work) -> None:
        """From here on nothing interrupts this thread: what is on its way is called back, or the next work would get it."""
        with work.lock:
            work.thread = 0
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
