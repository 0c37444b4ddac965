"""Tell the right partner from the wrong ones: van den Oord et al. 2018 (arXiv 1807.03748), in both directions.

Of pictures i and sentences j with directions u_i and v_j of length 1, and a sharpness s:
    L = -1/2 E_i[log softmax_j(s u_i . v_j)]_i - 1/2 E_j[log softmax_i(s u_i . v_j)]_j        (Radford et al. 2021, figure 3)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def contrastive(u: Tensor, v: Tensor, sharpness: Tensor, group: int) -> Tensor:
    """The loss L in nats, a float32 scalar: (B, D) and (B, D), row i of one belongs to row i of the other.

    sharpness: (), of the softmax: the inverse of its temperature
    group: rows that are told apart from each other. With all rows of a batch, a batch that is cut in parts would be another
    game; groups are the same on one machine and on two. What is left over is a smaller group of its own.
    """
    u, v = normalize(u.float(), dim=1), normalize(v.float(), dim=1)
    losses, sizes = [], []
    for a, b in zip(u.split(group), v.split(group), strict=True):
        logits, own = sharpness.float() * (a @ b.T), torch.arange(len(a), device=u.device)  # (G, G)
        losses.append((cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2)
        sizes.append(len(a))
    return torch.stack([loss * size for loss, size in zip(losses, sizes, strict=True)]).sum() / sum(sizes)
