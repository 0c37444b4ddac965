"""The public calls: everything the command line and the studio do, they do through here.

run = handmade.train("dcgan/faces", minutes=20)
handmade.load(run).generate(n=16, seed=3).save(Path("out"))
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handmade import __version__
from handmade.card import model_card
from handmade.core import Batch, Judge, Score, System, asks_of
from handmade.data.loader import Loader
from handmade.data.source import Dataset, open_data
from handmade.data.specs import Spec, spec_from_json, spec_to_json
from handmade.engine import checkpoint, state
from handmade.engine.budget import check_minutes
from handmade.engine.devices import World, choose_device, compute_in, describe_machine, open_world, place, threads_kept
from handmade.engine.ema import check_names
from handmade.engine.memory import check_fits, keep_freed
from handmade.engine.observers import Observer
from handmade.engine.run import Run, new_folder
from handmade.engine.trainer import Trainer
from handmade.errors import Damaged, UserError, did_you_mean
from handmade.recipe import Recipe, build_config, load_recipe, read_recipe
from handmade.registry import Room, find_room, rooms, system_class, zoo

Progress = Callable[[int, int, str], None]
LARGE = 2**26  # bytes of weights from which they are not copied into memory but mapped


def systems() -> dict[str, Room]:
    """Every room by name."""
    return rooms()


def recipes() -> list[str]:
    """Every recipe as ROOM/RECIPE."""
    return [f"{room.name}/{recipe}" for room in rooms().values() for recipe in room.recipes]


def runs_folder() -> Path:
    """Where new runs go: HANDMADE_RUNS, or `runs` here."""
    return Path(os.environ.get("HANDMADE_RUNS", "runs"))


def find_run(name: str | Path | Run) -> Run:
    """A run by path, by name, as `zoo:ROOM/RECIPE`, or the newest as `latest`; UserError where there is none."""
    if isinstance(name, Run):
        return name
    text = str(name)
    if text.startswith("zoo:"):
        known = zoo()
        if text[4:] not in known:
            raise UserError(f'the zoo has no "{text[4:]}"{did_you_mean(text[4:], known)}')
        return Run(known[text[4:]])
    runs = sorted(runs_folder().glob("*/recipe.toml"), key=lambda path: path.stat().st_mtime)
    if text == "latest" and runs:
        return Run(runs[-1].parent)
    for folder in (Path(text), runs_folder() / text):
        if (folder / "recipe.toml").is_file():
            return Run(folder)
    raise UserError(f'no run "{text}"{did_you_mean(text, [path.parent.name for path in runs])}')


def train(
    recipe: str | Recipe,
    *,
    data: Path | str | None = None,
    out: Path | str | None = None,
    minutes: float | None = None,
    overrides: Mapping[str, str] | None = None,
    observers: Sequence[Observer] = (),
    progress: Progress = lambda done, total, what: None,
    began: float | None = None,
) -> Run:
    """Train a recipe and return its run; it can be stopped and resumed at any moment.

    data: a folder or file of your own, in place of the recipe's data
    out: the run's folder; by default the next free one under `runs/`
    minutes: a wall-clock budget that replaces the recipe's number of steps, counted from `began` (time.monotonic())
    """
    began = time.monotonic() if began is None else began
    recipe = load_recipe(recipe, overrides, data) if isinstance(recipe, str) else recipe
    check_minutes(minutes)
    folder = Path(out) if out is not None else new_folder(runs_folder(), recipe.name)
    recipe, like = _started(recipe)
    with open_world() as world:
        folder = world.agree(folder)
        run = Run(folder)
        if world.leads and (folder / "recipe.toml").exists():
            raise UserError(f"{folder} is already a run: `handmade resume {folder}` goes on, or choose another --out")
        dataset, spec = _open(recipe, world, progress, like)
        _report(recipe, dataset, world, observers)
        parts = _make(recipe, dataset, spec, world)  # before the folder: what cannot be built leaves nothing behind
        if world.leads:
            environment = {"handmade": __version__, **describe_machine(world), "data": dataset.fingerprint}
            Run.create(folder, recipe.to_toml(), spec_to_json(spec), environment, model_card(recipe, folder))
        world.wait()
        deadline = None if minutes is None else began + 60 * minutes
        return _fit(recipe, parts, run, world, deadline, observers)


def resume(
    run: str | Path | Run,
    *,
    minutes: float | None = None,
    overrides: Mapping[str, str] | None = None,
    observers: Sequence[Observer] = (),
    progress: Progress = lambda done, total, what: None,
    began: float | None = None,
) -> Run:
    """Go on with a run from its newest good checkpoint, to the end of its plan or for some more minutes."""
    began = time.monotonic() if began is None else began
    check_minutes(minutes)
    run = find_run(run)
    recipe = read_recipe(run.folder / "recipe.toml", overrides)
    if checkpoint.steps(run.checkpoints):
        path, _ = run.good_checkpoint()
        if not (path / "state").is_dir():
            raise UserError(f"{run.folder} ships weights only, nothing to go on from: train {recipe.name} instead")
    with open_world() as world:
        saved = spec_from_json(run.read_json("spec.json"))
        dataset, spec = _open(recipe, world, progress, saved)
        if spec != saved:
            raise UserError(
                f"the data of {run.folder} is no longer what it was trained on ({saved} before, {spec} now)"
            )
        deadline = None if minutes is None else began + 60 * minutes
        follow = "train.steps" not in (overrides or {})
        fresh = not checkpoint.steps(run.checkpoints)
        parts = _make(recipe, dataset, spec, world, fresh)
        return _fit(recipe, parts, run, world, deadline, observers, follow, changed=bool(overrides))


def _started(recipe: Recipe) -> tuple[Recipe, Spec | None]:
    """The recipe with the settings of the run it starts from, where it does not set them itself; and that run's spec."""
    if recipe.start is None:
        return recipe, None
    run = find_run(recipe.start)
    before = read_recipe(run.folder / "recipe.toml")
    if before.room.name != recipe.room.name:
        raise UserError(f"{recipe.name} cannot start from {recipe.start}: that is a {before.room.name}")
    where = recipe.start if recipe.start.startswith("zoo:") else str(run.folder.resolve())
    config = {**before.config, **recipe.config}
    return replace(recipe, start=where, config=config), spec_from_json(run.read_json("spec.json"))


