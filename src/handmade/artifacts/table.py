"""A small table of names and numbers: CSV for spreadsheets, JSON for scripts, a chart for the eye."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts.artifact import Artifact
from handmade.artifacts.palette import INK, MUTED, PAPER, RULE, SERIES
from handmade.artifacts.provenance import png_bytes, sidecar, to_json
from handmade.errors import UserError

SHOWN = 40  # rows in a picture
SIZE, LEADING, MARGIN, GAP, BAR = 18, 30, 28, 26, 160  # pixels


@dataclass(frozen=True, eq=False)
class Table(Artifact):
    """Rows of cells under named columns. `values` are the same numbers as a script wants them: what `--json` prints."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    values: Mapping[str, Any] = field(default_factory=dict)
    bars: Sequence[str] = ()  # columns of numbers, at least 0, that are drawn as bars
    stem: str = "table"  # name of the files, without their endings

    def __post_init__(self) -> None:
        if not self.rows or not self.columns:
            raise UserError("a table needs at least one row and one column")
        if any(len(row) != len(self.columns) for row in self.rows):
            raise UserError(f"every row of a table needs {len(self.columns)} cells")

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the CSV, its sidecar where there is an origin, the values as JSON, and the chart."""
        page = io.StringIO()
        csv.writer(page, lineterminator="\n").writerows([self.columns, *self.rows])
        yield f"{self.stem}.csv", page.getvalue().encode()
        if (note := self.note(f"{self.stem}.csv")) is not None:
            yield sidecar(f"{self.stem}.csv"), to_json(note).encode()
        yield f"{self.stem}.values.json", json.dumps(dict(self.values), ensure_ascii=False, indent=1).encode()
        yield f"{self.stem}.png", png_bytes(self.picture(), self.note(f"{self.stem}.png"))

    def sample(self) -> dict[str, Any]:
        """Return the first rows as lines of text."""
        return {"kind": "text", "lines": self.text(72).splitlines()[:24], "of": len(self.rows)}

    def picture(self) -> Image.Image:
        """Draw the table; columns of `bars` as bars, each in its own colour."""
        font = ImageFont.load_default(size=SIZE)
        rows = [[_cell(cell) for cell in row] for row in self.rows[:SHOWN]]
        widths = [max(font.getlength(row[i]) for row in [list(self.columns), *rows]) for i in range(len(self.columns))]
        widths = [w + (BAR if name in self.bars else 0) for w, name in zip(widths, self.columns, strict=True)]
        size = (int(sum(widths) + GAP * (len(widths) - 1)) + 2 * MARGIN, 2 * MARGIN + LEADING * (len(rows) + 1))
        page = Image.new("RGB", size, PAPER)
        draw, x = ImageDraw.Draw(page), float(MARGIN)
        draw.line((MARGIN, MARGIN + LEADING, size[0] - MARGIN, MARGIN + LEADING), RULE, 2)
        for i, (name, width) in enumerate(zip(self.columns, widths, strict=True)):
            draw.text((x, MARGIN + LEADING / 2), name, MUTED, font, anchor="lm")
            most = max((float(row[i]) for row in self.rows), default=0) if name in self.bars else 0
            for r, row in enumerate(rows):
                y, start = MARGIN + LEADING * (r + 1.5), x
                if name in self.bars:
                    long = BAR * float(self.rows[r][i]) / most if most else 0
                    draw.rectangle((x, y - 8, x + long, y + 8), SERIES[list(self.bars).index(name) % len(SERIES)])
                    start = x + long + 6
                draw.text((start, y), row[i], INK, font, anchor="lm")
            x += width + GAP
        return page

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show the table in columns, cut to the terminal."""
        rows = [list(self.columns), *([_cell(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.columns))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(line if len(line) <= width else line[: width - 3] + "..." for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
