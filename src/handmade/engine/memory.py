"""How much memory there is, said before it is needed; and what happens to what was freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

from handmade.errors import UserError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt (malloc.h)


def free_memory() -> int | None:
    """Bytes that this process may still take, by the system, its control group and its own limits; None if unknown."""
    found = [_available(), _left_of_group(), _left_of_limit()]
    known = [amount for amount in found if amount is not None]
    return min(known) if known else None


def _available() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_of_group() -> int | None:
    """What a container leaves; its cached files do not count, they make way."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        most = int((group / "memory.max").read_text("ascii"))
        told = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        return most - int(told.get("anon", 0))
    return None


def _left_of_limit() -> int | None:
    if sys.platform != "linux":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    return limit


def keep_freed(pieces: int = 1 << 28, together: int = 1 << 30) -> None:
    """Let the C library keep what is freed, up to so many bytes, for the tensors of the next step.

    It would return large pieces to the system, and every page that comes back costs a fault: 1.05 to 1.14 times as fast
    without (`python -m benchmarks pages`), for a little more memory. Users who have set its environment variables know better.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(MMAP_THRESHOLD, pieces)
            library.mallopt(TRIM_THRESHOLD, together)


def give_back() -> None:
    """Return what was freed in small pieces to the system, where the C library can: else it stays with the process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def gigabytes(amount: int) -> str:
    """12.3 GB, or 340 MB."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"


def check_fits(needs: int, what: str, instead: str) -> str:
    """One line: what it takes and what is free. Raises UserError where it does not fit."""
    free = free_memory()
    if free is not None and needs > free:
        raise UserError(f"{what} needs {gigabytes(needs)} of memory, and {gigabytes(free)} are free: {instead}")
    return f"{what} needs {gigabytes(needs)} of memory" + ("" if free is None else f"; {gigabytes(free)} are free")
