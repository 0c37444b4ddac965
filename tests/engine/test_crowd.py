"""One thread while others want a core: a machine whose clock and speed are told."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import torch

from handmade.engine import crowd
from handmade.engine.calibrate import Choice
from handmade.engine.devices import World, threads_kept
from handmade.plan import Plan


@dataclass
class Machine:
    """Steps of 0.2 s with two threads and 0.3 s with one; longer with two while another process is there."""

    other: Callable[[float], bool]
    counts: bool = True
    crowded_step: float = 0.5
    now: float = 0.0
    waits: float = 0.0
    said: list[tuple[float, str]] = field(default_factory=list)
    used: list[tuple[float, int]] = field(default_factory=list)

    def train(self, seconds: float, scale: float = 1.0) -> None:
        waited = (lambda: self.waits) if self.counts else (lambda: None)
        threads = crowd.threads_for(2, lambda text: self.said.append((self.now, text)), waited, lambda: self.now)
        now = next(threads)
        while self.now < seconds:
            busy = self.other(self.now)
            took = scale * (0.3 if now == 1 else self.crowded_step if busy else 0.2)
            self.used.append((self.now, now))
            self.now += took
            self.waits += 0.4 * took if busy and now == 2 else 0.0
            now = threads.send(took)

    def share_of_one(self, start: float, end: float) -> float:
        used = [threads for at, threads in self.used if start <= at < end]
        return used.count(1) / len(used)


def test_a_quiet_machine_keeps_its_threads():
    machine = Machine(lambda now: False)
    machine.train(300)
    assert machine.share_of_one(0, 300) == 0 and machine.said == []


def test_one_thread_while_another_process_is_there_and_several_again_after_it():
    machine = Machine(lambda now: 100 <= now < 400)
    machine.train(700)
    assert machine.share_of_one(0, 100) == 0
    assert machine.share_of_one(110, 400) > 0.9
    assert machine.share_of_one(400 + crowd.LONGEST + 10, 700) == 0
    assert [text.split(":")[0] for _, text in machine.said] == [
        "another process wants a core",
        "the cores are free again",
    ]


def test_the_first_seconds_are_left_alone():
    machine = Machine(lambda now: True)
    machine.train(crowd.QUIET)
    assert machine.share_of_one(0, crowd.QUIET) == 0


def test_waiting_that_does_not_slow_is_borne():
    """Threads wait, and yet two are faster: one is tried less and less often."""
    machine = Machine(lambda now: True, crowded_step=0.25)
    machine.train(600)
    assert machine.said == [] and 0 < machine.share_of_one(0, 600) < 0.1


@pytest.mark.parametrize("machine", [Machine(lambda now: True, counts=False), Machine(lambda now: True)])
def test_short_steps_and_systems_that_do_not_count_are_left_alone(machine):
    machine.train(200, scale=0.05 if machine.counts else 1.0)
    assert machine.share_of_one(0, 200) == 0


@pytest.mark.parametrize(
    ("plan", "choice", "world", "changes"),
    [
        (Plan(), Choice(threads=2), World(), True),
        (Plan(threads=2), Choice(threads=2), World(), False),
        (Plan(), Choice(threads=1), World(), False),
        (Plan(), Choice(threads=2), World(rank=0, size=2), False),
    ],
)
def test_only_threads_that_we_chose_for_one_process_change(monkeypatch, plan, choice, world, changes):
    def one(most, say):
        yield most
        while True:
            yield 1

    monkeypatch.setattr(crowd, "threads_for", one)
    with threads_kept(choice.threads):
        crowd.crowded(plan, choice, world, print)(0.1)
        assert torch.get_num_threads() == (1 if changes else choice.threads)


def test_waiting_for_a_core_is_counted_here():
    """Threads that keep every core busy, and more of them than there are cores, wait."""
    before = crowd.waited()
    if before is None:
        pytest.skip("this system does not count how long threads wait")
    count = 3 * (os.cpu_count() or 1)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: hashlib.pbkdf2_hmac("sha256", b"", b"", 300_000), range(count)))
        assert crowd.waited() > before + 0.05
