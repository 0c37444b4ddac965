"""File names for what comes out, after the files that went in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath


def png_names(given: Sequence[str], endings: Sequence[str] = ("",)) -> tuple[str, ...]:
    """Names of one picture for each given file and ending: a.jpg with ("", "-half") -> a.png, a-half.png.

    Folders become part of the name; where two files differ in their own endings only, these become part of it too.
    """
    stems = ["-".join(PurePath(name).with_suffix("").parts) for name in given]
    whole = [
        stem if stems.count(stem) == 1 else f"{stem}-{PurePath(name).suffix[1:]}"
        for stem, name in zip(stems, given, strict=True)
    ]
    return tuple(f"{stem}{ending}.png" for stem in whole for ending in endings)
