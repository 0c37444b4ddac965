"""The loop: batch, turns, log, sample, score, save. It knows no system by name.

Everything a run leaves behind goes through here into its folder. Decisions that depend on clocks or signals are taken by
the leading process and told to the others, so that all of them take the same step.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from handmade.core import Batch, Score, System
from handmade.engine import calibrate, checkpoint, state
from handmade.engine.budget import Budget
from handmade.engine.calibrate import Choice
from handmade.engine.crowd import crowded
from handmade.engine.devices import World, cut, fork_random, full_precision, fuse, place, shard, threads_kept
from handmade.engine.ema import Averages
from handmade.engine.memory import keep_freed
from handmade.engine.observers import Observer
from handmade.engine.preview import write_previews
from handmade.engine.run import Run
from handmade.engine.schedules import SHAPES, with_warmup
from handmade.engine.turns import Table, players_of
from handmade.errors import Damaged, Diverged, HandmadeError
from handmade.plan import Plan

SAVE_SECONDS = 120.0


class Interrupted(HandmadeError):
    """Training was stopped by a signal and saved; the exit code is the shell's for that signal."""

    def __init__(self, run: Run, number: int):
        super().__init__(f"stopped and saved; `handmade resume {run.folder}` goes on")
        self.exit_code = 128 + number


