"""One studio at a time in one store: two would both look after the same queue."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from handmade.errors import UserError
from handmade.studio.places import Places


@contextlib.contextmanager
def only_one(places: Places) -> Iterator[None]:
    """Hold the store while the server runs; the lock ends with the process, however it ends."""
    path = places.make("") / "server.lock"
    with path.open("a+") as lock:
        try:
            _take(lock.fileno())
        except OSError:
            raise UserError(
                f"a studio is open already on {places.home}: use it, or set HANDMADE_HOME to another folder"
            ) from None
        yield


def _take(number: int) -> None:
    """Lock an open file for this process, or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
