"""A decoder-only Transformer for music: what a token looks back for depends on how far back it is.

Each of the L blocks adds to the stream x (B, T, D) first what attention gathers from earlier tokens, then what a small
network makes of each token alone:
    x = x + attention(norm(x))      x = x + feed(norm(x))      logits = head(norm(x))
In a grid of voices a token enters as itself, plus the place that the next one has in its bar, plus what each voice sounds by
now: whose turn it is, and to which chord. Places in the piece are not known: all distances are relative (networks/relative.py),
unless `relative` is off and each place in the window has a vector of its own, as in Vaswani et al. 2017 (arXiv 1706.03762).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention

from handmade.networks.attention import causal_attention
from handmade.networks.lean import normalise
from handmade.networks.relative import relative_attention
from handmade.objectives.likelihood import linear_cross_entropy


@dataclass(frozen=True)
class Form:
    """What a network looks like."""

    vocabulary: int
    clocks: int  # places in a bar, of all voices
    voices: int  # of a grid; 0: performances, in which tokens are all there is
    hold: int  # the token of a note that sounds on
    end: int  # the token that parts pieces
    context: int  # most tokens at once
    layers: int
    width: int  # D
    heads: int  # K
    relative: bool
    dropout: float  # of what the layers add: Srivastava et al. 2014


def chords(tokens: Tensor, voice: Tensor, form: Form) -> Tensor:
    """(B, T) tokens and whose they are -> (B, T, V): the last token of each voice by then that is no hold.

    Where that lies before the window stands `hold`; behind the end of a piece stands `end`, until the voice says something.
    """
    steps = torch.arange(tokens.shape[1], device=tokens.device)[:, None]  # (T, 1)
    own = voice[..., None] == torch.arange(form.voices, device=tokens.device)  # (B, T, V)
    said = own & (tokens != form.hold)[..., None] | (tokens == form.end)[..., None]
    last = torch.where(said, steps, -1).cummax(1).values  # (B, T, V)
    return torch.where(last < 0, form.hold, tokens[..., None].expand_as(last).gather(1, last.clamp_min(0)))


class Cache:
    """Keys and values of the tokens read so far, in memory that is taken once, when the first tokens come."""

    def __init__(self, form: Form, most: int):
        self.most = min(most, form.context)
        self.memory: list[Tensor] = []  # L of (2, B, K, most, D / K)
        self.length = 0

    def add(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T, D / K) keys and values of new tokens; return those of all tokens."""
        if layer == len(self.memory):
            batch, heads, _, width = keys.shape
            self.memory.append(keys.new_empty(2, batch, heads, self.most, width))
        end, memory = self.length + keys.shape[2], self.memory[layer]
        memory[0, :, :, self.length : end] = keys
        memory[1, :, :, self.length : end] = values
        return memory[0, :, :, :end], memory[1, :, :, :end]

    def repeat(self, copies: int) -> None:
        """Let the one row that was read stand `copies` times."""
        self.memory = [layer.repeat_interleave(copies, 1) for layer in self.memory]


class Attention(nn.Module):
    """Each token gathers from itself and those before it, weighted by how well its query meets their keys and distances."""

    def __init__(self, form: Form, index: int):
        super().__init__()
        self.heads, self.index = form.heads, index
        self.scale = 1 / math.sqrt(form.width // form.heads)
        self.qkv = nn.Linear(form.width, 3 * form.width, bias=False)  # queries, keys and values of all heads
        self.out = nn.Linear(form.width, form.width, bias=False)
        shape = (form.heads, form.context, form.width // form.heads)
        self.distances = nn.Parameter(torch.empty(shape)) if form.relative else None  # (K, M, D / K), the nearest last

    def forward(self, x: Tensor, cache: Cache | None) -> Tensor:
        """(B, T, D) -> (B, T, D); with a cache the new tokens see those in it too."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, K, T, D / K) each
        if cache is not None:
            k, v = cache.add(self.index, k, v)
        if self.distances is not None:
            y = relative_attention(q, k, v, self.distances, self.scale)
        elif q.shape[2] > 1:
            y = causal_attention(q, k, v, self.scale)
        else:
            y = scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer: gather, then think."""

    def __init__(self, form: Form, index: int):
        super().__init__()
        self.dropout = form.dropout
        self.attention = Attention(form, index)
        self.up = nn.Linear(form.width, 4 * form.width, bias=False)
        self.down = nn.Linear(4 * form.width, form.width, bias=False)

    def forward(self, x: Tensor, cache: Cache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self._drop(self.attention(normalise(x), cache))
        return x + self._drop(self.down(gelu(self.up(normalise(x)))))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.dropout and self.training else x


class Transformer(nn.Module):
    """Tokens in, logits of each next token out."""

    def __init__(self, form: Form):
        super().__init__()
        self.form = form
        self.tokens = nn.Embedding(form.vocabulary, form.width)
        self.clock = nn.Embedding(form.clocks, form.width) if form.voices else None
        self.chord = nn.Embedding(form.voices * form.vocabulary, form.width) if form.voices else None
        self.positions = None if form.relative else nn.Embedding(form.context, form.width)
        self.blocks = nn.ModuleList(Block(form, index) for index in range(form.layers))
        self.head = nn.Linear(form.width, form.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            writes = name.endswith(("out.weight", "down.weight"))  # into the stream: scaled down by their number
            nn.init.normal_(parameter, 0.0, 0.02 / math.sqrt(2 * form.layers) if writes else 0.02)

    def forward(self, tokens: Tensor, clock: Tensor, chord: Tensor | None = None, cache: Cache | None = None,
                targets: Tensor | None = None) -> Tensor:  # fmt: skip
        """(B, T) tokens and the places in the bar of those after them -> (B, T, V) logits of the token after each.

        chord: (B, T, voices) what `chords` says of these tokens; by default it is found among them
        cache: what was read before; it takes up these tokens too
        targets: (B, T) the tokens that came; the mean surprise at them, in nats, is then all that is returned
        """
        x = self.tokens(tokens)  # (B, T, D)
        if self.clock is not None and self.chord is not None:
            chord = chords(tokens, (clock - 1) % self.form.voices, self.form) if chord is None else chord
            rows = chord + self.form.vocabulary * torch.arange(self.form.voices, device=tokens.device)
            x = x + self.clock(clock) + self.chord(rows).sum(2)
        start = 0 if cache is None else cache.length
        if self.positions is not None:
            x = x + self.positions.weight[start : start + tokens.shape[1]]
        x = normalise(x)
        if self.form.dropout and self.training:
            x = dropout(x, self.form.dropout)
        blocks: Any = self.blocks
        for block in blocks:
            x = block(x, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        x = normalise(x)
        return self.head(x) if targets is None else linear_cross_entropy(x, self.head.weight, targets)
