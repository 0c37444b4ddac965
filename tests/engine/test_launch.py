"""Several processes are started: a signal at that moment ends them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from handmade.engine import launch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_all_have_started_leaves_none_behind(number, monkeypatch):
    started = []

    def start(*_):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True))
        os.kill(os.getpid(), number)
        return started[-1]

    monkeypatch.setattr(launch, "_start", start)
    before = signal.getsignal(number)
    assert launch.launch(3, []) == 128 + number
    assert len(started) == 1 and started[0].poll() is not None and signal.getsignal(number) is before
