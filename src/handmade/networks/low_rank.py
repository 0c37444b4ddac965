"""LoRA: a trained linear layer that learns only a small product beside its weight. Hu et al. 2021 (arXiv 2106.09685).

    y = W x + b + (alpha / rank) B A x        A: (rank, inputs), normal; B: (outputs, rank), zero at the start

W and b stay as they are. For rank 8 in GPT-2 with 124 million parameters, 1.2 million are trained. `merge` adds the product
to W: the same function without its cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class LowRank(nn.Linear):
    """A linear layer (..., K) -> (..., N) with a learnt product of rank `rank` beside its fixed weight."""

    def __init__(self, inputs: int, outputs: int, bias: bool, rank: int, alpha: float):
        super().__init__(inputs, outputs, bias)
        self.factor = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.normal_(self.a, 0.0, 1 / math.sqrt(inputs))
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        return linear(x, self.weight, self.bias) + self.factor * linear(linear(x, self.a), self.b)

    def merged(self) -> Tensor:
        """(N, K), the weight with the product added."""
        return self.weight + self.factor * self.b @ self.a


def adapt(network: nn.Module, rank: int, alpha: float, within: Iterable[str] = ("blocks",)) -> None:
    """Give every linear layer inside the named parts of a network a product to learn, and fix all else."""
    network.requires_grad_(False)
    for part in within:
        for name, child in list(network.get_submodule(part).named_modules()):
            if type(child) is nn.Linear:
                parent, _, last = f"{part}.{name}".rpartition(".")
                new = LowRank(child.in_features, child.out_features, child.bias is not None, rank, alpha)
                new.load_state_dict(child.state_dict(), strict=False)
                setattr(network.get_submodule(parent), last, new)


@torch.no_grad()
def merge(network: nn.Module) -> None:
    """Add every product to its weight, and put plain linear layers in their places."""
    for name, child in list(network.named_modules()):
        if isinstance(child, LowRank):
            plain = nn.Linear(child.in_features, child.out_features, child.bias is not None, device="meta")
            plain.weight, plain.bias = nn.Parameter(child.merged()), child.bias
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, plain)
