"""What the gpt room is compared with: plain float32 loops as people write them, with torch's defaults.

`PlainGPT` has the form of the best-known small GPT (nanoGPT's model and loop): one matrix for queries, keys and values, torch's
own causal attention, LayerNorm and linear layers without biases, erf-GELU, a head that shares the embedding, AdamW with
weight decay on matrices only and gradients clipped at 1. `BookGPT` has the form of the book's chapter 12: attention written
out with a triangle of -inf, dropout on, the GELU formula written out, biases everywhere, a head of its own, Adam. Networks:
Radford et al. 2019.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, scaled_dot_product_attention


class PlainNorm(nn.Module):
    """LayerNorm without a bias."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class PlainBlock(nn.Module):
    """Attention by torch's own kernel, then two linear layers."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = PlainNorm(width), PlainNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.before_attention(x)).split(d, dim=2)
        q, k, v = (part.view(b, t, self.heads, d // self.heads).transpose(1, 2) for part in (q, k, v))
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, d))
        return x + self.down(gelu(self.up(self.before_feed(x))))


class PlainGPT(nn.Module):
    """nanoGPT's form."""

    def __init__(self, vocabulary: int, context: int, layers: int, width: int, heads: int):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(layers))
        self.norm, self.head = PlainNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 1 / math.sqrt(2 * layers) if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(parameter, 0.0, 0.02 * scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class PlainLoop:
    """The common loop: AdamW with the default kernel, clipped, cosine schedule with warm-up."""

    def __init__(self, vocabulary: int, context: int, layers: int, width: int, heads: int, steps: int = 2000,
                 lr: float = 1e-3):  # fmt: skip
        self.network, self.steps, self.lr, self.step_ = (
            PlainGPT(vocabulary, context, layers, width, heads),
            steps,
            lr,
            0,
        )
        matrices = [p for p in self.network.parameters() if p.ndim >= 2]
        rest = [p for p in self.network.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))

    def rate(self) -> float:
        """The learning rate of this step: 100 steps up, then a cosine down to a tenth."""
        if self.step_ < 100:
            return self.lr * (self.step_ + 1) / 101
        share = (self.step_ - 100) / max(1, self.steps - 100)
        return self.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))

    def step(self, tokens: Tensor) -> float:
        """One step on (B, T + 1) tokens; return the loss every tenth time, else nan."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        logits = self.network(tokens[:, :-1])
        loss = cross_entropy(logits.view(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_ += 1
        return loss.item() if self.step_ % 10 == 0 else math.nan


class BookAttention(nn.Module):
    """Attention written out, with dropout on its odds."""

    def __init__(self, width: int, heads: int, context: int, rate: float = 0.1):
        super().__init__()
        self.heads, self.all, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop_odds, self.drop_out = nn.Dropout(rate), nn.Dropout(rate)
        self.register_buffer("seen", torch.tril(torch.ones(context, context)).view(1, 1, context, context))
        self.seen: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        b, t, d = x.size()
        q, k, v = self.all(x).split(d, dim=2)
        q, k, v = (part.view(b, t, self.heads, d // self.heads).transpose(1, 2) for part in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.seen[:, :, :t, :t] == 0, float("-inf"))
        y = self.drop_odds(scores.softmax(-1)) @ v
        return self.drop_out(self.out(y.transpose(1, 2).contiguous().view(b, t, d)))


class BookGELU(nn.Module):
    """The tanh formula, operation by operation."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each number."""
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class BookBlock(nn.Module):
    """One layer."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = BookAttention(width, heads, context)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), BookGELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


class BookLoop:
    """The book's loop: Adam, clipped at 1."""

    def __init__(self, vocabulary: int, context: int, layers: int, width: int, heads: int):
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        blocks = [BookBlock(width, heads, context) for _ in range(layers)]
        self.rest = nn.Sequential(
            nn.Dropout(0.1), *blocks, nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        )
        self.parameters = [p for part in (self.tokens, self.places, self.rest) for p in part.parameters()]
        self.optimizer, self.loss = torch.optim.Adam(self.parameters, lr=1e-4), nn.CrossEntropyLoss()

    def step(self, tokens: Tensor) -> float:
        """One step on (B, T + 1) tokens; return the loss."""
        x, y = tokens[:, :-1], tokens[:, 1:]
        logits = self.rest(self.tokens(x) + self.places(torch.arange(x.shape[1]).unsqueeze(0)))
        loss = self.loss(logits.view(-1, logits.size(-1)), y.reshape(-1))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1)
        self.optimizer.step()
        return loss.item()
