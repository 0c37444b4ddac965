"""What moves in a clip, seen by rule: which object, in which colour, in which direction. Nothing is learnt here.

The ground is the colour that most pixels have; what differs from it is the object. Its colour is a hue; its way is the line
through its middles, by least squares; and its shape is that of the outline, laid over the object of the same area, that covers
it best. All frames of a clip are laid over each other first, so that what is small in each is seen in finer steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, grid_sample

from handmade.core import Score

HUES = {"red": 358.0, "orange": 30.0, "yellow": 52.0, "green": 136.0, "blue": 223.0, "purple": 277.0}  # degrees
ANGLES = {  # degrees, clockwise from right, as y grows downwards
    "right": 0.0, "down and right": 45.0, "down": 90.0, "down and left": 135.0, "left": 180.0, "up and left": 225.0,
    "up": 270.0, "up and right": 315.0,
}  # fmt: skip
SEEN = 0.15  # least difference of an object from its ground, of the greatest possible one
INNER = 0.985  # share of the pixels that are less unlike the ground than the inside of an object
FAINT = 0.2  # what covers less is noise
GREY = 0.2  # least saturation of a colour
MOVED = 0.1  # shortest way, in sides of a frame
KEPT = 0.5  # least area of the object in every frame, of its median
DETAIL, FINE = 48, 192  # places along a side of the laid-over object, and of the outline before it is blurred
SOFT = (1, 2, 3)  # pixels by which an edge may be blurred
NOTHING = -1


class Seen(NamedTuple):
    """What was seen in each of N clips, as positions in the names that were asked about; -1 where there is none of them."""

    object: Tensor  # (N,) int64
    colour: Tensor  # (N,) int64
    direction: Tensor  # (N,) int64


def look(clips: Tensor, objects: Sequence[str], colours: Sequence[str], directions: Sequence[str]) -> Seen:
    """Clips (N, F, 3, H, W) in [-1, 1] -> which of these names fit best, on the CPU."""
    looked = [_look(clip.float().cpu().clamp(-1, 1), objects, colours, directions) for clip in clips]
    return Seen(*torch.tensor(looked).view(-1, 3).unbind(1))


def agreement(clips: Tensor, labels: Tensor, names: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """In which clips (N, F, 3, H, W) each thing asked for is seen: name -> (N,) bool; "all" is all three at once.

    labels: (N, A), the columns those of `names`, among them object, colour and direction
    """
    seen = look(clips, names["object"], names["colour"], names["direction"])._asdict()
    right = {name: found == labels[:, list(names).index(name)].cpu() for name, found in seen.items()}
    return {"all": torch.stack(list(right.values())).all(0), **right}


def score_moving(clips: Tensor, real: Tensor, labels: Tensor, names: Mapping[str, Sequence[str]]) -> dict[str, Score]:
    """How often what was asked for is seen in clips (N, F, 3, H, W), with an interval; the floor is the same of real ones."""
    found, best = agreement(clips, labels, names), agreement(real, labels, names)
    about = f"seen by rule in {len(clips)} clips of held-out combinations"
    scores = {}
    for name, right in found.items():
        share, whole = float(right.float().mean()), name == "all"
        what = "object, colour and direction all are as" if whole else f"the {name} is as"
        low, high = wilson(share, len(right))
        scores["agreement" if whole else name] = Score(
            share, f"share in which {what} asked for, {about}", "higher", float(best[name].float().mean()), low, high
        )
    return scores


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share among n (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _look(
    clip: Tensor, objects: Sequence[str], colours: Sequence[str], directions: Sequence[str]
) -> tuple[int, int, int]:
    """One clip (F, 3, H, W)."""
    pixels = clip.movedim(1, 0)  # (3, F, H, W)
    ground = pixels.flatten(1).median(1).values  # (3,)
    apart = (pixels - ground[:, None, None, None]).square().sum(0).sqrt() / math.sqrt(12)  # (F, H, W) in 0..1
    full = apart.flatten().kthvalue(round(INNER * apart.numel())).values
    if float(full) < SEEN:
        return NOTHING, NOTHING, NOTHING
    inside = pixels[:, apart >= full].median(1).values  # (3,)
    change = inside - ground
    cover = (torch.einsum("cfhw,c->fhw", pixels - ground[:, None, None, None], change) / change.square().sum()).clamp(
        0, 1
    )
    cover = torch.where(cover < FAINT, 0.0, cover)
    area = cover.sum((1, 2))  # (F,)
    if float(area.min()) <= KEPT * float(area.median()):  # also where nothing is seen at all
        return NOTHING, _nearest(_hue(inside), colours, HUES), NOTHING
    middles = _middles(cover, area)  # (F, 2)
    return (
        _shape(cover, middles, area, objects),
        _nearest(_hue(inside), colours, HUES),
        _way(middles, clip.shape[-1], directions),
    )


def _middles(cover: Tensor, area: Tensor) -> Tensor:
    """(F, H, W) -> middles of mass (F, 2), to the right and down, in pixels."""
    height, width = cover.shape[1:]
    x = (cover.sum(1) * torch.arange(width)).sum(1) / area
    y = (cover.sum(2) * torch.arange(height)).sum(1) / area
    return torch.stack([x, y], 1)


def _nearest(angle: float | None, names: Sequence[str], known: Mapping[str, float]) -> int:
    """The name whose angle is nearest, as a position; -1 for no angle, or where none of the names is known."""
    apart = (
        [abs((known[name] - angle + 180) % 360 - 180) if name in known else 360 for name in names]
        if angle is not None
        else []
    )
    return apart.index(min(apart)) if apart and min(apart) < 360 else NOTHING


def _hue(colour: Tensor) -> float | None:
    """(3,) in [-1, 1] -> degrees, or None for grey (Smith 1978, SIGGRAPH: the hexcone)."""
    red, green, blue = ((colour + 1) / 2).tolist()
    top, low = max(red, green, blue), min(red, green, blue)
    if top - low < GREY * max(top, 1e-6):
        return None
    if top == red:
        return 60 * ((green - blue) / (top - low)) % 360
    return 60 * ((blue - red) / (top - low) + 2) if top == green else 60 * ((red - green) / (top - low) + 4)


def _way(middles: Tensor, size: int, directions: Sequence[str]) -> int:
    """Middles (F, 2) -> the direction of the line through them; -1 where it is too short to have one."""
    time = torch.linspace(-0.5, 0.5, len(middles))
    across, down = ((time[:, None] * middles).sum(0) / time.square().sum()).tolist()  # pixels from first to last frame
    if math.hypot(across, down) < MOVED * size:
        return NOTHING
    return _nearest(math.degrees(math.atan2(down, across)), directions, ANGLES)


def _shape(cover: Tensor, middles: Tensor, area: Tensor, objects: Sequence[str]) -> int:
    """The outline that covers best what all frames show, laid over each other in the units of a disc of the same area."""
    unit = (area.median() / math.pi).sqrt()  # pixels
    size = cover.shape[-1]
    places = middles[:, None, None, :] + unit * _grid(DETAIL)  # (F, DETAIL, DETAIL, 2) in pixels
    laid = grid_sample(cover[:, None], 2 * places / (size - 1) - 1, align_corners=True).mean((0, 1))  # (DETAIL, DETAIL)
    pixel = FINE / 4 / float(unit)  # in places of the fine outline
    missed = {
        name: min(float((laid - _laid(name, round(pixel * soft) | 1)).square().mean()) for soft in SOFT)
        for name in objects
        if name in OUTLINES
    }
    return list(objects).index(min(missed, key=missed.__getitem__)) if missed else NOTHING


@functools.cache
def _laid(name: str, soft: int) -> Tensor:
    """An outline of the area of a disc of radius 1, its middle of mass at 0, blurred by `soft` places, (DETAIL, DETAIL)."""
    outline, (x, y) = OUTLINES[name], _grid(FINE).unbind(-1)
    inside = outline(x, y).float()
    scale = (inside.mean() * 16 / math.pi).sqrt()  # of lengths, in units of the outline's own
    shift = (inside * y).sum() / inside.sum()  # all outlines are upright, and alike on the left and on the right
    inside = outline(x * scale, y * scale + shift).float()[None, None]
    for side in ((soft, 1), (1, soft)):
        inside = avg_pool2d(inside, side, 1, (side[0] // 2, side[1] // 2))
    return adaptive_avg_pool2d(inside, DETAIL)[0, 0]


def _grid(places: int) -> Tensor:
    """Places from -2 to 2, to the right and down, (places, places, 2)."""
    line = (torch.arange(places) + 0.5) / places * 4 - 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)


def _star(x: Tensor, y: Tensor, inner: float = 0.46) -> Tensor:
    """Five points, one at the top: within straight lines from the points to the inner corners between them."""
    turn = math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y), 2 * turn)
    angle = torch.minimum(angle, 2 * turn - angle)  # from the nearest point, 0..36 degrees
    edge = (
        inner
        * math.sin(turn)
        / (torch.sin(angle) * (1 - inner * math.cos(turn)) + inner * math.sin(turn) * torch.cos(angle))
    )
    return torch.hypot(x, y) < edge


OUTLINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # places to the right and down -> inside or not, upright
    "circle": lambda x, y: torch.hypot(x, y) < 1,
    "square": lambda x, y: torch.maximum(x.abs(), y.abs()) < 1,
    "triangle": lambda x, y: (y < 0.5) & (math.sqrt(3) * x.abs() - y < 1),
    "star": _star,
    "cross": lambda x, y: (torch.minimum(x.abs(), y.abs()) < 0.32) & (torch.maximum(x.abs(), y.abs()) < 1),
    "ring": lambda x, y: (torch.hypot(x, y) < 1) & (torch.hypot(x, y) > 0.5),
}
