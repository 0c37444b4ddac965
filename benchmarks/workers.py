"""One contestant per process: it waits for `N` on standard input, takes N steps, and answers with the seconds.

Contestants in processes of their own keep their own environment and threads, and take turns, so that whatever else the
machine does meets all of them alike.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


class Contestant:
    """A running worker."""

    def __init__(self, kind: str, env: dict[str, str] | None = None, **options: Any):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MALLOC_", "GLIBC_"))}
        clean |= env or {}
        command = [sys.executable, "-m", "benchmarks.workers", kind, json.dumps(options)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=clean)
        self.about = json.loads(self._line())

    def steps(self, n: int) -> float:
        """Seconds for n steps."""
        assert self.process.stdin
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant stopped: exit {self.process.wait()}")
        return line

    def close(self) -> None:
        """End the worker."""
        self.process.kill()
        self.process.wait()


def rounds(contestants: dict[str, Contestant], count: int, steps: int) -> dict[str, list[float]]:
    """Let everybody warm up, then take `count` rounds in turn; seconds of each."""
    for contestant in contestants.values():
        contestant.steps(2)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(count):
        for name, contestant in contestants.items():
            times[name].append(contestant.steps(steps))
    return times


def _plain(
    kind: str, width: int, batch: int, threads: int | None, device: str = "cpu"
) -> tuple[Callable[[], Any], str]:
    import torch

    from benchmarks import baselines

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    with torch.device(device):
        loop = getattr(baselines, kind)(width)
        real = torch.rand(batch, 3, 64, 64) * 2 - 1
    return lambda: loop.step(real), f"float32, {torch.get_num_threads()} threads"


def _ours(
    width: int,
    batch: int,
    threads: int | None,
    precision: str,
    channels_last: Any,
    at_once: bool = False,
    device: str = "cpu",
) -> tuple[Callable[[], Any], str]:
    import handmade  # noqa: F401  it sets how threads wait, which torch reads when it is loaded

    # isort: split
    import torch

    from benchmarks.engine_step import engine_step
    from handmade.data.specs import ImageBatch, ImageSpec
    from handmade.plan import Plan
    from handmade.registry import find_room, system_class

    kind = system_class(find_room("dcgan"))
    config = sys.modules[kind.__module__].Config(width=width, at_once=at_once)
    torch.manual_seed(0)
    batch_ = ImageBatch(torch.rand(batch, 3, 64, 64) * 2 - 1, torch.zeros(batch, 0, dtype=torch.int64))
    plan = Plan(batch=batch, precision=precision, channels_last=channels_last, threads=threads or "auto")
    return engine_step(kind(config, ImageSpec(3, 64)), batch_, plan, device)


def main() -> None:
    """Serve one contestant."""
    kind, options = sys.argv[1], json.loads(sys.argv[2])
    if kind == "ours":
        step, about = _ours(**options)
    elif kind in ("tiny_ours", "tiny_hand"):
        from benchmarks import tiny

        step, about = getattr(tiny, kind)(**options)
    elif ":" in kind:  # MODULE:FUNCTION of this folder
        module, name = kind.split(":")
        step, about = getattr(importlib.import_module(f"benchmarks.{module}"), name)(**options)
    else:
        step, about = _plain(kind, **options)
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        if options.get("device") == "cuda":
            sys.modules["torch"].cuda.synchronize()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
