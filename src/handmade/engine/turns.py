"""One step of the game: every player moves when its turn comes.

start one objective for each micro-batch
repeat
    advance every objective to its next Turn, and run its loss backward into that player's parameters only
    average that player's gradients over the processes; clip; let its optimizer step
until the objectives end
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from handmade.core import Batch, Dice, Schedule, System, Turn
from handmade.engine.devices import World
from handmade.engine.schedules import constant
from handmade.engine.winograd import weights_moved
from handmade.errors import Diverged


@dataclass
class Player:
    """An optimizer, the parameters it moves, and its learning rates before the schedule."""

    name: str
    optimizer: Optimizer
    schedule: Schedule = constant
    parameters: list[Tensor] = field(init=False)
    rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self._step = inspect.unwrap(type(self.optimizer).step)  # what is wrapped round it loads torch's compiler

    def move(self) -> None:
        """Let the optimizer step by the gradients that are there, and forget them."""
        with torch.no_grad():
            self._step(self.optimizer)
        weights_moved()
        self.optimizer.zero_grad(set_to_none=True)

    def set_progress(self, progress: float) -> None:
        """Set the learning rates for this point of the run, 0..1."""
        factor = self.schedule(min(progress, 1.0))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor


def players_of(system: System) -> dict[str, Player]:
    """The players by name, as the system's optimizers() names them."""
    _leave_compiler_out()
    players = {}
    for name, made in system.optimizers().items():
        optimizer, schedule = made if isinstance(made, tuple) else (made, constant)
        players[name] = Player(name, optimizer, schedule)
    return players


def _leave_compiler_out() -> None:
    """Keep an optimizer's first call from loading torch's compiler (a second), only to be told what not to compile."""
    for method in vars(Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:  # where torch remembers what to call while nothing is compiled
            setattr(plain, "__dynamo_disable", plain)


class Table:
    """Where the game is played: a system, its players, and the processes that play the same game on other items."""

    def __init__(self, system: System, players: dict[str, Player], world: World, clip: float | None = None):
        self.system, self.players, self.world, self.clip = system, players, world, clip
        self.sharded = any(hasattr(p, "device_mesh") for player in players.values() for p in player.parameters)

    def play(self, batches: Sequence[Batch], seed: int) -> Iterator[Turn]:
        """Play one step on the micro-batches of this process; yield each turn (loss averaged over them) as it ends.

        Raises Diverged before a loss that is NaN or infinite can touch the weights.
        """
        parts, first = len(batches) * self.world.size, self.world.rank * len(batches)
        dice = [Dice(seed, first + k, parts, self.world.device) for k in range(len(batches))]
        games = [self.system.objective(batch) for batch in batches]
        while True:
            turns = [turn for turn in map(self._advance, games, dice) if turn is not None]
            if not turns:
                return
            player = self._whose(turns, len(games))
            for turn in turns:
                self._backward(turn.loss / len(games) if len(games) > 1 else turn.loss, player)
            self._move(player)
            yield turns[0] if len(turns) == 1 else _mean(turns)

    def _advance(self, game: Iterator[Turn], dice: Dice) -> Turn | None:
        self.system.dice = dice
        return next(game, None)

    def _whose(self, turns: list[Turn], games: int) -> Player:
        names = {turn.player for turn in turns}
        if len(names) > 1 or len(turns) != games:
            raise RuntimeError(f"micro-batches disagree on whose turn it is: {[turn.player for turn in turns]}")
        name = names.pop()
        if name not in self.players:
            raise RuntimeError(f"the objective names a player without an optimizer: {name}")
        for turn in turns:
            if self.world.device.type == "cpu" and not math.isfinite(turn.loss.item()):
                raise Diverged(f"the {name}'s loss became {turn.loss.item()} at step {self.system.step + 1}")
        return self.players[name]

    def _backward(self, loss: Tensor, player: Player) -> None:
        if self.sharded:  # FSDP gathers weights under other tensors, so the leaves cannot be named; there is one player
            loss.backward()
        else:
            loss.backward(inputs=player.parameters)

    def _move(self, player: Player) -> None:
        if self.world.size > 1 and not self.sharded:
            self.world.average([p.grad for p in player.parameters if p.grad is not None])
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(player.parameters, self.clip)
        player.move()


def _mean(turns: list[Turn]) -> Turn:
    """The turn of a whole batch from those of its micro-batches."""
    log = {key: torch.stack([turn.log[key].float() for turn in turns]).mean() for key in turns[0].log}
    return Turn(turns[0].player, torch.stack([turn.loss.detach() for turn in turns]).mean(), log)
