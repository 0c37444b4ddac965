"""Long short-term memory, written out: Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000.

At each step a layer reads an input x and what it said last, h, and keeps a memory c of its own:
    i, f, o = sigmoid(W_i [x, h]), sigmoid(W_f [x, h]), sigmoid(W_o [x, h])     gates: let in, keep, show
    g       = tanh(W_g [x, h])                                                  what might be written
    c       = f * c + i * g                                                     the memory
    h       = o * tanh(c)                                                       what is said
The memory is carried by a sum, so that what is kept is kept exactly, and an error finds its way back through many steps.
`Layer.step` is those lines. A training step runs through one of two faster forms of them, which tests hold equal.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from handmade.objectives.likelihood import linear_cross_entropy

WIDE = 384  # from this width on, in bf16 on a CPU, `ThroughTime` is faster than torch's kernel: 1.1 to 1.5 times at 512


class Gates(NamedTuple):
    """What the gates of a layer did in one step, each (B, H)."""

    let_in: Tensor  # i, 0..1
    keep: Tensor  # f, 0..1
    written: Tensor  # g, -1..1
    show: Tensor  # o, 0..1


class Layer(nn.Module):
    """One layer of memory cells. The rows of its matrices are those of the gates i, f, g and o, one after the other."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.of_input = nn.Parameter(torch.empty(4 * width, inputs))
        self.of_said = nn.Parameter(torch.empty(4 * width, width))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        for matrix in (*self.of_input.chunk(4), *self.of_said.chunk(4)):
            nn.init.orthogonal_(matrix.data)
        with torch.no_grad():
            self.bias[width : 2 * width] = 1.0  # keep, at first: Gers et al. 2000, Jozefowicz et al. 2015

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Gates]:
        """One step as the equations say it. x: (B, D); h, c: (B, H) -> the new h and c, and the gates."""
        i, f, g, o = (linear(x, self.of_input, self.bias) + linear(h, self.of_said)).chunk(4, -1)
        gates = Gates(i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid())
        c = gates.keep * c + gates.let_in * gates.written
        return gates.show * c.tanh(), c, gates

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All steps of (T, B, D): what is said at each (T, B, H), and the last h and c, (B, H)."""
        if len(x) == 1:  # writing, token by token: the faster kernels would spend their time on preparing
            h, c, _ = self.step(x[0], h, c)
            return h[None], h, c
        bf16 = torch.is_autocast_enabled(x.device.type) and torch.get_autocast_dtype(x.device.type) == torch.bfloat16
        if bf16 and not x.is_cuda and h.shape[1] >= WIDE:
            said = linear(x, self.of_input, self.bias)  # in bf16: autocast
            return ThroughTime.apply(said, self.of_said.to(said.dtype), h.float(), c.float())  # pyright: ignore
        said, last = self._kernel(x, (h[None], c[None]))
        return said, last[0][0], last[1][0]

    def _kernel(self, x: Tensor, before: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Torch's own kernel, cuDNN's or oneDNN's, on our weights; it wants a second bias."""
        weights = [self.of_input, self.of_said, self.bias, torch.zeros_like(self.bias)]
        with warnings.catch_warnings() if x.is_cuda else contextlib.nullcontext():
            if x.is_cuda:  # it would like the weights in one piece; copying them costs little
                warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
            said, h, c = torch._VF.lstm(x, before, weights, True, 1, 0.0, self.training, False, False)  # pyright: ignore
        return said, (h, c)


