"""Servers for the tests of the studio: one for a whole file, or one for a single test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from studio_server import Server, end_jobs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for a whole file of tests."""
    running = Server(tmp_path_factory.mktemp("studio"))
    yield running
    running.stop()
    assert "Traceback" not in running.said(), running.said()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers of a single test; what they have started ends with it."""
    started: list[Server] = []

    def start(*words: str, **environment: str) -> Server:
        started.append(Server(tmp_path, *words, **environment))
        return started[-1]

    yield start
    for running in started:
        end_jobs(running.place)
        if running.process.poll() is None:
            running.stop()
