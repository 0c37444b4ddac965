"""A network that learns y from x, with a little noise on x: the simplest system, one player."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Points
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.specs import PointsSpec


@dataclass(frozen=True)
class Config:
    """Settings."""

    width: int = 17  # hidden units; a prime, so that no number of processes divides it
    layers: int = 2  # residual blocks
    lr: float = 1e-2  # AdamW
    noise: float = 0.01  # added to x


class Block(nn.Module):
    """(B, width) -> (B, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block has learned."""
        return x + self.linear(self.norm(x).relu())


class Network(nn.Module):
    """(B, 1) -> (B, 1)."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.first, self.last = nn.Linear(1, width), nn.Linear(width, 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Predict y."""
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class ToyFit(System):
    """Learns a curve."""

    def __init__(self, config: Config, data: PointsSpec):
        super().__init__(config, data)
        self.network = Network(config.width, config.layers)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player."""
        return {"network": AdamW(self.network.parameters(), self.config.lr)}

    def objective(self, batch: Tensor) -> Iterator[Turn]:
        """Squared error."""
        x, y = self.data.encode(batch).split(1, 1)
        x = x + self.config.noise * self.dice.normal(len(x), 1)
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
