"""A decoder-only Transformer: GPT-2 exactly, or with what has been learned since. Vaswani et al. 2017 (arXiv 1706.03762).

Each of the L blocks adds to the stream x (B, T, D) first what attention gathers from earlier tokens, then what a small
network makes of each token alone:
    x = x + attention(norm(x))      x = x + feed(norm(x))      logits = head(norm(x))
`Form()` is GPT-2 (Radford et al. 2019): norms before the layers, learned positions, tanh-GELU, biases, a head that shares the
embedding. `Form.modern()` changes what pays for small models trained from scratch; every field names its paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, layer_norm, linear, scaled_dot_product_attention

from handmade.errors import UserError
from handmade.networks.attention import causal_attention
from handmade.networks.lean import normalise, rotate
from handmade.objectives.likelihood import linear_cross_entropy


@dataclass(frozen=True)
class Form:
    """What a network looks like; the defaults are GPT-2's with 124 million parameters."""

    vocabulary: int = 50_257
    context: int = 1024  # most tokens at once
    layers: int = 12
    width: int = 768  # D
    heads: int = 12  # K
    positions: Literal["learned", "rotary"] = "learned"  # rotary: Su et al. 2021 (arXiv 2104.09864)
    norm: Literal["layer", "rms"] = (
        "layer"  # layer: Ba et al. 2016 (arXiv 1607.06450), rms: arXiv 1910.07467, no weights
    )
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"  # Hendrycks & Gimpel 2016 (arXiv 1606.08415); gelu: exact
    bias: bool = True  # in every linear layer
    tied: bool = True  # the head is the embedding: Press & Wolf 2016 (arXiv 1608.05859)
    dropout: float = 0.0  # of what the layers add, not of attention's odds: Srivastava et al. 2014

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"a width of {self.width} cannot be cut into {self.heads} heads: choose a divisor of it")

    @classmethod
    def modern(cls, **sizes: Any) -> Form:
        """The form for small networks trained from scratch."""
        style = {"positions": "rotary", "norm": "rms", "activation": "gelu", "bias": False, "tied": False}
        return cls(**{**style, **sizes})

    @property
    def head_width(self) -> int:
        """Length of a query."""
        return self.width // self.heads


GPT2_SIZES = {  # name: layers, width, heads (Radford et al. 2019, table 2, with the parameters as counted since)
    "124M": (12, 768, 12), "355M": (24, 1024, 16), "774M": (36, 1280, 20), "1558M": (48, 1600, 25),
}  # fmt: skip


