"""The run folder: the only thing training leaves behind, and all that is needed to use, resume or judge it.

recipe.toml  spec.json  environment.json  events.jsonl  log.txt  samples/  checkpoints/  latest  best  README.md  .lock  stop
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from handmade.engine import checkpoint
from handmade.errors import Damaged, HandmadeError, UserError


class Run:
    """One run folder. Opening it reads nothing and locks nothing."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._events: IO[str] | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @classmethod
    def create(
        cls, folder: Path, recipe: str, spec: Mapping[str, Any], environment: Mapping[str, Any], card: str
    ) -> Run:
        """Start a run in a new or empty folder; raise UserError where something is already there."""
        if folder.exists() and (not folder.is_dir() or any(p.name != ".lock" for p in folder.iterdir())):
            raise UserError(f"{folder} is not empty: choose another --out, or `handmade resume {folder}`")
        try:
            folder.mkdir(parents=True, exist_ok=folder.exists())  # a folder that appears just now is another process's
            run = cls(folder)
            run.write("spec.json", json.dumps(spec, indent=1))
            run.write("environment.json", json.dumps(environment, indent=1))
            run.write("README.md", card)
            run.write("recipe.toml", recipe)  # last: a folder with a recipe is a run
        except OSError as error:
            raise UserError(f"cannot write into {folder}: {error}") from None
        return run

    def write(self, name: str, text: str) -> None:
        """Replace a small text file in one move, so that a reader never sees half of it."""
        draft = self.folder / f".{name}.{os.getpid()}"
        draft.write_text(text, "utf-8")
        draft.replace(self.folder / name)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files; raise Damaged where it is missing or holds no JSON object."""
        try:
            values = json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise Damaged(f"{self.folder / name} is missing or damaged: {error}") from None
        if not isinstance(values, dict):
            raise Damaged(f"{self.folder / name} is damaged: it holds no table of values")
        return values

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; a second process is refused. The lock ends with the process, however it ends."""
        try:
            lock = open(self.folder / ".lock", "a")  # noqa: SIM115
        except OSError as error:
            raise UserError(f"cannot write into {self.folder}: {error}") from None
        try:
            try:
                _take(lock)
            except BlockingIOError:  # perhaps only somebody who looked whether it is taken
                time.sleep(0.05)
                _take(lock)
        except BlockingIOError:
            lock.close()
            message = f"another process is training in {self.folder}: wait for it, or choose another --out"
            raise UserError(message) from None
        try:
            yield
        finally:
            lock.close()
            if self._events:
                self._events.close()
                self._events = None

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event, a line of JSON, to events.jsonl."""
        if self._events is None:
            self._events = open(self.folder / "events.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()

    def note(self, text: str) -> None:
        """Append one line for people to log.txt."""
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def events(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """The events so far, of these kinds or of all; a last line cut short by a kill is left out."""
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            open(self.folder / "events.jsonl", encoding="utf-8") as lines,
        ):
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if not kinds or event["kind"] in kinds:
                        yield event

    def trained_for(self) -> float:
        """Seconds of training at the run's last end, of all its parts if it was stopped and went on; 0 before the first."""
        return ([0.0] + [event["seconds"] for event in self.events("end")])[-1]

    def forget_events_after(self, step: int) -> None:
        """Drop events of steps that a killed process took after its last checkpoint: they will be taken again."""
        kept = [event for event in self.events() if event.get("step", 0) <= step]
        self.write("events.jsonl", "".join(json.dumps(event) + "\n" for event in kept))

    def marked(self, name: str) -> int | None:
        """The step that `latest` or `best` points at."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / name).read_text("utf-8"))
        return None

    def good_checkpoint(self, at: str = "latest") -> tuple[Path, list[str]]:
        """The checkpoint to use, and a line for each damaged one that was passed over on the way.

        at: "latest", "best", or a step; raises Damaged where none is good, UserError where there is none yet
        """
        if at == "best" and (step := self.marked("best")) is not None:
            at = str(step)
        if at.isdecimal() and at.isascii():
            path = self.checkpoints / f"{int(at):06d}"
            if not path.is_dir():
                raise UserError(
                    f"{self.folder} has no checkpoint of step {at}; it has {checkpoint.steps(self.checkpoints)}"
                )
            checkpoint.verify(path)
            return path, []
        if at not in ("latest", "best"):
            raise UserError(f'there is no checkpoint "{at}": choose "latest", "best" or a step')
        passed = []
        for path, error in checkpoint.newest(self.checkpoints):
            if error is None:
                return path, passed
            passed.append(str(error))
        if passed:
            raise Damaged(f"{self.folder} has no good checkpoint: {'; '.join(passed)}")
        raise HandmadeError(f"{self.folder} has no checkpoint yet: `handmade resume {self.folder}` starts it again")

    def wants_stop(self) -> bool:
        """Whether someone has put a file named `stop` into the run folder."""
        return (self.folder / "stop").exists()


def _take(file: IO[str]) -> None:
    """Lock an open file for this process, or raise BlockingIOError at once."""
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            raise BlockingIOError from None
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def new_folder(parent: Path, recipe: str) -> Path:
    """`runs/dcgan-faces-001`, counted up from the last one there."""
    stem = recipe.replace("/", "-")
    numbers = [int(p.name[len(stem) + 1 :]) for p in parent.glob(f"{stem}-*") if p.name[len(stem) + 1 :].isdigit()]
    return parent / f"{stem}-{max(numbers, default=0) + 1:03d}"
