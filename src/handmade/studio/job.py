"""One job: a command that was asked for, what became of it, and how it is told. Its run folder is the truth about it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from handmade.studio.places import read_json, write_json
from handmade.studio.processes import last_lines

OPEN = ("waiting", "starting", "running", "stopping")  # states from which something will come by itself
TAIL = 65_536  # bytes of events that are looked at for the newest


@dataclass
class Job:
    """What is written to `job.json`, and nothing else."""

    id: str
    kind: str  # train, prepare, evaluate
    title: str
    words: list[str]  # of the command
    system: str | None = None
    recipe: str | None = None
    run: str | None = None  # its id
    folder: str | None = None  # its folder
    minutes: float | None = None
    state: str = "waiting"
    order: float = 0.0  # in the queue
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    pid: int | None = None
    born: str | None = None  # when the process started, as the system writes it
    wants: str | None = None  # pause, stop or cancel, once somebody has asked for it
    asked: float | None = None  # when that was
    error: str | None = None
    scores: dict[str, Any] | None = None  # of an evaluation

    @property
    def open(self) -> bool:
        """Whether it waits or works."""
        return self.state in OPEN

    def save(self, folder: Path) -> None:
        """Write it down; what is not written has not happened."""
        write_json(folder / "job.json", asdict(self))


def read_job(folder: Path) -> Job | None:
    """A job from its folder, or None where that holds none."""
    values = read_json(folder / "job.json")
    known = {f.name for f in fields(Job)}
    if values is None or not known >= set(values) or values.get("id") != folder.name:
        return None
    return Job(**values)


def progress(job: Job) -> dict[str, Any]:
    """Where its training stands, from the newest events of its run."""
    told: dict[str, Any] = {
        "step": 0,
        "steps": None,
        "seconds": 0.0,
        "left": None,
        "rate": None,
        "losses": {},
        "score": None,
    }
    if job.folder is None:
        return told
    events = newest_events(Path(job.folder))
    steps = [event for event in events if event["kind"] == "step"]
    score = next((event for event in reversed(events) if event["kind"] == "score"), None)
    if score and isinstance(score.get("scores"), dict) and score["scores"]:
        name, value = next(iter(score["scores"].items()))
        told["score"] = {"name": name, "value": value.get("value"), "floor": value.get("floor")}
    last = next((event for event in reversed(events) if "step" in event), None)
    if last is not None:
        told.update(step=last["step"], seconds=last.get("seconds", 0.0), steps=last.get("steps"))
    if steps:
        told.update(steps=steps[-1].get("steps"), rate=steps[-1].get("items_per_s"), losses=steps[-1].get("losses", {}))
        if job.open:
            told["left"] = _left(steps)
    return told


def _left(steps: list[dict[str, Any]]) -> float | None:
    """Seconds to the end, at the pace of the last events, samples and scores between them counted."""
    first, last = steps[max(0, len(steps) - 60)], steps[-1]
    done = last["step"] - first["step"]
    if done <= 0 or not last.get("steps"):
        return None
    return round(max(0.0, (last["seconds"] - first["seconds"]) / done * (last["steps"] - last["step"])), 1)


def newest_events(folder: Path) -> list[dict[str, Any]]:
    """The last events of a run that may be writing right now."""
    events = []
    with contextlib.suppress(OSError), (folder / "events.jsonl").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        for line in file.read().splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict) and "kind" in event:
                    events.append(event)
    return events


def verdict(job: Job, log: Path) -> tuple[str, str | None]:
    """What became of a training whose process has ended: its state, and what went wrong."""
    events = newest_events(Path(job.folder)) if job.folder else []
    since = job.started or 0.0
    ends = [event for event in events if event["kind"] == "end" and event.get("at", 0) >= since]
    wanted = {"pause": "paused", "stop": "stopped", "cancel": "cancelled"}
    if ends:
        end = ends[-1]
        scored = any(event["kind"] == "score" and event["step"] == end["step"] for event in events)
        finished = end["step"] >= (end.get("steps") or 0) or scored
        return ("done", None) if finished else (wanted.get(job.wants or "", "stopped"), None)
    if complaint := complaint_of(log):
        return "failed", complaint
    if job.wants in wanted:
        return wanted[job.wants], None
    return "interrupted", "its process was killed; resume goes on from the last checkpoint"


def complaint_of(log: Path) -> str | None:
    """The one line with which a command says what went wrong."""
    lines = [line.removeprefix("handmade: ") for line in last_lines(log, 40) if line.startswith("handmade: ")]
    lines = [line for line in lines if not line.startswith("interrupted")]
    if lines:
        return lines[-1][:600]
    crashed = [line for line in last_lines(log, 40) if re.match(r"[A-Za-z_.]+(Error|Exception)\b", line)]
    return f"it broke down: {crashed[-1][:500]}" if crashed else None


def words_of(job: Job, told: dict[str, Any], log: Path) -> str:
    """What it is doing, in one plain line."""
    match job.state:
        case "waiting":
            return "waiting for its turn"
        case "starting":
            lines = [line for line in last_lines(log, 1) if line.isprintable()]
            return f"getting ready: {lines[0][:160]}" if lines else "getting ready"
        case "running" if job.kind != "train":
            return "working"
        case "running":
            return f"step {told['step']:,} of {told['steps'] or 0:,}"
        case "stopping":
            return "saving, then it stops"
        case "failed" | "interrupted":
            return job.error or job.state
        case _:
            return f"{job.state} at step {told['step']:,}" if told["step"] else job.state
