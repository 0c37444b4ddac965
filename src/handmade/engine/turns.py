"""One step of the game: every player moves when its turn comes.

start one objective for each micro-batch
repeat
    advance every objective to its next Turn, and run its loss backward into that player's parameters only
    average that player's gradients over the processes; clip; let its optimizer step
until the objectives end

Players who move at once (a tuple of Turns) all get their gradients before the first of them moves.
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
        weights_moved(self.parameters)
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
            rounds = [moves for moves in map(self._advance, games, dice) if moves]
            if not rounds:
                return
            players = self._whose(rounds, len(games))
            for moves in rounds:
                for player, turn in zip(players, moves, strict=True):
                    loss = turn.loss / len(games) if len(games) > 1 else turn.loss
                    self._backward(loss, player, again=turn is not moves[-1])
            for player in players:
                self._move(player)
            for turns in zip(*rounds, strict=True):
                yield turns[0] if len(turns) == 1 else _mean(turns)

    def _advance(self, game: Iterator[Turn | tuple[Turn, ...]], dice: Dice) -> tuple[Turn, ...]:
        """Who moves next in one micro-batch; nobody where the game is over."""
        self.system.dice = dice
        moves = next(game, ())
        return (moves,) if isinstance(moves, Turn) else moves

    def _whose(self, rounds: list[tuple[Turn, ...]], games: int) -> list[Player]:
        """The players who move now; Diverged where a loss is lost."""
        orders = [[turn.player for turn in moves] for moves in rounds]
        if len(orders) != games or any(names != orders[0] for names in orders):
            raise RuntimeError(f"micro-batches disagree on whose turn it is: {orders}")
        names = orders[0]
        if unknown := [name for name in names if name not in self.players]:
            raise RuntimeError(f"the objective names a player without an optimizer: {unknown[0]}")
        if len({*names}) < len(names):
            raise RuntimeError(f"a player cannot move twice at once: {names}")
        for turn in (turn for moves in rounds for turn in moves):
            if self.world.device.type == "cpu" and not math.isfinite(turn.loss.item()):
                raise Diverged(f"the {turn.player}'s loss became {turn.loss.item()} at step {self.system.step + 1}")
        return [self.players[name] for name in names]

    def _backward(self, loss: Tensor, player: Player, again: bool) -> None:
        """Run a loss into one player's gradients; `again`: another player's loss goes back through the same tensors."""
        if self.sharded:  # FSDP gathers weights under other tensors, so the leaves cannot be named; there is one player
            loss.backward()
        else:
            loss.backward(inputs=player.parameters, retain_graph=again)

    def _move(self, player: Player) -> None:
        if self.world.size > 1 and not self.sharded:
            self.world.average([p.grad for p in player.parameters if p.grad is not None])
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(player.parameters, self.clip)
        player.move()


def _mean(turns: Sequence[Turn]) -> Turn:
    """The turn of a whole batch from those of its micro-batches."""
    log = {key: torch.stack([turn.log[key].float() for turn in turns]).mean() for key in turns[0].log}
    return Turn(turns[0].player, torch.stack([turn.loss.detach() for turn in turns]).mean(), log)
