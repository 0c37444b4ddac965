"""Clips: one animated GIF each, an MP4 where the optional `av` is installed, and a sheet with a strip of frames for each."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from handmade.artifacts.artifact import Artifact
from handmade.artifacts.film import gif_bytes, mp4_bytes
from handmade.artifacts.images import MODES, as_picture, contact_sheet, in_terminal
from handmade.artifacts.palette import MATTE
from handmade.artifacts.provenance import gif_with_note, sidecar, to_json
from handmade.errors import Diverged, UserError

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 256  # pixels of a side to which small frames are magnified, by a whole factor
STRIP, TILE = 12, 64  # frames of a clip on the sheet, and the least side of each
SHOWN = 8  # clips that a page shows, moving, beside each other


@dataclass(frozen=True, eq=False)
class Video(Artifact):
    """Clips (N, F, C, H, W) in [-1, 1], grey or colour."""

    clips: Tensor
    rate: float = 8.0  # frames a second
    titles: tuple[str, ...] = ()  # one per clip, drawn under its strip
    names: tuple[str, ...] = ()  # one file name per clip, without ending; none: 000000, 000001, ...
    hold: float = 0.5  # seconds that the last frame stays before a clip starts again

    def __post_init__(self) -> None:
        shape = tuple(self.clips.shape)
        if len(shape) != 5 or shape[2] not in MODES or 0 in shape:
            raise UserError(
                f"clips must be (N, F, C, H, W) with 1, 3 or 4 channels and at least one pixel, not {shape}"
            )
        for what, given in (("titles", self.titles), ("file names", {*self.names})):
            if given and len(given) != shape[0]:
                raise UserError(f"{shape[0]} clips cannot have {len(given)} {what}: give one each, or none")
        if self.rate <= 0:
            raise UserError(f"a clip needs more than {self.rate:g} frames a second")
        if self.clips.isnan().any():
            raise Diverged("the clips hold NaN: the weights have diverged; use an earlier checkpoint")

    def frames(self, index: int) -> list[Image.Image]:
        """The frames of one clip as Pillow pictures, in their own mode."""
        levels = self.clips[index].detach().float().add(1.0).mul(127.5).round().clamp(0, 255).byte().cpu()
        return [as_picture(frame) for frame in levels]

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield `000000.gif`, with its origin inside, and where `av` is installed `000000.mp4`, with a sidecar."""
        films = importlib.util.find_spec("av") is not None
        for index in range(len(self.clips)):
            name = self.names[index] if self.names else f"{index:06d}"
            frames = [_larger(frame, LEAST) for frame in self.frames(index)]
            data, note = gif_bytes(frames, 1 / self.rate, 1 / self.rate + self.hold), self.note(f"{name}.gif", index)
            yield f"{name}.gif", data if note is None else gif_with_note(data, note)
            if films:
                yield f"{name}.mp4", mp4_bytes(frames, 1 / self.rate, self.hold)
                if (note := self.note(f"{name}.mp4", index)) is not None:
                    yield sidecar(f"{name}.mp4"), to_json(note).encode()

    def sample(self) -> dict[str, Any]:
        """Return the first clips beside each other as one GIF, in base64."""
        shown = [self.frames(index) for index in range(min(SHOWN, len(self.clips)))]
        moments = [contact_sheet(moment, min(4, len(shown))) for moment in zip(*shown, strict=True)]
        film = base64.b64encode(gif_bytes(moments, 1 / self.rate, 1 / self.rate + self.hold)).decode()
        return {
            "kind": "video",
            "gif": film,
            "width": moments[0].width,
            "height": moments[0].height,
            "of": len(self.clips),
        }

    def picture(self) -> Image.Image:
        """Draw each clip as a strip of frames, at most a dozen, evenly spread, one below the other."""
        return contact_sheet([self._strip(index) for index in range(len(self.clips))], 1, self.titles)

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show frames of the first clip under a line that counts the clips."""
        n, f, _, height, wide = self.clips.shape
        frames = _spread(self.frames(0), max(2, width // 20))
        count = f"{n} clip{'s' if n > 1 else ''} of {f} frames, {wide} x {height} pixels"
        return f"{count}\n{in_terminal(frames, width, colour)}"

    def _strip(self, index: int) -> Image.Image:
        frames = [_larger(frame, TILE) for frame in _spread(self.frames(index), STRIP)]
        wide, gap = frames[0].width, 2
        strip = Image.new("RGB", (len(frames) * (wide + gap) - gap, frames[0].height), MATTE)
        for place, frame in enumerate(frames):
            strip.paste(frame, (place * (wide + gap), 0))
        return strip


def _spread(frames: list[Image.Image], most: int) -> list[Image.Image]:
    """At most `most` frames at even distances, the first and the last among them."""
    if len(frames) <= most:
        return frames
    return [frames[round(place * (len(frames) - 1) / (most - 1))] for place in range(most)]


def _larger(frame: Image.Image, least: int) -> Image.Image:
    """Magnify a small frame by a whole factor, and so that its sides are even, which films want."""
    factor = max(1, -(-least // max(frame.size)))
    factor += factor % 2 and any(side % 2 for side in frame.size)
    return frame.convert("RGB").resize((frame.width * factor, frame.height * factor), Image.Resampling.NEAREST)
