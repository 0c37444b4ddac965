"""Pictures that belong one after the other: one file each, a strip to look at, and an animation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from handmade.artifacts.film import gif_bytes
from handmade.artifacts.images import Images
from handmade.artifacts.provenance import sidecar, to_json

LEAST = 256  # pixels of a side to which small frames are magnified, by a whole factor
FILE = "film.gif"


@dataclass(frozen=True, eq=False)
class Reel(Images):
    """Pictures (M, C, H, W) in [-1, 1] in the order of time; `columns` cuts the strip on the sheet into rows."""

    seconds: float = 0.25  # how long each picture shows
    hold: float = 2.0  # how long the last one stays before the film starts again

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the pictures, then `film.gif` and, with an origin, its sidecar."""
        yield from super().items()
        yield FILE, gif_bytes([_large(picture) for picture in self.pictures()], self.seconds, self.hold)
        if (note := self.note(FILE)) is not None:
            yield sidecar(FILE), to_json(note).encode()


def _large(picture: Image.Image) -> Image.Image:
    factor = max(1, -(-LEAST // max(picture.size)))
    return picture.convert("RGB").resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
