"""What all tests share: toy rooms beside the real ones, and folders of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import handmade  # noqa: F401  before any test loads torch: it tells waiting threads not to spin
from commands import Background

ROOMS = Path(__file__).parent / "rooms"


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rooms, runs and the store of these tests lie apart from the user's."""
    places = {
        "HANDMADE_ROOMS": str(ROOMS),
        "HANDMADE_HOME": str(tmp_path_factory.mktemp("home")),
        "HANDMADE_RUNS": str(tmp_path_factory.mktemp("runs")),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def background() -> Iterator[Callable[..., Background]]:
    """Start `handmade WORDS` and go on."""
    started: list[Background] = []

    def start(*words: Any, **options: Any) -> Background:
        started.append(Background(*words, **options))
        return started[-1]

    yield start
    for running in started:
        running.close()
