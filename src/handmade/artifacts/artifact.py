"""What systems make: something that saves itself into files people use, shows itself, and says where it comes from."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handmade.artifacts.provenance import describe_file, png_bytes
from handmade.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SHEET = "sheet.png"


@dataclass(frozen=True, eq=False)
class Artifact(ABC):
    """One answer to an ask. `origin` is filled in by `core.ask`: recipe, run, weights, ask and its arguments."""

    origin: Mapping[str, Any] | None = field(default=None, kw_only=True)

    @abstractmethod
    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each file, without the sheet."""

    @abstractmethod
    def picture(self) -> Image.Image:
        """Draw the whole artifact as one RGB picture: for sheets, films and the gallery."""

    @abstractmethod
    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show the artifact in a terminal of `width` columns; colour None: as far as this terminal allows."""

    def sample(self) -> dict[str, Any] | None:
        """Return plain values that let a page draw the artifact itself, or None where a picture says it all."""
        return None

    def save(self, folder: Path) -> list[Path]:
        """Write one file per item and `sheet.png`; return their paths, the sheet last."""
        files = [_write(Path(folder) / name, data) for name, data in self.items()]
        return [*files, self._sheet(folder)]

    def preview(self, folder: Path) -> list[Path]:
        """Write what a run keeps of it while it trains: `sheet.png`, and `sample.json` where there is one."""
        files = [self._sheet(folder)]
        if (sample := self.sample()) is not None:
            files.append(_write(Path(folder) / "sample.json", json.dumps(sample, separators=(",", ":")).encode()))
        return files

    def note(self, file: str, item: int | None = None) -> dict[str, Any] | None:
        """Return the origin of one of the files, or None where the artifact has none."""
        return None if self.origin is None else describe_file(self.origin, file, item)

    def _sheet(self, folder: Path) -> Path:
        return _write(Path(folder) / SHEET, png_bytes(self.picture(), self.note(SHEET)))


def _write(path: Path, data: bytes) -> Path:
    """Write through a temporary name, so that a full disk or a kill leaves no half file under the real one."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from None
    return path
