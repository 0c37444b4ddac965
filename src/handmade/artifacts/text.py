"""Text: lines in one plain file that scripts can read, or passages in a file each; and a picture of them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from handmade.artifacts.artifact import Artifact
from handmade.artifacts.palette import INK, MUTED, PAPER, RULE
from handmade.artifacts.provenance import sidecar, to_json
from handmade.artifacts.terminal import printable
from handmade.errors import UserError

SHOWN = 24  # lines on the picture and in a terminal; the file holds all
LETTERS = 72  # of a line on the picture
PASSAGE = 2000  # letters of a passage that a page shows
SIZE, LEADING, MARGIN = 18, 28, 28  # pixels


@dataclass(frozen=True, eq=False)
class Text(Artifact):
    """One line of text per item, for example a sequence of numbers."""

    lines: tuple[str, ...]
    stem: str = "text"  # name of the file, without `.txt`

    def __post_init__(self) -> None:
        if not self.lines:
            raise UserError("a text needs at least one line")
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", self.stem):
            raise UserError(f"a text cannot be saved as {self.stem!r}: use small letters, digits, - and _")
        for line in self.lines:
            if len(line.splitlines()) > 1 or line.endswith(("\n", "\r")):
                raise UserError(f"each item of a text is one line, not {line[:40]!r}")

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the file, one line per item and nothing else in it, and with an origin its sidecar."""
        name = f"{self.stem}.txt"
        yield name, "".join(f"{line}\n" for line in self.lines).encode()
        if (note := self.note(name)) is not None:
            yield sidecar(name), to_json(note).encode()

    def sample(self) -> dict[str, Any]:
        """Return the first lines."""
        return {"kind": "text", "lines": [line[:LETTERS] for line in self.lines[:SHOWN]], "of": len(self.lines)}

    def picture(self) -> Image.Image:
        """Draw the first lines, words in columns where all lines have the same number of them."""
        lines = [line[:LETTERS].split(" ") for line in self.lines[:SHOWN]]
        font = ImageFont.load_default(size=SIZE)
        table = len({len(line) for line in lines}) == 1
        rows = lines if table else [[" ".join(line)] for line in lines]
        widths = [max(font.getlength(row[i]) for row in rows) + 14 for i in range(len(rows[0]))]
        rest = len(self.lines) - len(rows)
        height = 2 * MARGIN + LEADING * (len(rows) + (rest > 0))
        page = Image.new("RGB", (max(320, int(sum(widths)) + 2 * MARGIN), height), PAPER)
        draw = ImageDraw.Draw(page)
        for index, row in enumerate(rows):
            x, y = float(MARGIN), MARGIN + LEADING * (index + 0.5)
            for word, width in zip(row, widths, strict=True):  # numbers stand under each other, at the right
                place, anchor = (x + width - 14, "rm") if len(row) > 1 else (x, "lm")
                draw.text((place, y), word, INK, font, anchor=anchor)
                x += width
        if rest > 0:
            more = f"and {rest:,} more lines" if rest > 1 else "and one more line"
            draw.text((MARGIN, MARGIN + LEADING * (len(rows) + 0.5)), more, MUTED, font, anchor="lm")
        return page

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show the first lines, cut to the terminal."""
        shown = [line if len(line) <= width else line[: width - 3] + "..." for line in self.lines[:SHOWN]]
        rest = len(self.lines) - len(shown)
        return "\n".join([*shown, f"... {rest:,} more"] if rest > 0 else shown)


@dataclass(frozen=True, eq=False)
class Passages(Artifact):
    """Texts with line breaks of their own, one `.txt` file each."""

    texts: tuple[str, ...]
    given: tuple[int, ...] = ()  # letters at the start of each text that were given, not made

    def __post_init__(self) -> None:
        if not self.texts:
            raise UserError("there is no text")
        if self.given and len(self.given) != len(self.texts):
            raise UserError(f"{len(self.texts)} texts cannot have {len(self.given)} beginnings")

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield `000000.txt`, `000001.txt`, ..., and with an origin a sidecar for each."""
        for index, text in enumerate(self.texts):
            name = f"{index:06d}.txt"
            yield name, text.encode("utf-8", "replace")
            if (note := self.note(name, index)) is not None:
                yield sidecar(name), to_json(note).encode()

    def sample(self) -> dict[str, Any]:
        """Return the first text and how much of it was given."""
        given = self.given[0] if self.given else 0
        return {"kind": "passage", "text": self.texts[0][:PASSAGE], "given": min(given, PASSAGE), "of": len(self.texts)}

    def picture(self) -> Image.Image:
        """Draw the first lines of all passages, a rule between them; what was given is paler.

        The size grows by twelve lines at a time, so that the frames of a film have one size.
        """
        lines = [line for index in range(len(self.texts)) for line in [*self._lines(LETTERS, index), None]][:-1]
        lines = lines[: 2 * SHOWN]
        rows = 12 * max(1, -(-len(lines) // 12))
        font = ImageFont.load_default(size=SIZE)
        width = max([640, *(int(font.getlength(line[0])) + 2 * MARGIN for line in lines if line)])
        page = Image.new("RGB", (width, 2 * MARGIN + LEADING * rows), PAPER)
        draw = ImageDraw.Draw(page)
        for index, line in enumerate(lines):
            y = MARGIN + LEADING * (index + 0.5)
            if line is None:
                draw.line((MARGIN, y, width - MARGIN, y), RULE, 2)
                continue
            text, given = line
            draw.text((MARGIN, y), text[:given], MUTED, font, anchor="lm")
            draw.text((MARGIN + font.getlength(text[:given]), y), text[given:], INK, font, anchor="lm")
        return page

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show all passages, wrapped to the terminal."""
        parts = ["\n".join(line for line, _ in self._lines(width, index)) for index in range(len(self.texts))]
        return f"\n{'-' * min(width, 20)}\n".join(parts)

    def _lines(self, width: int, index: int) -> list[tuple[str, int]]:
        """One passage in lines of at most `width` letters, each with how many of its letters were given."""
        given, lines = self.given[index] if self.given else 0, []
        for line in printable(self.texts[index]).replace("\t", " ").split("\n"):
            for part in textwrap.wrap(line, width, replace_whitespace=False, drop_whitespace=False) or [""]:
                lines.append((part, min(len(part), max(0, given))))
                given -= len(part)
            given -= 1
        return lines[:-1] if len(lines) > 1 and not lines[-1][0] else lines
