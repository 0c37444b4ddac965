"""What all tests share: toy rooms beside the real ones, and folders of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # two processes share the cores: whoever waits leaves his to the other

import handmade  # noqa: F401  before any test loads torch: it tells waiting threads to sleep
from commands import Background

ROOMS = Path(__file__).parent / "rooms"

# `make test` tries the same examples each time, so that what fails was broken by the change; `make test-slow` tries new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


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


def pytest_configure(config: pytest.Config) -> None:
    """A GPU is for the tests that ask for one: all others compute alike on every machine."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        return
    import torch

    if not torch.cuda.is_available():
        raise pytest.UsageError("these tests need a GPU, and torch sees none here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms come first: they take longest, and what is short then fills up both processes to the end."""
    items.sort(key=lambda item: item.path.name != "test_every_system.py")


class Together(LoadScopeScheduling):
    """With two processes (`-n 2`), the tests of one room go to one of them, which trains it once; else those of one file.

    xdist's own marks for this are not seen with pytest 9.2, where a test's id can no longer be changed.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        room = test.partition("[")[2].rstrip("]").rpartition("-")[2]  # of test[room] or test[float32-room]
        return room if room and file.endswith(("test_every_system.py", "test_on_a_gpu.py")) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    config.option.loadscopereorder = False  # the order is that of the items
    return Together(config, log)


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