class ThroughTime(torch.autograd.Function):
    """All steps of a layer, and the way back through them written out: the products in bf16, sums and gates in float32.

    Back-propagation through time: from the last step to the first, the slope of the loss by h and c is handed on,
        dc += dh * o * (1 - tanh(c)^2)      di, df, dg = dc * g, dc * c_before, dc * i      do = dh * tanh(c)
    each times the slope of its sigmoid or tanh; then dc *= f, and dh comes through the matrix of what was said.
    """

    @staticmethod
    def forward(ctx: Any, said: Tensor, matrix: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """said: (T, B, 4H), what the inputs say to the gates; matrix: (4H, H); h, c: (B, H)."""
        t, b, width = said.shape[0], said.shape[1], h.shape[1]
        gates, cells, bent = h.new_empty(t, b, 4 * width), h.new_empty(t + 1, b, width), h.new_empty(t, b, width)
        heard = matrix.new_empty(t + 1, b, width)
        heard[0], cells[0] = h, c
        with torch.autocast(said.device.type, enabled=False):
            for now in range(t):
                a = torch.add(said[now], heard[now] @ matrix.T, out=gates[now])
                a[:, : 2 * width].sigmoid_()
                a[:, 2 * width : 3 * width].tanh_()
                a[:, 3 * width :].sigmoid_()
                i, f, g, o = a.chunk(4, -1)
                torch.mul(f, cells[now], out=cells[now + 1]).addcmul_(i, g)
                torch.tanh(cells[now + 1], out=bent[now])
                torch.mul(o, bent[now], out=heard[now + 1])
        ctx.save_for_backward(gates, cells, bent, heard, matrix)
        return heard[1:], heard[-1].float(), cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The slopes by what comes out (T, B, H), (B, H), (B, H) -> by what went in."""
        gates, cells, bent, heard, matrix = ctx.saved_tensors
        width, back = cells.shape[-1], torch.ops.aten
        by_said = matrix.new_empty(gates.shape)
        d = gates.new_empty(gates.shape[1:])
        di, df, dg, do = d.chunk(4, -1)
        sigmoids = d[:, : 2 * width]
        dh, dc = slopes[1].float(), slopes[2].clone()
        for now in range(len(gates) - 1, -1, -1):
            i, f, g, o = gates[now].chunk(4, -1)
            dh = dh + slopes[0][now]
            dc += back.tanh_backward(dh * o, bent[now])
            torch.mul(dc, g, out=di)
            torch.mul(dc, cells[now], out=df)
            torch.mul(dc, i, out=dg)
            torch.mul(dh, bent[now], out=do)
            back.sigmoid_backward.grad_input(sigmoids, gates[now][:, : 2 * width], grad_input=sigmoids)
            back.tanh_backward.grad_input(dg, g, grad_input=dg)
            back.sigmoid_backward.grad_input(do, o, grad_input=do)
            by_said[now] = d
            dc *= f
            dh = (by_said[now] @ matrix).float()
        by_matrix = by_said.flatten(0, 1).T @ heard[:-1].flatten(0, 1)
        return by_said, by_matrix, dh, dc


class State(NamedTuple):
    """What the layers remember between two stretches of text."""

    said: Tensor  # (L, B, H), h
    memory: Tensor  # (L, B, H), c

    def rows(self, chosen: Tensor) -> State:
        """The rows of some texts, (B,) int64."""
        return State(self.said[:, chosen], self.memory[:, chosen])


class LSTM(nn.Module):
    """Tokens -> vectors -> layers of memory -> odds of the next token; layers after the first add to what they read."""

    def __init__(self, vocabulary: int, width: int, layers: int, tied: bool):
        super().__init__()
        self.width = width
        self.tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, width) for _ in range(layers))
        self.head = (
            None if tied else nn.Linear(width, vocabulary, bias=False)
        )  # tied: a token is asked for as it is read
        nn.init.normal_(self.tokens.weight, 0.0, 0.1 if tied else 1.0)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    def empty(self, rows: int) -> State:
        """The state before any text."""
        zeros = self.layers[0].bias.new_zeros(len(self.layers), rows, self.width)  # type: ignore[union-attr, operator]
        return State(zeros, zeros)

    def forward(self, tokens: Tensor, state: State, masks: Tensor | None = None,
                targets: Tensor | None = None) -> tuple[Tensor, State]:  # fmt: skip
        """Read on (B, T): the logits (B, T, V) of what comes next, or with targets (B, T) the mean surprise; the new state.

        masks: (L + 1, B, H), factors on what each layer reads and on what the head reads, the same at all steps
        """
        x = self.tokens(tokens.T)  # (T, B, H)
        said, memory = [], []
        for number, layer in enumerate(self.layers):
            x = x if masks is None else x * masks[number]
            out, h, c = layer(x, state.said[number], state.memory[number])
            x = out if number == 0 else x + out
            said.append(h)
            memory.append(c)
        x = x if masks is None else x * masks[-1]
        new = State(torch.stack(said), torch.stack(memory))
        weight = self.tokens.weight if self.head is None else self.head.weight  # (V, H)
        if targets is not None:
            return linear_cross_entropy(x, weight, targets.T), new
        return linear(x, weight).transpose(0, 1), new

    def watch(self, tokens: Tensor, layer: int) -> tuple[Gates, Tensor]:
        """Read (T,) tokens step by step; what the gates of one layer did, each (T, H), and its memory (T, H)."""
        x, gates, cells = self.tokens(tokens), [], []  # (T, H)
        for number in range(layer + 1):
            one: Any = self.layers[number]
            h = c = x.new_zeros(1, self.width)
            out = []
            for now in range(len(x)):
                h, c, open_ = one.step(x[now : now + 1], h, c)
                out.append(h)
                if number == layer:
                    gates.append(open_)
                    cells.append(c)
            x = torch.cat(out) if number == 0 else x + torch.cat(out)
        return Gates(*(torch.cat(part) for part in zip(*gates, strict=True))), torch.cat(cells)
