"""Pictures: one PNG per item and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts import terminal
from handmade.artifacts.artifact import Artifact
from handmade.artifacts.palette import MATTE, PAPER
from handmade.artifacts.provenance import png_bytes
from handmade.errors import Diverged, UserError

if TYPE_CHECKING:
    from torch import Tensor

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
TILE = 64  # smallest side of a tile on a sheet: smaller pictures are magnified by a whole factor
SIDE = 4096  # largest side of a sheet: more pictures make smaller tiles
CAPTION = 18  # height of a title in pixels
LEADING, LINES = 13, 5  # pixels from line to line of a longer title, and how many it may have


@dataclass(frozen=True, eq=False)
class Images(Artifact):
    """Pictures (N, C, H, W) in [-1, 1]: grey, colour or colour with transparency."""

    pixels: Tensor
    columns: int | None = None  # of the sheet; None: as square as the number allows
    titles: tuple[str, ...] = ()  # one per picture, drawn under it on the sheet
    names: tuple[str, ...] = ()  # one file name per picture, ending in .png; none: 000000.png, 000001.png, ...

    def __post_init__(self) -> None:
        shape = tuple(self.pixels.shape)
        if len(shape) != 4 or shape[1] not in MODES or 0 in shape:
            raise UserError(
                f"pictures must be (N, C, H, W) with 1, 3 or 4 channels and at least one pixel, not {shape}"
            )
        if self.titles and len(self.titles) != shape[0]:
            raise UserError(f"{shape[0]} pictures cannot have {len(self.titles)} titles: give one each, or none")
        if self.names and len({*self.names}) != shape[0]:
            raise UserError(f"{shape[0]} pictures cannot have {len({*self.names})} file names: give one each, or none")
        if self.columns is not None and self.columns < 1:
            raise UserError(f"a sheet needs at least one column, not {self.columns}")
        if self.pixels.isnan().any():
            raise Diverged("the pictures hold NaN: the weights have diverged; use an earlier checkpoint")

    def pictures(self) -> list[Image.Image]:
        """Each item as a Pillow picture, in its own mode."""
        levels = self.pixels.detach().float().add(1.0).mul(127.5).round().clamp(0, 255).byte().cpu()
        return [as_picture(item) for item in levels]

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the pictures under their names, or as `000000.png`, `000001.png`, ..."""
        for index, picture in enumerate(self.pictures()):
            name = self.names[index] if self.names else f"{index:06d}.png"
            yield name, png_bytes(picture, self.note(name, index))

    def picture(self) -> Image.Image:
        """Draw the contact sheet."""
        return contact_sheet(self.pictures(), self.columns, self.titles)

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show the first pictures, as many as fit side by side, under a line that counts them."""
        n, _, height, wide = self.pixels.shape
        count = f"{n} picture{'s' if n > 1 else ''}, {wide} x {height} pixels"
        return f"{count}\n{in_terminal(self.pictures()[: max(1, width // 20)], width, colour)}"


def as_picture(levels: Tensor) -> Image.Image:
    """(C, H, W) uint8 -> a Pillow picture, grey, colour or colour with transparency."""
    grid = levels.movedim(0, 2)  # (H, W, C)
    return Image.fromarray((grid[..., 0] if grid.shape[-1] == 1 else grid).contiguous().numpy())


def in_terminal(pictures: Sequence[Image.Image], width: int, colour: bool | None) -> str:
    """Show pictures of one size side by side in a terminal of `width` columns."""
    row = contact_sheet(pictures, len(pictures))
    shown = terminal.blocks if (terminal.colour_wanted() if colour is None else colour) else terminal.shades
    return shown(row, width)


def contact_sheet(
    pictures: Sequence[Image.Image], columns: int | None = None, titles: Sequence[str] = ()
) -> Image.Image:
    """Lay pictures of one size out in rows on one RGB sheet, read like a page; empty places stay matte.

    titles: one under each picture; a row takes as much room for them as its longest has lines
    """
    columns = min(columns or nearly_square(len(pictures)), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width, height = _tile(pictures[0].size, columns, rows)
    gap = max(1, min(width, height) // 32)
    font = ImageFont.load_default(size=11)
    lines = [_lines(title, width, font) for title in titles] or [[]] * len(pictures)
    tops = [gap]
    for first in range(0, len(pictures), columns):
        most = max(map(len, lines[first : first + columns]))  # lines under the picture that has the longest title
        tops.append(tops[-1] + height + (CAPTION + (most - 1) * LEADING if most else 0) + gap)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, tops[-1]), MATTE)
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = gap + index % columns * (width + gap), tops[index // columns]
        sheet.paste(_on_paper(picture).resize((width, height), _filter(picture.width, width)), (x, y))
        for number, words in enumerate(lines[index]):
            middle = y + height + CAPTION / 2 + number * LEADING
            draw.text((x + width / 2, middle), words, PAPER, font, anchor="mm")
    return sheet


def nearly_square(n: int) -> int:
    """Choose the columns for `n` tiles: the fewest from a square to twice as wide that leave no gap, else a square."""
    root = math.ceil(math.sqrt(n))
    return next((columns for columns in range(root, 2 * root + 1) if n % columns == 0), root)


def _tile(size: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    """Magnify small pictures by a whole factor, shrink them where the sheet would pass its largest side."""
    factor: float = max(1, math.ceil(TILE / max(size)))
    factor = min(factor, SIDE / (columns * size[0]), SIDE / (rows * size[1]))
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))


def _filter(old: int, new: int) -> Image.Resampling:
    return Image.Resampling.NEAREST if new >= old else Image.Resampling.BOX


def _on_paper(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    paper = Image.new("RGBA", picture.size, PAPER)
    return Image.alpha_composite(paper, picture).convert("RGB")


def _lines(title: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Break a title into lines as wide as its tile; what does not fit into the last of them is left out."""
    lines: list[str] = []
    for word in title.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        elif len(lines) < LINES:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}"
            break
    return [_cut(line, width, font) for line in lines]


def _cut(title: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten a title to the width of its tile."""
    title = " ".join(title.split())
    if font.getlength(title) <= width:
        return title
    while title and font.getlength(title + "…") > width:
        title = title[:-1]
    return title + "…"
