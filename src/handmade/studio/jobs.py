"""The queue: a folder per job, one training at a time, each a process of its own that survives the page and the server.

waiting -> starting -> running -> done, or stopping -> paused | stopped | cancelled, or failed, or interrupted (killed)
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handmade.errors import UserError
from handmade.recipe import load_recipe
from handmade.registry import find_recipe
from handmade.studio.forms import check_overrides
from handmade.studio.job import Job, complaint_of, progress, read_job, verdict, words_of
from handmade.studio.places import Busy, Full, Missing, Places, fresh_id, read_json, run_id
from handmade.studio.processes import alive, born, last_lines, send, start

LIMIT = 64  # jobs that may wait
KEPT = 300  # ended jobs that are remembered
PATIENCE = 20.0  # seconds that a cancelled process has to save, before it is killed
TICK = 0.25  # seconds between looks

Tell = Callable[[str, Mapping[str, Any]], None]


class Jobs:
    """All jobs of a studio; one thread starts what waits and notices what has ended."""

    def __init__(self, places: Places, tell: Tell, training: dict[str, str], slots: int = 1, limit: int = LIMIT):
        self.places, self.tell, self.training, self.slots, self.limit = places, tell, training, slots, limit
        self.folder = places.make("jobs")
        self.lock, self.wake, self.ending = threading.RLock(), threading.Event(), False
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.told: dict[str, str] = {}  # job -> what was last told of it
        self.unsaved: set[str] = set()  # jobs that the disk refused; they are written at a later tick
        self.final: dict[str, dict[str, Any]] = {}  # job that has ended -> where its training stood
        found = [job for path in sorted(self.folder.glob("*/job.json")) if (job := read_job(path.parent))]
        self.jobs = {job.id: job for job in found}
        self.thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def begin(self) -> None:
        """Look after the queue from now on; what ran while no server was there is found again."""
        self.thread.start()

    def end(self) -> None:
        """Look no longer; the processes go on."""
        self.ending = True
        self.wake.set()
        if self.thread.is_alive():
            self.thread.join(10)

    # what can be asked for

    def train(self, recipe: str, minutes: float | None, overrides: Mapping[str, str], data: Path | None,
              start_from: str | None, name: str | None) -> dict[str, Any]:  # fmt: skip
        """Put the training of a recipe (`ROOM/RECIPE`) into the queue; UserError for what is wrong with it."""
        with self.lock:
            self._check_room()  # before any work: a full queue answers at once
        room, table = find_recipe(recipe)
        given = check_overrides(room, table, overrides)
        begun = {"start": self.places.named(start_from)} if start_from else {}
        load_recipe(recipe, {**given, **begun}, data)  # mistakes come out here, before anything is queued
        words = ["train", recipe]
        for key, value in given.items():
            words += [f"--{key}={value}"]
        words += [f"--data={data}"] if data is not None else []
        words += [f"--start={begun['start']}"] if begun else []
        with self.lock:
            self._check_room()
            folder = self._reserve(name or recipe)
            words += [f"--out={folder}"]
            return self._add("train", recipe, words, minutes, folder, room.name, recipe.replace("/", "."))

    def resume_run(self, run: str, minutes: float | None, recipe: str) -> dict[str, Any]:
        """Put a run that is there into the queue, to go on with."""
        folder = self.places.own_runs().get(run)
        if folder is None:
            self.places.run(run)
            raise UserError(
                "a shipped run holds weights only, nothing to go on from: train its recipe, or start from it"
            )
        with self.lock:
            if run in self.training or any(job.run == run and job.open for job in self.jobs.values()):
                raise Busy("this run is in the queue already")
            self._check_room()
            words = ["resume", str(folder)]
            return self._add("train", recipe, words, minutes, folder, recipe.split("/")[0], recipe.replace("/", "."))

    def other(self, kind: str, title: str, words: list[str], run: str | None = None) -> dict[str, Any]:
        """Put another command into the queue: preparing data, evaluating a run."""
        with self.lock:
            self._check_room()
            return self._add(kind, title, words, None, None, None, None, run)

    def act(self, name: str, verb: str, minutes: float | None = None) -> dict[str, Any]:
        """pause, stop, resume, cancel, or first; Busy where the job is in no state for it."""
        with self.lock:
            job = self._find(name)
            if verb == "first" and job.state == "waiting":
                job.order = min((j.order for j in self.jobs.values() if j.state == "waiting"), default=0.0) - 1
            elif verb == "resume" and not job.open and job.kind == "train":
                self._again(job, minutes)
            elif verb in ("pause", "stop", "cancel") and job.state == "waiting":
                job.state, job.ended = {"pause": "paused", "stop": "stopped", "cancel": "cancelled"}[verb], time.time()
            elif verb in ("pause", "stop", "cancel") and job.open:
                job.wants, job.asked, job.state = verb, time.time(), "stopping"
            else:
                raise Busy(f"a job that is {job.state} cannot {verb}")
            self._changed(job)
            return self.view(job)

    def forget(self, name: str) -> None:
        """Drop an ended job; its run stays."""
        with self.lock:
            job = self._find(name)
            if job.open:
                raise Busy(f"a job that is {job.state} cannot be forgotten: cancel it first")
            self.jobs.pop(name)
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.tell("runs", {})

    def all(self) -> dict[str, Any]:
        """Every job, newest first, and how full the queue is."""
        with self.lock:
            listed = sorted(self.jobs.values(), key=lambda job: job.id, reverse=True)
            waiting = sum(job.state == "waiting" for job in listed)
            return {
                "jobs": [self.view(job) for job in listed],
                "slots": self.slots,
                "waiting": waiting,
                "limit": self.limit,
            }

    def one(self, name: str) -> dict[str, Any]:
        """One job."""
        with self.lock:
            return self.view(self._find(name))

    def view(self, job: Job) -> dict[str, Any]:
        """A job as the page sees it."""
        log = self._log(job)
        told = self.final.get(job.id) or progress(job)
        if not job.open:
            self.final[job.id] = told
        line = sorted((j for j in self.jobs.values() if j.state == "waiting"), key=lambda j: (j.order, j.id))
        plain = (
            "id",
            "kind",
            "title",
            "system",
            "recipe",
            "run",
            "state",
            "created",
            "started",
            "ended",
            "minutes",
            "error",
            "scores",
        )
        return {
            **{key: getattr(job, key) for key in plain}, "place": line.index(job) + 1 if job in line else None, **told,
            "words": words_of(job, told, log), "log": [line[:400] for line in last_lines(log, 12)],
        }  # fmt: skip

    # the queue's own work

    def _find(self, name: str) -> Job:
        if name not in self.jobs:
            raise Missing(name)
        return self.jobs[name]

    def _log(self, job: Job) -> Path:
        return self.folder / job.id / "log.txt"

    def _check_room(self) -> None:
        if sum(job.state == "waiting" for job in self.jobs.values()) >= self.limit:
            raise Full(f"{self.limit} jobs are waiting already: come again when one is done")

    def _reserve(self, name: str) -> Path:
        """A folder for a new run that neither exists nor is promised to another job."""
        stem = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:60] or "run"
        stem = f"run-{stem}" if stem.startswith("zoo.") else stem
        taken = {path.name for path in self.places.runs.glob("*")} | {
            Path(j.folder).name for j in self.jobs.values() if j.folder
        }
        numbers = [int(t[len(stem) + 1 :]) for t in taken if t.startswith(f"{stem}-") and t[len(stem) + 1 :].isdigit()]
        return self.places.runs / f"{stem}-{max(numbers, default=0) + 1:03d}"

    def _add(self, kind: str, title: str, words: list[str], minutes: float | None, folder: Path | None,
             system: str | None, recipe: str | None, run: str | None = None) -> dict[str, Any]:  # fmt: skip
        name = fresh_id()
        while name in self.jobs:
            name = fresh_id()
        order = max((job.order for job in self.jobs.values()), default=0.0) + 1
        job = Job(name, kind, title, words, system, recipe, run_id(folder.name) if folder else run,
                  str(folder) if folder else None, minutes, order=order)  # fmt: skip
        (self.folder / name).mkdir(mode=0o700)
        try:
            job.save(self.folder / name)
        except OSError:  # what was answered with a fault must not run later
            shutil.rmtree(self.folder / name, ignore_errors=True)
            raise
        self.jobs[name] = job
        self._tell(job)
        self.wake.set()
        return self.view(job)

    def _again(self, job: Job, minutes: float | None) -> None:
        """Back into the queue: to go on with the run, or to begin it where none was made yet."""
        self._check_room()
        if any(other.run == job.run and other.open for other in self.jobs.values()):
            raise Busy("this run is in the queue already")
        if job.folder and (Path(job.folder) / "recipe.toml").exists():
            job.words = ["resume", job.folder]
        job.minutes = minutes if minutes is not None else job.minutes if job.words[0] == "train" else None
        job.order = max((other.order for other in self.jobs.values()), default=0.0) + 1
        self.final.pop(job.id, None)
        job.state, job.wants, job.error, job.pid, job.ended, job.started = "waiting", None, None, None, None, None
        self.wake.set()

    def _changed(self, job: Job) -> None:
        """Write it down, and tell the pages; what a full disk refuses is written at a later tick."""
        try:
            job.save(self.folder / job.id)
            self.unsaved.discard(job.id)
        except OSError:
            self.unsaved.add(job.id)
        self._tell(job)

    def _tell(self, job: Job) -> None:
        """Tell the pages where something they can see has changed."""
        view = self.view(job)
        if (seen := json.dumps(view)) != self.told.get(job.id):
            self.told[job.id] = seen
            self.tell("job", view)

    def _run(self) -> None:
        while not self.ending:
            with self.lock:
                for job in list(self.jobs.values()):
                    with contextlib.suppress(OSError):  # the others go on, and this one is looked at again
                        self._look_after(job)
                with contextlib.suppress(OSError):
                    self._start_next()
                self._forget_old()
            self.wake.wait(TICK)
            self.wake.clear()

    def _start_next(self) -> None:
        """Start what waits, as long as there is a place; a train of failures must not hold the queue up."""
        busy = sum(job.state in ("starting", "running", "stopping") for job in self.jobs.values())
        line = sorted(
            (job for job in self.jobs.values() if job.state == "waiting"), key=lambda job: (job.order, job.id)
        )
        for job in line[: max(0, self.slots - busy)]:
            words = [*job.words, *([f"--minutes={job.minutes:g}"] if job.minutes else [])]
            out = self.folder / job.id / "out.json" if job.kind == "evaluate" else None
            job.started = time.time()
            try:
                self._log(job).unlink(missing_ok=True)
                child = start(words, self._log(job), out)
            except OSError as error:
                job.state, job.error, job.ended = "failed", f"cannot start: {error}", time.time()
                self._changed(job)
                continue
            self.children[job.id] = child
            job.state, job.pid = "starting", child.pid
            job.born = born(child.pid)
            self._mark(job, True)
            self._changed(job)

    def _look_after(self, job: Job) -> None:
        """One look at a job: is its process still there, is it to stop, how far is it?"""
        if job.id in self.unsaved:
            self._changed(job)
        if not job.open or job.state == "waiting":
            return
        child = self.children.get(job.id)
        gone = child.poll() is not None if child else not alive(job.pid, job.born)
        if gone:
            self.children.pop(job.id, None)
            self._end(job)
            return
        if job.run:
            self.training[job.run] = job.id
        if job.wants:
            self._press(job)
        elif job.state == "starting" and (job.kind != "train" or self._has_steps(job)):
            job.state = "running"
            self._changed(job)
        self._tell(job)

    def _press(self, job: Job) -> None:
        """Ask a process to end: by the file `stop` in its run, or by a signal where there is no run yet."""
        folder = Path(job.folder) if job.folder else None
        late = time.time() - (job.asked or 0.0)
        if folder is not None and (folder / "recipe.toml").exists():
            with contextlib.suppress(OSError):
                (folder / "stop").touch()  # again and again: a run that begins removes one that was there before
        elif job.pid:
            send(job.pid, job.born, signal.SIGTERM)
        if job.wants == "cancel" and job.pid:
            send(job.pid, job.born, signal.SIGKILL if late > PATIENCE else signal.SIGTERM)

    def _has_steps(self, job: Job) -> bool:
        """Whether it has told of a step since it was started."""
        return bool(job.folder) and progress(job)["losses"] != {} and (
            Path(job.folder or "") / "events.jsonl").stat().st_mtime >= (job.started or 0)  # fmt: skip

    def _end(self, job: Job) -> None:
        """Its process has ended: what became of it?"""
        job.ended = time.time()
        if job.kind == "train":
            job.state, job.error = verdict(job, self._log(job))
            if job.folder:
                with contextlib.suppress(OSError):  # a run that begins removes it too
                    (Path(job.folder) / "stop").unlink(missing_ok=True)
        elif job.kind == "evaluate" and (scores := read_json(self.folder / job.id / "out.json")):
            job.state, job.scores = "done", scores
        else:
            complaint = complaint_of(self._log(job))
            stopped = {"stop": "stopped", "cancel": "cancelled", "pause": "stopped"}.get(job.wants or "")
            job.state = stopped or ("failed" if complaint or job.kind == "evaluate" else "done")
            job.error = complaint if job.state == "failed" else None
        job.pid = job.born = None
        self._mark(job, False)
        self._changed(job)
        self.tell("runs", {})

    def _mark(self, job: Job, working: bool) -> None:
        if job.run and job.kind == "train":
            if working:
                self.training[job.run] = job.id
            else:
                self.training.pop(job.run, None)

    def _forget_old(self) -> None:
        ended = sorted(job.id for job in self.jobs.values() if not job.open)
        for name in ended[: max(0, len(ended) - KEPT)]:
            self.jobs.pop(name)
            shutil.rmtree(self.folder / name, ignore_errors=True)