def _open(recipe: Recipe, world: World, progress: Progress, like: Spec | None) -> tuple[Dataset, Spec]:
    """Open the training data; the leader first, so that drawing or decoding is done once."""
    opened = open_data(recipe.data, "train", progress, like) if world.leads else None
    world.wait()
    return opened or open_data(recipe.data, "train", like=like)


class _Parts(NamedTuple):
    """What a trainer needs beside the plan and the run."""

    system: System
    loader: Loader
    preview: Callable[[System], Any] | None
    score: Callable[[System], Mapping[str, Score]]


def _make(recipe: Recipe, dataset: Dataset, spec: Spec, world: World, fresh: bool = True) -> _Parts:
    """Build the system and all that goes with it, seeded; UserError for anything in the recipe that cannot be."""
    if recipe.train.batch % (world.size * recipe.train.accumulate):
        raise UserError(
            f"a batch of {recipe.train.batch} cannot be cut into {world.size} x {recipe.train.accumulate} parts"
        )
    loader = Loader(dataset, recipe.train.batch, recipe.train.seed, world.rank, world.size)
    state.seed_all(recipe.train.seed)
    system = build(recipe, spec)
    if recipe.start is not None and fresh:
        _start_from(system, recipe)
    check_names(system, recipe.train.ema)
    parts = _Parts(system, loader, _preview(recipe, system), _scorer(recipe, world.device, spec=spec))
    state.seed_all(recipe.train.seed + 1 + world.rank)
    return parts


def _start_from(system: System, recipe: Recipe) -> None:
    """Give a new system the weights of the run it starts from; what that run does not have keeps its initialisation."""
    given, live = load(str(recipe.start)).hand_over(), system.state_dict()
    wrong = [f"it has no {name}" for name in given if name not in live]
    if wrong := wrong or state.copy_into([(name, live[name]) for name in given], given):
        raise UserError(
            f"{recipe.name} cannot start from {recipe.start}: {wrong[0]}; leave out settings of the network"
        )


def _report(recipe: Recipe, dataset: Any, world: World, observers: Sequence[Observer]) -> None:
    """Say what was recognised in the user's own files, and which of them are broken."""
    if world.leads and "path" in recipe.data:
        for line in dataset.report.lines():
            for observer in observers:
                observer({"kind": "note", "text": line})


