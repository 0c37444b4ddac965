from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from handmade.data.cache import cache_folder, digest, load_arrays, store, store_arrays


def test_the_users_choice_comes_before_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HANDMADE_CACHE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "elsewhere"


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms name other folders")
def test_the_linux_cache_honours_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HANDMADE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "handmade"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "handmade"


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    target = tmp_path / "kept" / "thing"

    def half(folder: Path) -> None:
        (folder / "first").write_text("1")
        raise OSError("disk full")

    assert not store(target, half)
    assert not list(target.parent.iterdir())
    assert store(target, lambda folder: (folder / "first").write_text("1") and None)
    assert [path.name for path in target.parent.iterdir()] == ["thing"]


def test_what_another_process_finished_first_is_kept(tmp_path: Path):
    target = tmp_path / "thing"
    assert store(target, lambda folder: (folder / "a").write_text("first") and None)
    assert store(target, lambda folder: (folder / "a").write_text("second") and None)
    assert (target / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["thing"]


def test_arrays_come_back_as_they_were_and_damaged_ones_not_at_all(tmp_path: Path):
    target = tmp_path / "kept" / "a.npz"
    assert load_arrays(target) is None
    assert store_arrays(target, {"pixels": np.arange(1000)})
    kept = load_arrays(target)
    assert kept is not None
    assert (kept["pixels"] == np.arange(1000)).all()
    whole = target.read_bytes()
    for damaged in (b"", whole[:-30], whole[:200] + b"x" * 50 + whole[250:]):
        target.write_bytes(damaged)
        assert load_arrays(target) is None
    assert [path.name for path in target.parent.iterdir()] == ["a.npz"]


def test_a_digest_tells_every_difference_and_depends_on_nothing_else():
    assert digest("a", 1, {"x": 1, "y": 2}) == digest("a", 1, {"y": 2, "x": 1})
    assert len({digest("a", 1), digest("a", 2), digest("a", "1"), digest("a1")}) == 4
