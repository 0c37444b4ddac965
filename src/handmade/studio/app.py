"""The server put together: the door, the routes, what errors look like, and the page that was built into `page/`."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from handmade import __version__
from handmade.errors import Damaged, DataMissing, HandmadeError, UserError
from handmade.studio.asking import Broken
from handmade.studio.completions import completions
from handmade.studio.doing import doing
from handmade.studio.making import making
from handmade.studio.places import Busy, Full, Missing
from handmade.studio.reading import reading
from handmade.studio.security import Door, allowed_hosts
from handmade.studio.studio import Studio

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".json": "application/json", ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
NOTHING = {"detail": "there is no such thing here"}  # the same whatever was asked for
STATUS: dict[type[HandmadeError], int] = {
    Missing: 404,
    Full: 429,
    Busy: 409,
    DataMissing: 409,
    UserError: 422,
    Damaged: 422,
    Broken: 500,
}
NOT_BUILT = (
    "<!doctype html><meta charset=utf-8><title>Handmade</title><p>The server runs, but its page has not been built: "
    "run <code>npm ci && npm run build</code> in <code>studio-page</code>. The HTTP API is at <code>/api/openapi.json</code>."
)


def create_app(studio: Studio, host: str = "127.0.0.1", token: str | None = None, names: Iterable[str] = ()) -> ASGIApp:
    """The whole application. host: the address it is bound to; names: more names it goes by; token: what clients must know."""
    app = FastAPI(title="Handmade studio", version=__version__, lifespan=lambda _: studio.open(), docs_url=None, redoc_url=None,
                  openapi_url="/api/openapi.json")  # fmt: skip
    for routes in (reading, doing, making, completions):
        app.include_router(routes(studio))
    app.add_exception_handler(HandmadeError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _broken)
    _serve_page(app, read_page(PAGE))
    return Door(app, allowed_hosts(host, names), studio.places.make("incoming"), token)


def read_page(folder: Path) -> dict[str, tuple[bytes, bytes, str]]:
    """The built page: address -> plain bytes, packed bytes, content type. Read once, so no request ever names a file."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and path.suffix in TYPES:
            content = path.read_bytes()
            address = f"/{path.relative_to(folder).as_posix()}"
            found[address] = (content, gzip.compress(content, 9, mtime=0), TYPES[path.suffix])
    if "/index.html" in found:
        found["/"] = found["/index.html"]
    return found


def _serve_page(app: FastAPI, page: Mapping[str, tuple[bytes, bytes, str]]) -> None:
    @app.get("/{address:path}", include_in_schema=False)
    def serve(address: str, request: Request) -> Response:
        """A file of the page."""
        found = page.get(f"/{address}")
        if found is None:
            return HTMLResponse(NOT_BUILT) if address == "" else JSONResponse(NOTHING, 404)
        plain, packed, kind = found
        lasting = address.startswith("assets/")  # their names change with what is in them
        headers = {
            "cache-control": "public, max-age=31536000, immutable" if lasting else "no-cache",
            "vary": "accept-encoding",
        }
        if "gzip" in request.headers.get("accept-encoding", "") and len(packed) < len(plain):
            return Response(packed, media_type=kind, headers={**headers, "content-encoding": "gzip"})
        return Response(plain, media_type=kind, headers=headers)


def _failed(request: Request, error: Any) -> JSONResponse:
    """An error of ours, in its one plain line."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    if status == 404:
        return JSONResponse(NOTHING, 404)
    return JSONResponse({"detail": str(error)}, status, headers={"retry-after": "5"} if status == 429 else None)


def _invalid(request: Request, error: Any) -> JSONResponse:
    """What a form does not allow: which field, and what is allowed."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    if request.url.path.startswith("/v1/"):
        told = {
            "message": f"{place[:100]}: {first['msg'].lower()}",
            "type": "invalid_request_error",
            "param": place[:100],
            "code": None,
        }
        return JSONResponse({"error": told}, 400)
    if first["loc"][0] == "path":
        return JSONResponse(NOTHING, 404)
    words = first["msg"].removeprefix("Value error, ")
    return JSONResponse({"detail": f"{place[:100]}: {words[:1].lower()}{words[1:]}"}, 422)


def _http(request: Request, error: Any) -> JSONResponse:
    return JSONResponse(NOTHING if error.status_code == 404 else {"detail": str(error.detail)}, error.status_code)


def _broken(request: Request, error: Any) -> JSONResponse:
    """A full disk, a folder without permission: said, and the server goes on."""
    return JSONResponse(
        {"detail": f"the machine refused: {getattr(error, 'strerror', None) or 'no reason given'}"}, 500
    )
