"""Short clips with a sentence about each: shapes that move over a plain ground, or drawn faces that change.

Shapes: "a large orange star moves up and left on a grey background". Six objects, six colours, eight directions; half-way a
shape is near the middle of the frame; size and ground are named in some captions only. Each object is kept, in each colour,
from moving in one direction; held-out clips are of these 36 COMBINATIONS alone, so that a model which has only learnt whole
captions by heart is found out (d down, u up, l left, r right):

    held out    red   orange   yellow   green   blue   purple
    circle      r     dr       d        dl      l      ul
    square      dl    l        ul       u       ur     r
    triangle    u     ur       r        dr      d      dl
    star        dr    d        dl       l       ul     u
    cross       l     ul       u        ur      r      dr
    ring        ur    r        dr       d       dl     l

Faces: "a sad face with long green hair ... starts to smile", or "... and its hair turns blue". A clip fades from one drawing of
a face to another in which this attribute alone has changed. Of hair colour before and change, one combination in five is held
out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest
from handmade.data.captions import words_in
from handmade.data.pictures import Report, in_channels
from handmade.data.source import Dataset, DataSource, Progress, Wanted
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources import _moving as moving
from handmade.data.sources import faces as drawings
from handmade.data.specs import VideoBatch, VideoSpec
from handmade.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

WORDS = 1000  # more than there are
FACES = 6000  # drawn by `data prepare`
MOODS = {"starts to smile": ("sad", "happy"), "stops smiling": ("happy", "sad")}
CHANGES = (*MOODS, *(f"and its hair turns {hair}" for hair in lorelei.HAIR))
CHANGING = ("hair", "expression")  # what a change may be of; its value afterwards is a label of its own: hair_after
KEPT_APART, APART = 5, 3  # one combination in so many is held out; which one


@dataclass(frozen=True)
class Shapes:
    """Moving shapes, drawn when they are asked for."""

    plans: moving.Plans
    tokens: Tensor  # (N, T) int64
    spec: VideoSpec
    fingerprint: str
    captions: Sequence[str]
    report: Report

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.captions)

    def batch(self, indices: Tensor, generator: torch.Generator) -> VideoBatch:
        """Clips (B,) int64 -> pixels (B, F, C, H, W) float32 in [-1, 1], tokens (B, T) and codes (B, 5)."""
        import torch

        chosen = moving.Plans(*(part[indices.numpy()] for part in self.plans))
        drawn = moving.draw(chosen, self.spec.size, self.spec.frames)  # (B, F, 3, H, W)
        if self.spec.channels == 1:
            drawn = (drawn * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(2, keepdim=True)
        return VideoBatch(self.spec.encode(drawn), self.tokens.index_select(0, indices), torch.from_numpy(chosen.codes))


@dataclass(frozen=True)
class Fades:
    """Clips that fade from a first picture to a last one."""

    first: Tensor  # (N, C, H, W) uint8
    last: Tensor  # (N, C, H, W) uint8
    tokens: Tensor  # (N, T) int64
    codes: Tensor  # (N, A) int64
    spec: VideoSpec
    fingerprint: str
    captions: Sequence[str]
    report: Report

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.first)

    def batch(self, indices: Tensor, generator: torch.Generator) -> VideoBatch:
        """Clips (B,) int64 -> pixels (B, F, C, H, W) float32 in [-1, 1], tokens (B, T) and codes (B, A)."""
        import torch

        a, b = (self.spec.encode(part.index_select(0, indices))[:, None] for part in (self.first, self.last))
        share = (torch.linspace(-0.2, 1.2, self.spec.frames).clamp(0, 1))[:, None, None, None]  # rests at both ends
        tokens, codes = self.tokens.index_select(0, indices), self.codes.index_select(0, indices)
        return VideoBatch(a + share * (b - a), tokens, codes)


def clips(
    wanted: Wanted,
    of: Literal["shapes", "faces"] = "shapes",
    size: Annotated[int, Range(8, 256)] = 32,
    frames: Annotated[int, Range(2, 64)] = 16,
    n: Annotated[int, Range(1, 1_000_000)] = 20_000,
    held_out: Annotated[int, Range(1, 100_000)] = 360,
    seed: int = 0,
    channels: Literal[1, 3] = 3,
) -> tuple[Dataset, VideoSpec]:
    """Open clips with a sentence about each.

    of: shapes that move, or drawn faces that change
    size: height and width of a frame in pixels
    frames: of one clip
    n: number of training clips; of faces those of held-out combinations are left out of it
    held_out: number of test clips, all of combinations that training never sees
    seed: which clips are drawn
    channels: 3 for colour, 1 for grey
    """
    if of == "faces" and size < 16:
        raise UserError(f"faces of {size} px cannot be drawn: choose a size of 16 or more")
    dataset = (_faces if of == "faces" else _shapes)(wanted, size, frames, n, held_out, seed, channels)
    return dataset, dataset.spec


def _shapes(wanted: Wanted, size: int, frames: int, n: int, held_out: int, seed: int, channels: int) -> Shapes:
    """Moving shapes of one split; the words are those of the training captions."""
    training = moving.plan(n, seed, held_out=False)
    plans = training if wanted.split == "train" else moving.plan(held_out, seed, held_out=True)
    heard, told = (
        [moving.caption(*row) for row in zip(part.codes, part.said, strict=True)] for part in (training, plans)
    )
    spec = VideoSpec(channels, size, moving.LABELS, frames, 8.0, *words_in(heard, WORDS))
    name = digest("moving shapes", 2, seed, n, held_out, size, frames, channels, wanted.split)
    return Shapes(plans, spec.tokens_of(told), spec, name, told, Report("moving shapes", len(told)))


def _faces(wanted: Wanted, size: int, frames: int, n: int, held_out: int, seed: int, channels: Literal[1, 3]) -> Fades:
    """Changing faces of one split; every block of faces that is kept in the cache has one change."""
    import torch

    train = wanted.split == "train"
    heard = [_told(face, change) for _, face, change in _changing(seed, 0, n, held_out=False)]
    if not heard:
        raise UserError(f"none of the first {n} faces has a change that may be trained on: choose a larger n")
    first, count = (0, n) if train else (drawings.HELD_OUT, held_out * 3 * KEPT_APART // 2 + 2 * drawings.BLOCK)
    rows = list(_changing(seed, first, count, held_out=not train))[: None if train else held_out]
    if not rows:
        raise UserError(f"none of {count} held-out faces has a held-out change: choose a larger held_out")
    before, after = (_drawn(wanted.progress, seed, rows, size, side) for side in (0, 1))
    labels = lorelei.LABELS | {f"{name}_after": lorelei.LABELS[name] for name in CHANGING}
    values = [face | {f"{name}_after": _ends(face, change)[1][name] for name in CHANGING} for _, face, change in rows]
    told = [_told(face, change) for _, face, change in rows]
    spec = VideoSpec(channels, size, labels, frames, 8.0, *words_in(heard, WORDS))
    return Fades(
        first=in_channels(torch.from_numpy(before), channels),
        last=in_channels(torch.from_numpy(after), channels),
        tokens=spec.tokens_of(told),
        codes=torch.tensor([[known.index(value[name]) for name, known in labels.items()] for value in values]),
        spec=spec,
        fingerprint=digest(
            "changing faces", lorelei.versions(), seed, n, len(rows), size, frames, channels, wanted.split
        ),
        captions=told,
        report=Report("changing faces", len(rows)),
    )


def _changing(seed: int, first: int, count: int, held_out: bool) -> Iterator[tuple[int, dict[str, str], str]]:
    """The number, the first attributes and the change of each face of these that belongs to a split."""
    for number in range(first, first + count):
        turn, hair = divmod(number // drawings.BLOCK, 2)  # blocks of moods and of hair by turns
        place = len(MOODS) + turn % len(lorelei.HAIR) if hair else turn % len(MOODS)
        change, face = CHANGES[place], lorelei.attributes(seed, number)
        before, after = _ends(face, change)
        kept_apart = (lorelei.LABELS["hair"].index(face["hair"]) + place) % KEPT_APART == APART
        if before != after and kept_apart == held_out:
            yield number, before, change


def _ends(face: Mapping[str, str], change: str) -> tuple[dict[str, str], dict[str, str]]:
    """The attributes of a face before a change and after it."""
    turned: list[dict[str, str]] = [{}, {"hair": change.rsplit(" ", 1)[-1]}]
    sides = [{"expression": mood} for mood in MOODS[change]] if change in MOODS else turned
    return {**face, **sides[0]}, {**face, **sides[1]}


def _told(face: Mapping[str, str], change: str) -> str:
    return f"{lorelei.caption(face)} {change}"


def _drawn(progress: Progress, seed: int, rows: Sequence[tuple[int, Mapping[str, str], str]], size: int,
           side: int) -> np.ndarray:  # fmt: skip
    """The faces of these rows before their change (side 0) or after it (side 1), (N, 3, size, size) uint8."""
    import numpy as np

    drawn, blocks = [], {}
    for number, _, change in rows:
        start = number - number % drawings.BLOCK
        if start not in blocks:
            changed = _ends({}, change)[side]
            blocks = {start: drawings.draw_faces(seed, start, drawings.BLOCK, size, progress, changed)}
        drawn.append(blocks[start][number - start])
    return np.stack(drawn)


def gather(progress: Progress) -> Path:
    """Draw the changing faces of the default split into the cache; shapes are drawn as they are needed."""
    for split in ("train", "test"):
        clips(Wanted(split, progress), of="faces", n=FACES)
    return cache_folder()


SOURCE = DataSource(
    name="clips",
    title="Short clips with sentences: shapes that move, or drawn faces that change",
    licence="shapes: none needed, computed; faces CC0 1.0",
    homepage="https://www.dicebear.com/styles/lorelei/",
    note="20,000 clips of 16 frames of 32 pixels, drawn as they are needed; held-out ones are of 36 unseen combinations",
    kind="videos",
    build=clips,
    gather=gather,
)
