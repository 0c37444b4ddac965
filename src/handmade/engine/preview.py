"""What a run shows of itself when it ends: curves and samples on one sheet, and a film of its samples."""

from __future__ import annotations

from PIL import Image

from handmade.artifacts import progress_sheet, write_film
from handmade.engine.run import Run


def write_previews(run: Run) -> None:
    """Write `progress.png`, `film.gif` and, where the optional `av` is installed, `film.mp4`."""
    progress_sheet(run.folder).save(run.folder / "progress.png")
    sheets = sorted((run.folder / "samples").glob("*/sheet.png"))
    if len(sheets) > 1:
        write_film([Image.open(sheet) for sheet in sheets], run.folder)
