"""The command line as tests use it: in a process of its own, to its end or in the background; and what a run has written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from handmade.engine.run import Run

TOYS = ("toy_critic", "toy_fit", "toy_gan", "toy_replay")


class Done:
    """A finished command: its exit code and what it said."""

    def __init__(self, code: int, out: str, said: str):
        self.code, self.out, self.said = code, out, said

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.said}"

    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)

    def complaint(self) -> str:
        """The one plain line that a failed command ends with; nothing of Python's may be seen."""
        assert "Traceback" not in self.said + self.out, self
        lines = [line for line in self.said.splitlines() if line.startswith("handmade: ")]
        assert len(lines) == 1 and self.said.rstrip().endswith(lines[0]), self
        return lines[0].removeprefix("handmade: ")


def command(*words: Any) -> list[str]:
    return [sys.executable, "-m", "handmade", *map(str, words)]


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command."""
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def torchrun(processes: int, *words: Any) -> Done:
    """Run `handmade WORDS` in so many processes that torchrun starts."""
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run([*starter, *command(*words)[1:]], capture_output=True, text=True, timeout=250, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def hand(*words: Any, cwd: Path | None = None, timeout: float = 250, **environment: str | None) -> Done:
    """Run `handmade WORDS` in a process of its own; a variable that is None is taken out of its environment."""
    given = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    kept = {name: value for name, value in given.items() if value is not None}
    done = subprocess.run(
        command(*words), cwd=cwd, env=kept, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Background:
    """A command that is running, for tests that stop it; ends with the test."""

    def __init__(self, *words: Any, cwd: Path | None = None, **environment: str):
        self.process = subprocess.Popen(
            command(*words),
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 120) -> Done:
        out, said = self.process.communicate(timeout=timeout)
        return Done(self.process.returncode, out, said)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def until(true: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait until a condition holds; return what it gave."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := true():
            return found
        time.sleep(0.005)
    raise AssertionError(f"nothing came in {seconds} seconds")


def steps_logged(run: Path) -> int:
    """The step of the last event of a run that may be writing right now."""
    path = run / "events.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
    return steps[-1] if steps else 0


def losses(run: Path) -> dict[int, dict[str, float]]:
    """Step -> the losses that a run has logged there."""
    return {event["step"]: event["losses"] for event in Run(run).events("step")}


def agree(one: dict[int, Any], other: dict[int, Any], rel: float, abs: float | None = None) -> None:
    """Two runs have logged the same steps and, within a tolerance, the same losses."""
    assert one.keys() == other.keys() and one
    for step in one:
        for name in one[step]:
            assert one[step][name] == pytest.approx(other[step][name], rel=rel, abs=abs or rel), (step, name)


def contents(checkpoint: Path) -> dict[str, bytes]:
    """Every file of a checkpoint, without the seconds that it took and the hash of the file that holds them."""
    found = {p.relative_to(checkpoint).as_posix(): p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()}
    memory = json.loads(found.pop("state/train.json"))
    memory["items"] = [item for item in memory["items"] if item[0] != "seconds"]
    manifest = json.loads(found.pop("MANIFEST.json"))
    manifest["sha256"].pop("state/train.json")
    return {**found, "state": json.dumps(memory).encode(), "manifest": json.dumps(manifest).encode()}


def differing(one: Path, other: Path) -> list[str]:
    """The files in which two checkpoints differ; none where training went the same way to the last bit."""
    left, right = contents(one), contents(other)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
