"""Checkpoints that survive anything: a fresh folder, flushed, hashed, and renamed into place.

    checkpoints/000500/weights.safetensors  ema.safetensors  state/train.safetensors  state/train.json  MANIFEST.json

The manifest (SHA-256 of every file) is written last, then the folder takes its name: a folder with a name is complete.
Nothing is pickled: tensors go to safetensors, everything else to JSON. Where weights are split over processes, each
process writes its own piece (`weights.0-of-2.safetensors`), and any number of processes can read the pieces together.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from handmade.engine.devices import World, is_split
from handmade.engine.tensors import MOST_TENSORS, open_tensors, write_tensors
from handmade.errors import Damaged, HandmadeError, UserError
from handmade.weights import Stored

FORMAT = 1
MANIFEST = "MANIFEST.json"


def write(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any],
          world: World) -> Path:  # fmt: skip
    """Write one checkpoint, all processes together: named sets of tensors (`weights`), and plain values (`state/train`).

    Raises HandmadeError where the disk is full or read-only; older checkpoints are then as they were.
    """
    target = folder / f"{step:06d}"
    draft = folder / f".{target.name}.{world.agree(os.getpid())}"
    error = None
    try:
        _write_pieces(draft, tensors, world)
        if world.leads:
            for name, content in values.items():
                (draft / f"{name}.json").write_text(json.dumps(content), "utf-8")
    except (OSError, SafetensorError) as problem:
        error = problem
    whole = not world.anyone(error is not None)  # before it is published: a piece may be missing
    if world.leads and whole:
        try:
            _publish(draft, target, step)
        except OSError as problem:
            error = problem
    if not whole or world.anyone(error is not None):
        shutil.rmtree(draft, ignore_errors=True)
        size = sum(t.numel() * t.element_size() for group in tensors.values() for t in group.values()) / 1e6
        raise HandmadeError(
            f"cannot save step {step} ({size:.0f} MB) in {folder}: {error}; earlier checkpoints are intact: "
            "free some space, then resume"
        )
    return target


def write_stored(folder: Path, step: int, tensors: Mapping[str, Stored]) -> Path:
    """Write one checkpoint that holds weights alone, one tensor in memory at a time.

    Raises HandmadeError where the disk is full or read-only.
    """
    target, size = folder / f"{step:06d}", sum(tensor.bytes for tensor in tensors.values())
    draft = folder / f".{target.name}.{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        write_tensors(draft / "weights.safetensors", tensors)
        _publish(draft, target, step)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise HandmadeError(f"cannot write {size / 1e6:,.0f} MB into {folder}: {error}; free some space") from None
    return target


def _write_pieces(draft: Path, tensors: Mapping[str, Mapping[str, Tensor]], world: World) -> None:
    for name, group in tensors.items():
        split = sorted(key for key, value in group.items() if is_split(value))
        if not split and not world.leads:
            continue
        path = draft / (f"{name}.{world.rank}-of-{world.size}.safetensors" if split else f"{name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        held: dict[str, Any] = dict(group)
        plain = {k: (v.to_local() if is_split(v) else v).detach().cpu().contiguous() for k, v in held.items()}
        save_file(plain, path, metadata={"split": json.dumps(split)})


def _publish(draft: Path, target: Path, step: int) -> None:
    """Flush every file, write the manifest, and give the folder its name."""
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    sums = {path.relative_to(draft).as_posix(): sha256(path) for path in files}
    (draft / MANIFEST).write_text(json.dumps({"format": FORMAT, "step": step, "sha256": sums}, indent=1), "utf-8")
    for path in [*files, draft / MANIFEST]:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    for path in {path.parent for path in files} | {draft}:
        _flush_folder(path)
    shutil.rmtree(target, ignore_errors=True)  # only ever a damaged one: a good step is not saved twice
    draft.rename(target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints, oldest first."""
    return sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit() and p.is_dir())


def verify(checkpoint: Path) -> dict[str, Any]:
    """Return the manifest after checking every file against it; raise Damaged naming the first wrong file."""
    told = manifest(checkpoint)
    for name, expected in told["sha256"].items():
        path = checkpoint / name
        if not path.is_file() or sha256(path) != expected:
            raise Damaged(f"{path} is {'damaged' if path.is_file() else 'missing'}")
    return told


def manifest(checkpoint: Path) -> dict[str, Any]:
    """The manifest, its files not checked against it; raise Damaged where it is none."""
    try:
        told = json.loads((checkpoint / MANIFEST).read_text("utf-8"))
        if told["format"] > FORMAT:
            raise UserError(f"{checkpoint} was written by a newer version of handmade: update handmade to use it")
        return {**told, "sha256": dict(told["sha256"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise Damaged(f"{checkpoint / MANIFEST} is missing or damaged") from None


def newest(folder: Path) -> Iterator[tuple[Path, Damaged | None]]:
    """Checkpoints from the newest back to the first good one; the damaged ones on the way come with what is wrong."""
    for step in reversed(steps(folder)):
        path = folder / f"{step:06d}"
        try:
            verify(path)
        except Damaged as error:
            yield path, error
            continue
        yield path, None
        return


def read(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """Read a named set of tensors, from one file or from the pieces of several processes; {} where there is none."""
    pieces = sorted(
        checkpoint.glob(f"{name}.*-of-*.safetensors"), key=lambda p: int(p.name.split(".")[1].split("-")[0])
    )
    if not pieces:
        path = checkpoint / f"{name}.safetensors"
        return read_tensors(path)[0] if path.exists() else {}
    loaded = [read_tensors(path) for path in pieces]
    first, split = loaded[0]
    return {
        key: torch.cat([group[key] for group, _ in loaded]) if key in split else value for key, value in first.items()
    }


def stored(checkpoint: Path, name: str) -> dict[str, Stored]:
    """A named set of tensors, opened but not read; {} where there is none, or where it lies in pieces."""
    path = checkpoint / f"{name}.safetensors"
    return open_tensors(path)[0] if path.exists() else {}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Read one safetensors file, and the names of its tensors that are pieces of larger ones.

    Raises Damaged for anything else, and for more tensors than a network has.
    """
    try:
        with safe_open(path, "pt") as file:
            if len(names := list(file.keys())) > MOST_TENSORS:
                raise Damaged(f"{path} holds {len(names)} tensors; at most {MOST_TENSORS} are read")
            split = json.loads((file.metadata() or {}).get("split", "[]"))
            turned = set(json.loads((file.metadata() or {}).get("turned", "[]")))
            tensors = {name: file.get_tensor(name) for name in names}
            return {name: value.t() if name in turned else value for name, value in tensors.items()}, split
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"{path} is not a safetensors file: {error}") from None


def set_aside(folder: Path, step: int) -> None:
    """Rename the damaged checkpoints after `step`, from which training goes on: they must not count as the newest."""
    for later in (number for number in steps(folder) if number > step):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder / f"damaged-{later:06d}", ignore_errors=True)
            (folder / f"{later:06d}").rename(folder / f"damaged-{later:06d}")


def sweep(folder: Path, keep: int, best: int | None) -> None:
    """Remove drafts that a killed process left, and all but the newest `keep` checkpoints and the best."""
    for draft in folder.glob(".[0-9]*"):
        shutil.rmtree(draft, ignore_errors=True)
    for step in steps(folder)[:-keep]:
        if step != best:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder / f"{step:06d}")
