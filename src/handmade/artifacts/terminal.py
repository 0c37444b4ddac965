"""Pictures in a terminal: two pixels per character in colour, or shades of plain characters; and texts that are safe there."""

from __future__ import annotations

import os
import sys

from PIL import Image

STEERING = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\ufffd")  # all but tab and line feed
SHADES = " .:-=+*#%@"  # dark to light


def colour_wanted() -> bool:
    """Tell whether standard output is a terminal that shows colour and block characters (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return False
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def printable(text: str) -> str:
    """A text of the same length in which signs that would steer a terminal are shown as unknown ones."""
    return text.translate(STEERING)


def blocks(picture: Image.Image, width: int) -> str:
    """Draw with upper half blocks: the foreground is the upper pixel, the background the lower one. 24-bit colour."""
    small = _fit(picture, width, rows=1).convert("RGB")
    data, across = small.tobytes(), small.width
    lines = []
    for y in range(0, small.height - small.height % 2, 2):
        upper, lower = 3 * y * across, 3 * (y + 1) * across
        cells = (f"\x1b[38;2;{_rgb(data, upper + 3 * x)};48;2;{_rgb(data, lower + 3 * x)}m▀" for x in range(across))
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def shades(picture: Image.Image, width: int) -> str:
    """Draw with plain characters, one for each cell twice as high as it is wide."""
    small = _fit(picture, width, rows=2).convert("L")
    drawn = "".join(SHADES[level * len(SHADES) // 256] for level in small.tobytes())
    return "\n".join(drawn[start : start + small.width].rstrip() for start in range(0, len(drawn), small.width))


def _fit(picture: Image.Image, width: int, rows: int) -> Image.Image:
    columns = max(1, min(width, picture.width))
    height = max(2, round(picture.height * columns / picture.width / rows))
    return picture.resize((columns, height), Image.Resampling.BOX)


def _rgb(data: bytes, start: int) -> str:
    return ";".join(map(str, data[start : start + 3]))
