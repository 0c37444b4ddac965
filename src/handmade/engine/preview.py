"""What a run shows of itself when it ends: curves and samples on one sheet, and a film of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from handmade.artifacts import progress_sheet, write_film
from handmade.engine.run import Run

FRAMES = 240  # pictures of a film, at most: a minute


def write_previews(run: Run) -> None:
    """Write `progress.png`, `film.gif` and, where the optional `av` is installed, `film.mp4`."""
    progress_sheet(run.folder).save(run.folder / "progress.png")
    sheets = sorted((run.folder / "samples").glob("*/sheet.png"))
    if len(sheets) > 1:
        last, count = len(sheets) - 1, min(FRAMES, len(sheets))
        write_film(Pictures([sheets[k * last // (count - 1)] for k in range(count)]), run.folder)


@dataclass
class Pictures(Sequence[Image.Image]):
    """Pictures that are read when they are looked at: a long run has more sheets than a process may keep open."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        with Image.open(self.paths[index]) as picture:
            return picture.convert("RGB")
