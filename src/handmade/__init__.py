"""Handmade: generative AI, made by hand. The public names, loaded when they are first used.

Importing the package loads no torch. It only asks the thread library to wait without spinning, which must happen before
torch is imported: two threads that spin fall to a fifth of their speed as soon as another program wants a core.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["evaluate", "find_run", "generate", "load", "recipes", "resume", "systems", "train"]

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from handmade.api import evaluate, find_run, generate, load, recipes, resume, systems, train


def __getattr__(name: str) -> Any:
    if name in __all__:
        from handmade import api

        return getattr(api, name)
    raise AttributeError(f"module handmade has no {name!r}")
