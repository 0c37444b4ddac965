"""What a network must know about its data, and the codec between raw form and tensors.

A spec is saved with every run (`spec.json`), so that generating never needs the data set. Each kind is a frozen
dataclass of plain values; `spec_to_json` and `spec_from_json` are exact inverses. Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from handmade.errors import Damaged

if TYPE_CHECKING:
    from torch import Tensor


class ImageBatch(NamedTuple):
    """A training batch of pictures."""

    pixels: Tensor  # (B, C, H, W) float32 in [-1, 1]
    labels: Tensor  # (B, A) int64, one column per attribute of ImageSpec.labels; A may be 0


@dataclass(frozen=True)
class ImageSpec:
    """Square pictures with any number of labelled attributes."""

    channels: int  # 1 grey, 3 colour
    size: int  # height and width in pixels
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # attribute -> its values, in code order

    def encode(self, raw: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> float32 in [-1, 1]."""
        return raw.float().div_(127.5).sub_(1.0)

    def decode(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> uint8."""
        return pixels.float().add(1.0).mul(127.5).round().clamp(0, 255).byte()


@dataclass(frozen=True)
class PointsSpec:
    """Points in the plane that lie on a curve y = f(x)."""

    formula: str  # of x, in the small language of data/formula.py
    low: tuple[float, float]  # smallest x and y
    high: tuple[float, float]  # largest x and y

    def encode(self, points: Tensor) -> Tensor:
        """(B, 2) in the curve's units -> (B, 2) in [-1, 1]."""
        low, high = points.new_tensor(self.low), points.new_tensor(self.high)
        return (points - low) / (high - low) * 2 - 1

    def decode(self, codes: Tensor) -> Tensor:
        """(B, 2) in [-1, 1] -> (B, 2) in the curve's units."""
        low, high = codes.new_tensor(self.low), codes.new_tensor(self.high)
        return (codes + 1) / 2 * (high - low) + low


@dataclass(frozen=True)
class NumbersSpec:
    """Sequences of whole numbers drawn from a set."""

    length: int  # numbers in one sequence
    depth: int  # numbers are 0 .. depth - 1
    members: tuple[int, ...]  # the set that the numbers are drawn from

    def encode(self, numbers: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, depth) float32 one-hot."""
        import torch

        return torch.nn.functional.one_hot(numbers, self.depth).float()

    def decode(self, scores: Tensor) -> Tensor:
        """(B, L, depth) scores or one-hot -> (B, L) int64, the highest score of each place."""
        return scores.argmax(-1)


Spec = ImageSpec | PointsSpec | NumbersSpec
_kinds: dict[str, type[Any]] = {"images": ImageSpec, "points": PointsSpec, "numbers": NumbersSpec}


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Return the spec as plain values with its kind."""
    kind = next(name for name, cls in _kinds.items() if type(spec) is cls)
    return {"kind": kind, **asdict(spec)}


def spec_from_json(values: Mapping[str, Any]) -> Spec:
    """Rebuild a spec; raise Damaged where the file names an unknown kind or field."""
    values = dict(values)
    kind = _kinds.get(values.pop("kind", ""))
    if kind is None:
        raise Damaged("spec.json names no kind of data this version knows")
    try:
        return kind(**{name: _frozen(value) for name, value in values.items()})
    except TypeError as error:
        raise Damaged(f"spec.json does not describe {kind.__name__}: {error}") from None


def _frozen(value: Any) -> Any:
    """Lists from JSON back to the tuples that a frozen spec holds."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value
