"""The contract of a room: players, a game in turns, and things you can ask for. Read this first.

A `System` holds networks. Its `objective` is a Python generator: `yield Turn("generator", loss)` means "my turn is over,
update me". The engine then runs the loss backward into that player's parameters only, lets its optimizer step, and resumes
the function, which goes on with the tensors it already has. A system with one loss is the simplest game: one player, one turn.
Two turns in one yield, `yield Turn("critic", one), Turn("generator", other)`, are made at once: nobody sees the other's move.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from handmade.asks import Ask, Range, check_noted, describe

__all__ = ["Ask", "Batch", "Dice", "Judge", "Range", "Schedule", "Score", "System", "Turn", "ask", "asks_of", "seeded"]

Batch = Any  # a tensor, or a (named) tuple or dict of tensors; the engine moves it to the device
Schedule = Callable[[float], float]  # progress of the run in 0..1 -> factor on the learning rate


class Turn(NamedTuple):
    """One player's move: `loss` is a float32 scalar, `log` holds more scalars worth plotting."""

    player: str  # a key of System.optimizers()
    loss: Tensor
    log: Mapping[str, Tensor] = {}


class Score(NamedTuple):
    """A held-out number with what is needed to judge it."""

    value: float
    about: str  # what is measured, on how many items, in words
    better: Literal["lower", "higher"] = "lower"
    floor: float | None = None  # the same number for real data against real data: nobody can be better
    low: float | None = None  # 95 % interval of `value`
    high: float | None = None


class Judge(Protocol):
    """A trained network, named by the recipe, that looks at the pictures which another system makes."""

    labels: Mapping[str, tuple[str, ...]]  # the attributes it can name, and their values

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) pictures in [-1, 1] -> (N, D) features."""
        ...

    def odds(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """(N, C, H, W) pictures in [-1, 1] -> for each attribute (N, V) probabilities of its values."""
        ...


class Dice:
    """Random numbers for one step that do not depend on how the batch is cut.

    Each draw is made for the whole batch and then cut to this part, so one process or two, one micro-batch or four,
    and a resumed run all see the same noise. The engine sets fresh dice before every step.
    """

    def __init__(self, seed: int = 0, part: int = 0, parts: int = 1, device: torch.device | str = "cpu"):
        self.part, self.parts, self.device = part, parts, torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def normal(self, n: int, *shape: int) -> Tensor:
        """Standard normal noise, (n, *shape)."""
        return self._cut(torch.randn(n * self.parts, *shape, generator=self.generator, device=self.device), n)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Uniform numbers in 0..1, (n, *shape)."""
        return self._cut(torch.rand(n * self.parts, *shape, generator=self.generator, device=self.device), n)

    def spread(self, n: int) -> Tensor:
        """Numbers in 0..1, (n,), one in each of as many equal stretches as the whole batch has items: a steadier mean."""
        whole = n * self.parts
        within = torch.rand(whole, generator=self.generator, device=self.device)
        return self._cut((torch.arange(whole, device=self.device) + within) / whole, n)

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        """Whole numbers 0..high-1, (n, *shape), int64."""
        size = (n * self.parts, *shape)
        return self._cut(torch.randint(high, size, generator=self.generator, device=self.device), n)

    def _cut(self, drawn: Tensor, n: int) -> Tensor:
        return drawn[self.part * n : (self.part + 1) * n]


class System(nn.Module):
    """One generative model: networks, the game that trains them, and what can be asked of it.

    A room subclasses it in plain single-device PyTorch: no device, rank, autocast, backward, step or logging, and no
    file access but of files that an ask is given.
    Players are reached by calling direct children (`self.generator(z)`), which is where the engine applies bf16.
    """

    step: int = 0  # updates done so far; set by the engine
    dice: Dice  # set by the engine before each step
    origin: Mapping[str, Any] | None = None  # where the weights come from; set when a run is loaded
    borrowed: Mapping[str, Any] = {}  # systems of other runs that the recipe borrows, frozen, outside the module tree
    trained_on: Callable[[], Any] | None = None  # opens the training data of the run; set when a run is loaded

    def __init_subclass__(cls, **options: Any) -> None:
        """An ask that is named by a word of Python is written with a `_` at its end and goes by its name without."""
        super().__init_subclass__(**options)
        for name, value in list(vars(cls).items()):
            if name.endswith("_") and getattr(value, "is_ask", False):
                setattr(cls, name.removesuffix("_"), value)

    def __init__(self, config: Any, data: Any):
        super().__init__()
        self.config, self.data, self.dice = config, data, Dice()

    def _apply(self, fn: Any, recurse: bool = True) -> System:
        """Move to a device together with what is borrowed."""
        for lent in self.borrowed.values():
            lent._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def tell(self, text: str) -> None:
        """Hear what an ask says while it works; the command line prints it as it comes."""

    def optimizers(self) -> Mapping[str, Optimizer | tuple[Optimizer, Schedule]]:
        """One optimizer per player, with a schedule of its own where the room wants one."""
        raise NotImplementedError(f"{type(self).__name__} names no players")

    def objective(self, batch: Batch) -> Iterator[Turn | tuple[Turn, ...]]:
        """Play one step on a training batch; yield a Turn whenever a player's move is over, or those made at once."""
        raise NotImplementedError(f"{type(self).__name__} has no objective")

    def evaluate(self, held_out: Batch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Score the system on one large held-out batch, without learning; the first score is the room's yardstick.

        judge: pictures (N, C, H, W) in [-1, 1] -> features (N, D), a trained network named by the recipe
        """
        raise NotImplementedError(f"{type(self).__name__} has no yardstick")

    def hand_over(self) -> Mapping[str, Tensor]:
        """The weights that another training starts from, by the names of its state."""
        return self.state_dict()

    def stream(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Where training batches come from: the loader, unless the system makes its own experience."""
        yield from loader

    def stream_state(self) -> dict[str, Any]:
        """What `stream` and `objective` remember beyond weights (an image pool, a replay buffer): tensors and plain values."""
        return {}

    def load_stream_state(self, state: dict[str, Any]) -> None:
        """Take back what `stream_state` returned."""


def ask(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method as something a user can ask for; it then runs in evaluation mode, without gradients, arguments checked."""

    @functools.wraps(method)
    def answer(self: System, **arguments: Any) -> Any:
        arguments = describe(method).check(arguments)
        if self.origin is not None:
            check_noted(arguments)
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                artifact = method(self, **arguments)
        finally:
            self.train(was_training)
        if self.origin is None:
            return artifact
        return replace(
            artifact, origin={**self.origin, "ask": method.__name__.removesuffix("_"), "arguments": arguments}
        )

    answer.is_ask = True  # type: ignore[attr-defined]
    return answer


def asks_of(system: System | type[System]) -> dict[str, Ask]:
    """All asks of a system by name, in the order in which the class defines them."""
    kind = system if isinstance(system, type) else type(system)
    methods = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    forms = (describe(value.__wrapped__) for value in methods.values() if getattr(value, "is_ask", False))
    return {form.name: form for form in forms}


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU for asks: the same seed gives the same numbers on every machine.

    A number that is larger than torch takes counts by its lower 63 bits.
    """
    return torch.Generator().manual_seed(seed if -(2**63) <= seed < 2**64 else seed % 2**63)
