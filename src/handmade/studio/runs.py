"""Runs as the page reads them, from their folders alone: settings, curves, samples, scores, and what the doctor remarks."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handmade.artifacts.history import History, history, read_events
from handmade.errors import UserError
from handmade.studio.events import Tail
from handmade.studio.pages import safe_html
from handmade.studio.places import Busy, Missing, Places, read_json
from handmade.studio.processes import in_training, last_lines
from handmade.studio.remarks import remarks

POINTS = 2000  # of one curve
FILMS = ("film.gif", "film.mp4", "progress.png")
LARGEST = 2_000_000  # bytes of a recipe or a card


class Runs:
    """Every run by id; what was read of one is kept until its events change."""

    def __init__(self, places: Places):
        self.places = places
        self.training: dict[str, str] = {}  # run -> the job that trains it now; kept by the jobs
        self._kept: dict[Path, tuple[tuple[int, int], dict[str, Any], History]] = {}

    def all(self, system: str | None = None) -> list[dict[str, Any]]:
        """All runs in short, yours newest first, then the shipped ones."""
        found = [self.short(name, folder) for name, folder in self._folders().items()]
        return [run for run in found if system is None or run["system"] == system]

    def _folders(self) -> dict[str, Path]:
        return {**self.places.own_runs(), **self.places.shipped_runs()}

    def short(self, name: str, folder: Path | None = None) -> dict[str, Any]:
        """One run in a few words and numbers."""
        folder = folder or self.places.run(name)
        recipe, faults = _recipe(folder)
        told = self._told(folder)[1]
        system, shipped = _table(recipe.get("system")), name.startswith("zoo.")
        full = _text(recipe.get("name")) or folder.name
        steps = _checkpoints(folder)
        job, sheet = self.training.get(name), _newest_sheet(folder)
        busy = job is not None or (not shipped and in_training(folder))
        return {
            "id": name, "name": folder.name, "system": full.split("/")[0], "recipe": full, "shipped": shipped,
            "title": _text(system.get("title")) or full, "makes": _text(system.get("makes")), "usable": bool(steps),
            "resumable": any((folder / "checkpoints" / f"{step:06d}" / "state").is_dir() for step in steps),
            "step": max([told.step, *steps], default=0), "steps": _table(recipe.get("train")).get("steps"),
            "seconds": told.seconds, "created": _created(folder),
            "state": "training" if busy else "ready" if steps else "empty", "job": job,
            "scores": {key: _score(curve[-1]) for key, curve in told.scores.items()}, "yardstick": told.yardstick,
            "picture": f"/api/runs/{name}/sheet.png?v={sheet.stat().st_mtime_ns // 10**6}" if sheet else None,
            "faults": faults,
        }  # fmt: skip

    def kind(self, name: str) -> str:
        """What kind of data a run learned from, by the first letters of its spec."""
        with contextlib.suppress(OSError), (self.places.run(name) / "spec.json").open("rb") as file:
            match = re.match(rb'\{\s*"kind":\s*"([a-z_]+)"', file.read(80))
            return match[1].decode() if match else ""
        return ""

    def long(self, name: str) -> dict[str, Any]:
        """Everything about one run."""
        folder = self.places.run(name)
        recipe, _ = _recipe(folder)
        events, told = self._told(folder)
        tail = Tail(folder)
        tail.read()
        sheets = [(sample.step, sample.seconds) for sample in told.samples if sample.path.is_file()]
        return {
            **self.short(name, folder), "about": _text(recipe.get("about")), "preview": _table(recipe.get("preview")),
            "settings": {part: _table(recipe.get(part)) for part in ("data", "config", "train", "borrow")},
            "spec": _without_codec(read_json(folder / "spec.json") or {}),
            "machine": read_json(folder / "environment.json") or {},
            "losses": {player: _thin(curve) for player, curve in told.losses.items()}, "log": events["log"],
            "score_curves": {key: [_point(score) for score in curve] for key, curve in told.scores.items()},
            "samples": [{"id": f"{step:06d}", "step": step, "seconds": seconds,
                         "picture": f"/api/runs/{name}/samples/{step:06d}/sheet.png",
                         "sample": (folder / "samples" / f"{step:06d}" / "sample.json").is_file()}
                        for step, seconds in sheets],
            "checkpoints": _checkpoints(folder), "notes": last_lines(folder / "log.txt", 40), "remarks": remarks(told),
            "card": safe_html(_read(folder / "README.md")), "cursor": tail.cursor,
            "films": [{"name": film, "url": f"/api/runs/{name}/films/{film}"} for film in FILMS if (folder / film).is_file()],
        }  # fmt: skip

    def _told(self, folder: Path) -> tuple[dict[str, Any], History]:
        """What the events of a run say, read again only when the file has changed."""
        about = None
        with contextlib.suppress(OSError):
            about = (folder / "events.jsonl").stat()
        mark = (about.st_mtime_ns, about.st_size) if about else (0, 0)
        kept = self._kept.get(folder)
        if kept is None or kept[0] != mark:
            events = read_events(folder)
            kept = self._kept[folder] = (mark, {"log": _logged(events)}, history(events, folder))
        return kept[1], kept[2]

    def events(self, name: str, cursor: str | None) -> dict[str, Any]:
        """The events of a run that came after a cursor."""
        tail = Tail(self.places.run(name), cursor)
        events, reset = tail.read()
        return {"events": events, "cursor": tail.cursor, "reset": reset}

    def sample(self, name: str, step: str, file: str) -> Path:
        """A file of one sample."""
        if file not in ("sheet.png", "sample.json") or not re.fullmatch(r"\d{1,12}", step):
            raise Missing(step)
        return self._inside(name, "samples", step, file)

    def film(self, name: str, file: str) -> Path:
        """A film of a run, or its sheet of progress."""
        if file not in FILMS:
            raise Missing(file)
        return self._inside(name, file)

    def sheet(self, name: str) -> Path:
        """The newest sample of a run."""
        sheet = _newest_sheet(self.places.run(name))
        if sheet is None:
            raise Missing(name)
        return sheet

    def _inside(self, name: str, *parts: str) -> Path:
        """A file of a run; Missing where it is not there, or a link that leads out of the run."""
        folder = self.places.run(name)
        path = folder.joinpath(*parts)
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise Missing(name)
        return path

    def compare(self, names: Sequence[str]) -> dict[str, Any]:
        """Runs side by side: the long form of each, and every score of any of them for all."""
        if not 1 <= len(names) <= 12:
            raise UserError(f"compare takes 1 to 12 runs, not {len(names)}")
        told = [
            {key: value for key, value in self.long(name).items() if key not in ("card", "notes")} for name in names
        ]
        metrics: dict[str, dict[str, Any]] = {}
        for run in told:
            for key, score in run["scores"].items():
                row = metrics.setdefault(
                    key, {"name": key, "about": score["about"], "better": score["better"], "values": {}}
                )
                row["values"][run["id"]] = {part: score[part] for part in ("value", "floor", "low", "high")}
        prints = {str(run["machine"].get("data")) for run in told}
        return {"runs": told, "metrics": list(metrics.values()), "same_data": len(prints) == 1}

    def throw_away(self, name: str, typed: str) -> None:
        """Move a run of yours into the studio's trash; its name must be typed, and nothing may be training in it."""
        if name.startswith("zoo."):
            raise UserError("shipped runs stay where they are")
        folder = self.places.run(name)
        if typed != folder.name:
            raise UserError(f'type the name of the run, "{folder.name}", to throw it away')
        if name in self.training:
            raise Busy("this run is training: stop it first")
        if in_training(folder):
            raise Busy("another process is training in this run: stop it there first, with Ctrl-C")
        target = self.places.make("trash") / f"{folder.name}-{int(time.time())}"
        shutil.move(str(folder), target)
        self._kept.pop(folder, None)


