"""Emoji in three drawing styles: the same thing drawn by three hands, each with its name.

The packages are read as archives and drawn once with resvg. What an emoji is of decides its split, so that no skin tone
or gender of a held-out emoji was trained on; the styles agree in meaning, not in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest, load_arrays, store_arrays
from handmade.data.mirrors import Mirror, fetch, locate
from handmade.data.pictures import Pictures, Report, choose, in_channels
from handmade.data.source import Dataset, DataSource, Progress, Wanted
from handmade.data.sources import _emoji as pen
from handmade.data.specs import ImageSpec
from handmade.errors import DataMissing, UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # of how they are drawn
BLOCK = 200  # drawn between two words of progress
LICENCES = {"noto": "Apache-2.0 (Google)", "twemoji": "CC BY 4.0 (Twitter)", "fluent-emoji-flat": "MIT (Microsoft)"}
PACKAGES = {
    "noto": Mirror("npm", "@iconify-json/noto", "1.2.9"),
    "twemoji": Mirror("npm", "@iconify-json/twemoji", "1.2.5"),
    "fluent-emoji-flat": Mirror("npm", "@iconify-json/fluent-emoji-flat", "1.2.6"),
}
FILES = {  # style -> file -> SHA-256; info.json keeps the licence beside the pictures
    "noto": {
        "icons.json": "9eac6ef4e7ec122b6f0e7ac281d61008afdbc720d0ce861e398b939daaa347c6",
        "chars.json": "91485653ca890bff640f2a6c2d7be62d625a90527b6b4d816b41593675bf5c8f",
        "metadata.json": "2c2aa0df0fc8371d08cb6183f8f45eec0d73dce85fc4bbc8e17980ba024c4d5c",
        "info.json": "ecc8c96b156cdd30d682a8518f662a2693f1b0e63b14e89c5e8d4e7990b8cb9c",
    },
    "twemoji": {
        "icons.json": "5d5d820790565b764f2728675d487c9ee4c1fc83916d8567d5aca8ba7527c242",
        "chars.json": "8e6a83d5a3ac185b2446154b9c4ee07c983bd4a5b2a21aa4b9ff04af9831eefe",
        "metadata.json": "3e9271ca3ad7df6bb30a8819ed50e33501c0d98ea9098166357502306f1a2c34",
        "info.json": "9a7a0a6533a8a43588a463bfa88282620e560eeb2c1f1980ce30ada153358642",
    },
    "fluent-emoji-flat": {
        "icons.json": "f5f4cf457c0db2ad5a2e42e033e02e0c87d10e43d0164cfffb3bb84914970a63",
        "chars.json": "7f084c5a95807edb4702a7c9f6f18e74d59026d1c34ceb8cae85df0b9a9f0a10",
        "metadata.json": "4ed8946717f6cda4906929a6b666d572e57433aa159b7531737556ef16325248",
        "info.json": "9cd2f13e7039b1d1eeeef92af63b07701ba1b242aadc3c0957eae9c98dca7771",
    },
}


@dataclass(frozen=True)
class Emoji(Pictures):
    """Pictures called style/code points, such as noto/1f98a."""

    @property
    def keys(self) -> Sequence[str]:
        """The code points of each picture: two of the same are one emoji in two styles."""
        return [name.split("/")[1] for name in self.names]


def emoji(
    wanted: Wanted,
    size: Annotated[int, Range(16, 256)] = 64,
    styles: str = "all",
    held_out: Annotated[float, Range(0.01, 0.5)] = 0.1,
    background: str = "white",
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
) -> tuple[Dataset, ImageSpec]:
    """Draw emoji with labels style, category and tone, and their names as captions.

    size: height and width in pixels
    styles: which of noto, twemoji and fluent-emoji-flat, with commas between; all by default
    held_out: share of the emoji that are never trained on, each with all its skin tones and genders
    background: the colour behind them, a name such as white or a code such as #ffcc00
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: keep only some of them, such as style=noto, category=food|animals, tone=none
    """
    import torch

    colour, chosen = _colour(background), _styles(styles)
    package = {style: _drawings(style) for style in chosen}
    listed = [(style, drawing) for style in chosen for drawing in package[style]
              if (luck(pen.base(drawing.point)) < held_out) == (wanted.split == "test")]  # fmt: skip
    listed.sort(key=lambda item: luck(item[1].point))  # mixed, so that the first so many are a fair sample
    labels = {"style": tuple(chosen), "category": pen.CATEGORIES, "tone": ("none", *pen.TONES.values())}
    named = [(style, drawing.category, drawing.tone) for style, drawing in listed]
    codes = torch.tensor(
        [[values.index(w) for values, w in zip(labels.values(), words, strict=True)] for words in named]
    )
    rows, codes, left = choose(labels, codes, where)
    kept = [listed[row] for row in rows.tolist()]
    pixels = torch.empty(len(kept), 3, size, size, dtype=torch.uint8)
    for style in dict.fromkeys(style for style, _ in kept):
        drawn = torch.from_numpy(_pixels(style, package[style], size, colour, wanted.progress))
        place = {drawing.point: number for number, drawing in enumerate(package[style])}
        mine = [row for row, (its, _) in enumerate(kept) if its == style]
        pixels[mine] = drawn[[place[kept[row][1].point] for row in mine]]
    pictures = Emoji(
        pixels=in_channels(pixels, channels),
        codes=codes,
        spec=ImageSpec(channels, size, left),
        fingerprint=digest("emoji", VERSION, version("resvg-py"), {style: FILES[style] for style in chosen},
                           wanted.split, size, held_out, colour, channels, flip, where),
        flip=flip and wanted.split == "train",
        words=[drawing.name for _, drawing in kept],
        names=[f"{style}/{drawing.point}" for style, drawing in kept],
        report=Report("drawn emoji", len(kept)),
    )  # fmt: skip
    return pictures, pictures.spec


def luck(text: str) -> float:
    """A number in 0..1 that depends on this text alone."""
    return int.from_bytes(blake2b(f"emoji/{text}".encode(), digest_size=6).digest(), "big") / 256**6


def _styles(text: str) -> list[str]:
    """The styles that are wanted, in our order."""
    words = list(PACKAGES) if text.strip() == "all" else [word.strip() for word in text.split(",") if word.strip()]
    for word in words or [text]:
        if word not in PACKAGES:
            raise UserError(f'emoji have no style "{word}"{did_you_mean(word, PACKAGES)}')
    return [style for style in PACKAGES if style in words]


def _colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UserError(
            f'background="{text}" is no colour: give a name such as white, or a code such as #ffcc00'
        ) from None


def _drawings(style: str) -> list[pen.Drawing]:
    """What one style draws, from its package in the cache."""
    try:
        return pen.drawings(locate(f"emoji-{style}", FILES[style], ()))
    except DataMissing:
        raise DataMissing("emoji are not on this machine: type handmade data prepare emoji") from None


def _pixels(style: str, listed: Sequence[pen.Drawing], size: int, colour: tuple[int, int, int],
            progress: Progress) -> np.ndarray:  # fmt: skip
    """All emoji of one style from the cache, or drawn and kept there, (N, 3, size, size) uint8."""
    import numpy as np

    made_of = digest(VERSION, version("resvg-py"), FILES[style], size, colour)
    target = cache_folder() / "emoji" / f"{style}-{size}px-{made_of[:16]}.npz"
    kept = load_arrays(target)
    if kept is not None and "pixels" in kept and kept["pixels"].shape == (len(listed), 3, size, size):
        return kept["pixels"]
    pixels = np.empty((len(listed), 3, size, size), np.uint8)
    for first in range(0, len(listed), BLOCK):
        pixels[first : first + BLOCK] = pen.draw(
            [drawing.svg for drawing in listed[first : first + BLOCK]], size, colour
        )
        progress(min(first + BLOCK, len(listed)), len(listed), f"drawing emoji ({style})")
    store_arrays(target, {"pixels": pixels, "licence": np.array(LICENCES[style])})
    return pixels


def gather(progress: Progress) -> Path:
    """Fetch the package of every style into the cache."""
    for style, package in PACKAGES.items():
        fetch(f"emoji-{style}", FILES[style], (package,), progress)
    return cache_folder() / "files"


SOURCE = DataSource(
    name="emoji",
    title="Emoji in three drawing styles, with names",
    licence="; ".join(f"{style}: {licence}" for style, licence in LICENCES.items()),
    homepage="https://icon-sets.iconify.design",
    note="10,800 pictures: 6 MB to fetch, drawn once",
    kind="images",
    build=emoji,
    gather=gather,
)
