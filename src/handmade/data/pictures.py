"""A set of labelled pictures in memory: one uint8 tensor, cut into batches of float32 when asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from handmade.data.cache import digest
from handmade.data.specs import ImageBatch, ImageSpec, value_code
from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Report:
    """What was found when pictures were read, to be said before training starts."""

    layout: str  # what the folder or file was recognised as, in words
    count: int  # pictures that can be used
    broken: tuple[tuple[str, str], ...] = ()  # name and reason of each picture that cannot
    notes: tuple[str, ...] = ()
    unfit: Mapping[str, str] = field(default_factory=dict)  # attribute that cannot be used -> why

    def lines(self, most: int = 5) -> list[str]:
        """The report in plain lines, naming at most so many broken pictures."""
        named = [f"broken: {name}: {reason}" for name, reason in self.broken[:most]]
        more = [f"and {len(self.broken) - most} more broken pictures"] if len(self.broken) > most else []
        unfit = [f"no label: {name}: {reason}" for name, reason in self.unfit.items()]
        head = f"{self.layout}: {self.count:,} pictures, {len(self.broken)} broken"
        return [head, *named, *more, *unfit, *self.notes]

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class Pictures:
    """A dataset of square pictures with any number of labelled attributes."""

    pixels: Tensor  # (N, C, H, W) uint8
    codes: Tensor  # (N, A) int64, positions in spec.labels
    spec: ImageSpec
    fingerprint: str
    flip: bool = False  # mirror half of the pictures, drawn anew for every batch
    words: Sequence[str] = ()  # one caption per picture, or none
    names: Sequence[str] = ()  # one file name per picture, or none
    report: Report = field(default_factory=lambda: Report("", 0))

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.pixels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> ImageBatch:
        """Pictures (B,) int64 -> pixels (B, C, H, W) float32 in [-1, 1] and codes (B, A)."""
        import torch

        raw = self.pixels.index_select(0, indices)
        if self.flip:
            mirrored = torch.rand(len(raw), generator=generator) < 0.5
            raw = torch.where(mirrored[:, None, None, None], raw.flip(-1), raw)
        return ImageBatch(self.spec.encode(raw), self.codes.index_select(0, indices))

    def captions(self, indices: Tensor) -> list[str]:
        """Pictures (B,) int64 -> one sentence about each."""
        if not self.words:
            raise UserError("these pictures have no captions: a metadata.csv with file_name and text gives them some")
        return [self.words[int(index)] for index in indices.reshape(-1)]

    def take(self, rows: Tensor, **changed: Any) -> Pictures:
        """The pictures of these rows (R,) int64 alone."""
        chosen = rows.tolist()
        return replace(
            self,
            pixels=self.pixels.index_select(0, rows),
            codes=self.codes.index_select(0, rows),
            words=[self.words[row] for row in chosen] if self.words else (),
            names=[self.names[row] for row in chosen] if self.names else (),
            **changed,
        )


def check_attribute(
    name: str, labels: Mapping[str, Sequence[str]], where: str, unfit: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raise UserError where pictures have no such attribute, or one that cannot be used."""
    if name in unfit:
        raise UserError(f"{where}: {name} cannot be used: {unfit[name]}; give every picture its value")
    if name not in labels:
        raise UserError(f'{where}: no attribute "{name}"{did_you_mean(name, labels)}')


def choose(
    labels: Mapping[str, Sequence[str]], codes: Tensor, where: str, unfit: Mapping[str, str] = MappingProxyType({})
) -> tuple[Tensor, Tensor, dict[str, tuple[str, ...]]]:
    """Read `where` ("glasses=yes, hair=blond|black") and return the rows it keeps, their codes, and the labels left.

    (N, A) codes -> (R,) rows and (R, A) codes: of an attribute named in `where` only the named values remain,
    renumbered in their old order, so that "class=shirt|bag" makes a data set of two classes.
    """
    import torch

    keep, left, new = torch.ones(len(codes), dtype=torch.bool), {k: tuple(v) for k, v in labels.items()}, codes.clone()
    for part in filter(None, (part.strip() for part in where.split(","))):
        name, equals, wanted = (word.strip() for word in part.partition("="))
        check_attribute(name if equals else "", labels, f'where="{where}"', unfit)
        known = left[name]
        values = [known[value_code(word.strip(), known, f'where="{where}"')] for word in wanted.split("|")]
        left[name] = tuple(value for value in left[name] if value in values)
        column = list(labels).index(name)
        table = torch.tensor([left[name].index(value) if value in left[name] else -1 for value in labels[name]])
        new[:, column] = table[codes[:, column]]
        keep &= new[:, column] >= 0
    rows = keep.nonzero().squeeze(1)
    if len(rows) == 0:
        raise UserError(f'where="{where}" leaves no picture')
    return rows, new[rows], left


def chosen(pictures: Pictures, where: str) -> Pictures:
    """The pictures that `where` keeps, with their spec and fingerprint; all of them where it is empty."""
    if not where.strip():
        return pictures
    rows, codes, labels = choose(pictures.spec.labels, pictures.codes, where, pictures.report.unfit)
    spec = replace(pictures.spec, labels=labels)
    return replace(pictures.take(rows), codes=codes, spec=spec, fingerprint=digest(pictures.fingerprint, where))


def resized(pixels: Tensor, size: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, size, size) uint8, averaging when smaller and interpolating when larger."""
    import torch
    from torch.nn.functional import interpolate

    if pixels.shape[-2:] == (size, size):
        return pixels
    small = [interpolate(part.float(), (size, size), mode="bilinear", antialias=True) for part in pixels.split(1024)]
    return torch.cat([part.round().clamp(0, 255).byte() for part in small])


def padded(pixels: Tensor, size: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, size, size) uint8 with an even black border."""
    from torch.nn.functional import pad

    border = (size - pixels.shape[-1]) // 2
    return pad(pixels, (border, size - pixels.shape[-1] - border) * 2)


def in_channels(pixels: Tensor, channels: int) -> Tensor:
    """(N, 1 or 3, H, W) uint8 -> (N, channels, H, W) uint8; grey is the luma of ITU-R BT.601."""
    import torch

    if pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(1, 3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return torch.cat([(part * weights).sum(1, keepdim=True).round().byte() for part in pixels.split(1024)])
