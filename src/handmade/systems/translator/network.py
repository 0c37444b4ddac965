"""The Transformer of Vaswani et al. 2017 (arXiv 1706.03762): an encoder that reads, a decoder that writes.

    attention(Q, K, V) = softmax(Q K^T / sqrt(d) + mask) V          mask: 0 where a token may look, -inf where it may not
    encoder block:  x = x + attention(norm(x), norm(x), norm(x));   x = x + feed(norm(x))
    decoder block:  y = y + attention(norm(y), past of norm(y));    y = y + attention(norm(y), x);    y = y + feed(norm(y))
Differing from the paper: the norms stand before the layers, and one more after the last (Xiong et al. 2020, arXiv 2002.04745),
which trains without a long warm-up. As in the paper, one matrix is both embeddings and the head (section 3.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

PAD = 0


def mask_of(allowed: Tensor) -> Tensor:
    """What may be seen (bool) -> what is added to the scores: 0 there, -inf elsewhere."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -math.inf)


def causal(length: int, device: torch.device | None = None) -> Tensor:
    """(T, T) mask: a token sees itself and those before it."""
    return mask_of(torch.ones(length, length, dtype=torch.bool, device=device).tril())


def waves(length: int, width: int) -> Tensor:
    """(T, D) positions as sines and cosines of wavelengths from 2 pi to 10,000 * 2 pi (section 3.5)."""
    place = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([place.sin(), place.cos()], 2).flatten(1)[:, :width]  # (T, D)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, K, T, d) queries, (B, K, S, d) keys and values -> (B, K, T, d) and the weights (B, K, T, S), rows sum to 1."""
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5  # (B, K, T, S)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights.to(v.dtype) @ v, weights


class Dropout(nn.Module):
    """Set a share of the numbers to zero while training (Srivastava et al. 2014), from one random byte for each.

    Three times as fast on a CPU as torch's own, which draws a random float for each: 16 % of a training step.
    """

    def __init__(self, share: float):
        super().__init__()
        self.least = round(256 * share)  # the share is a multiple of 1 / 256

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...), what is kept is scaled up so that the mean stays."""
        if not (self.training and self.least):
            return x
        luck = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = luck.view(torch.uint8)[: x.numel()].view(x.shape) >= self.least
        return x * kept.to(x.dtype).mul_(256 / (256 - self.least))


class Attention(nn.Module):
    """Several heads, each with queries, keys and values of its own (section 3.2.2)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, inner = heads, heads * (width // heads)
        self.queries = nn.Linear(width, inner)
        self.keys_values = nn.Linear(width, 2 * inner)  # of all heads: first the keys, then the values
        self.out = nn.Linear(inner, width)

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, T, parts * D) -> `parts` tensors (B, K, T, d)."""
        return tuple(part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in x.chunk(parts, 2))

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> keys and values (B, K, S, d)."""
        keys, values = self.split(self.keys_values(memory), 2)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, D) and what is remembered -> (B, T, D) and the weights (B, K, T, S)."""
        (queries,) = self.split(self.queries(x), 1)
        gathered, weights = attend(queries, keys, values, mask)
        return self.out(gathered.transpose(1, 2).flatten(2)), weights


class Feed(nn.Module):
    """A small network for each token alone (section 3.3)."""

    def __init__(self, width: int, inner: int, dropout: float):
        super().__init__()
        self.up, self.down, self.dropout = nn.Linear(width, inner), nn.Linear(inner, width), Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(self.dropout(relu(self.up(x))))


class EncoderBlock(nn.Module):
    """Every source token looks at every other, then thinks."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.feed = nn.LayerNorm(width), Feed(width, inner, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, *self.attention.remember(y), mask)[0])
        return x + self.dropout(self.feed(self.norm2(x)))