def _recipe(folder: Path) -> tuple[Mapping[str, Any], list[str]]:
    path = folder / "recipe.toml"
    try:
        if path.stat().st_size > LARGEST:
            return {}, ["recipe.toml is larger than any of ours"]
        return tomllib.loads(path.read_text("utf-8")), []
    except (OSError, ValueError, RecursionError) as error:
        return {}, [f"recipe.toml cannot be read: {str(error).splitlines()[0][:200]}"]


def _logged(events: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What the turns told beside their losses, as curves."""
    curves: dict[str, list[Any]] = {}
    for event in events:
        log = event.get("log") if event["kind"] == "step" else None
        for name, value in (log or {}).items() if isinstance(log, Mapping) else ():
            if isinstance(value, int | float) and value == value and abs(value) < 1e300:
                curves.setdefault(str(name)[:100], []).append((event.get("step", 0), event.get("seconds", 0), value))
    return {name: _thin(curve) for name, curve in curves.items()}


def _thin(curve: Sequence[Any]) -> list[Any]:
    """At most so many points, evenly, the last one always."""
    stride = -(-len(curve) // POINTS)
    kept = list(curve[::stride]) if stride > 1 else list(curve)
    return kept if not curve or kept[-1] == curve[-1] else [*kept, curve[-1]]


def _score(score: Any) -> dict[str, Any]:
    return {part: getattr(score, part) for part in ("value", "floor", "low", "high", "better", "about")}


def _point(score: Any) -> dict[str, Any]:
    return {part: getattr(score, part) for part in ("step", "seconds", "value", "low", "high", "floor")}


def _checkpoints(folder: Path) -> list[int]:
    return sorted(
        int(path.parent.name) for path in (folder / "checkpoints").glob("*/MANIFEST.json") if path.parent.name.isdigit()
    )


def _newest_sheet(folder: Path) -> Path | None:
    sheets = sorted((folder / "samples").glob("*/sheet.png"))
    inside = [sheet for sheet in sheets[-1:] if sheet.resolve().is_relative_to(folder.resolve())]
    return inside[0] if inside else None


def _created(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / "spec.json").stat().st_mtime
    return 0.0


def _read(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(LARGEST).decode("utf-8", "replace")
    return ""


def _without_codec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without the long tables of its codec."""
    short = {key: value for key, value in spec.items() if key != "codec"}
    codec = spec.get("codec")
    return {**short, "codec": {"kind": codec.get("kind")}} if isinstance(codec, Mapping) else short


def _text(value: Any) -> str:
    return value[:2000] if isinstance(value, str) else ""


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