def _fit(recipe: Recipe, parts: _Parts, run: Run, world: World, deadline: float | None,
         observers: Sequence[Observer], follow: bool = True, changed: bool = False) -> Run:  # fmt: skip
    trainer = Trainer(parts.system, parts.loader, recipe.train, run, world, preview=parts.preview, score=parts.score,
                      deadline=deadline, follow=follow, observers=observers)  # fmt: skip
    with run.locked() if world.leads else contextlib.nullcontext():
        if world.leads:
            (run.folder / "stop").unlink(missing_ok=True)  # of an earlier training
            if changed:  # settings that were given to `resume` hold from now on
                run.write("recipe.toml", recipe.to_toml())
        trainer.fit()
        if world.leads:
            run.write("README.md", model_card(recipe, run.folder))
    return run


def build(recipe: Recipe, spec: Spec) -> System:
    """Make the recipe's system, untrained; what it borrows from other runs stays outside its module tree."""
    kind = system_class(recipe.room)
    config = build_config(sys.modules[kind.__module__].Config, recipe.config, recipe.name)
    with threads_kept(1):  # an orthogonal start, say, has other last bits on two
        system = kind(config, spec)
    if recipe.borrow:
        lent = {name: load(run).requires_grad_(False) for name, run in recipe.borrow.items()}
        object.__setattr__(system, "borrowed", lent)
    return system


def _preview(recipe: Recipe, system: System) -> Callable[[System], Any] | None:
    if not recipe.preview:
        return None
    arguments, asks, name = dict(recipe.preview), asks_of(system), str(recipe.preview.get("ask"))
    arguments.pop("ask", None)
    if name not in asks:
        raise UserError(f'recipe {recipe.name}: preview.ask cannot be "{name}"{did_you_mean(name, asks)}')
    asks[name].check(arguments)
    return lambda system: getattr(system, name)(**arguments)


def _scorer(recipe: Recipe, device: torch.device, items: int | None = None,
            spec: Spec | None = None) -> Callable[[System], Mapping[str, Score]]:  # fmt: skip
    """Scores on the first `items` held-out examples, opened when first needed."""
    held: list[Batch] = []
    judge = judge_of(recipe, device)

    def score(system: System) -> Mapping[str, Score]:
        if not held:
            held.append(place(held_out(recipe, items or recipe.train.score_items, spec), device))
        return system.evaluate(held[0], judge)

    return score


def held_out(recipe: Recipe, items: int, like: Spec | None = None) -> Batch:
    """The first `items` examples of the recipe's test split, or all where it has fewer; `like`: the spec of the run."""
    dataset, _ = open_data(recipe.data, "test", like=like)
    return dataset.batch(torch.arange(min(items, len(dataset))), torch.Generator().manual_seed(0))


class Eyes:
    """A trained network that looks at pictures for others, a few hundred at a time, without learning (`core.Judge`)."""

    def __init__(self, network: Any, device: torch.device):
        self.network, self.device, self.labels = network, device, network.data.labels

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D) features."""
        return torch.cat([self.network.features(part.to(self.device)) for part in pixels.split(250)])

    @torch.no_grad()
    def odds(self, pixels: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> for each attribute (N, V) probabilities."""
        parts = [self.network.probabilities(part.to(self.device)) for part in pixels.split(250)]
        return {name: torch.cat(columns) for name, columns in zip(self.labels, zip(*parts, strict=True), strict=True)}


def judge_of(recipe: Recipe, device: torch.device) -> Judge | None:
    """The network whose eyes judge this recipe's pictures; None where it names none."""
    return None if recipe.judge is None else Eyes(load(recipe.judge).to(device), device)


