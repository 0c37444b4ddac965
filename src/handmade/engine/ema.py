"""Moving averages of weights: what generates is the average of the last networks, not the last network.

Yaz et al. 2018 (arXiv 1806.04498) for GANs; the decay warms up as min(decay, (1 + step) / (10 + step)), so that a short
run is not an average with its own first weights.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from handmade.core import System
from handmade.errors import UserError, did_you_mean


def check_names(system: System, decays: Mapping[str, float]) -> dict[str, nn.Module]:
    """Return the direct children of a system; UserError where an average is wanted of something else."""
    children = dict(system.named_children())
    for name in decays:
        if name not in children:
            raise UserError(f'train.ema: no network "{name}"{did_you_mean(name, children)}')
    return children


class Averages:
    """Averaged copies of some direct children of a system, batch statistics included; made once the system is in place."""

    def __init__(self, system: System, decays: Mapping[str, float]):
        children = check_names(system, decays)
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}  # name in the state dict -> its average, the live tensor
        self.moving: list[tuple[float, list[Tensor], list[Tensor]]] = []  # decay, averages, live tensors
        self.counted: list[tuple[Tensor, Tensor]] = []  # whole numbers (batches seen) are copied
        for name, decay in decays.items():
            live = list(children[name].state_dict().items())
            pairs = {f"{name}.{key}": (copy.deepcopy(value), value) for key, value in live}
            floats = [pair for pair in pairs.values() if pair[0].is_floating_point()]
            self.moving.append((decay, [average for average, _ in floats], [value for _, value in floats]))
            self.counted += [pair for pair in pairs.values() if not pair[0].is_floating_point()]
            self.pairs.update(pairs)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the weights after step number `step` (from 1)."""
        for decay, averages, live in self.moving:
            torch._foreach_lerp_(averages, live, 1 - min(decay, (1 + step) / (10 + step)))  # pyright: ignore[reportPrivateImportUsage]
        for average, value in self.counted:
            average.copy_(value)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Let the system hold its averages for a while, then give the live weights back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, live in self.pairs.values():
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """The averages by the names that the system's own state dict uses."""
        return {name: average for name, (average, _) in self.pairs.items()}
