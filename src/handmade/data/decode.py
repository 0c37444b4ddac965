"""One picture file, of any common kind, to square uint8 pixels; what is too large is refused before it is decoded."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from handmade.errors import Damaged

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MOST_PIXELS = 4096 * 4096  # 16 megapixels, ours: the decoder's own limit is eleven times as high
MOST_BYTES = 20_000_000
ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
)  # fmt: skip
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")  # a closed list: others can start programs


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Turn the decoder's warning about huge pictures into an error, and still its remarks about odd files."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(content: bytes, size: int, channels: int, ground: str = "white") -> np.ndarray:
    """A picture file -> (channels, size, size) uint8: turned upright, on its ground, its middle square, resized.

    Raises Damaged with the reason for what is no picture, is broken, or is larger than our limits. Of an animation the
    first frame is taken.
    """
    return _opened(content, lambda picture: square(picture, size, channels, ground), 2 * size)


def whole(content: bytes, channels: int) -> np.ndarray:
    """A picture file -> (channels, H, W) uint8 in its own size: turned upright, on white. Raises Damaged like `decode`."""
    return _opened(content, lambda picture: _pixels(_plain(picture, channels)))


def _opened(content: bytes, take: Callable[[Image], np.ndarray], least: int | None = None) -> np.ndarray:
    """What `take` makes of the upright picture in a file; a large JPEG is decoded smaller, but not below `least`."""
    from PIL import Image, ImageOps

    if len(content) > MOST_BYTES:
        raise Damaged(f"{len(content) / 1e6:,.0f} MB, more than the {MOST_BYTES / 1e6:,.0f} MB allowed")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Damaged(_too_large(f"{picture.width} x {picture.height} pixels"))
            if picture.format == "JPEG" and least is not None:
                picture.draft(None, (least, least))  # decode at a fraction: never below twice what is needed
            picture.load()
            return take(ImageOps.exif_transpose(picture))
    except Damaged:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Damaged(_too_large("a picture")) from None
    except Image.UnidentifiedImageError:
        raise Damaged("not a picture that can be read") from None
    except Exception as error:  # decoders raise kinds of their own, down to struct.error; the reason is kept
        raise Damaged(f"broken: {error}") from None


def _too_large(what: str) -> str:
    return f"{what} is more than the {MOST_PIXELS // 2**20} megapixels allowed"


def square(picture: Image, size: int, channels: int, ground: str = "white") -> np.ndarray:
    """Crop the middle square and resize it with a Lanczos filter, (channels, size, size) uint8."""
    from PIL import Image

    picture = _plain(picture, channels, ground)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if side != size:
        picture = picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _pixels(picture)


def _pixels(picture: Image) -> np.ndarray:
    """(C, H, W) uint8."""
    import numpy as np

    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _plain(picture: Image, channels: int, ground: str = "white") -> Image:
    """In colour or grey, opaque."""
    return _opaque(picture, ground).convert("RGB" if channels == 3 else "L")


def _opaque(picture: Image, ground: str) -> Image:
    """Eight bits a channel and no transparency: 16-bit grey is scaled, not clipped; what shines through is the ground."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture).convert("RGB")
    return picture


def _eight_bits(picture: Image) -> Image:
    """16-bit, 32-bit and floating-point grey, from the range that their kind of number is used for, to 0..255."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    if picture.mode == "F":
        top = 1.0 if values.max(initial=0) <= 1 else 255.0
    else:
        top = 255.0 if picture.mode == "I" and values.max(initial=0) <= 255 else 65535.0
    return Image.fromarray((values * (255 / top)).round().clip(0, 255).astype(np.uint8))
