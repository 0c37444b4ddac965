"""Draw faces in colour in the "Lorelei" style of Lisa Wischofsky (CC0 1.0), with DiceBear and resvg.

A face is a pure function of (seed, index): seven named attributes, and everything else (nose, brows, earrings,
freckles) from DiceBear's own stream. Each choice hashes its own key, so changing one attribute leaves the rest of the
drawing as it was: the changed drawing is the exact counterfactual. Run as a module, it is the worker process that
`faces.py` starts.
"""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from handmade.errors import DataMissing

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")

HAIR = {
    "black": ("1c1a24", "2b2430"), "blond": ("f3d46b", "e8c35a"), "brown": ("7a4a2a", "5a3420"),
    "red": ("c8402b", "d9582f"), "blue": ("4c7ae0", "6aa4f0"), "pink": ("f08ab4", "e86aa0"),
    "green": ("4db06a", "3f9a78"), "purple": ("8a5ad0", "a06fd8"), "silver": ("c9ced8", "b4bcc8"),
}  # fmt: skip
EYES = {"blue": "3a6fd0", "green": "3f8a4a", "brown": "7a4a2a", "violet": "8a3ab0", "red": "b03a3a"}
SKIN = {"pale": "ffe0cc", "light": "fbd3b4", "tan": "f2c29b", "brown": "c98a5a", "dark": "9a6240"}
BACKGROUND = {
    "sky": "b6e3f4", "lilac": "c0aede", "lavender": "d1d4f9", "rose": "ffd5dc",
    "peach": "ffdfbf", "mint": "c8f0d0", "lemon": "f7e9a0",
}  # fmt: skip
# The style numbers its hair; sorted here by eye. Numbers 25, 27 and 34 are nearly bald and would carry no hair colour.
CUT = {
    "short": (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 20, 22, 28, 37, 39, 43, 44, 47),
    "long": (10, 13, 15, 16, 17, 18, 19, 21, 23, 29, 30, 32, 35, 40, 41, 48),
    "curly": (5, 24),
    "bun": (14, 26, 38, 45, 46),
    "ponytail": (31, 33, 36, 42),
}
CUTS_DRAWN = ("short",) * 4 + ("long",) * 4 + ("curly",) + ("bun",) * 2 + ("ponytail",) * 2  # how often each is drawn
MOUTHS = {"happy": 18, "sad": 9}
FRAMES = {"round": 1, "oval": 3, "square": 4, "low": 5}  # number 2 is sunglasses, which would hide the eyes' colour
LABELS: dict[str, tuple[str, ...]] = {
    "glasses": ("no", "yes"), "hair": tuple(HAIR), "cut": tuple(CUT), "expression": tuple(MOUTHS), "eyes": tuple(EYES),
    "skin": tuple(SKIN), "background": tuple(BACKGROUND),
}  # fmt: skip
CHOICES = {**LABELS, "frame": tuple(FRAMES)}  # what can be asked of a drawing; a bare face has no frame, hence no label


def versions() -> tuple[str, ...]:
    """What the pixels depend on: versions of this file and of three packages; DataMissing where one is absent."""
    try:
        return ("1", *(version(package) for package in ("dicebear-core", "dicebear-styles", "resvg-py")))
    except PackageNotFoundError as error:
        raise DataMissing(
            f"drawing faces needs {error.name}: type pip install dicebear-core dicebear-styles resvg-py"
        ) from None


def attributes(seed: int, index: int) -> dict[str, str]:
    """The seven attributes of one face."""
    drawn = {**LABELS, "cut": CUTS_DRAWN}
    return {name: _pick(values, seed, index, name) for name, values in drawn.items()}


def caption(face: Mapping[str, str]) -> str:
    """One sentence that names all seven attributes."""
    styled = face["cut"] in ("bun", "ponytail")
    hair = f"{face['hair']} hair in a {face['cut']}" if styled else f"{face['cut']} {face['hair']} hair"
    mood = {"happy": "smiling", "sad": "sad"}[face["expression"]]
    glasses = " and glasses" if face["glasses"] == "yes" else ""
    return (
        f"a {mood} face with {hair}{glasses}, {face['eyes']} eyes and {face['skin']} skin "
        f"on a {face['background']} background"
    )


def options(seed: int, index: int, face: Mapping[str, str]) -> dict[str, Any]:
    """Say the attributes in the style's own words."""
    shade = _pick(HAIR[face["hair"]], seed, index, "shade")
    mouth = _pick(range(1, MOUTHS[face["expression"]] + 1), seed, index, "mouth")
    frame = face.get("frame", _pick(tuple(FRAMES), seed, index, "frame"))
    return {
        "seed": f"{seed}-{index}",
        "scale": 1.2,  # fills the frame; at 1.3 long hair is cut off
        "backgroundColor": [BACKGROUND[face["background"]]],
        "skinColor": [SKIN[face["skin"]]],
        "hairVariant": [f"variant{_pick(CUT[face['cut']], seed, index, 'variant'):02d}"],
        "hairColor": [shade],
        "eyebrowsColor": [shade],
        "eyesColor": [EYES[face["eyes"]]],
        "mouthVariant": [f"{face['expression']}{mouth:02d}"],
        "glassesProbability": 100 if face["glasses"] == "yes" else 0,
        "glassesVariant": [f"variant{FRAMES[frame]:02d}"],
        "glassesColor": ["20202a"],
        "mouthColor": ["8c2f3a"],
        "noseColor": ["5a3a30"],
        "outlineColor": ["2a2028"],
        "frecklesColor": ["b06a48"],
        "hairAccessoriesColor": ["f4a0b8"],
        "earringsColor": ["d9a441"],
        "beardProbability": 0,
    }


def draw(seed: int, index: int, face: Mapping[str, str], size: int) -> np.ndarray:
    """One face, (3, size, size) uint8."""
    import numpy as np
    import resvg_py
    from dicebear import Avatar
    from PIL import Image

    svg = Avatar(_style(), options(seed, index, face)).to_string()
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB")).transpose(2, 0, 1)


def draw_block(
    seed: int, first: int, count: int, size: int, changed: Mapping[str, str] = MappingProxyType({})
) -> np.ndarray:
    """Faces `first`, `first` + 1, ..., with some attributes `changed` in all of them, (count, 3, size, size) uint8."""
    import numpy as np

    faces = [(index, {**attributes(seed, index), **changed}) for index in range(first, first + count)]
    return np.stack([draw(seed, index, face, size) for index, face in faces])


@functools.cache
def _style() -> Any:
    from importlib.resources import files

    from dicebear import Style

    return Style(json.loads(files("dicebear_styles").joinpath("lorelei.json").read_text("utf-8")))


def _pick(values: Sequence[Item], seed: int, index: int, name: str) -> Item:
    """A choice that depends on this key alone, and is the same on every machine and Python."""
    key = blake2b(f"lorelei/{seed}/{index}/{name}".encode(), digest_size=8).digest()
    return values[int.from_bytes(key, "big") % len(values)]


def _work() -> None:
    """Worker process: read one job per line (`seed first count size [changed]`), answer with the bytes of its pixels."""
    for line in sys.stdin:
        seed, first, count, size, changed = [*line.split(maxsplit=4), "{}"][:5]
        block = draw_block(int(seed), int(first), int(count), int(size), json.loads(changed))
        sys.stdout.buffer.write(block.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _work()