class DecoderBlock(nn.Module):
    """Every target token looks at those before it, then at the source, then thinks."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.norm1, self.past = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.source = nn.LayerNorm(width), Attention(width, heads)
        self.norm3, self.feed = nn.LayerNorm(width), Feed(width, inner, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, y: Tensor, seen: Seen, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> (B, T, D) and the weights on the source (B, K, T, S); `seen` grows by these T tokens."""
        x = self.norm1(y)
        y = y + self.dropout(self.past(x, *seen.add(*self.past.remember(x)), mask)[0])
        gathered, weights = self.source(self.norm2(y), *seen.source, seen.mask)
        y = y + self.dropout(gathered)
        return y + self.dropout(self.feed(self.norm3(y))), weights


@dataclass
class Seen:
    """What one decoder block remembers: keys and values of the source, and of the target tokens so far."""

    source: tuple[Tensor, Tensor]  # (B, K, S, d) each
    mask: Tensor  # (B, 1, 1, S)
    past: tuple[Tensor, Tensor] | None = None  # (B, K, T, d) each
    length: int = field(default=0)

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new tokens; return all."""
        if self.past is not None:
            keys, values = torch.cat([self.past[0], keys], 2), torch.cat([self.past[1], values], 2)
        self.past, self.length = (keys, values), keys.shape[2]
        return keys, values

    def take(self, rows: Tensor) -> None:
        """Keep these rows (N,) of the batch, in this order."""
        self.source, self.mask = (self.source[0][rows], self.source[1][rows]), self.mask[rows]
        if self.past is not None:
            self.past = (self.past[0][rows], self.past[1][rows])


class Transformer(nn.Module):
    """Source and target tokens in, logits of each next target token out."""

    def __init__(self, vocabulary: int, width: int, heads: int, inner: int, layers: tuple[int, int], dropout: float):
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        self.encoder = nn.ModuleList(EncoderBlock(width, heads, inner, dropout) for _ in range(layers[0]))
        self.decoder = nn.ModuleList(DecoderBlock(width, heads, inner, dropout) for _ in range(layers[1]))
        self.read, self.written = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.embedding.weight, 0.0, width**-0.5)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and "embedding" not in name:
                nn.init.xavier_uniform_(weight, gain=2**-0.5 if "keys_values" in name else 1.0)

    def forward(self, source: Tensor, target: Tensor, slices: int = 4) -> Tensor:
        """(B, S) source, (B, T) target -> (M, V) logits of the M real target tokens after the first, row by row.

        slices: the rows are sorted by length, so each slice of them is cut to its own longest row: less padding
        """
        hidden = []
        for rows in torch.arange(len(source), device=source.device).tensor_split(min(slices, len(source))):
            left, right = trimmed(source[rows]), trimmed(target[rows])
            hidden.append(self.decode(right[:, :-1], self.encode(left))[0][right[:, 1:] != PAD])
        return self.logits(torch.cat(hidden))

    def encode(self, source: Tensor) -> list[Seen]:
        """(B, S) -> what each decoder block needs to know of it."""
        mask = mask_of(source != PAD)[:, None, None]  # (B, 1, 1, S)
        x = self.embed(source, 0)
        for block in self.encoder:
            x = block(x, mask)
        x = self.read(x)
        return [Seen(block.source.remember(x), mask) for block in self.decoder]  # pyright: ignore

    def decode(self, target: Tensor, seen: list[Seen]) -> tuple[Tensor, list[Tensor]]:
        """(B, T) new target tokens -> (B, T, D), and each block's weights on the source (B, K, T, S)."""
        before, length = seen[0].length, target.shape[1]
        mask = causal(before + length, target.device)[before:] if length > 1 else None  # one new token sees all
        y, looks = self.embed(target, before), []
        for block, memory in zip(self.decoder, seen, strict=True):
            y, weights = block(y, memory, mask)
            looks.append(weights)
        return self.written(y), looks

    def embed(self, tokens: Tensor, first: int) -> Tensor:
        """(B, T) -> (B, T, D), with positions from `first` on."""
        x = self.embedding(tokens) * math.sqrt(self.width)
        return self.dropout(x + waves(first + tokens.shape[1], self.width)[first:].to(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V): how well each token's embedding fits."""
        return linear(hidden, self.embedding.weight)


def trimmed(tokens: Tensor) -> Tensor:
    """Leave out the columns on the right that hold padding alone."""
    return tokens[:, : int((tokens != PAD).sum(1).max())]
