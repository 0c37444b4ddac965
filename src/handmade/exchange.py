"""Weights in and out: what others trained becomes a run like any other, and a run leaves for other engines.

A room with published weights has a `weights.py`: `bring(foreign, precision)` says what of the room's a foreign file holds,
`leave(to, config, spec, tensors)` what a run's files are elsewhere. Other rooms take a file of tensors by their own names.
Nothing here knows a room by its name, and only one tensor is in memory at a time.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from handmade import __version__
from handmade.api import build, runs_folder
from handmade.card import model_card
from handmade.data.source import open_data
from handmade.data.specs import spec_from_json, spec_to_json
from handmade.engine import checkpoint, state
from handmade.engine.devices import World
from handmade.engine.foreign import open_weights, read_weights
from handmade.engine.memory import check_fits, gigabytes
from handmade.engine.run import Run, new_folder
from handmade.engine.tensors import write_tensors
from handmade.errors import Damaged, HandmadeError, UserError, did_you_mean
from handmade.recipe import Recipe, build_config, check, load_recipe, read_recipe
from handmade.registry import Room, room_module, system_class
from handmade.weights import PRECISIONS, Brought, Foreign

Tell = Callable[[str], None]


def bring(room: Room, path: Path, recipe: str | None, out: Path | str | None, overrides: Mapping[str, str] | None,
          precision: str | None, tell: Tell) -> Run:  # fmt: skip
    """Make a run of weights from elsewhere, by the room's own `weights.py` where it has one."""
    module = _weights_of(room)
    if precision is not None and precision not in PRECISIONS:
        raise UserError(f'precision cannot be "{precision}"{did_you_mean(precision, PRECISIONS)}')
    if module is None or recipe is not None:
        if precision is not None:
            raise UserError(f"a file of {room.name}'s own tensors is taken as it is: leave out --precision")
        return _bring_own(room, path, recipe, out, overrides)
    if overrides:
        raise UserError(f"published weights say themselves what they are: leave out --{next(iter(overrides))}")
    precision = precision or "float32"
    with open_weights(path) as foreign:
        brought = module.bring(foreign, precision)
        tell(_announced(brought, precision))
        folder = Path(out) if out is not None else new_folder(runs_folder(), f"{room.name}-{brought.name}")
        return _written(room, brought, foreign, folder, tell)


def _announced(brought: Brought, precision: str) -> str:
    """What was recognised and what it needs, in one line; UserError where it does not fit into memory."""
    smaller = PRECISIONS[PRECISIONS.index(precision) + 1 :]
    instead = (
        f"choose --precision {' or '.join(smaller)}" if smaller else "close other programs, or use another machine"
    )
    return check_fits(brought.bytes, f"{brought.about}, kept in {precision},", instead)


def _written(room: Room, brought: Brought, foreign: Foreign, folder: Path, tell: Tell) -> Run:
    name = f"{room.name}/{brought.name}"
    recipe = check(room, name, brought.recipe)
    _check_room(folder, sum(tensor.bytes for tensor in brought.tensors.values()))
    _check_names(recipe, brought)
    environment = {"handmade": __version__, "imported": foreign.path.name, "layout": foreign.layout}
    run = Run.create(folder, recipe.to_toml(), spec_to_json(brought.spec), environment, model_card(recipe, folder))
    try:
        checkpoint.write_stored(run.checkpoints, 0, brought.tensors)
    except HandmadeError:
        shutil.rmtree(folder, ignore_errors=True)  # made just now, by us
        raise
    run.write("latest", "0")
    run.write("README.md", model_card(recipe, folder))
    return run


def _check_room(folder: Path, size: int) -> None:
    """Raise UserError where the disk has no room for a run of `size` bytes."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if size > free:
        disk = f"{gigabytes(size)} on disk, and {gigabytes(free)} are free in {there}"
        raise UserError(f"what is to be written takes {disk}: choose another --out")


def _check_names(recipe: Recipe, brought: Brought) -> None:
    """Raise UserError where the tensors are not exactly those of the system they are for; nothing is read for it."""
    with state.without_memory():
        live = build(recipe, brought.spec).state_dict()
    for name in live.keys() | brought.tensors.keys():
        ours, theirs = live.get(name), brought.tensors.get(name)
        if ours is None or theirs is None:
            raise UserError(
                f"the weights do not fit {recipe.name}: {name} is {'missing' if theirs is None else 'too many'}"
            )
        if (tuple(ours.shape), ours.dtype) != (theirs.shape, theirs.dtype):
            raise UserError(f"the weights do not fit {recipe.name}: {name} is {theirs.shape}, not {tuple(ours.shape)}")


def _bring_own(room: Room, path: Path, recipe: str | None, out: Path | str | None,
               overrides: Mapping[str, str] | None) -> Run:  # fmt: skip
    """Tensors by the room's own names, for the networks of a recipe."""
    name = recipe or f"{room.name}/{next(iter(room.recipes))}"
    chosen = load_recipe(name, overrides)
    if chosen.room.name != room.name:
        known = [f"{room.name}/{one}" for one in room.recipes]
        raise UserError(f"{name} is no recipe of {room.name}{did_you_mean(name, known)}")
    tensors = read_weights(path)
    _, spec = open_data(chosen.data, "train")
    system = build(chosen, spec)
    if wrong := state.copy_into(system.state_dict().items(), tensors):
        more = f" (+{len(wrong) - 1} more)" if wrong[1:] else ""
        raise UserError(f"{path} does not fit {name}: {wrong[0]}{more}; choose --recipe or --config.NAME to match it")
    folder = Path(out) if out is not None else new_folder(runs_folder(), f"{room.name}-{path.stem}")
    environment = {"handmade": __version__, "imported": path.name, "sha256": checkpoint.sha256(path)}
    run = Run.create(folder, chosen.to_toml(), spec_to_json(spec), environment, model_card(chosen, folder))
    checkpoint.write(run.checkpoints, 0, {"weights": system.state_dict()}, {}, World())
    run.write("latest", "0")
    return run


def leave(run: Run, to: str, out: Path | str | None, tell: Tell) -> Path:
    """Write a run as a folder in another program's format, and return that folder."""
    recipe = read_recipe(run.folder / "recipe.toml")
    module = _weights_of(recipe.room)
    if module is None or not hasattr(module, "leave"):
        raise UserError(f"a {recipe.room.name} has no format to leave in")
    kind = system_class(recipe.room)
    config = build_config(sys.modules[kind.__module__].Config, recipe.config, recipe.name)
    path, _ = run.good_checkpoint("best" if recipe.train.stop_after else "latest")
    tensors = {**checkpoint.stored(path, "weights"), **checkpoint.stored(path, "ema")}
    if not tensors:
        raise Damaged(f"{path} holds no weights in one piece")
    leaving = module.leave(to, config, spec_from_json(run.read_json("spec.json")), tensors)
    folder = Path(out) if out is not None else new_folder(Path("out"), f"{run.name}-{to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: choose another --out")
    size = sum(tensor.bytes for group in leaving.weights.values() for tensor in group.values())
    _check_room(folder, size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in leaving.texts.items():
            (folder / name).write_text(text, "utf-8")
        for name, group in leaving.weights.items():
            write_tensors(folder / name, group)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error}") from None
    if leaving.without:
        tell(leaving.without)
    return folder


def _weights_of(room: Room) -> ModuleType | None:
    """The room's `weights.py`, where it has one."""
    return room_module(room, "weights") if (room.folder / "weights.py").is_file() else None
