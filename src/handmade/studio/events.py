"""What changes, told to every page that listens: one stream of server-sent events for jobs, runs, cards and estimates."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST = 512  # messages that wait for one page; a page that falls further behind is let go, and comes again by itself
PULSE, BEAT = 0.4, 15.0  # seconds between looks at followed runs, and between signs of life
LARGEST = 4_000_000  # bytes of events handed over at once


@dataclass
class Hub:
    """Where the parts of the server say what has changed; safe to call from any thread."""

    loop: asyncio.AbstractEventLoop | None = None
    listeners: set[asyncio.Queue[tuple[str, Any] | None]] = field(default_factory=set)

    def tell(self, kind: str, values: Mapping[str, Any]) -> None:
        """Pass a message on to all who listen."""
        if self.loop is not None and self.listeners:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens any more
                self.loop.call_soon_threadsafe(self._spread, kind, values)

    def end(self) -> None:
        """Let all listeners go: the server is about to end. Called on the loop."""
        for queue in list(self.listeners):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def _spread(self, kind: str, values: Mapping[str, Any]) -> None:
        for queue in list(self.listeners):
            if queue.full():
                self.listeners.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait((kind, values))

    @contextlib.contextmanager
    def listening(self):
        """A queue of what is told from now on; None in it means: too slow, let go."""
        queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue(MOST)
        self.listeners.add(queue)
        try:
            yield queue
        finally:
            self.listeners.discard(queue)


class Tail:
    """The events of one run from a cursor on. A cursor names the file and the byte; a file that was rewritten starts over."""

    def __init__(self, folder: Path, cursor: str | None = None):
        self.path, self.cursor = folder / "events.jsonl", cursor or ""

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The whole events that came since, and whether the page must start over."""
        try:
            about = self.path.stat()
        except OSError:
            return [], False
        inode, offset = _cursor(self.cursor)
        fresh = bool(self.cursor) and (inode != about.st_ino or offset > about.st_size)
        if inode != about.st_ino or offset > about.st_size:
            offset = 0
        if offset == about.st_size and not fresh:
            return [], False
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read(LARGEST)
        whole = content[: content.rfind(b"\n") + 1]
        self.cursor = f"{about.st_ino}-{offset + len(whole)}"
        return [event for line in whole.splitlines() if (event := _event(line)) is not None], fresh


def _cursor(text: str) -> tuple[int, int]:
    inode, _, offset = text.partition("-")
    return (int(inode), int(offset)) if inode.isdigit() and offset.isdigit() and len(text) < 60 else (-1, 0)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("kind"), str) else None


def sse(kind: str, values: Mapping[str, Any]) -> bytes:
    """One server-sent event. JSON knows no raw line breaks, so nothing inside can end it early."""
    return f"event: {kind}\ndata: {json.dumps(values, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


async def follow(
    hub: Hub, hello: Callable[[], Mapping[str, Any]], tails: Sequence[tuple[str, Tail]]
) -> AsyncIterator[bytes]:
    """Everything that changes, and the new events of the followed runs, until the page goes away."""
    with hub.listening() as queue:
        yield sse("hello", await asyncio.to_thread(hello))
        clock = asyncio.get_running_loop().time
        beat, look = clock() + BEAT, clock()
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), PULSE if tails else BEAT)
                if message is None:
                    return
                yield sse(*message)
            except TimeoutError:
                pass  # nothing was told: time to look
            if tails and clock() >= look:
                look = clock() + PULSE
                for name, tail in tails:
                    events, reset = await asyncio.to_thread(tail.read)
                    if events or reset:
                        yield sse("run", {"run": name, "events": events, "cursor": tail.cursor, "reset": reset})
            if clock() >= beat:
                beat = clock() + BEAT
                yield b": still here\n\n"
