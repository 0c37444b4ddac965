"""The door: who may ask, from where, in which form, how much and how slowly; and what the browser is told to refuse.

Host names are a closed list, which ends DNS rebinding; a foreign Origin, or `null`, is refused for pages, posts and sockets
alike; posts must be JSON or plain bytes, which no form of another site can send without asking first. Off the loopback
everything needs a token. Bodies are read here, with a limit and a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import io
import ipaddress
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_BYTES = 32_768
JSON_BYTES = 2_000_000
UPLOAD_BYTES = 20_000_000
GRACE, SLOWEST = 5.0, 10_000  # seconds before a body must keep up a rate, and that rate in bytes per second
DRAIN = 10.0  # seconds that a refused body may go on coming; a tenth of it without any ends the wait
COOKIE = "handmade_studio"
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
FILES_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"  # made by models
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}


@dataclass
class Door:
    """ASGI middleware in front of everything."""

    app: ASGIApp
    hosts: frozenset[str]  # names this server goes by, without a port
    spool: Path  # where uploads lie while they come
    token: str | None = None
    slow: float = GRACE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the body read and the headers of safety added."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if scope["type"] == "websocket":
            if refused:
                await receive()
                return await send({"type": "websocket.close", "code": 4403})
            return await self.app(scope, receive, send)
        if refused:
            return await _answer(send, *refused)
        if (link := self._entering(scope)) is not None:
            return await _answer(send, 303, "", link)
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self.app(scope, receive, _with_headers(send))
        upload = scope["method"] == "PUT"
        with tempfile.TemporaryFile(dir=self.spool) if upload else io.BytesIO() as body:
            if broken := await self._take(UPLOAD_BYTES if upload else JSON_BYTES, headers, receive, body):
                await _drain(receive)
                return await _answer(send, *broken)
            body.seek(0)
            if upload:
                scope["upload"] = body
            await self.app(scope, _given(b"" if upload else body.read(), receive), _with_headers(send))

    def _refused(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the words of a refusal, or None."""
        if sum(len(name) + len(value) for name, value in headers.items()) > HEAD_BYTES:
            return 431, "the head of the request is too large"
        host = _name(headers.get("host", ""))
        if host not in self.hosts:
            return 403, "this studio does not go by that name: open it by the address that it printed"
        origin = headers.get("origin")
        if origin is not None:
            try:
                told = urlsplit(origin)
                same = told.scheme in ("http", "https") and told.netloc == headers.get("host", "")
            except ValueError:
                same = False
            if not same:
                return 403, "only the studio's own page may ask"
        if headers.get("sec-fetch-site") == "cross-site" and not _is_visit(scope, headers):
            return 403, "only the studio's own page may ask"
        if self.token and not self._known(scope, headers):
            return 401, "this studio needs its token: open the address with ?token=... that it printed"
        method = scope.get("method", "GET")
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        wanted = "application/octet-stream" if method == "PUT" else "application/json"
        if method in ("POST", "PUT", "PATCH", "DELETE") and kind != wanted:
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers or kind:
                return 400, f"the body must be {wanted}"
            if origin is None and headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return 403, "only the studio's own page may ask"
        return None

    def _known(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether a request carries the token: as a bearer, in our cookie, or in the link that is opened first."""
        given = [headers.get("authorization", "").removeprefix("Bearer ")]
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
            given += [cookies[COOKIE].value] if COOKIE in cookies else []
        except CookieError:
            pass  # a broken cookie is no token
        if scope["type"] == "http" and scope["path"] == "/":
            given += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return any(hmac.compare_digest(word.encode(), (self.token or "").encode()) for word in given)

    def _entering(self, scope: Scope) -> dict[str, str] | None:
        """The headers that turn the link with the token into a cookie, so that it stays in no history."""
        if not self.token or scope["path"] != "/" or b"token=" not in scope["query_string"]:
            return None
        return {
            "location": "/",
            "set-cookie": f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000",
        }

    async def _take(
        self, most: int, headers: dict[str, str], receive: Receive, sink: IO[bytes]
    ) -> tuple[int, str] | None:
        """Read the body into `sink`; return the status and the words of a refusal: too large, too slow, cut short."""
        if "transfer-encoding" in headers:
            return 400, "the body needs a content-length"
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError:
            return 400, "the content-length is no number"
        if length > most:
            return 413, f"{length / 1e6:,.1f} MB are more than the {most / 1e6:,.0f} MB allowed"
        size, clock = 0, asyncio.get_running_loop().time
        began = clock()
        while True:
            try:
                message = await asyncio.wait_for(receive(), max(self.slow + size / SLOWEST - (clock() - began), 0.001))
            except TimeoutError:
                return 408, "the body came too slowly"
            if message["type"] == "http.disconnect":
                return 400, "the body was cut short"
            size += sink.write(message.get("body", b""))
            if size > length:
                return 413, "the body is longer than it said"
            if not message.get("more_body", False):
                return None if size == length else (400, "the body was cut short")


async def _drain(receive: Receive) -> None:
    """Let a refused body run out for a while: a client that is cut off while it sends never reads why."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            while True:
                message = await asyncio.wait_for(receive(), DRAIN / 10)
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


def allowed_hosts(bound: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a server bound to `bound` may be called by."""
    own = {"localhost", "127.0.0.1", "::1", *more, *([] if stands_for_all(bound) else [bound])}
    return frozenset(name.lower() for name in own)  # the door compares in small letters


def stands_for_all(host: str) -> bool:
    """Whether a server bound to it listens at every address of this machine; no browser can open that one itself."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """A Host header without its port, in small letters."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.partition(":")
    return name if port.isdigit() or not port else host


def _is_visit(scope: Scope, headers: dict[str, str]) -> bool:
    """Somebody followed a link to the page itself."""
    return scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"


def _given(body: bytes, receive: Receive) -> Receive:
    """A receive that hands over a body that was read already, and then listens on for the client's leaving."""
    told = [False]

    async def again() -> Message:
        if told[0]:
            return await receive()
        told[0] = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in message["headers"]}
            extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, words: str, extra: dict[str, str] | None = None) -> None:
    body = json.dumps({"detail": words}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **HEADERS, **(extra or {})}
    if status in (400, 408, 413):
        headers["connection"] = "close"  # what is left of the body is not read
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