class Cache:
    """Keys and values of the tokens read so far, in memory that is taken once, when the first tokens come."""

    def __init__(self, form: Form, most: int | None = None):
        self.form, self.most = form, form.context if most is None else min(most, form.context)
        self.memory: list[Tensor] = []  # L of (2, B, K, most, D / K)
        self.length = 0

    def add(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T, D / K) keys and values of new tokens; return those of all tokens."""
        if layer == len(self.memory):
            batch, heads, _, width = keys.shape
            self.memory.append(
                keys.new_zeros(2, batch, heads, self.most, width)
            )  # zeros: what is masked must not be nan
        start, end, (all_keys, all_values) = self.length, self.length + keys.shape[2], self.memory[layer]
        all_keys[:, :, start:end] = keys
        all_values[:, :, start:end] = values
        return all_keys[:, :, :end], all_values[:, :, :end]

    def repeat(self, copies: int) -> None:
        """Let every row stand `copies` times, one after the other."""
        if copies > 1:
            self.memory = [layer.repeat_interleave(copies, 1) for layer in self.memory]


class Norm(nn.Module):
    """(..., D) -> (..., D): mean 0 and variance 1 with weight and bias, or only mean square 1."""

    def __init__(self, form: Form):
        super().__init__()
        self.width = (form.width,)
        self.weight = nn.Parameter(torch.ones(form.width)) if form.norm == "layer" else None
        self.bias = nn.Parameter(torch.zeros(form.width)) if form.norm == "layer" and form.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        if self.weight is None:
            return normalise(x)
        return layer_norm(x, self.width, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    """Each token gathers from itself and those before it, weighted by how well its query meets their keys."""

    def __init__(self, form: Form, index: int):
        super().__init__()
        self.form, self.index = form, index
        self.qkv = nn.Linear(
            form.width, 3 * form.width, form.bias
        )  # queries, keys and values of all heads, in this order
        self.out = nn.Linear(form.width, form.width, form.bias)

    def forward(
        self, x: Tensor, turns: Tensor | None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); mask (B or 1, 1, T, N) of what may be seen, None: all tokens before."""
        q, k, v = self.split(x, turns)
        if cache is not None:
            k, v = cache.add(self.index, k, v)
        if mask is None and x.shape[1] > 1:
            y = causal_attention(q, k, v, self.scale)
        else:
            y = scaled_dot_product_attention(q, k, v, mask, scale=self.scale)  # (B, K, T, D / K)
        return self.out(y.transpose(1, 2).flatten(2))

    def split(self, x: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> queries, keys and values, each (B, K, T, D / K)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.form.heads, -1)).permute(2, 0, 3, 1, 4)
        return (q, k, v) if turns is None else (rotate(q, turns), rotate(k, turns), v)

    @property
    def scale(self) -> float:
        """Factor on query times key."""
        return 1 / math.sqrt(self.form.head_width)

    def odds(self, x: Tensor, turns: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, K, T, T): how much each token (row) takes from each (column); rows sum to 1."""
        q, k, _ = self.split(x, turns)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return (self.scale * q @ k.transpose(2, 3)).masked_fill(future, -math.inf).softmax(-1)


class Feed(nn.Module):
    """A small network for each token alone, four times as wide inside."""

    def __init__(self, form: Form):
        super().__init__()
        self.activation = form.activation
        self.up = nn.Linear(form.width, 4 * form.width, form.bias)
        self.down = nn.Linear(4 * form.width, form.width, form.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(gelu(self.up(x), approximate="tanh" if self.activation == "gelu_tanh" else "none"))


class Block(nn.Module):
    """One layer: gather, then think."""

    def __init__(self, form: Form, index: int):
        super().__init__()
        self.dropout = form.dropout
        self.norm1, self.attention = Norm(form), Attention(form, index)
        self.norm2, self.feed = Norm(form), Feed(form)

    def forward(
        self, x: Tensor, turns: Tensor | None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self._drop(self.attention(self.norm1(x), turns, mask, cache))
        return x + self._drop(self.feed(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.dropout and self.training else x


class GPT(nn.Module):
    """Tokens in, logits of each next token out."""

    def __init__(self, form: Form):
        super().__init__()
        self.form = form
        self.tokens = nn.Embedding(form.vocabulary, form.width)
        self.positions = nn.Embedding(form.context, form.width) if form.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(form, index) for index in range(form.layers))
        self.norm = Norm(form)
        self.head = None if form.tied else nn.Linear(form.width, form.vocabulary, bias=False)
        table = None if self.positions is not None else rotations(form.context, form.head_width)
        self.register_buffer("turns", table, persistent=False)
        self.turns: Tensor | None
        self._start()

    def _start(self) -> None:
        """GPT-2's initialisation: the layers that write into the stream are scaled down by their number."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            writes = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(parameter, 0.0, 0.02 / math.sqrt(2 * self.form.layers) if writes else 0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, cache: Cache | None = None, padding: Tensor | None = None,
                last: bool = False, targets: Tensor | None = None) -> Tensor:  # fmt: skip
        """(B, T) tokens -> (B, T, V) logits of the token after each.

        targets: (B, T) the tokens that came; the mean surprise at them, in nats, is then all that is returned
        cache: what was read before; it takes up these tokens too
        padding: (B,) how many tokens at the left of each row, from the first one read, are not to be seen
        last: only the logits of the last token, (B, 1, V)
        """
        x = self.stream(tokens, cache, padding)
        if targets is not None:
            return linear_cross_entropy(x, self.tokens.weight if self.head is None else self.head.weight, targets)
        return self.logits(x[:, -1:] if last else x)

    def stream(self, tokens: Tensor, cache: Cache | None = None, padding: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, D), what the head reads."""
        start, x, turns = 0 if cache is None else cache.length, *self._enter(tokens, cache, padding)
        mask = self._mask(tokens.shape[1], start, padding, tokens.device)
        for block in self.blocks:
            x = block(x, turns, mask, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return linear(x, self.tokens.weight) if self.head is None else self.head(x)

    def arrange(self) -> None:
        """Turn the float32 matrices in memory, not in shape: one token at a time is then read 1.6 times as fast on a CPU.

        The product of a matrix with one vector is bound by memory, and by columns it is read at 20 GB/s, by rows at 12.
        Not for training, and not for weights of 2 GB and more, which are used where they lie in their file.
        """
        matrices = [module.weight for module in self.modules() if type(module) is nn.Linear]
        matrices += [self.tokens.weight] if self.head is None and type(self.tokens) is nn.Embedding else []
        if sum(4 * matrix.numel() for matrix in matrices) >= 2**31:
            return
        for matrix in matrices:
            if matrix.dtype == torch.float32 and matrix.device.type == "cpu" and matrix.is_contiguous():
                matrix.data = matrix.data.T.contiguous().T

    def maps(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (L, B, K, T, T): where each head of each layer looks."""
        x, turns = self._enter(tokens, None, None)
        found, blocks = [], cast("list[Block]", list(self.blocks))
        for block in blocks:
            found.append(block.attention.odds(block.norm1(x), turns))
            x = block(x, turns)
        return torch.stack(found)

    def _enter(self, tokens: Tensor, cache: Cache | None, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Embed tokens, (B, T, D), and find the rotations of their places, (T, D / K) or (B, 1, T, D / K)."""
        start = 0 if cache is None else cache.length
        end, most = start + tokens.shape[1], self.form.context if cache is None else cache.most
        if end > most:
            raise UserError(f"{end} tokens are more than the {most} that this network sees at once: cut the text")
        x = self.tokens(tokens)
        places: Any = slice(start, end)
        if padding is not None:
            places = (torch.arange(start, end, device=tokens.device) - padding[:, None]).clamp_min(0)  # (B, T)
        turns = None if self.turns is None else self.turns[places]
        if turns is not None and padding is not None:
            turns = turns[:, None]
        if self.positions is not None:
            x = x + self.positions.weight[places]
        if self.form.norm == "rms":
            x = normalise(x)
        if self.form.dropout and self.training:
            x = dropout(x, self.form.dropout)
        return x, turns

    def _mask(self, new: int, start: int, padding: Tensor | None, device: torch.device) -> Tensor | None:
        """What may be seen, (1 or B, 1, T, N), or None where plain causal attention is meant."""
        if padding is None and (start == 0 or new == 1):
            return None
        columns = torch.arange(start + new, device=device)
        seen = columns <= torch.arange(start, start + new, device=device)[:, None]  # (T, N)
        if padding is None:
            return seen[None, None]
        own = (
            columns == torch.arange(start, start + new, device=device)[:, None]
        )  # a row that sees nothing would be nan
        return ((columns >= padding[:, None, None]) & seen | own)[:, None]


def rotations(places: int, width: int, base: float = 10_000.0) -> Tensor:
    """(places, 2 P): cosines, then sines, of the angles by which the P pairs of a query of `width` turn at each place."""
    speeds = base ** (-torch.arange(0, width - 1, 2) / width)  # (P,)
    angles = torch.arange(places)[:, None] * speeds
    return torch.cat([angles.cos(), angles.sin()], 1)


__all__ = ["GPT", "GPT2_SIZES", "Attention", "Block", "Cache", "Feed", "Form", "Norm", "rotations"]
