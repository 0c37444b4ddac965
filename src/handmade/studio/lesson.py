"""Inside a worker: the networks as they really are, and one training step in slow motion, turn by turn.

It works on a copy of its own, so that nothing that is asked of the run can feel it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from handmade import api
from handmade.core import System, Turn
from handmade.data.loader import Loader
from handmade.data.source import Dataset, open_data
from handmade.data.specs import Spec
from handmade.engine.devices import World
from handmade.engine.state import seed_all
from handmade.engine.turns import Player, Table, players_of
from handmade.errors import HandmadeError
from handmade.recipe import Recipe, read_recipe

FEW = 256  # examples that are opened for a lesson, where the data can be had in part
DEPTH = 3  # levels of layers that are listed


class Lesson:
    """What can be learned from a run by looking: made when first wanted. Many threads may ask; one looks at a time."""

    def __init__(self, run: str):
        self.run, self.lock = api.find_run(run), threading.Lock()
        self.twin: System | None = None

    def networks(self) -> dict[str, Any]:
        """Every network and layer with its parameters, and the shapes that went through it."""
        with self.lock:
            return self._networks()

    def _networks(self) -> dict[str, Any]:
        system = api.load(self.run)
        recipe, shapes = self._recipe(), _Shapes(system)
        players = _players(system)
        with shapes:
            _quietly(lambda: _preview(system, recipe))
            _quietly(lambda: self._play(api.load(self.run), shapes))
        absent = set(self.run.read_json("environment.json").get("left_out", ()))
        told = [_network(name, child, shapes.seen, name not in absent) for name, child in system.named_children()]
        return {"networks": told, "players": players, "parameters": sum(network["parameters"] for network in told)}

    def _play(self, system: System, shapes: _Shapes) -> None:
        """One step on a copy, for the networks that only train."""
        shapes.listen(system)
        batch = next(self._stream(system))
        for _ in Table(system, players_of(system), World()).play([batch], seed=0):
            pass

    def step(self, again: bool) -> dict[str, Any]:
        """One training step: whose turn, which loss, from which line, how strong the pull, how far it moved."""
        with self.lock:
            return self._step(again)

    def _step(self, again: bool) -> dict[str, Any]:
        if self.twin is None or not again:
            self.twin = api.load(self.run)
            self.twin.train()
            self.stream = self._stream(self.twin)
            self.table = _Watched(self.twin, players_of(self.twin), World(), self._recipe().train.clip)
        system, began = self.twin, time.perf_counter()
        batch = next(self.stream)
        turns = self.table.watch(batch, seed=system.step)
        system.step += 1
        return {"step": system.step, "seconds": time.perf_counter() - began, "batch": _said(batch), "turns": turns}

    def _stream(self, system: System) -> Iterator[Any]:
        """Training data for a copy: a small part, where the data can be had in part, so that nobody waits for the rest."""
        recipe = self._recipe()
        seed_all(recipe.train.seed + 1)
        dataset, _ = _part_of(recipe, system.data)
        loader = Loader(dataset, min(recipe.train.batch, max(1, len(dataset))), recipe.train.seed)
        return iter(system.stream(loader))

    def _recipe(self) -> Recipe:
        return read_recipe(self.run.folder / "recipe.toml")


class _Watched(Table):
    """A table at which every move is written down."""

    def watch(self, batch: Any, seed: int) -> list[dict[str, Any]]:
        """Play one step; what each turn was."""
        self.moves: list[dict[str, Any]] = []
        plain, self.game = self.system.objective, None
        networks = dict(self.system.named_children())

        def objective(given: Any) -> Any:
            self.game = plain(given)
            return self.game

        self.networks = networks
        object.__setattr__(self.system, "objective", objective)
        try:
            turns = list(self.play([batch], seed))
        finally:
            object.__delattr__(self.system, "objective")
        return [{**_turn(turn), **move} for turn, move in zip(turns, self.moves, strict=True)]

    def _move(self, player: Player) -> None:
        frame = getattr(self.game, "gi_frame", None)
        mine = {id(parameter) for parameter in player.parameters}
        parts = {name: [p for p in child.parameters() if id(p) in mine] for name, child in self.networks.items()}
        parts = {name: parameters for name, parameters in parts.items() if parameters}
        before = {name: [p.detach().clone() for p in parameters] for name, parameters in parts.items()}
        gradients = {
            name: _norm([p.grad for p in parameters if p.grad is not None]) for name, parameters in parts.items()
        }
        total = _norm([p.grad for p in player.parameters if p.grad is not None])
        super()._move(player)
        moved = {
            name: _norm([p.detach() - old for p, old in zip(parts[name], before[name], strict=True)]) for name in parts
        }
        self.moves.append({
            "line": frame.f_lineno if frame else None, "file": Path(frame.f_code.co_filename).name if frame else None,
            "gradients": gradients, "gradient": total, "moved": moved,
            "parameters": sum(p.numel() for p in player.parameters),
        })  # fmt: skip


class _Shapes:
    """Hears the first shapes that go into and come out of every layer."""

    def __init__(self, system: System):
        self.seen: dict[str, tuple[str | None, str | None]] = {}
        self.hooks: list[Any] = []
        self.listen(system)

    def listen(self, system: System) -> None:
        """Hook every layer of a system."""
        for name, module in system.named_modules():
            if name:
                self.hooks.append(module.register_forward_hook(self._hearer(name)))

    def _hearer(self, name: str) -> Any:
        def heard(module: nn.Module, given: Any, answer: Any) -> None:
            self.seen.setdefault(name, (_shape(given), _shape(answer)))

        return heard

    def __enter__(self) -> _Shapes:
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()


def _network(name: str, network: nn.Module, seen: Mapping[str, Any], trained: bool) -> dict[str, Any]:
    layers = []
    for inner, module in network.named_modules():
        depth = inner.count(".") + 1
        if inner and depth <= DEPTH:
            whole = f"{name}.{inner}"
            shapes = seen.get(whole, (None, None))
            layers.append({"name": whole, "depth": depth, "kind": type(module).__name__, "about": module.extra_repr()[:120],
                           "parameters": _count(module), "in": shapes[0], "out": shapes[1]})  # fmt: skip
    shapes = seen.get(name, (None, None))
    return {"name": name, "kind": type(network).__name__, "parameters": _count(network), "trained": trained,
            "in": shapes[0], "out": shapes[1], "layers": layers}  # fmt: skip


def _players(system: System) -> dict[str, list[str]]:
    """Player -> the networks it moves."""
    found: dict[str, list[str]] = {}
    try:
        players = players_of(system)
    except HandmadeError:  # weights kept in few bits, say, which do not train
        return found
    for player in players.values():
        mine = {id(parameter) for parameter in player.parameters}
        found[player.name] = [
            name for name, child in system.named_children() if any(id(p) in mine for p in child.parameters())
        ]
    return found


def _part_of(recipe: Recipe, like: Spec) -> tuple[Dataset, Spec]:
    """The training data, or its first few hundred examples where it takes a number `n`."""
    if isinstance(n := recipe.data.get("n"), int) and n > FEW:
        try:
            return open_data({**recipe.data, "n": max(FEW, recipe.train.batch)}, "train", like=like)
        except HandmadeError:
            pass  # this data cannot be had in part
    return open_data(recipe.data, "train", like=like)


def _preview(system: System, recipe: Recipe) -> None:
    arguments = dict(recipe.preview)
    name = str(arguments.pop("ask", ""))
    if name:
        getattr(system, name)(**{**arguments, **({"n": 1} if "n" in arguments else {})})


def _quietly(look: Any) -> None:
    """Shapes are a courtesy: where an ask or the data cannot be had, they stay open."""
    try:
        look()
    except HandmadeError:
        return


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "player": turn.player,
        "loss": float(turn.loss.detach()),
        "log": {k: float(v.detach()) for k, v in turn.log.items()},
    }


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([t.float().norm() for t in tensors]).norm()) if tensors else 0.0


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(value: Any) -> str | None:
    """1 x 3 x 64 x 64 of the first tensor in a value."""
    if isinstance(value, Tensor):
        return " x ".join(map(str, value.shape)) or "1"
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return next((shape for part in parts if (shape := _shape(part)) is not None), None)


def _said(batch: Any) -> str:
    """A batch in words: the names and shapes of its parts."""
    if isinstance(batch, Tensor):
        return _shape(batch) or ""
    names = getattr(batch, "_fields", None) or (batch.keys() if isinstance(batch, Mapping) else range(len(batch)))
    parts = batch.values() if isinstance(batch, Mapping) else batch
    return ", ".join(f"{name} {_shape(part)}" for name, part in zip(names, parts, strict=False))
