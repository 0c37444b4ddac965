"""Pictures of any sizes under names of their own: what becomes of pictures that somebody gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from handmade.artifacts.artifact import SHEET, Artifact
from handmade.artifacts.images import MODES, as_picture, contact_sheet, in_terminal
from handmade.artifacts.palette import MATTE
from handmade.artifacts.provenance import png_bytes
from handmade.artifacts.terminal import printable
from handmade.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FRAME = 512  # largest side of a picture on the sheet


@dataclass(frozen=True, eq=False)
class Album(Artifact):
    """Finished pictures (C, H, W) uint8, grey, colour or colour with transparency, each of its own size."""

    levels: Sequence[Tensor]
    names: tuple[str, ...]  # one file name per picture, ending in .png
    titles: tuple[str, ...] = ()  # one per picture: drawn under it on the sheet, and told in a terminal
    columns: int | None = None  # of the sheet; None: as square as the number allows

    def __post_init__(self) -> None:
        if not self.levels:
            raise UserError("there are no pictures")
        if any(item.ndim != 3 or item.shape[0] not in MODES or 0 in item.shape for item in self.levels):
            raise UserError("pictures must be (C, H, W) with 1, 3 or 4 channels and at least one pixel")
        if len(self.names) != len(self.levels) or len(self.titles) not in (0, len(self.levels)):
            raise UserError(f"{len(self.levels)} pictures need a file name each, and a title each or none")
        for name in self.names:
            if name == SHEET or self.names.count(name) > 1:
                raise UserError(f"two files would be named {name}: rename the pictures, or give them one by one")

    def pictures(self) -> list[Image.Image]:
        """Each item as a Pillow picture, in its own mode."""
        return [as_picture(item.cpu()) for item in self.levels]

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the pictures under their names."""
        for index, (name, levels) in enumerate(zip(self.names, self.levels, strict=True)):
            yield name, png_bytes(as_picture(levels.cpu()), self.note(name, index))

    def picture(self) -> Image.Image:
        """Draw the contact sheet, each picture in a frame of the same size."""
        return contact_sheet(framed(self.pictures()), self.columns, self.titles)

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show the first pictures, as many as fit side by side, under their titles or a line that counts them."""
        n = len(self.levels)
        lines = [printable(line) for line in self.titles] or [f"{n} picture{'s' if n > 1 else ''}"]
        return "\n".join([*lines, in_terminal(framed(self.pictures()[: max(1, width // 20)]), width, colour)])


def framed(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures of any sizes -> of one size: large ones shrunk, and each in the middle of its frame."""
    factor = min(1.0, FRAME / max(max(picture.size) for picture in pictures))
    sizes = [tuple(max(1, round(side * factor)) for side in picture.size) for picture in pictures]
    if len({*sizes}) == 1 and factor == 1:
        return list(pictures)
    width, height = (max(sides) for sides in zip(*sizes, strict=True))
    frames = []
    for picture, (wide, high) in zip(pictures, sizes, strict=True):
        frame = Image.new("RGB", (width, height), MATTE)
        frame.paste(picture.convert("RGB").resize((wide, high)), ((width - wide) // 2, (height - high) // 2))
        frames.append(frame)
    return frames
