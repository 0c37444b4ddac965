"""Draw shapes that move over a plain ground: what is drawn is a pure function of (seed, split), its edges are anti-aliased.

A shape is a table of signed distances to its outline, in units of its radius; a frame looks its pixels up in the table, and a
pixel half a pixel inside or outside the outline is all shape or all ground.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

COLOURS = {
    "red": (222, 48, 54), "orange": (242, 138, 34), "yellow": (236, 212, 50), "green": (52, 168, 83),
    "blue": (58, 104, 222), "purple": (150, 68, 200),
}  # fmt: skip
GROUNDS = {"white": (248, 248, 248), "grey": (132, 132, 132), "black": (18, 18, 18)}
DIRECTIONS = {  # steps to the right and down
    "right": (1, 0), "down and right": (1, 1), "down": (0, 1), "down and left": (-1, 1), "left": (-1, 0),
    "up and left": (-1, -1), "up": (0, -1), "up and right": (1, -1),
}  # fmt: skip
OBJECTS = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES = {"small": (0.17, 0.20), "large": (0.24, 0.28)}  # smallest and largest radius, in sides of a frame
TRAVEL = (0.3, 0.5)  # shortest and longest way along each axis, in sides of a frame
LOOSE = 0.3  # share of the room beside its way in which a shape may be put: half-way it is near the middle
SHADE = 0.06  # colours are darker or lighter by at most this share
REACH = 1.1  # no shape reaches farther from its middle, in radii
TABLE, SPAN = 128, 1.6  # places along a side of the table of distances, and radii from its middle to its edge
LABELS: dict[str, tuple[str, ...]] = {
    "object": OBJECTS, "colour": tuple(COLOURS), "direction": tuple(DIRECTIONS), "size": tuple(SIZES),
    "background": tuple(GROUNDS),
}  # fmt: skip


class Plans(NamedTuple):
    """What is drawn in each of N clips."""

    codes: np.ndarray  # (N, 5) positions in LABELS
    radius: np.ndarray  # (N,) in sides of a frame, like all lengths here
    start: np.ndarray  # (N, 2) right and down
    way: np.ndarray  # (N, 2) from the first frame to the last
    shades: np.ndarray  # (N, 2) factors on the colours of the shape and of the ground
    said: np.ndarray  # (N, 2) whether the caption names the size, and the ground


def apart(object: int, colour: int) -> int:
    """The direction, as a position in DIRECTIONS, in which training never sees this object in this colour move."""
    return (3 * object + colour) % len(DIRECTIONS)


def plan(count: int, seed: int, held_out: bool) -> Plans:
    """Choose `count` clips: of all combinations that are held out, in turn, or of all others at random."""
    import numpy as np

    dice = np.random.default_rng([seed, held_out])
    codes = np.stack([dice.integers(0, len(values), count) for values in LABELS.values()], 1)  # (N, 5)
    kept_apart = (3 * codes[:, 0] + codes[:, 1]) % len(DIRECTIONS)
    others = (kept_apart + 1 + dice.integers(0, len(DIRECTIONS) - 1, count)) % len(DIRECTIONS)
    if held_out:
        codes[:, 0], codes[:, 1] = np.divmod(np.arange(count) % (len(OBJECTS) * len(COLOURS)), len(COLOURS))
        kept_apart = (3 * codes[:, 0] + codes[:, 1]) % len(DIRECTIONS)
    codes[:, 2] = kept_apart if held_out else others
    low, high = np.array(list(SIZES.values()))[codes[:, 3]].T
    radius = low + (high - low) * dice.random(count)
    steps = np.array(list(DIRECTIONS.values()))[codes[:, 2]]  # (N, 2)
    room = 1 - 2 * REACH * radius[:, None]  # of the middle
    way = steps * np.minimum(TRAVEL[0] + (TRAVEL[1] - TRAVEL[0]) * dice.random((count, 1)), room)
    start = 0.5 - way / 2 + LOOSE * (room - abs(way)) * (dice.random((count, 2)) - 0.5)
    shades = 1 + SHADE * (2 * dice.random((count, 2)) - 1)
    return Plans(codes, radius, start, way, shades, dice.random((count, 2)) < (0.5, 0.75))


def caption(codes: np.ndarray, said: np.ndarray) -> str:
    """One sentence about a clip: "an orange star moves up and left on a grey background"."""
    what, colour, direction, size, ground = (values[code] for values, code in zip(LABELS.values(), codes, strict=True))
    adjectives = f"{size} {colour}" if said[0] else colour
    article = "an" if adjectives[0] == "o" else "a"
    return f"{article} {adjectives} {what} moves {direction}" + (f" on a {ground} background" if said[1] else "")


def draw(plans: Plans, size: int, frames: int) -> Tensor:
    """Draw clips, (B, F, 3, size, size) float32 in 0..255."""
    import torch
    from torch.nn.functional import grid_sample

    def numbers(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float()

    radius, codes = numbers(plans.radius), torch.from_numpy(plans.codes)
    moments = torch.linspace(0, 1, frames)[:, None]
    middle = numbers(plans.start)[:, None] + moments * numbers(plans.way)[:, None]  # (B, F, 2)
    pixels = (torch.arange(size) + 0.5) / size
    across, down = (
        (pixels - middle[..., axis, None]) / radius[:, None, None] / SPAN for axis in (0, 1)
    )  # (B, F, size)
    shape = (len(radius), frames, size, size)
    places = torch.stack([across[:, :, None, :].expand(shape), down[:, :, :, None].expand(shape)], -1)
    table = distances()[codes[:, 0], None]  # (B, 1, TABLE, TABLE)
    away = grid_sample(table, places.flatten(1, 2), padding_mode="border", align_corners=True).view(shape)
    cover = (0.5 - away * (radius * size)[:, None, None, None]).clamp(0, 1)[:, :, None]  # (B, F, 1, size, size)
    paints, shades = (torch.tensor(list(known.values())).float() for known in (COLOURS, GROUNDS)), numbers(plans.shades)
    paint, ground = (
        (known[codes[:, column]] * shades[:, place, None]).clamp(0, 255)[:, None, :, None, None]  # (B, 1, 3, 1, 1)
        for place, (known, column) in enumerate(zip(paints, (1, 4), strict=True))
    )
    return ground + cover * (paint - ground)


@functools.cache
def distances() -> Tensor:
    """Distances to the outline of each object in radii, less than 0 inside, (O, TABLE, TABLE) float32."""
    import numpy as np
    import torch

    line = np.linspace(-SPAN, SPAN, TABLE)
    x, y = np.meshgrid(line, line)
    from_middle = np.hypot(x, y)
    arm, end = 0.3, 0.95
    cross = np.array([(arm, end), (arm, arm), (end, arm)])
    tables = {
        "circle": from_middle - 0.9,
        "square": _outlined(x, y, np.array([(1, -1), (1, 1), (-1, 1), (-1, -1)]) * 0.8),
        "triangle": _outlined(x, y, _turned([REACH] * 3)),
        "star": _outlined(x, y, _turned([REACH, 0.5] * 5)),
        "cross": _outlined(x, y, np.concatenate([cross, cross[::-1] * (1, -1), -cross, cross[::-1] * (-1, 1)])),
        "ring": abs(from_middle - 0.7) - 0.25,
    }
    return torch.from_numpy(np.stack([tables[name] for name in OBJECTS])).float()


def _turned(radii: list[float]) -> np.ndarray:
    """Corners at equal angles, the first one at the top, (P, 2)."""
    import numpy as np

    angles = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.array(radii)[:, None] * np.stack([np.sin(angles), -np.cos(angles)], 1)


def _outlined(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distances of places (...) from a polygon with corners (P, 2), less than 0 inside."""
    import numpy as np

    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(px - along * ex, py - along * ey))
        crossed = (ay > y) != (
            by > y
        )  # a line to the right from an inner place crosses the outline an odd number of times
        inside ^= crossed & (px < ex * py / (ey if ey else 1.0))
    return np.where(inside, -nearest, nearest)
