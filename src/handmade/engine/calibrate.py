"""Time the candidates on the system itself, and take the fastest that keeps the losses.

Which of bf16, channels_last and one or two threads is fastest depends on the network and on the processor: bf16 makes
convolutions 1.9 to 2.8 times faster on one machine and a small network slower on the same one. So a few real steps are
timed on copies of the system, at the start, and the choice is recorded in the run.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from handmade.core import Batch, System
from handmade.engine.convolution import any_fits, use_patches, use_rows
from handmade.engine.devices import World, fuse, place, prepare
from handmade.engine.halving import any_halves, use_halving
from handmade.engine.turns import Table, players_of
from handmade.engine.winograd import any_wide, use_winograd
from handmade.errors import Diverged
from handmade.plan import Plan

SECONDS = 8.0  # about how long a calibration may take
CLOSE = 0.15  # two candidates this near each other meet in a duel: what else the machine did may have decided
TOLERANCE = 0.05  # relative difference of losses against float32; the measured noise of bf16 is well under 0.02


@dataclass(frozen=True)
class Choice:
    """How the networks compute."""

    precision: str = "float32"
    channels_last: bool = False
    threads: int = 1
    patches: bool = False  # what can be a matrix product of patches or whole pictures is one (convolution.py)
    winograd: bool = False  # wide 3 x 3 convolutions with fewer multiplications (winograd.py)
    halving: bool = False  # and wide ones that halve or double a picture (halving.py)

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        ways = [name for name in ("patches", "winograd", "halving") if getattr(self, name)]
        return ", ".join([self.precision, layout, threads, *ways])


@dataclass(frozen=True)
class Timing:
    """What one candidate took."""

    choice: Choice
    seconds: float  # per step
    loss: float  # mean absolute loss of its steps


def choose(
    system: System, batch: Batch, plan: Plan, world: World, seconds: float = SECONDS
) -> tuple[Choice, list[Timing]]:
    """Return the fastest choice within the plan's limits, and every timing taken.

    seconds: about how long it may take; candidates that cannot win are dropped after one step
    """
    most = torch.get_num_threads()
    first = Choice("float32", False, most)
    fixed = Choice(
        plan.precision if plan.precision != "auto" else "float32",
        plan.channels_last is True,
        plan.threads if isinstance(plan.threads, int) else most,
    )
    if "auto" not in (plan.precision, plan.channels_last, plan.threads):
        return fixed, []
    deadline = time.perf_counter() + seconds

    def try_(choice: Choice, best: float = math.inf) -> tuple[Twin, Timing]:
        twin = Twin(system, batch, choice, world)
        return twin, twin.time(best, min(deadline, time.perf_counter() + seconds / 4))

    _, reference = try_(Choice(first.precision, False, fixed.threads))
    best, timings = reference, [reference]
    deadline += 16 * reference.seconds  # a large network's few steps must not run out of time
    for change in _changes(system, plan, reference.seconds, world):
        if time.perf_counter() > deadline:
            break
        candidate = change(best.choice)
        if any(timing.choice == candidate for timing in timings):
            continue
        try:
            twin, timing = try_(candidate, best.seconds)
            # what disturbs a step of more than a second is in its mean, and a large network does not fit into memory twice more
            short = 8 * best.seconds < seconds and world.device.type == "cpu"
            if short and abs(timing.seconds / best.seconds - 1) < CLOSE:
                began = time.perf_counter()
                ratio = duel(Twin(system, batch, best.choice, world), twin, seconds / 4)
                timing = replace(timing, seconds=ratio * best.seconds)
                deadline += time.perf_counter() - began  # nobody else has less time for it
        except (Diverged, torch.OutOfMemoryError):  # in bf16, say, where float32 does not; beside another copy
            continue
        timings.append(timing)
        if timing.seconds < 0.98 * best.seconds and _same(timing.loss, reference.loss):
            best = timing
    return as_told(best.choice, plan), timings


def as_told(choice: Choice, plan: Plan) -> Choice:
    """A choice, but for what the plan decides itself."""
    decided = {name: getattr(plan, name) for name in ("precision", "channels_last", "threads")}
    return replace(choice, **{name: value for name, value in decided.items() if value != "auto"})


def _changes(system: System, plan: Plan, seconds: float, world: World) -> list[Callable[[Choice], Choice]]:
    """One change at a time, each tried on top of the best so far."""
    convolves = any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in system.modules())
    changes: list[Callable[[Choice], Choice]] = []
    alone = world.device.type == "cpu"
    if plan.threads == "auto" and seconds < 0.02 and torch.get_num_threads() > 1 and alone:
        changes.append(lambda c: replace(c, threads=1))
    if plan.precision in ("auto", "bf16") and _has_bf16(world):
        changes.append(lambda c: replace(c, precision="bf16"))
    if plan.channels_last in ("auto", True) and convolves:
        changes.append(lambda c: replace(c, channels_last=True))
    if alone and any_fits(system):
        changes.append(lambda c: replace(c, patches=True))
    wide, halves = alone and any_wide(system), alone and any_halves(system)
    free = plan.channels_last == "auto"  # tiles put channels last: together they may pay where neither does alone
    if wide:
        changes.append(lambda c: replace(c, winograd=True, channels_last=free or c.channels_last))
    if halves:
        changes.append(lambda c: replace(c, halving=True, channels_last=free or c.channels_last))
    if free and (wide or halves):
        changes.append(lambda c: replace(c, channels_last=not c.channels_last))
    return changes


def _has_bf16(world: World) -> bool:
    return world.device.type == "cpu" or (world.device.type == "cuda" and torch.cuda.is_bf16_supported())


def _same(loss: float, reference: float) -> bool:
    return abs(loss - reference) <= TOLERANCE * max(abs(reference), 0.1)


class Twin:
    """A copy of the system that plays real steps, computing as one candidate would."""

    def __init__(self, system: System, batch: Batch, choice: Choice, world: World):
        self.choice, self.alone = choice, World(device=world.device)
        self.twin = copy.deepcopy(system)
        apply(choice, self.twin, self.alone)
        players = players_of(self.twin)
        for player in players.values():
            fuse(player.optimizer, world.device, choice.precision)
        self.table = Table(self.twin, players, self.alone)
        self.batch, self.steps = place(batch, world.device, choice.channels_last), 0

    def play(self) -> tuple[float, list[float]]:
        """The seconds of one step, and the size of each loss; random numbers and threads stay as they were."""
        threads, random = torch.get_num_threads(), torch.get_rng_state()
        torch.set_num_threads(self.choice.threads)
        began = time.perf_counter()
        try:
            turns = list(self.table.play([self.batch], seed=self.steps))
            if self.alone.device.type == "cuda":
                torch.cuda.synchronize()
        finally:
            torch.set_num_threads(threads)
            torch.set_rng_state(random)
        seconds = time.perf_counter() - began
        self.steps += 1
        self.twin.step += 1
        return seconds, [float(turn.loss.detach().abs()) for turn in turns]

    def time(self, best: float, deadline: float) -> Timing:
        """A step to warm up, then two to thirteen that count: fewer where time is short or they cannot be the best."""
        _, losses = self.play()
        least, others = self.play()
        losses += others
        for _ in range(12):
            seconds, _ = self.play()
            least = min(least, seconds)  # what else the machine did only adds
            if time.perf_counter() > deadline or seconds > 1.5 * best:
                break
        return Timing(self.choice, least, sum(losses) / len(losses))


def duel(champion: Twin, candidate: Twin, seconds: float) -> float:
    """What the candidate's step takes of the champion's: both play step by step in turn, meeting the same disturbances.

    seconds: after which they stop, but not before four steps of each
    """
    champion.play()
    champion.play()
    ratios: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(ratios) < 4 or (len(ratios) < 12 and time.perf_counter() < deadline):
        standard, _ = champion.play()
        ratios.append(candidate.play()[0] / standard)
    return statistics.median(ratios)


def apply(choice: Choice, system: System, world: World) -> None:
    """Put a system in its place, computing as chosen."""
    if world.device.type == "cpu":
        use_rows(system)
    if choice.patches:
        use_patches(system)
    if choice.winograd:
        use_winograd(system)
    if choice.halving:
        use_halving(system)
    prepare(system, world, choice.precision, choice.channels_last)


def report(choice: Choice, timings: list[Timing]) -> str:
    """One line that says what was chosen and why."""
    if not timings:
        return f"computing in {choice}, as the recipe says"
    plain = timings[0].seconds
    taken = next((t for t in timings if t.choice == choice), timings[0])
    others = ", ".join(f"{t.choice}: {1000 * t.seconds:.1f} ms" for t in timings)
    return f"computing in {choice}: {plain / taken.seconds:.2f} times as fast as plain float32 ({others})"


def record(choice: Choice, timings: list[Timing]) -> dict[str, Any]:
    """The choice and its timings as plain values, for environment.json."""
    return {"choice": asdict(choice), "timings": [{**asdict(t.choice), "seconds": t.seconds} for t in timings]}
