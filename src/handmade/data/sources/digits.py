"""Handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak, 1998), as scikit-learn carries them; MNIST comes by `path`.

The table is read as a file, out of an installed scikit-learn or its wheel: scikit-learn itself is not needed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import digest
from handmade.data.mirrors import Mirror, locate
from handmade.data.pictures import Pictures, Report, chosen, in_channels, resized
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import ImageSpec

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FILES = {"digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"}
HELD_OUT = 9  # every ninth digit is a test digit; every tenth would favour some classes, which come in turn


def digits(
    wanted: Wanted,
    size: Annotated[int, Range(8, 128)] = 16,
    channels: Literal[1, 3] = 1,
    flip: bool = False,
    where: str = "",
) -> tuple[Dataset, ImageSpec]:
    """Read the 1,797 digits with the label class; every ninth is held out.

    size: height and width in pixels; 8 as published, otherwise enlarged
    channels: 1 for grey, 3 for grey in three channels
    flip: mirror half of the training pictures, at random (a digit seldom looks right in a mirror)
    where: keep only some of them, such as class=zero|one
    """
    import numpy as np
    import torch

    text = locate(SOURCE.name, FILES, SOURCE.mirrors)["digits.csv"].decode("ascii")
    table = torch.from_numpy(np.loadtxt(text.splitlines(), delimiter=",", dtype=np.int64))  # (1797, 65)
    held_out = torch.arange(len(table)) % HELD_OUT == 0
    table = table[held_out if wanted.split == "test" else ~held_out]
    raw = (table[:, :64].float() * (255 / 16)).round().byte().view(-1, 1, 8, 8)  # ink comes as 0..16
    pictures = Pictures(
        pixels=in_channels(resized(raw, size), channels),
        codes=table[:, 64:],
        spec=ImageSpec(channels, size, {"class": CLASSES}),
        fingerprint=digest("digits", 1, FILES, wanted.split, size, channels, flip),
        flip=flip and wanted.split == "train",
        report=Report("handwritten digits", len(table)),
    )
    kept = chosen(pictures, where)
    return kept, kept.spec


def _installed() -> tuple[Mirror, ...]:
    """The data folder of an installed scikit-learn, found without importing it."""
    found = find_spec("sklearn")
    return (Mirror("folder", str(Path(found.origin).parent / "datasets" / "data")),) if found and found.origin else ()


SOURCE = DataSource(
    name="digits",
    title="Handwritten digits of 8 x 8 pixels",
    licence="CC BY 4.0 (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository)",
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    note="1,797 pictures: 9 MB to fetch, 0.3 MB in the cache",
    kind="images",
    build=digits,
    files=FILES,
    mirrors=(*_installed(), Mirror("wheel", "scikit-learn", "1.9.1")),
)
