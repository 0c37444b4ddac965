"""Several processes on this machine: start them, pass signals on, and end as the first one to fail ends. Loads no torch.

Many machines are started by torchrun or SLURM, which set the same environment variables.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import IO

PATIENCE = 20.0  # seconds that the others have to end by themselves when one has failed
LOST = 1  # the exit code of a process that failed because another one did
Process = subprocess.Popen[bytes]


def launch(devices: int, arguments: list[str]) -> int:
    """Run `handmade ARGUMENTS` in so many processes; return 0, or the exit code that says most about a failure.

    The first process talks and prints. The others are silent, unless the reason of a failure is theirs.
    """
    processes: list[Process] = []
    signals: list[int] = []

    def pass_on(number: int, _: object) -> None:
        signals.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    with tempfile.TemporaryFile() as unsaid:
        environment = _environment(devices)
        before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for rank in range(devices):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes.append(_start(arguments, {**environment, **own}, None if rank == 0 else unsaid))
                if signals:  # before all were there: those that are would wait for the others
                    return 128 + signals[0]
            _wait(processes)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            _end(processes)
        codes = [process.returncode if process.returncode >= 0 else 128 - process.returncode for process in processes]
        code = next((code for code in codes if code > LOST), max(codes))
        if code and codes[0] in (0, LOST):  # then it is not the first process that can say why
            unsaid.seek(0)
            sys.stderr.write(unsaid.read().decode("utf-8", "replace"))
        return code


def _environment(devices: int) -> dict[str, str]:
    """What every process must know: how many there are, and a free port where they meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    meet = {
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return {"OMP_NUM_THREADS": str(max(1, cores // devices)), **os.environ, **meet}


def _start(arguments: list[str], environment: dict[str, str], silent: IO[bytes] | None) -> Process:
    """One process, in a session of its own: a Ctrl-C in the terminal then reaches it once, through us."""
    command = [sys.executable, "-m", "handmade", *arguments]
    out = None if silent is None else subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=out, stderr=silent, start_new_session=True)


def _wait(processes: list[Process]) -> None:
    """Return when all have ended, or a while after the first failure."""
    since = None
    while any(process.poll() is None for process in processes):
        time.sleep(0.05)
        if since is None and any(process.returncode for process in processes):
            since = time.monotonic()
        if since is not None and time.monotonic() - since > PATIENCE:
            return


def _end(processes: list[Process]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
