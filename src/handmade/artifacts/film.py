"""Films of a training: pictures in order as an animated GIF and, where the optional `av` is installed, as MP4."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

from handmade.artifacts.palette import MATTE
from handmade.errors import UserError

SIDE = 720  # largest side of a film in pixels


def write_film(
    pictures: Sequence[Image.Image], folder: Path, stem: str = "film", seconds: float = 0.25, hold: float = 2.5
) -> list[Path]:
    """Write `STEM.gif`, and `STEM.mp4` where `av` is installed; return what was written.

    seconds: how long each picture shows; hold: how long the last one stays before the film starts again
    """
    if not pictures:
        raise UserError("a film needs at least one picture: this run has kept no samples yet")
    frames = _same_size(pictures)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [_gif(frames, folder / f"{stem}.gif", seconds, hold)]
    if importlib.util.find_spec("av"):
        files.append(_mp4(frames, folder / f"{stem}.mp4", seconds, hold))
    return files


def _same_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Bring all frames to the size of the last one, at most SIDE, even numbers (video wants them)."""
    last = pictures[-1]
    factor = min(1.0, SIDE / max(last.size))
    width, height = (max(2, int(side * factor) // 2 * 2) for side in last.size)
    frames = []
    for picture in pictures:
        scale = min(width / picture.width, height / picture.height)
        small = picture.convert("RGB").resize(
            (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
        )
        frame = Image.new("RGB", (width, height), MATTE)
        frame.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
        frames.append(frame)
    return frames


def _gif(frames: list[Image.Image], path: Path, seconds: float, hold: float) -> Path:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(gif_bytes(frames, seconds, hold))
    part.replace(path)
    return path


def gif_bytes(frames: Sequence[Image.Image], seconds: float = 0.25, hold: float = 2.5) -> bytes:
    """Encode pictures of one size as an endless GIF; the same pictures always give the same bytes."""
    palette = _palette(frames)
    shown = [frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [*[round(seconds * 1000)] * (len(shown) - 1), round(hold * 1000)]
    out = io.BytesIO()
    shown[0].save(out, format="GIF", save_all=True, append_images=shown[1:], duration=times, loop=0, optimize=False)
    return out.getvalue()


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """Choose 256 colours for the whole film, so that nothing flickers; the last frames count most."""
    chosen = [frames[round(share * (len(frames) - 1))] for share in (0.0, 0.3, 0.6, 0.8, 0.9, 1.0)]
    montage = Image.new("RGB", (frames[0].width, frames[0].height * len(chosen)))
    for index, frame in enumerate(chosen):
        montage.paste(frame.convert("RGB"), (0, index * frame.height))
    return montage.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _mp4(frames: list[Image.Image], path: Path, seconds: float, hold: float) -> Path:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(mp4_bytes(frames, seconds, hold))
    part.replace(path)
    return path


def mp4_bytes(frames: Sequence[Image.Image], seconds: float = 0.25, hold: float = 2.5) -> bytes:
    """Encode pictures of one size, with even sides, as a film; the same pictures always give the same bytes. Needs `av`."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(1) / Fraction(seconds).limit_denominator(100))
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "threads": "1"}  # one thread: the same film gives the same bytes
        for frame in [*frames, *[frames[-1]] * round(hold / seconds)]:
            film.mux(stream.encode(av.VideoFrame.from_image(frame)))
        film.mux(stream.encode())
    return out.getvalue()
