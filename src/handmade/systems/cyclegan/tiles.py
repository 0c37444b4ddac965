"""Pictures of any size through a network that was made for small ones: fitted, and in tiles where they are large."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from handmade.samplers.tiles import tiles

LONGEST = 8192  # pixels of the longer side at which a picture is looked at


def change(picture: Tensor, translate: Callable[[Tensor], Tensor], size: int, fit: bool) -> Tensor:
    """A picture (C, H, W) in [-1, 1] -> what becomes of it, of the same size.

    fit: look at it with its shorter side at `size` px, as the network learned, and carry the change over to the picture;
    else every pixel is looked at as it is
    """
    short, long = sorted(picture.shape[1:])
    factor = min(size / short, LONGEST / long) if fit else 1.0
    seen = picture
    if factor != 1:
        sides = [max(1, round(side * factor)) for side in picture.shape[1:]]
        seen = interpolate(picture[None], sides, mode="bicubic", antialias=True, align_corners=False)[0].clamp(-1, 1)
    made = in_tiles(seen, translate, 4 * size, size)
    if factor == 1:
        return made
    return picture + interpolate((made - seen)[None], picture.shape[1:], mode="bilinear", antialias=True)[0]


def in_tiles(picture: Tensor, translate: Callable[[Tensor], Tensor], side: int, overlap: int) -> Tensor:
    """Translate a picture (C, H, W) in tiles of `side` px, each fading into the next over `overlap` px.

    What a tile looks like depends a little on what else it shows (its norms), so that a hard edge would be seen. Memory is
    that of one tile and three pictures. Where a side is no multiple of 4 its last pixels are repeated, and cut off again.
    """
    h, w = picture.shape[1:]
    wide = pad(picture[None], (0, max(-w % 4, 16 - w), 0, max(-h % 4, 16 - h)), mode="replicate")[0]
    height, width = wide.shape[1:]
    if max(height, width) <= side:
        return translate(wide[None])[0, :, :h, :w]
    total, weight = torch.zeros_like(wide), wide.new_zeros(1, height, width)
    for rows, columns, fade in tiles(height, width, side, overlap):
        made = translate(wide[:, rows, columns][None])[0]
        total[:, rows, columns] += made * fade.to(made)
        weight[:, rows, columns] += fade.to(made)
    return (total / weight)[:, :h, :w]
