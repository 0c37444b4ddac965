"""Pictures that a user hands to an ask: one file, or every picture of a folder or .zip, in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from handmade.data.decode import ENDINGS, MOST_BYTES, decode, quiet_decoder, whole
from handmade.data.tree import naming, open_tree
from handmade.errors import Damaged, UserError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def usable(name: str) -> Iterator[None]:
    """Turn what is wrong with a file into a UserError that names it."""
    try:
        yield
    except Damaged as error:
        raise UserError(f"{name} cannot be used: {error}") from None


def given_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The name (below the folder) and the bytes of each picture file; UserError where there is none."""
    if path == Path():
        raise UserError("give a picture: --image FILE, or a folder or .zip of them")
    found = open_tree(path)
    names = found.named(*ENDINGS)
    if not names:
        raise UserError(f"no pictures in {path}: give a picture file, or a folder or .zip of them")
    for name in names:
        with naming(name):
            content = found.read(name, MOST_BYTES)
        yield name, content


def given_pictures(path: Path, channels: int) -> Iterator[tuple[str, Tensor]]:
    """The name and the pixels (channels, H, W) uint8 of each picture in its own size, one at a time.

    Raises UserError naming the first that is broken, or is no picture: nothing is dropped in silence.
    """
    import torch

    for name, content in given_files(path):
        with quiet_decoder(), usable(name):
            pixels = whole(content, channels)
        yield name, torch.from_numpy(pixels.copy())


def given_squares(path: Path, size: int, channels: int, ground: str = "white") -> tuple[list[str], Tensor]:
    """The names of the pictures, and their middle squares (N, channels, size, size) uint8; the ground shines through.

    Raises UserError naming the first that is broken, or is no picture: nothing is dropped in silence.
    """
    import numpy as np
    import torch

    names, squares = [], []
    with quiet_decoder():
        for name, content in given_files(path):
            with usable(name):
                squares.append(decode(content, size, channels, ground))
            names.append(name)
    return names, torch.from_numpy(np.stack(squares))
