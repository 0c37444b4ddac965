"""Processes of their own: started so that they outlive the server, and recognised again by their number and start time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HIDDEN = ("HANDMADE_STUDIO_TOKEN",)  # of the server's environment, what its processes need not know


def environment() -> dict[str, str]:
    """The server's environment without its secrets."""
    return {name: value for name, value in os.environ.items() if name not in HIDDEN}


def start(
    words: Sequence[str], said: Path, out: Path | None = None, module: str = "handmade"
) -> subprocess.Popen[bytes]:
    """Start `python -m handmade WORDS` in a session of its own; what it says goes to the file `said`."""
    with said.open("ab") as talk, out.open("wb") if out else said.open("ab") as result:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words], stdin=subprocess.DEVNULL, stdout=result, stderr=talk,
            start_new_session=True, env=environment(),
        )  # fmt: skip


def born(pid: int) -> str | None:
    """When a living process started, as the system writes it: number and time together name it for good."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, IndexError):
            told = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            return None if told[0] in "ZX" else told[19]
        return None
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    told = done.stdout.strip()
    return told.split(None, 1)[1] if told and not told.startswith("Z") else None


def alive(pid: int | None, since: str | None) -> bool:
    """Whether the very process that was started is still there."""
    return pid is not None and since is not None and born(pid) == since


def send(pid: int, since: str | None, number: signal.Signals) -> None:
    """Signal a process and all it has started, if it is still the one that was started."""
    if alive(pid, since):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def in_training(run: Path) -> bool:
    """Whether any process, of a terminal too, holds the lock of a run folder: `engine.run` without torch."""
    if os.name == "nt":
        return False  # an open file cannot be moved away there
    import fcntl

    try:
        with (run / ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # never trained, or where nothing can be locked
    return False


def last_lines(path: Path, n: int, most: int = 16_384) -> list[str]:
    """The last lines of a file that may be growing."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        return file.read().decode("utf-8", "replace").splitlines()[-n:]
    return []
