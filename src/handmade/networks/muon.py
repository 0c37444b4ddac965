"""Muon for the matrices and AdamW for the rest, as one optimizer. Jordan et al. 2024 (kellerjordan.github.io/posts/muon).

A matrix's step is its averaged gradient with all singular values set to about one, so that rare directions learn as fast as
common ones:
    m = beta m + (1 - beta) g      u = orthogonal(beta m + (1 - beta) g)      W = W - lr sqrt(max(1, rows / columns)) u
A convolution's matrix has a row for every channel that comes out, and a column for every number that a filter looks at.
`orthogonal` is a Newton-Schulz iteration: five times X = a X + (b A + c A A) X with A = X X'. AdamW (Loshchilov & Hutter 2017,
arXiv 1711.05101) moves embeddings, the head and vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

STEPS = 5
LEAST = 16  # rows and columns of what is worth it
A, B, C = 3.4445, -4.7750, 2.0315  # of the iteration: Jordan et al. 2024


def orthogonal(g: Tensor, steps: int = STEPS) -> Tensor:
    """(N, R, C) matrices with R <= C -> the same with singular values of about 1 (0.7 to 1.2); a zero matrix stays zero.

    Every X of the iteration is some polynomial P of A times the first one. Where C > R it is cheaper to follow P and A, both
    (R, R), and to multiply by X once at the end: the same numbers with half the products, but not in bf16.
    """
    x = g / (g.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(g.dtype)
    if x.shape[2] < 2 * x.shape[1] or x.dtype == torch.bfloat16:
        for _ in range(steps):
            gram = x @ x.transpose(1, 2)  # (N, R, R)
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
        return x
    gram, whole = x @ x.transpose(1, 2), None  # (N, R, R)
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal(dim1=1, dim2=2).add_(A)
        whole = factor if whole is None else factor @ whole
        if step < steps - 1:
            gram = factor @ gram @ factor
    return x if whole is None else whole @ x


def matrices_of(network: nn.Module) -> dict[nn.Parameter, int]:
    """The weights of linear layers and convolutions that have at least LEAST rows and columns, each one matrix."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    weights: list[Any] = [layer.weight for layer in network.modules() if isinstance(layer, kinds)]
    return {weight: 1 for weight in weights if min(weight.flatten(1).shape) >= LEAST}


class MuonAdamW(Optimizer):
    """One optimizer object: matrices move by Muon, all else by AdamW.

    precision: "bf16" lets the iteration compute in bf16, as its authors do; the engine sets it to what the run computes in
    matrices: parameter -> into how many matrices its rows are cut (queries, keys and values share one parameter)
    rest: what AdamW moves; matrices among it are left out, so that it may be all parameters of a system
    """

    precision = "float32"

    def __init__(self, matrices: Mapping[nn.Parameter, int], rest: Iterable[nn.Parameter], lr: float = 0.02,
                 rest_lr: float = 3e-3, momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.98),
                 decay: float = 0.0):  # fmt: skip
        muon = {"params": list(matrices), "lr": lr, "parts": list(matrices.values()), "momentum": momentum}
        others = [parameter for parameter in rest if parameter not in matrices]
        super().__init__([{**muon, "kind": "muon"}, {"params": others, "lr": rest_lr, "kind": "adamw"}],
                         {"betas": betas, "decay": decay})  # fmt: skip

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            (self._muon if group["kind"] == "muon" else self._adamw)(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; torch leaves counts of steps on the CPU, and the fused kernel wants them beside."""
        super().load_state_dict(state_dict)
        for parameter, held in self.state.items():
            if "step" in held:
                held["step"] = held["step"].to(parameter.device)

    def _muon(self, group: dict[str, Any]) -> None:
        """Matrices of one shape are made orthogonal together."""
        alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        where: dict[tuple[int, ...], list[tuple[Tensor, bool, float]]] = defaultdict(list)
        for parameter, parts in zip(group["params"], group["parts"], strict=True):
            if parameter.grad is None:
                continue
            average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
            average.lerp_(parameter.grad, 1 - group["momentum"])
            ahead = average.lerp(parameter.grad, 1 - group["momentum"])  # Nesterov's: the next average if all goes on
            parameter.mul_(1 - group["lr"] * group["decay"])
            for piece, weight in zip(ahead.chunk(parts), parameter.chunk(parts), strict=True):
                matrix = piece.flatten(1)  # (R, C)
                tall = matrix.shape[0] > matrix.shape[1]
                flat = matrix.T if tall else matrix
                alike[flat.shape].append(flat)
                where[flat.shape].append((weight, tall, max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5))
        for shape, pieces in alike.items():
            stack = torch.stack(pieces)  # (N, R, C)
            updates = orthogonal(stack.bfloat16() if self.precision == "bf16" else stack)
            for (weight, tall, scale), update in zip(where[shape], updates, strict=True):
                weight.add_((update.T if tall else update).reshape(weight.shape), alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any]) -> None:
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in moved:
            if not self.state[parameter]:
                new = {"average": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
                self.state[parameter].update(step=torch.zeros((), device=parameter.device), **new)
        held = [[self.state[parameter][name] for parameter in moved] for name in ("average", "square", "step")]
        adamw(moved, [p.grad for p in moved if p.grad is not None], held[0], held[1], [], held[2], fused=True,
              amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"],
              weight_decay=group["decay"], eps=1e-8, maximize=False)  # fmt: skip
