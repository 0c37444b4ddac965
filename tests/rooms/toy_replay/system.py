"""A system whose batches are drawn from what it has seen before: its stream acts at random, fills a pool and replays it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Optimizer

from handmade.artifacts import Points
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.specs import PointsSpec


@dataclass(frozen=True)
class Config:
    """Settings."""

    width: int = 16  # hidden units
    lr: float = 0.05  # SGD with momentum
    room: int = 128  # points that the pool holds


class ToyReplay(System):
    """Learns a curve from a pool of points."""

    def __init__(self, config: Config, data: PointsSpec):
        super().__init__(config, data)
        self.network = nn.Sequential(nn.Linear(1, config.width), nn.Tanh(), nn.Linear(config.width, 1))
        self.pool, self.acted = torch.empty(0, 2), 0

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player."""
        return {"network": SGD(self.network.parameters(), self.config.lr, momentum=0.9)}

    def stream(self, loader: Iterable[Tensor]) -> Iterator[Tensor]:
        """Act (three random generators are asked), remember, replay."""
        for seen in loader:
            shaken = seen + torch.rand(1) * 0.01 + np.random.rand() * 0.01 + random.random() * 0.01
            self.pool = torch.cat([self.pool, shaken])[-self.config.room :]
            self.acted += 1
            yield self.pool[torch.randint(len(self.pool), (len(seen),))]

    def stream_state(self) -> dict[str, Any]:
        """The pool, and how often was acted."""
        return {"pool": self.pool, "acted": self.acted}

    def load_stream_state(self, state: dict[str, Any]) -> None:
        """Take the pool back."""
        self.pool, self.acted = state["pool"], state["acted"]

    def objective(self, batch: Tensor) -> Iterator[Turn]:
        """Squared error."""
        x, y = self.data.encode(batch).split(1, 1)
        yield Turn("network", mse_loss(self.network(x), y))

    def evaluate(self, held_out: Tensor, judge: object = None) -> Mapping[str, Score]:
        """Squared error on held-out points."""
        x, y = self.data.encode(held_out).split(1, 1)
        return {"error": Score(float(mse_loss(self.network(x), y)), "squared error", "lower", 0.0)}

    @ask
    def curve(self, n: Annotated[int, Range(1, 1000)] = 32) -> Points:
        """Show the curve that was learned.

        n: how many points
        """
        x = torch.linspace(-1, 1, n)[:, None].to(next(self.parameters()).device)
        points = self.data.decode(torch.cat([x, self.network(x)], 1))
        return Points(points, self.data.formula, self.data.low, self.data.high)
