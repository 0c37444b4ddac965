"""What this machine is, by `handmade doctor`, and what is free on it now."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from handmade import __version__
from handmade.engine.memory import free_memory
from handmade.studio.places import Places
from handmade.studio.processes import environment


@cache
def _told() -> dict[str, Any]:
    """The doctor's report, asked for once."""
    return {}


async def report(places: Places) -> dict[str, Any]:
    """The doctor's report and what is free."""
    if not _told():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "handmade", "doctor", "--json", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        out, _ = await process.communicate()
        known = json.loads(out) if out else {}
        _told().update({key: value for key, value in known.items() if key not in ("room_folders", "store")})
    return {
        **_told(), "version": __version__, "torch": _told().get("packages", {}).get("torch"),
        "free_memory_mb": round((free_memory() or 0) / 1e6), "server_memory_mb": round(_memory() / 1e6),
        "free_disk_mb": round(shutil.disk_usage(places.home).free / 1e6),
    }  # fmt: skip


def _memory() -> int:
    """Bytes that this process holds now."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
