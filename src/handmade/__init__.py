"""Handmade: generative AI, made by hand. The public names, loaded when they are first used.

Importing the package loads no torch. It only asks the thread library to sleep while it waits, which must happen before torch
is imported: two threads that spin fall to a fifth of their speed as soon as another program wants a core. A quarter of a
millisecond they do spin: waking up takes as long as a small operation.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["evaluate", "find_run", "generate", "load", "recipes", "resume", "systems", "train"]

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # rounds of GNU's library, which torch brings, before it sleeps

if TYPE_CHECKING:
    from handmade.api import evaluate, find_run, generate, load, recipes, resume, systems, train


def __getattr__(name: str) -> Any:
    if name in __all__:
        from handmade import api

        return getattr(api, name)
    raise AttributeError(f"module handmade has no {name!r}")
