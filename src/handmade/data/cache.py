"""The cache folder: what was drawn, fetched or decoded once, kept so that it need not be done again.

Everything here may be deleted at any time. Files appear whole or not at all (written beside, then renamed), so two
processes may fill the same cache at once, and a cache that cannot be written only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile


def cache_folder() -> Path:
    """The folder for things that can be made again: $HANDMADE_CACHE, else the platform's own. It may not exist yet."""
    if chosen := os.environ.get("HANDMADE_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "handmade" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "handmade"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handmade"


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of plain values: the name of what was made from exactly these."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def store(target: Path, write: Callable[[Path], None]) -> bool:
    """Let `write` fill a new folder and move it to `target` in one step; False where the cache cannot be written.

    A `target` that another process finished first is kept: both hold the same thing.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target.parent))
    except OSError:
        return False
    try:
        write(beside)
        Path(beside).replace(target)
    except OSError:
        return target.exists()
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


def store_arrays(target: Path, arrays: Mapping[str, Any]) -> bool:
    """Keep named numpy arrays in one compressed .npz file; False where the cache cannot be written."""
    import numpy as np

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=".unfinished-", suffix=".npz", dir=target.parent)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)
        Path(beside).replace(target)
    except OSError:
        return target.exists()
    finally:
        Path(beside).unlink(missing_ok=True)
    return True


def load_arrays(target: Path) -> dict[str, Any] | None:
    """Read back what `store_arrays` kept; None where it is not there or was damaged, and so has to be made again."""
    import numpy as np

    try:
        with open(target, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, BadZipFile, zlib.error):
        return None
