from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

Paint = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts with an empty cache of its own."""
    torch.set_num_threads(1)
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def paint() -> Paint:
    """Write a real picture file of one colour; return its path."""

    def write(
        path: Path, colour: tuple[int, ...] | int = (255, 0, 0), size: tuple[int, int] = (12, 12), **options
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "L" if isinstance(colour, int) else {3: "RGB", 4: "RGBA"}[len(colour)]
        Image.new(mode, size, colour).save(path, **options)
        return path

    return write


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)
