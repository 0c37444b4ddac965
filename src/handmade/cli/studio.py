"""`studio`: the browser app, on this machine alone unless it is told otherwise and given a token."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from handmade.cli.main import Parser
from handmade.errors import UserError

PORT = 8421
NEEDED = "the studio needs FastAPI, uvicorn, websockets and markdown-it-py: pip install 'handmade[studio]'"


def studio_(parser: Parser, arguments: list[str]) -> int:
    """Serve until Ctrl-C. Trainings go on without the server, and are found again by the next one."""
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0: any that is free")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1: this machine alone)"
    )
    parser.add_argument(
        "--token", help="what a browser must know, needed for any other address; or HANDMADE_STUDIO_TOKEN"
    )
    parser.add_argument("--root", action="append", default=[], metavar="DIR",
                        help="a folder below which training data may be picked; may be given several times")  # fmt: skip
    parser.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="another name that browsers call this machine by"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (default 1)")
    wanted = parser.parse_args(arguments)
    token = wanted.token or os.environ.get("HANDMADE_STUDIO_TOKEN")
    try:
        from handmade.studio.app import create_app
        from handmade.studio.places import Places
        from handmade.studio.security import is_loopback, stands_for_all
        from handmade.studio.serving import serve
        from handmade.studio.single import only_one
        from handmade.studio.studio import Studio
    except ModuleNotFoundError as error:
        raise UserError(f"{NEEDED} ({error.name} is missing)") from None
    if token is None and not is_loopback(wanted.host):
        raise UserError(
            f"--host {wanted.host} can be reached by others: give a --token of at least 12 letters and digits"
        )
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{12,200}", token):
        raise UserError("a token is 12 to 200 letters, digits, - and _")
    if not 1 <= wanted.jobs <= 16:
        raise UserError(f"jobs must lie between 1 and 16, not {wanted.jobs}")
    places = Places(roots=_roots(wanted.root))
    with only_one(places), _listen(wanted.host, wanted.port) as door:
        studio = Studio(places, wanted.jobs)
        port, everywhere = door.getsockname()[1], stands_for_all(wanted.host)
        here = ("::1" if ":" in wanted.host else "127.0.0.1") if everywhere else wanted.host
        shown = [f"[{name}]" if ":" in name else name for name in (here, *wanted.name)]
        addresses = [f"http://{name}:{port}/{f'?token={token}' if token else ''}" for name in shown]
        serve(
            create_app(studio, wanted.host, token, wanted.name), studio, door, lambda: _announce(addresses, everywhere)
        )
    return 0


def _announce(addresses: Sequence[str], everywhere: bool) -> None:
    """Print what a browser can open, an address a line. everywhere: other machines reach it too, by names not known here."""
    print("\n".join(addresses), flush=True)
    if everywhere:
        print(
            "browsers on other machines: give --name for each name or address that they call this one by",
            file=sys.stderr,
        )
    print("Ctrl-C ends the server; trainings go on", file=sys.stderr)


def _roots(folders: list[str]) -> tuple[Path, ...]:
    roots = tuple(Path(folder).expanduser() for folder in folders)
    for root in roots:
        if not root.is_dir():
            raise UserError(f"--root {root} is no folder")
    return roots


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; UserError where the port is taken."""
    if not 0 <= port <= 65_535:
        raise UserError(f"port must lie between 0 and 65535, not {port}")
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a body behind its head would wait for an answer: 40 ms
    try:
        door.bind((host, port))
    except (OSError, OverflowError) as error:
        door.close()
        raise UserError(f"cannot listen on {host}, port {port}: {error}; choose another --port") from None
    return door
