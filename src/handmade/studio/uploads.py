"""Files from the page: each is read as what it claims to be, written anew into a private folder, and goes by an id.

Pictures are decoded within our limits and become PNG, so that nothing of a hostile file stays; texts must be UTF-8; MIDI and
WAV must be readable; a .zip is unpacked file by file under the same rules. What is refused is said, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import threading
import time
import unicodedata
import wave
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

from handmade.data.decode import MOST_BYTES, quiet_decoder, whole
from handmade.data.source import kind_of
from handmade.data.tree import naming, open_tree
from handmade.errors import Damaged, HandmadeError, UserError
from handmade.midi import read_midi
from handmade.studio.places import Busy, Missing, Places, fresh_id, read_json, write_json

DEEPEST = 4  # bytes of a sample of sound
SIDE = 2048  # longest side of a picture that is kept
MOST_FILES, MOST_TOTAL = 20_000, 1_000_000_000  # files and bytes of one upload
KEPT = 200  # uploads that are remembered
SHOWN = 200  # files that are told of at once
TEXTS = (".txt", ".md")
TABLES = (".csv", ".tsv", ".tmx", ".json", ".jsonl")
RATES, CHANNELS, SECONDS = (1000, 384_000), 8, 600  # of a sound
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6")
AT_ONCE = threading.Semaphore(2)  # pictures that are decoded at once: each may need a hundred megabytes


class Taken(NamedTuple):
    """A file as it is kept."""

    ending: str
    kind: str
    content: bytes
    size: tuple[int, int] | None = None  # of a picture


class Uploads:
    """All uploads of a studio."""

    def __init__(self, places: Places):
        self.folder, self.lock = places.make("uploads"), threading.Lock()

    def begin(self, name: str, purpose: str) -> dict[str, Any]:
        """A new, empty upload."""
        upload = fresh_id()
        (self.folder / upload / "files").mkdir(mode=0o700, parents=True)
        about = {"id": upload, "name": _line(name) or "files", "for": purpose, "created": time.time(), "files": []}
        write_json(self.folder / upload / "upload.json", about)
        self._sweep()
        return self.view(about)

    def add(self, upload: str, name: str, body: IO[bytes]) -> tuple[list[dict[str, Any]], list[str]]:
        """Take one file (all files of a .zip) into an upload; what was taken, and a line for each file of a .zip that was not.

        UserError with the reason where nothing was taken
        """
        path = safe_name(name)
        content = body.read(MOST_BYTES + 1)
        if not content:
            raise UserError(f"{path}: the file is empty")
        if path.lower().endswith(".zip") or content.startswith(b"PK\x03\x04"):
            return self._unpack(upload, content)
        file = self._keep(upload, path, take(path, content))
        if file["kind"] == "picture" and b"iTXthandmade" in content[:200_000]:
            self._keep_original(upload, file["id"], content)
        return [file], []

    def _keep_original(self, upload: str, file: str, content: bytes) -> None:
        """Keep the bytes of a PNG of ours as they came, for `recreate` alone: they are compared, and never shown."""
        folder = self.folder / upload / "originals"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / f"{file}.png").write_bytes(content)

    def _unpack(self, upload: str, content: bytes) -> tuple[list[dict[str, Any]], list[str]]:
        """The files of a .zip, one after the other; nested archives and names that lead out are refused, the rest goes on."""
        packed = self.folder / upload / f"{fresh_id()}.zip"  # several may come at once
        kept, refused = [], []
        try:
            packed.write_bytes(content)
            tree = open_tree(packed)
            if not tree.entries:
                raise UserError("the .zip holds no files")
            if len(tree.entries) > MOST_FILES:
                raise UserError(f"the .zip holds {len(tree.entries):,} files, more than the {MOST_FILES:,} allowed")
            for entry in tree.entries:
                try:
                    name = safe_name(entry.name)
                    with naming(name):
                        inner = tree.read(entry.name, MOST_BYTES)
                    kept.append(self._keep(upload, name, take(name, inner)))
                except (Damaged, UserError) as error:
                    refused.append(str(error))
        except (zipfile.BadZipFile, Damaged, UserError) as error:
            raise UserError(str(error).replace(str(packed), "the .zip")) from None
        finally:
            packed.unlink(missing_ok=True)
        if not kept:
            raise UserError(refused[0])
        return kept, refused

    def _keep(self, upload: str, name: str, taken: Taken) -> dict[str, Any]:
        """Write one file and note it down."""
        stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name)
        with self.lock:
            about = self.about(upload)
            files = about["files"]
            if len(files) >= MOST_FILES or sum(f["bytes"] for f in files) + len(taken.content) > MOST_TOTAL:
                raise UserError(f"an upload takes {MOST_FILES:,} files and {MOST_TOTAL // 10**9} GB at most")
            used = {file["name"].lower() for file in files}
            path, n = f"{stem}{taken.ending}", 1
            while path.lower() in used:
                n += 1
                path = f"{stem}-{n}{taken.ending}"
            target = self.folder / upload / "files" / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(taken.content)
            width, height = taken.size or (None, None)
            file = {"id": f"f{len(files)}", "name": path, "bytes": len(taken.content), "kind": taken.kind,
                    "width": width, "height": height}  # fmt: skip
            files.append(file)
            write_json(self.folder / upload / "upload.json", about)
        return file

    def about(self, upload: str) -> dict[str, Any]:
        """What is written down of an upload; Missing where there is none."""
        if upload not in {path.name for path in self.folder.iterdir()}:
            raise Missing(upload)
        about = read_json(self.folder / upload / "upload.json")
        if about is None:
            raise Missing(upload)
        return about

    def view(self, about: dict[str, Any]) -> dict[str, Any]:
        """An upload as the page sees it."""
        kind = None
        if about["files"]:
            with contextlib.suppress(HandmadeError):
                kind = kind_of(self.folder / about["id"] / "files")
        return {**about, "files": about["files"][:SHOWN], "count": len(about["files"]), "kind": kind,
                "bytes": sum(file["bytes"] for file in about["files"])}  # fmt: skip

    def all(self) -> list[dict[str, Any]]:
        """All uploads, newest first."""
        found = [read_json(path) for path in sorted(self.folder.glob("*/upload.json"), reverse=True)]
        return [self.view(about) for about in found if about is not None]

    def path(self, upload: str, file: str | None = None) -> Path:
        """The file of an upload, its only one, or its folder, for a command to read."""
        about = self.about(upload)
        folder = self.folder / upload / "files"
        if not about["files"]:
            raise UserError("nothing has been uploaded there yet")
        if file is None:
            return folder / about["files"][0]["name"] if len(about["files"]) == 1 else folder
        name = next((f["name"] for f in about["files"] if f["id"] == file), None)
        if name is None:
            raise Missing(file)
        return folder / name

    def original(self, upload: str, file: str) -> Path:
        """The bytes of a picture as they came, whose note of origin is not kept in the one that was written anew."""
        name = self.path(upload, file).relative_to(self.folder / upload / "files").as_posix()
        path = self.folder / upload / "originals" / f"{file}{Path(name).suffix}"
        return path if path.is_file() else self.folder / upload / "files" / name

    def drop(self, upload: str, used: set[str]) -> None:
        """Forget an upload; Busy where a job or a run still needs it (`used`: the folders that are named there)."""
        self.about(upload)
        if any(str(self.folder / upload) in path for path in used):
            raise Busy("a run or a job still learns from these files")
        shutil.rmtree(self.folder / upload, ignore_errors=True)

    def _sweep(self) -> None:
        """Forget the oldest files for asks; data for training stays until it is thrown away."""
        with self.lock:
            found = [
                about
                for path in sorted(self.folder.glob("*/upload.json"))
                if (about := read_json(path)) and about["for"] == "ask"
            ]
            for about in found[: max(0, len(found) - KEPT)]:
                shutil.rmtree(self.folder / about["id"], ignore_errors=True)


def take(name: str, content: bytes) -> Taken:
    """Read a file as what it is, and give back what is kept of it; UserError with the reason where it is nothing we know."""
    ending = Path(name).suffix.lower()
    with _refusing(name):
        if ending in (".mid", ".midi") or content.startswith(b"MThd"):
            read_midi(content, name)
            if b"\xff\x51\x03\0\0\0" in content:
                raise Damaged("a tempo of zero, at which nothing is ever heard")
            return Taken(".mid", "midi", content)
        if ending == ".wav" or (content.startswith(b"RIFF") and content[8:12] == b"WAVE"):
            return Taken(".wav", "sound", _sound(content))
        if ending in (*TEXTS, *TABLES):
            return Taken(ending, "table" if ending in TABLES else "text", _text(content))
        if content.startswith(b"PK\x03\x04") or ending in (".zip", ".gz", ".7z", ".rar", ".tar"):
            raise Damaged("an archive inside another, or of a kind that is not read: use a .zip of plain files")
        if content.startswith(MAGIC) or content[4:12] in (b"ftypavif", b"ftypavis"):
            with AT_ONCE:
                return _picture(content)
        raise Damaged("not a picture, a text, a table, MIDI or WAV")


@contextlib.contextmanager
def _refusing(name: str):
    try:
        yield
    except (Damaged, UserError) as error:
        told = str(error)
        raise UserError(told if told.startswith(name) else f"{name}: {told}") from None


def _picture(content: bytes) -> Taken:
    """Decode, turn upright, shrink to SIDE where larger, and write as PNG: colour stays colour, grey becomes colour too."""
    from PIL import Image

    with quiet_decoder():
        pixels = whole(content, 3)  # (3, H, W) uint8
    picture = Image.fromarray(pixels.transpose(1, 2, 0).copy())
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return Taken(".png", "picture", out.getvalue(), picture.size)


def _text(content: bytes) -> bytes:
    """UTF-8 without a mark in front; Damaged for anything else."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Damaged(f"no text in UTF-8: byte {error.start} is {content[error.start]:#04x}") from None
    if "\0" in text:
        raise Damaged("no text: it holds zero bytes")
    return text.encode()


def _sound(content: bytes) -> bytes:
    """Read a WAV of plain samples and write it anew; Damaged for what no ear could hear, or is too long."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate, frames = (
                file.getnchannels(),
                file.getsampwidth(),
                file.getframerate(),
                file.getnframes(),
            )
            if not 1 <= channels <= CHANNELS or not RATES[0] <= rate <= RATES[1] or frames < 1:
                raise Damaged(f"{channels} channels at {rate} Hz, {frames} samples: that is no sound")
            if width > DEEPEST:
                raise Damaged(f"samples of {width} bytes: at most {DEEPEST} are known")
            if frames / rate > SECONDS:
                raise Damaged(f"{frames / rate:,.0f} seconds, more than the {SECONDS} allowed")
            samples = file.readframes(min(frames, len(content)))
    except (wave.Error, EOFError, ValueError, RuntimeError, ZeroDivisionError, OverflowError) as error:
        raise Damaged(f"no WAV that can be read: {error}") from None
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()


def safe_name(name: str) -> str:
    """A name from outside, folders kept: plain letters, no way up, nothing hidden; UserError for any other."""
    plain = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = plain.split("/")
    if not 1 <= len(parts) <= 6 or len(plain) > 240 or not plain.isprintable() or ":" in plain:
        raise UserError(f"{_line(name)[:80]!r} is no name that can be kept: use plain letters and at most five folders")
    kept = []
    for part in parts:
        if part in ("", ".", "..") or part.startswith((".", "~")):
            raise UserError(f"{_line(name)[:80]!r} is no name that can be kept: no hidden files, no way up")
        kept.append(re.sub(r"[^\w .,()+=@&-]", "_", part).strip(" .") or "_")
    return "/".join(kept)


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()
