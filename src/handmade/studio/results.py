"""What asks have made: a private folder each, found by ids, told to the page, made again from its origin on request."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handmade.artifacts.provenance import read_origin
from handmade.errors import UserError
from handmade.studio.places import Missing, Places, fresh_id, read_json, write_json
from handmade.studio.processes import environment

KEEP = 300  # results that are remembered beside those that are kept
TYPES = {
    ".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8", ".json": "application/json", ".wav": "audio/wav", ".flac": "audio/flac",
    ".mid": "audio/midi", ".mp4": "video/mp4", ".abc": "text/plain; charset=utf-8",
}  # fmt: skip
UNKNOWN = "application/octet-stream"
PATIENCE = 300.0  # seconds that making it again may take


class Results:
    """All results of a studio."""

    def __init__(self, places: Places):
        self.places, self.folder, self.lock = places, places.make("results"), threading.Lock()

    def begin(self) -> tuple[str, Path]:
        """An id and an empty folder for what is going to be made."""
        name = fresh_id()
        folder = self.folder / name
        (folder / "files").mkdir(mode=0o700, parents=True)
        return name, folder / "files"

    def end(self, name: str, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
        """Write down what was made; return it as the page sees it."""
        files = [{"id": f"f{i}", "name": file, "item": _item(file)} for i, file in enumerate(answer["files"])]
        about = {
            **asked, "id": name, "created": time.time(), "seconds": round(answer["seconds"], 3), "kind": answer["artifact"],
            "words": answer["words"], "sample": answer["sample"], "fields": answer["fields"], "origin": answer["origin"],
            "files": files, "kept": False,
        }  # fmt: skip
        write_json(self.folder / name / "result.json", about)
        self._sweep()
        return self.view(about)

    def drop(self, name: str) -> None:
        """Forget what was not finished, or is not wanted."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def all(self, run: str | None) -> list[dict[str, Any]]:
        """All results, newest first."""
        found = [
            about for folder in sorted(self.folder.glob("*/result.json"), reverse=True) if (about := read_json(folder))
        ]
        return [self.view(about) for about in found if run is None or about.get("run") == run]

    def about(self, name: str) -> dict[str, Any]:
        """What was written down about one; Missing where there is none."""
        if name not in {path.name for path in self.folder.iterdir()}:
            raise Missing(name)
        about = read_json(self.folder / name / "result.json")
        if about is None:
            raise Missing(name)
        return about

    def view(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """A result with the address, kind and size of each of its files."""
        base, told = f"/api/results/{about['id']}/files", []
        for file in about["files"]:
            with contextlib.suppress(OSError):
                size = (self.folder / about["id"] / "files" / file["name"]).stat().st_size
                told.append({**file, "type": content_type(file["name"]), "bytes": size, "url": f"{base}/{file['id']}"})
        sheet = next((file["url"] for file in told if file["name"] == "sheet.png"), None)
        return {**about, "files": told, "sheet": sheet}

    def file(self, name: str, file: str) -> Path:
        """One file of a result."""
        about = self.about(name)
        found = next((f["name"] for f in about["files"] if f["id"] == file), None)
        if found is None or not (path := self.folder / name / "files" / found).is_file():
            raise Missing(file)
        return path

    def keep(self, name: str, kept: bool) -> dict[str, Any]:
        """Let a result stay, or let it go with the others in time."""
        with self.lock:
            about = {**self.about(name), "kept": kept}
            write_json(self.folder / name / "result.json", about)
        return self.view(about)

    def zipped(self, name: str) -> tuple[str, bytes]:
        """All files of a result in one .zip, always the same bytes, and a name for it."""
        about, packed = self.about(name), io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file in about["files"]:
                path = self.folder / name / "files" / file["name"]
                archive.writestr(zipfile.ZipInfo(file["name"]), path.read_bytes())
        return f"{about['run']}-{about['ask']}.zip", packed.getvalue()

    async def recreate(self, name: str) -> dict[str, Any]:
        """Make a result again from its origin, in a process of its own, and compare the bytes."""
        about = self.about(name)
        wanted = next(
            (f["id"] for f in about["files"] if f["name"] != "sheet.png" and not f["name"].endswith(".json")), None
        )
        return await self.again(self.file(name, wanted or about["files"][0]["id"]))

    async def again(self, path: Path) -> dict[str, Any]:
        """Make a file again, if it says that a run of this studio made it. UserError where it does not."""
        origin = await asyncio.to_thread(read_origin, path)
        if not self._is_ours(str(origin.get("run", ""))):
            raise UserError("the run that made this is not here")
        out = self.folder / f".again-{fresh_id()}"
        words = [sys.executable, "-m", "handmade", "recreate", str(path), "--out", str(out)]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE):
                _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
            shutil.rmtree(out, ignore_errors=True)
        words_ = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
        if process.returncode not in (0, 1) or words_[0].startswith("handmade: "):
            raise UserError(words_[0].removeprefix("handmade: ") or "it could not be made again")
        return {"same": process.returncode == 0, "words": words_[0], "origin": origin}

    def _is_ours(self, run: str) -> bool:
        """Whether an origin names a run of this studio: nothing else on this machine is opened for it."""
        if run.startswith("zoo:"):
            return f"zoo.{run[4:].replace('/', '.')}" in self.places.shipped_runs()
        with contextlib.suppress(OSError, ValueError):
            return Path(run).resolve() in {folder.resolve() for folder in self.places.own_runs().values()}
        return False

    def _sweep(self) -> None:
        with self.lock:
            if sum(1 for _ in self.folder.iterdir()) < KEEP + 20:
                return
            found = [
                about
                for path in sorted(self.folder.glob("*/result.json"))
                if (about := read_json(path)) and not about["kept"]
            ]
            for about in found[: max(0, len(found) - KEEP)]:
                shutil.rmtree(self.folder / about["id"], ignore_errors=True)


def content_type(name: str) -> str:
    """The fixed content type of a file of ours, by the end of its name; never guessed from what is in it."""
    return TYPES.get(Path(name).suffix.lower(), UNKNOWN)


def _item(name: str) -> int | None:
    match = re.match(r"(\d{6})\.", name)
    return int(match[1]) if match and not name.endswith(".json") else None