def load(run: str | Path | Run, at: str | None = None, device: str = "cpu", precision: str = "float32") -> System:
    """The system of a run, with averaged weights where it has them, ready to be asked.

    at: "latest", "best" or a step; by default the best of a run that stops by itself, else the latest
    precision: "float32", or "bf16": networks of convolutions are up to twice as fast, where the processor has it
    """
    keep_freed()
    name, run = str(run.folder if isinstance(run, Run) else run), find_run(run)
    recipe = read_recipe(run.folder / "recipe.toml")
    path, _ = run.good_checkpoint(at or ("best" if recipe.train.stop_after else "latest"))
    absent = set(run.read_json("environment.json").get("left_out", ()))  # networks that only train, in a shipped run
    where_to = _device(device)
    system = _filled(recipe, spec_from_json(run.read_json("spec.json")), path, absent, where_to)
    files = checkpoint.manifest(path)["sha256"]
    where = name if name.startswith("zoo:") else _relative(run.folder)
    averaged = "ema.safetensors" if "ema.safetensors" in files else "weights.safetensors"
    system.origin = {
        "recipe": recipe.name,
        "run": where,
        "step": int(path.name),
        "weights": averaged.split(".")[0],
        "sha256": files.get(averaged) or next(iter(files.values())),
        "version": __version__,
        "torch": torch.__version__,
        "device": device,
        "precision": precision,
        "threads": torch.get_num_threads(),
    }
    system.step = int(path.name)
    system.trained_on = lambda: open_data(recipe.data, "train", like=system.data)[0]
    system.to(where_to).eval()
    compute_in(precision, system, where_to)
    return system


def _device(name: str) -> torch.device:
    """What a name stands for; auto is the GPU where there is one."""
    return choose_device() if name == "auto" else torch.device(name)


def _filled(recipe: Recipe, spec: Spec, path: Path, absent: set[str], device: torch.device) -> System:
    """A system with the weights of a checkpoint; large ones are not copied but used where they lie in the file."""
    lying = {**checkpoint.stored(path, "weights"), **checkpoint.stored(path, "ema")}
    size = sum(tensor.bytes for tensor in lying.values())
    if size >= LARGE and not recipe.borrow:
        check_fits(size, f"asking {recipe.name}", "close other programs, or keep the weights in fewer bits (import)")
        with state.without_memory():
            system = build(recipe, spec)
        wrong = state.put_into(system, lying, pack=device.type == "cpu")
        if not any(tensor.is_meta for tensor in (*system.parameters(), *system.buffers())):
            return system
        if wrong:
            raise Damaged(f"{path} does not fit {recipe.name}: {wrong[0]}")
    system = build(recipe, spec)
    weights = {**checkpoint.read(path, "weights"), **checkpoint.read(path, "ema")}
    wanted = [(name, value) for name, value in system.state_dict().items() if name.split(".")[0] not in absent]
    if wrong := state.copy_into(wanted, weights):
        raise Damaged(f"{path} does not fit {recipe.name}: {wrong[0]}")
    return system


def _relative(folder: Path) -> str:
    """A path that says no more of this machine than needed."""
    folder = folder.resolve()
    here = Path.cwd()
    return folder.relative_to(here).as_posix() if folder.is_relative_to(here) else folder.as_posix()


def evaluate(
    run: str | Path | Run, items: int = 2000, at: str | None = None, device: str = "cpu"
) -> Mapping[str, Score]:
    """Held-out scores of a run, each with its floor and interval."""
    system, found = load(run, at, device), find_run(run)
    recipe = read_recipe(found.folder / "recipe.toml")
    with torch.no_grad():
        return _scorer(recipe, _device(device), items, system.data)(system)


def generate(run: str | Path | Run, **arguments: Any) -> Any:
    """Short for `load(run).generate(...)`."""
    system: Any = load(run)
    return system.generate(**arguments)


def import_weights(room: str, path: Path, recipe: str | None = None, out: Path | str | None = None,
                   overrides: Mapping[str, str] | None = None, precision: str | None = None,
                   tell: Callable[[str], None] = lambda line: None) -> Run:  # fmt: skip
    """Turn weights from elsewhere into a run of `room` that can be asked like any other.

    precision: how they are kept, for rooms that know published weights
    tell: what hears, before anything is read, what was recognised and what it will need
    Raises UserError where they do not fit the room's networks, or memory, or disk.
    """
    from handmade import exchange

    return exchange.bring(find_room(room), path, recipe, out, overrides, precision, tell)


def export(run: str | Path | Run, to: str, out: Path | str | None = None,
           tell: Callable[[str], None] = lambda line: None) -> Path:  # fmt: skip
    """Write a run as a folder in another program's format; return the folder. UserError where there is none for it."""
    from handmade import exchange

    return exchange.leave(find_run(run), to, out, tell)


__all__ = ["build", "evaluate", "export", "find_run", "generate", "held_out", "import_weights", "judge_of", "load", "recipes",
           "resume", "runs_folder", "systems", "train"]  # fmt: skip
