"""The built page in the repository is what its sources say, small enough to be there at once, and needs nobody else."""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES, BUILT = ROOT / "studio-page", ROOT / "src" / "handmade" / "studio" / "page"
PARTS = ("index.html", "package-lock.json", "package.json", "public", "src",
         "svelte.config.js", "tsconfig.json", "vite.config.ts")  # fmt: skip


def test_the_page_is_not_older_than_its_sources() -> None:
    files = [path for part in PARTS for path in ([SOURCES / part] if "." in part else (SOURCES / part).rglob("*"))]
    names = sorted(path.relative_to(SOURCES).as_posix() for path in files if path.is_file())
    whole = hashlib.sha256()
    for name in names:
        whole.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    assert (BUILT / "built-from.txt").read_text().strip() == whole.hexdigest(), "run `make studio-page`"


def test_the_first_load_is_at_most_150_kB_compressed() -> None:
    page = (BUILT / "index.html").read_text()
    first = [BUILT / name.lstrip("/") for name in re.findall(r'(?:src|href)="(/[^"]+)"', page)]
    assert len(first) >= 4
    size = sum(len(gzip.compress(path.read_bytes(), 6)) for path in [BUILT / "index.html", *first])
    assert size <= 150_000


def test_the_page_holds_no_inline_script_or_style_and_names_no_other_host() -> None:
    page = (BUILT / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
    for path in BUILT.rglob("*"):
        if path.suffix in {".html", ".css"}:
            assert "://" not in path.read_text(), path.name
        elif path.suffix == ".js":  # namespaces and the links to documentation in messages are names, not requests
            hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text()))
            assert hosts <= {"www.w3.org", "svelte.dev"}, f"{path.name}: {hosts}"


@pytest.mark.slow
@pytest.mark.network
def test_a_fresh_build_gives_the_same_bytes(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("building the page needs Node")
    copy = tmp_path / "studio-page"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci"], cwd=copy, check=True, capture_output=True, timeout=300)
    out = tmp_path / "page"
    subprocess.run(
        ["npx", "vite", "build", "--outDir", str(out)], cwd=copy, check=True, capture_output=True, timeout=300
    )
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(BUILT).as_posix() for path in BUILT.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(out, BUILT, names, shallow=False) == (names, [], [])
