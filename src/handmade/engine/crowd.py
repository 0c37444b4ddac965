"""One thread in place of several while another process wants a core.

Threads that share a layer wait for each other at its end, some of them spinning. Where another process takes a core from one
of them, all wait: two threads then take nearly twice as long as one alone. So the run watches how long its threads wait for a
core; where they wait much, it tries one thread, keeps what is faster, and tries again later. A run with a given number of
threads (`--train.threads 2`) is left alone, and so are short steps and the first seconds: there is little to gain, and numbers
from more or fewer threads differ in their last digits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path

import torch

from handmade.engine.calibrate import Choice
from handmade.engine.devices import World
from handmade.plan import Plan

QUIET = 20.0  # seconds of training before anything is tried
WINDOW = 2.0  # seconds, and at least
STEPS = 6  # that many steps, over which times are compared
WAITS = 0.1  # share of the time that threads wait for a core, from which on one thread is tried
SHORT = 0.03  # seconds of a step that is too short to matter
PATIENCE = 15.0  # seconds before it tries again; doubled each time in vain
LONGEST = 120.0

Threads = Generator[int, float, None]  # yields the threads of the next step, is sent the seconds that it took


def waited() -> float | None:
    """Seconds that the threads of this process have waited for a core so far; None where the system does not count them."""
    total = 0
    try:
        for thread in Path("/proc/self/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[1])  # nanoseconds run, waited, and turns
    except (OSError, IndexError, ValueError):  # another system, or a thread that has just ended
        return None
    return total / 1e9


def crowded(plan: Plan, choice: Choice, world: World, say: Callable[[str], None]) -> Callable[[float], None]:
    """What to call after every step with its seconds, so that the next has the right threads.

    say: hears what has changed
    """
    if plan.threads != "auto" or choice.threads < 2 or world.size > 1 or world.device.type != "cpu":
        return lambda seconds: None  # they stay as they are
    threads = threads_for(choice.threads, say)
    next(threads)

    def after(seconds: float) -> None:
        if (now := threads.send(seconds)) != torch.get_num_threads():
            torch.set_num_threads(now)

    return after


def threads_for(
    most: int,
    say: Callable[[str], None],
    waited: Callable[[], float | None] = waited,
    clock: Callable[[], float] = time.monotonic,
) -> Threads:
    """How many threads the next step shall use: `most`, or one while others want a core and one is faster."""

    def steps(threads: int, seconds: float, least: int = STEPS) -> Generator[int, float, list[float]]:
        end, taken = clock() + seconds, []
        while clock() < end or len(taken) < least:
            taken.append((yield threads))
        return taken

    def pace(threads: int) -> Generator[int, float, float]:
        yield threads  # the first step after a change is not counted
        return statistics.median((yield from steps(threads, WINDOW)))

    yield from steps(most, QUIET)
    patience = PATIENCE
    while True:
        began, before = clock(), waited()
        together = yield from pace(most)
        after = waited()
        crowded = before is not None and after is not None and after - before > WAITS * (clock() - began)
        if not crowded or together < SHORT:
            patience = PATIENCE
            continue
        alone = yield from pace(1)
        if alone < together:
            say("another process wants a core: going on with one thread, which is faster now")
            while alone < together:
                alone = statistics.median((yield from steps(1, patience)))
                patience = min(2 * patience, LONGEST)
                together = yield from pace(most)
            say(f"the cores are free again: going on with {most} threads")
        yield from steps(most, patience)
        patience = min(2 * patience, LONGEST)
