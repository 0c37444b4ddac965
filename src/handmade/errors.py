"""Every error a user can meet: one class each, with the exit code that scripts rely on.

A message says what happened, the value received, what is allowed, and what to do next, in lower case and one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HandmadeError(Exception):
    """Base class: something failed that the user can act on. Exit code 1."""

    exit_code = 1


class UserError(HandmadeError):
    """A wrong word, value or folder: nothing was changed. Exit code 2."""

    exit_code = 2


class DataMissing(HandmadeError):
    """Data or weights that are not on this machine; the message says how to get them. Exit code 3."""

    exit_code = 3


class Damaged(HandmadeError):
    """A file that is not what it claims to be: truncated, edited, or unsafe. Exit code 4."""

    exit_code = 4


class Diverged(HandmadeError):
    """A loss became NaN or infinite; the last good checkpoint is kept. Exit code 5."""

    exit_code = 5


def one_line(error: object) -> str:
    """A message as one line that steers no terminal: what cannot be printed, of a strange file's note too, is escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(error))


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return what is allowed, and the nearest of it where one is near: `; did you mean "x"? (a, b, c)` or ` (a, b, c)`."""
    allowed = sorted(allowed)
    near = get_close_matches(word, allowed, n=1, cutoff=0.5)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f"{hint} ({', '.join(allowed) if allowed else 'none are known'})"
