"""The live socket: sliders, answered with pictures that are not kept. Of each channel the newest question counts.

An ask always gives the same picture for the same arguments, so what many pages look at is made once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from handmade.errors import HandmadeError
from handmade.studio.asking import Worker, last
from handmade.studio.models import LiveWanted
from handmade.studio.places import Missing
from handmade.studio.studio import Studio

CHANNELS = 16  # of one live socket
KEPT = 128  # pictures of a run that are remembered
LARGEST = 200_000  # bytes of a picture that is remembered


class Pictures:
    """The newest live answers of one worker, and those that are being made for somebody."""

    _all: ClassVar[weakref.WeakKeyDictionary[Worker, Pictures]] = weakref.WeakKeyDictionary()

    def __init__(self, worker: Worker):
        self.worker = weakref.ref(worker)
        self.made: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.making: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self.waiting: dict[str, int] = {}

    @classmethod
    def of(cls, worker: Worker) -> Pictures:
        """Those of a worker; they go when it goes."""
        if worker not in cls._all:
            cls._all[worker] = cls(worker)
        return cls._all[worker]

    async def get(self, ask: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a question: remembered, shared with those who ask the same now, or made."""
        key = json.dumps([ask, arguments], sort_keys=True)
        if key in self.made:
            self.made.move_to_end(key)
            return self.made[key]
        task = self.making.get(key)
        if task is None:
            task = self.making[key] = asyncio.create_task(self._make(key, ask, arguments))
        self.waiting[key] = self.waiting.get(key, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self.waiting[key] -= 1
            if not self.waiting[key]:
                self.waiting.pop(key)
                self._forget(key, task)  # at once: whoever asks before it has ended gets one of their own
                task.cancel()  # nobody waits for it any more; nothing happens where it is done

    async def _make(self, key: str, ask: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            worker = self.worker()
            if worker is None:
                raise Missing(ask)
            answer = await last(worker.ask({"do": "ask", "ask": ask, "arguments": arguments, "live": True}))
            if len(answer["blobs"][0]) <= LARGEST:
                self.made[key] = answer
                while len(self.made) > KEPT:
                    self.made.popitem(last=False)
            return answer
        finally:
            self._forget(key, asyncio.current_task())

    def _forget(self, key: str, task: asyncio.Task[Any] | None) -> None:
        if self.making.get(key) is task:
            del self.making[key]


class Live:
    """One socket: a task for each channel, which takes the newest question and forgets those before it."""

    def __init__(self, studio: Studio, socket: WebSocket):
        self.studio, self.socket, self.sending = studio, socket, asyncio.Lock()
        self.newest: dict[str, LiveWanted] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.known: dict[tuple[str, Any], Worker] = {}  # looked up once, not for every picture of a slider

    async def serve(self) -> None:
        """Listen until the page goes; then stop what is still being made."""
        try:
            while True:
                await self._take(await self.socket.receive_text())
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return  # the page has gone, or sends bytes where text belongs
        finally:
            for task in self.tasks.values():
                task.cancel()

    async def _take(self, text: str) -> None:
        try:
            wanted = LiveWanted.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"][:2]))
            return await self._refuse(None, "", f"{place}: {first['msg'].lower()}")
        if wanted.channel not in self.tasks and len(self.tasks) >= CHANNELS:
            return await self._refuse(wanted.id, wanted.channel, f"a socket has {CHANNELS} channels at most")
        self.newest[wanted.channel] = wanted
        task = self.tasks.get(wanted.channel)
        if task is None or task.done():
            self.tasks[wanted.channel] = asyncio.create_task(self._answer_all(wanted.channel))

    async def _answer_all(self, channel: str) -> None:
        while (wanted := self.newest.pop(channel, None)) is not None:
            try:
                await self._answer(wanted)
            except Missing:
                await self._refuse(wanted.id, channel, "there is no such thing here")
            except HandmadeError as error:
                await self._refuse(wanted.id, channel, str(error))

    async def _answer(self, wanted: LiveWanted) -> None:
        key = (wanted.run, wanted.at)
        worker = self.known.get(key)
        if worker is None or not worker.alive:
            worker = self.known[key] = await self.studio.worker(*key)
        arguments = self.studio.arguments(worker, wanted.ask, wanted)
        answer = await Pictures.of(worker).get(wanted.ask, arguments)
        told = {key: answer[key] for key in ("sample", "fields", "seconds", "width", "height")}
        blob = answer["blobs"][0]
        header = {"id": wanted.id, "channel": wanted.channel, "ok": True, "kind": answer["artifact"], **told,
                  "type": "image/png", "bytes": len(blob)}  # fmt: skip
        await self._send(header, blob)

    async def _refuse(self, name: int | None, channel: str, detail: str) -> None:
        await self._send({"id": name, "channel": channel, "ok": False, "detail": detail})

    async def _send(self, header: dict[str, Any], blob: bytes = b"") -> None:
        head = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the page has gone, and with it who listened
            async with self.sending:
                await self.socket.send_bytes(struct.pack(">I", len(head)) + head + blob)
