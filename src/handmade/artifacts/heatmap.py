"""A table of shares as a picture: dark where much, rows and columns named. For attention maps of any system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts.palette import INK, MUTED, PAPER

if TYPE_CHECKING:
    from torch import Tensor

CELL, LETTER, MARGIN, TITLE = 26, 14, 10, 26  # pixels


def heatmap(shares: Tensor, rows: Sequence[str], columns: Sequence[str], title: str = "") -> Tensor:
    """(R, C) numbers in 0..1 and their names -> a picture (3, H, W) in [-1, 1]; the root makes small shares visible."""
    import numpy as np
    import torch

    font = ImageFont.load_default(size=LETTER)
    left = MARGIN + int(max(font.getlength(row) for row in rows)) + 8
    above = MARGIN + (TITLE if title else 0) + int(max(font.getlength(column) for column in columns)) + 8
    wide = max(left + CELL * len(columns) + MARGIN, 2 * MARGIN + int(font.getlength(title)))
    page = Image.new("RGB", (wide, above + CELL * len(rows) + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((MARGIN, MARGIN), title, MUTED, font)
    for c, column in enumerate(columns):  # written upwards
        label = Image.new("L", (int(font.getlength(column)) + 4, LETTER + 6))
        ImageDraw.Draw(label).text((0, 0), column, 255, font)
        turned = label.rotate(90, expand=True)
        page.paste(Image.new("RGB", turned.size, INK), (left + CELL * c + 3, above - 4 - turned.height), turned)
    paper, ink = (np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) for colour in (PAPER, "#1f4fb0"))
    for r, row in enumerate(rows):
        draw.text((left - 6, above + CELL * (r + 0.5)), row, INK, font, anchor="rm")
        for c in range(len(columns)):
            share = min(1.0, max(0.0, float(shares[r, c]))) ** 0.5
            colour = tuple(int(level) for level in np.rint(paper + (ink - paper) * share))
            x, y = left + CELL * c, above + CELL * r
            draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), colour)
    return torch.from_numpy(np.array(page)).permute(2, 0, 1).float().div(127.5).sub(1.0)