class Trainer:
    """Trains one system into one run folder; goes on by itself where the run already has a checkpoint."""

    def __init__(
        self,
        system: System,
        loader: Any,
        plan: Plan,
        run: Run,
        world: World | None = None,
        *,
        preview: Callable[[System], Any] | None = None,
        score: Callable[[System], Mapping[str, Score]] | None = None,
        deadline: float | None = None,
        follow: bool = True,  # a resumed run keeps the number of steps it had planned
        observers: Sequence[Observer] = (),
    ):
        self.system, self.loader, self.plan, self.run = system, loader, plan, run
        self.world = world or World()
        self.preview, self.score_system, self.follow, self.observers = preview, score, follow, observers
        self.budget = Budget(plan.steps, plan.sample_every, plan.score_every or plan.steps, deadline)
        self.last = {"sample": 0, "score": 0, "save": 0}  # steps
        self.seconds = 0.0  # trained so far, over all resumes
        self.best: float | None = None  # yardstick of the best checkpoint, signed so that higher is better
        self.best_step: int | None = None
        self.stale = 0  # scores since the best
        self.window: dict[str, list[Any]] = {}  # what is logged: sum and count since the last line
        self.signal: int | None = None
        self.stopped = False  # by a signal or the stop file, before the end of the plan

    def fit(self) -> Run:
        """Train to the end of the plan or of the time; return the run. Raises Diverged, Interrupted or HandmadeError."""
        with self._listening(), threads_kept():
            self._prepare()
            self._tell("start", steps=self.budget.steps, batch=self.plan.batch, choice=str(self.choice))
            began = time.monotonic() - self.seconds
            if self.system.step == 0:
                self._sample()
                self._score()
            try:
                self._loop(began)
            finally:
                self.seconds = time.monotonic() - began
            self._finish()
        return self.run

    def _prepare(self) -> None:
        """Choose how to compute, put everything in its place, and take up the newest good checkpoint."""
        keep_freed()
        self.choice = self._choose()
        torch.set_num_threads(self.choice.threads)
        calibrate.apply(self.choice, self.system, self.world)
        if self.plan.shard and self.world.size > 1:
            shard(self.system, self.world)
        self.crowded = crowded(self.plan, self.choice, self.world, self._say)
        self.players = players_of(self.system)
        shape = SHAPES[self.plan.schedule]
        for player in self.players.values():
            fuse(player.optimizer, self.world.device, self.choice.precision)
            if shape is not SHAPES["constant"] or self.plan.warmup:
                player.schedule = with_warmup(shape, self.plan.warmup)
        self.averages = Averages(self.system, self.plan.ema)
        self.table = Table(self.system, self.players, self.world, self.plan.clip)
        self.system.train()
        if checkpoint.steps(self.run.checkpoints):
            self._restore()
        elif self.world.leads:
            self.run.forget_events_after(-1)  # of a run that was killed before its first checkpoint

    def _choose(self) -> Choice:
        chosen: dict[str, Any] = {}
        if self.world.leads and "choice" not in (chosen := self.run.read_json("environment.json")):
            environment, position, random = chosen, self.loader.state_dict(), state.random_state()
            batch = next(iter(copy.deepcopy(self.system).stream(self.loader)))  # a stream may act, and remember
            began = time.monotonic()
            allowed = calibrate.SECONDS
            if self.budget.deadline is not None:
                allowed = min(allowed, 0.05 * (self.budget.deadline - began))
            part = cut(batch, 0, self.plan.accumulate)
            choice, timings = calibrate.choose(self.system, part, self.plan, self.world, allowed)
            chosen = calibrate.record(choice, timings)
            if timings:
                step = next((t.seconds for t in timings if t.choice == choice), timings[0].seconds)
                self.budget.costs.step = step * self.plan.accumulate
            self.loader.load_state_dict(position)
            state.set_random_state(random)
            self._say(calibrate.report(choice, timings), seconds=time.monotonic() - began)
            self.run.write("environment.json", json.dumps({**environment, **chosen}, indent=1))
        try:
            return calibrate.as_told(Choice(**self.world.agree(chosen)["choice"]), self.plan)
        except TypeError:
            raise Damaged(f"{self.run.folder / 'environment.json'} is damaged: its choice is not one of ours") from None

    def _loop(self, began: float) -> None:
        stream = iter(self.system.stream(self.loader))
        saved = time.monotonic()
        beat = 1 if self.world.size == 1 else self.plan.log_every
        if self.budget.deadline is not None:  # minutes for a run that is at the end of its plan
            self.budget.steps = max(self.budget.steps, self.system.step + 1)
        while self.system.step < self.budget.steps:
            self._step(stream)
            step, now = self.system.step, time.monotonic()
            self.seconds = now - began
            if step % self.plan.log_every == 0:
                self._log()
            if step % beat == 0 and self._should_end(now):
                break
            if step - self.last["sample"] >= self.budget.sample_every and step < self.budget.steps:
                self._sample()
            if step - self.last["score"] >= self.budget.score_every and step < self.budget.steps:
                self._score()
                if self.plan.stop_after and self.stale >= self.plan.stop_after:
                    self._say(f"no better for {self.stale} scores: stopping; step {self.best_step} was the best")
                    break
            every = self.plan.save_every
            due = step % every == 0 if every else step % beat == 0 and self.world.agree(now - saved > SAVE_SECONDS)
            if due and step < self.budget.steps:  # the last step is saved when it has been sampled and scored
                self._save()
                saved = time.monotonic()

    def _step(self, stream: Iterator[Batch]) -> None:
        """One step: learning rates, turns, averages, and what is to be logged."""
        began = time.perf_counter()
        system, plan = self.system, self.plan
        for player in self.players.values():
            player.set_progress(system.step / self.budget.steps)
        batch = place(next(stream), self.world.device, self.choice.channels_last)
        batches = [cut(batch, k, plan.accumulate) for k in range(plan.accumulate)]
        try:
            for turn in self.table.play(batches, seed=plan.seed * 1_000_003 + system.step):
                self._note(turn.player, turn.loss)
                for name, value in turn.log.items():
                    self._note(f"/{name}", value)
        except Diverged as error:
            raise self._lost(error) from None
        system.step += 1
        self.averages.update(system.step)
        self.budget.costs.learn("step", seconds := time.perf_counter() - began)
        self.crowded(seconds)

    def _note(self, name: str, value: torch.Tensor) -> None:
        entry = self.window.setdefault(name, [0.0, 0])
        value = value.detach()  # on a CPU a number costs less than a tensor; a GPU is not made to wait for one
        entry[0] = entry[0] + (float(value) if value.device.type == "cpu" else value.float())
        entry[1] += 1

    def _log(self) -> None:
        """Write the mean of every loss since the last line, over all processes."""
        names = list(self.window)
        means = [
            torch.as_tensor(self.window[name][0] / self.window[name][1], device=self.world.device) for name in names
        ]
        self.world.average(means)
        values = dict(zip(names, [float(mean) for mean in means], strict=True))
        self.window.clear()
        losses = {name: value for name, value in values.items() if not name.startswith("/")}
        for name, value in losses.items():
            if value != value or abs(value) == float("inf"):
                raise self._lost(Diverged(f"the {name}'s loss became {value} before step {self.system.step}"))
        rate = self.plan.batch / self.budget.costs.step if self.budget.costs.step else 0.0
        logged = {name[1:]: value for name, value in values.items() if name.startswith("/")}
        self._tell("step", items_per_s=round(rate, 1), losses=losses, log=logged, steps=self.budget.steps)

    def _lost(self, error: Diverged) -> Diverged:
        last = self.last["save"]
        hint = f"step {last} is kept" if last else "nothing was saved yet"
        return Diverged(f"{error}; {hint}: try a lower config.lr, or --train.clip 1")

    def _should_end(self, now: float) -> bool:
        """Look at the clock, at signals and at the stop file; the leader decides for all."""
        if self.budget.deadline is not None and self.world.agree(self.budget.should_review(now)):
            planned = self.world.agree((self.budget.review(self.system.step), self.budget.steps, self.budget.sample_every,
                                        self.budget.score_every))  # fmt: skip
            _, self.budget.steps, self.budget.sample_every, self.budget.score_every = planned
        wanted = self.world.anyone(self.signal is not None or (self.world.leads and self.run.wants_stop()))
        at_end = self.system.step >= self.budget.steps
        self.stopped = wanted and not at_end
        return wanted or at_end

    @contextlib.contextmanager
    def _as_used(self) -> Iterator[None]:
        """Hold the averaged weights in full precision, and leave training's random numbers untouched."""
        with self.averages.applied(), full_precision(self.system), fork_random(self.world.device):
            yield

    def _sample(self) -> None:
        self.last["sample"] = self.system.step
        if self.preview is None:
            return
        began = time.monotonic()
        with self._as_used():
            artifact = self.preview(self.system)
        if self.world.leads:
            folder = self.run.folder / "samples" / f"{self.system.step:06d}"
            sheet = artifact.preview(folder)[0]
            self._tell("sample", path=sheet.relative_to(self.run.folder).as_posix())
        self.budget.costs.learn("sample", time.monotonic() - began)

    def _score(self) -> None:
        """Score on held-out data; remember the best, by the first score, which is the room's yardstick."""
        self.last["score"] = self.system.step
        if self.score_system is None:
            return
        began = time.monotonic()
        with self._as_used(), torch.no_grad():
            self.system.eval()
            scores = self.score_system(self.system)
            self.system.train()
        self.budget.costs.learn("score", time.monotonic() - began)
        self._tell("score", scores={name: score._asdict() for name, score in scores.items()})
        yardstick = next(iter(scores.values()))
        signed = yardstick.value if yardstick.better == "higher" else -yardstick.value
        signed = -math.inf if math.isnan(signed) else signed
        if self.best is None or signed > self.best:
            self.best, self.best_step, self.stale = signed, self.system.step, 0
            if self.system.step:
                self._save()
                if self.world.leads:
                    self.run.write("best", str(self.system.step))
        else:
            self.stale += 1

    def _finish(self) -> None:
        """Sample and score the end, then save; a run stopped before it only saves, and goes on as if it had not stopped."""
        if not self.stopped and self.last["sample"] != self.system.step:
            self._sample()
        if not self.stopped and self.last["score"] != self.system.step:
            self._score()
        self._save()
        self._tell("end", steps=self.budget.steps)
        if self.world.leads:
            write_previews(self.run)
        self.world.wait()  # a process that ends while another still talks to it may abort
        if self.signal is not None:
            raise Interrupted(self.run, self.signal)

    def _save(self) -> None:
        """Save everything; a step that is already saved is not written again. Raises Diverged for weights that are lost."""
        if self.last["save"] == self.system.step:
            return
        for name, player in self.players.items():
            if self.world.anyone(not all(bool(p.isfinite().all()) for p in player.parameters)):
                raise self._lost(Diverged(f"the {name}'s weights became nan or infinite by step {self.system.step}"))
        began, step = time.monotonic(), self.system.step
        tensors: dict[str, torch.Tensor] = {}
        values = state.pack(self._memory(), tensors)
        sets = {"weights": self.system.state_dict(), "state/train": tensors}
        if self.plan.ema:
            sets["ema"] = self.averages.state()
        checkpoint.write(self.run.checkpoints, step, sets, {"state/train": values}, self.world)
        self.last["save"] = step
        if self.world.leads:
            self.run.write("latest", str(step))
            checkpoint.sweep(self.run.checkpoints, self.plan.keep, self.best_step)
            self._tell("checkpoint")
        self.budget.costs.learn("save", time.monotonic() - began)

    def _memory(self) -> dict[str, Any]:
        return {
            "step": self.system.step,
            "steps": self.budget.steps,
            "seconds": self.seconds,
            "optimizers": {name: player.optimizer.state_dict() for name, player in self.players.items()},
            "random": state.random_state(),
            "stream": self.system.stream_state(),
            "loader": self.loader.state_dict(),
            "last": {kind: self.last[kind] for kind in ("sample", "score")},
            "best": [self.best, self.best_step, self.stale],
            "window": {name: list(entry) for name, entry in self.window.items()},
        }

    def _restore(self) -> None:
        """Take up the newest good checkpoint; a damaged one is named and passed over."""
        path, passed = self.world.agree(self.run.good_checkpoint() if self.world.leads else None)
        for line in passed:
            self._say(f"{line}: going on from {path.name}")
        wrong = state.copy_into(self.system.state_dict().items(), checkpoint.read(path, "weights"))
        if self.plan.ema:
            wrong += state.copy_into(self.averages.state().items(), checkpoint.read(path, "ema"))
        if wrong:
            raise Damaged(
                f"{path} does not fit this system: {wrong[0]}" + (f" (+{len(wrong) - 1})" if wrong[1:] else "")
            )
        memory = state.unpack(_read_values(path), checkpoint.read(path, "state/train"))
        for name, player in self.players.items():
            state.load_optimizer(player.optimizer, memory["optimizers"][name])
        self.system.step, self.seconds = memory["step"], memory["seconds"]
        if self.follow:
            self.budget.steps = memory["steps"]
        self.system.load_stream_state(memory["stream"])
        self.loader.load_state_dict(memory["loader"])
        self.last = {**memory["last"], "save": memory["step"]}
        self.best, self.best_step, self.stale = memory["best"]
        self.window = memory["window"]
        state.set_random_state(memory["random"])
        if not self.world.leads:  # what was saved is the leader's
            state.seed_all(self.plan.seed + 1 + self.world.rank + self.world.size * self.system.step)
        self.world.wait()
        if self.world.leads:
            self.run.forget_events_after(self.system.step)
            for mark, step in (("latest", self.system.step), ("best", self.best_step)):
                if step is not None:  # a kill may have come between a checkpoint and its mark
                    self.run.write(mark, str(step))
            checkpoint.set_aside(self.run.checkpoints, self.system.step)
            checkpoint.sweep(self.run.checkpoints, self.plan.keep, self.best_step)
            self._say(f"going on from step {self.system.step}")

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the run after its step and saves it; a second Ctrl-C stops at once.

        Within a second it is the same one: a launcher passes on what the terminal has already sent to all.
        """
        first = [0.0]

        def heard(number: int, frame: FrameType | None) -> None:
            if self.signal is None:
                self.signal, first[0] = number, time.monotonic()
            elif number == signal.SIGINT and time.monotonic() - first[0] > 1.0:
                raise KeyboardInterrupt

        try:
            before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, where Python hears no signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell(self, kind: str, **values: Any) -> None:
        """Record an event and let the observers see it."""
        if not self.world.leads:
            return
        seconds, now = round(self.seconds, 3), round(time.time(), 3)
        event = {"kind": kind, "step": self.system.step, "seconds": seconds, "at": now, **values}
        self.run.log(event)
        for observer in self.observers:
            observer(event)

    def _say(self, text: str, **values: Any) -> None:
        if self.world.leads:
            self.run.note(text)
            for observer in self.observers:
                observer({"kind": "note", "step": self.system.step, "text": text, **values})


def _read_values(path: Path) -> Any:
    return json.loads((path / "state" / "train.json").read_text("utf-8"))
