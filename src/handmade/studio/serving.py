"""uvicorn as the studio needs it: small headers, no log of requests, and an end that waits for nobody."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from handmade.studio.studio import Studio

HEADERS = 32_768  # bytes of a request's head; more is refused
MESSAGE = 2_000_000  # bytes of a message on a socket


class _Server(uvicorn.Server):
    """A server that says when it is ready, and lets open streams go when it is asked to end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], leave: Callable[[], None]):
        super().__init__(config)
        self.ready, self.leave = ready, leave

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C or SIGTERM."""
        self.leave()
        super().handle_exit(sig, frame)


def serve(app: ASGIApp, studio: Studio, door: socket.socket, ready: Callable[[], None]) -> None:
    """Serve on a bound socket until Ctrl-C; `ready` is called when the first request can be answered."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, http="h11", ws="websockets-sansio", ws_max_size=MESSAGE,
        h11_max_incomplete_event_size=HEADERS, timeout_graceful_shutdown=2, timeout_keep_alive=65, server_header=False,
    )  # fmt: skip
    _Server(config, ready, studio.leave).run(sockets=[door])
