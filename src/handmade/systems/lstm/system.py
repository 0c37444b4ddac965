"""A language model with a memory: an LSTM that reads a text once, from its first token to its last.

Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; network.py has the equations.

Objective, the mean surprise at each token, given all that was read before it:
    lstm minimises  E_t[-log p(x_t | x_(t-1), what is remembered of x_1 ... x_(t-2))]
The rows of a batch are lanes through the text: each goes on where it stood a step ago, with the memory it had, so what was
read long ago can still count, though errors are sent back through one window only (truncated back-propagation through
time: Williams & Peng 1990). Dropout is drawn once a row, the same at all steps (Gal & Ghahramani 2015, arXiv 1512.05287;
Merity et al. 2017, arXiv 1708.02182). What departs from the papers, and what it is worth, is in the README.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Images, Passages, Table
from handmade.artifacts.heatmap import heatmap
from handmade.artifacts.likeliest import heats_of, likeliest
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.codecs.unknown import unknown_letters, unknown_share
from handmade.data.specs import TextBatch, TextSpec
from handmade.data.utf8 import given_text
from handmade.errors import UserError
from handmade.metrics.ngrams import ngram_nats
from handmade.metrics.text import bits_per_byte, perplexity, shared_runs
from handmade.networks.muon import MuonAdamW
from handmade.samplers.pen import Pen
from handmade.samplers.tokens import Taste, choose, fortunes
from handmade.systems.lstm.network import LSTM, State

LANES = 16  # rows in which held-out text is read
STRETCH = 1024  # tokens of a long prompt read at once
ORDERS = {
    "chars": 6,
    "words": 3,
    "bpe": 4,
    "gpt2": 3,
}  # tokens that the model that counts looks at, as suits each codec


@dataclass(frozen=True)
class Config:
    """The settings of the network and of its optimizer."""

    layers: int = 2  # layers of memory cells
    width: int = 512  # cells of each layer, and length of the vector that stands for a token
    tied: bool = False  # the head shares the embedding
    dropout: float = 0.1  # share of a layer's inputs set to zero in training, the same at all steps of a row
    optimizer: Literal["muon", "adamw"] = "muon"  # for the matrices
    lr: float = 0.02  # of the matrices; AdamW wants about 2e-3
    rest_lr: float = 3e-3  # of embeddings, head and biases
    momentum: float = 0.95  # Muon
    decay: float = 0.0  # weight decay of the matrices


class LSTMSystem(System):
    """A network that reads on and on, and gives odds for the next token."""

    def __init__(self, config: Config, data: TextSpec):
        super().__init__(config, data)
        self.network = LSTM(data.size, config.width, config.layers, config.tied)
        self.carried: dict[int, State] = {}  # part of the batch -> what its rows remember

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player; the four matrices of each gate move by Muon unless the config says AdamW."""
        c, matrices = self.config, {}
        for layer in self.network.layers:
            matrices.update({layer.of_input: 4, layer.of_said: 4})
        rest = [parameter for parameter in self.network.parameters() if parameter not in matrices]
        if c.optimizer == "muon":
            return {"lstm": MuonAdamW(matrices, rest, c.lr, c.rest_lr, c.momentum, decay=c.decay)}
        groups = [{"params": list(matrices), "weight_decay": c.decay}, {"params": rest, "weight_decay": 0.0}]
        return {"lstm": AdamW(groups, c.lr, betas=(0.9, 0.99))}

    def objective(self, batch: TextBatch) -> Iterator[Turn]:
        """Read on where each row stood, guess each token; the loss is the mean surprise at what came, in nats."""
        state, masks = self._remembered(batch.fresh), self._masks(len(batch.tokens))
        loss, new = self.network(batch.tokens[:, :-1], state, masks, batch.tokens[:, 1:])
        self.carried[self.dice.part] = State(new.said.detach(), new.memory.detach())
        yield Turn("lstm", loss)

    def _remembered(self, fresh: Tensor) -> State:
        """What the rows of this part of the batch remember; nothing for those that begin elsewhere."""
        empty = self.network.empty(len(fresh))
        kept = self.carried.get(self.dice.part, empty)
        if kept.memory.shape != empty.memory.shape:  # resumed with another batch
            return empty
        stay = ~fresh[:, None]  # (B, 1)
        return State(*(torch.where(stay, part.to(empty.said), 0.0) for part in kept))

    def _masks(self, rows: int) -> Tensor | None:
        """Factors (L + 1, B, H): 0 for what is dropped, and so much more for the rest that the mean stays."""
        p = self.config.dropout
        if not self.training or p == 0:
            return None
        kept = self.dice.uniform(rows, self.config.layers + 1, self.config.width) >= p  # (B, L + 1, H)
        return kept.transpose(0, 1) / (1 - p)

    def stream_state(self) -> dict[str, Any]:
        """What the rows remember, so that a resumed run reads on with it."""
        return {"carried": {part: tuple(state) for part, state in self.carried.items()}}

    def load_stream_state(self, state: dict[str, Any]) -> None:
        """Take back what the rows remembered."""
        self.carried = {int(part): State(*kept) for part, kept in state["carried"].items()}

    def evaluate(self, held_out: TextBatch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Surprise at held-out text, per byte and per token, read in lanes; and that of a model that only counts."""
        tokens = held_out.tokens  # (N, T + 1), one window after the other
        means = self._read_in_lanes(tokens).double()  # (N,)
        count = tokens[:, 1:].numel()
        running = tokens[:, 1:].flatten().tolist()
        size, unknown = len(self.data.decode(running).encode()), unknown_share(self.data.coder, running)
        nats, wide = float(means.mean()), 1.96 * float(means.std(correction=0)) / len(means) ** 0.5
        lanes = -(-len(tokens) // _long(len(tokens)))
        about = f"held-out text: {count:,} tokens{unknown}, {size:,} bytes, read in {lanes} lanes"
        bits = [bits_per_byte(count * value, size) for value in (nats, nats - wide, nats + wide)]
        scores = {
            "bits_per_byte": Score(bits[0], f"surprise per byte of {about}", "lower", None, bits[1], bits[2]),
            "nats": Score(nats, f"surprise per token of {about}", "lower", None, nats - wide, nats + wide),
        }
        if self.trained_on is not None:  # where the training text is at hand
            order = ORDERS.get(self.data.codec["kind"], 3)
            whole = torch.cat([tokens[:1, 0], tokens[:, 1:].flatten()])
            counted = ngram_nats(self.trained_on().tokens, whole, order, self.data.size).sum()
            told = f"the same of a model that only counts, up to {order} tokens (Witten & Bell 1991): to be beaten"
            scores["counting"] = Score(bits_per_byte(float(counted), size), told)
        return scores

    def _read_in_lanes(self, tokens: Tensor) -> Tensor:
        """(N, T + 1) windows -> (N,) mean surprise of each; a lane keeps its memory where a window goes on."""
        long = _long(len(tokens))
        goes_on = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        goes_on[1:] = tokens[1:, 0] == tokens[:-1, -1]
        lanes = torch.arange(0, len(tokens), long, device=tokens.device)
        means = torch.zeros(len(tokens), device=tokens.device)
        state = self.network.empty(len(lanes))
        for now in range(long):
            rows = lanes[lanes + now < len(tokens)] + now  # the last lane may be shorter
            stay = (goes_on[rows] & (now > 0))[:, None]
            state = State(*(torch.where(stay, part[:, : len(rows)], 0.0) for part in state))
            logits, state = self.network(tokens[rows, :-1], state)
            surprise = torch.nn.functional.cross_entropy(logits.float().mT, tokens[rows, 1:], reduction="none")
            means[rows] = surprise.mean(1)
        return means

    @ask
    def continue_(
        self, prompt: str = "", file: Path = Path(), n: Annotated[int, Range(1, 64)] = 1,
        max_tokens: Annotated[int, Range(1, 100_000)] = 200, temperature: Annotated[float, Range(0, 10)] = 0.8,
        top_k: Annotated[int, Range(0, 100_000)] = 0, top_p: Annotated[float, Range(0.001, 1)] = 1.0,
        min_p: Annotated[float, Range(0, 1)] = 0.0, repetition_penalty: Annotated[float, Range(0.1, 10)] = 1.0,
        stop: str = "", seed: int = 0,
    ) -> Passages:  # fmt: skip
        """Go on with a text, token by token.

        prompt: how the text begins; empty: begin anew
        file: a text file that holds the prompt instead; it may be as long as you like
        n: how many continuations
        max_tokens: the most tokens to add
        temperature: 0 always takes the likeliest token, 1 follows the odds, more is wilder
        top_k: choose among the k likeliest tokens; 0: among all
        top_p: choose among the likeliest that together have this probability; 1: among all
        min_p: choose among tokens at least this share as likely as the likeliest; 0: among all
        repetition_penalty: above 1, tokens that have come already get less likely
        stop: end before this text comes; several are parted by |
        seed: which continuations; a larger n adds to the same series
        """
        prompt = given_text(prompt, file)
        taste = Taste(temperature, top_k, top_p, min_p, repetition_penalty)
        pens = self._write(prompt, n, max_tokens, taste, stop, seed)
        return Passages(tuple(prompt + pen.text for pen in pens), given=(len(prompt),) * n)

    @ask
    def next_words(
        self, prompt: str = "", file: Path = Path(), k: Annotated[int, Range(1, 100)] = 12,
        temperatures: str = "0.5,1,1.5",
    ) -> Table:  # fmt: skip
        """List the likeliest next tokens and their probabilities, at several temperatures side by side.

        prompt: how the text begins
        file: a text file that holds the prompt instead
        k: how many tokens
        temperatures: separated by commas
        """
        heats = heats_of(temperatures)
        text = given_text(prompt, file)
        self._warn(text)
        return likeliest(self._read(self._ids(text))[0][0], k, heats, self.data.name)

    @ask
    def score(self, text: str = "It is a truth universally acknowledged.", file: Path = Path()) -> Table:
        """Measure how surprised the model is by a text.

        text: the text
        file: a text file to score instead
        """
        content = given_text("" if file != Path() else text, file)
        self._warn(content)
        tokens = self.data.encode(content)
        if len(tokens) < 2:
            raise UserError(
                f"a text of {len(tokens)} tokens cannot be scored: give --text, or --file, with two or more"
            )
        ids, state, nats = torch.tensor([tokens]).to(self._device()), self.network.empty(1), []
        for first in range(0, len(tokens) - 1, STRETCH):
            window = ids[:, first : first + STRETCH + 1]
            logits, state = self.network(window[:, :-1], state)
            nats.append(torch.nn.functional.cross_entropy(logits[0].float(), window[0, 1:], reduction="none"))
        mean = float(torch.cat(nats).double().mean())
        values = {"nats_per_token": mean, "tokens": len(tokens) - 1, "perplexity": perplexity(mean)}
        return Table(("measure", "value"), tuple(values.items()), values)

    @ask
    def gates(
        self, prompt: str = "It is a truth universally acknowledged", layer: Annotated[int, Range(1, 1000)] = 1,
        what: Literal["keep", "let_in", "show", "memory"] = "keep", cells: Annotated[int, Range(1, 60)] = 24,
    ) -> Images:  # fmt: skip
        """Draw what the gates of single cells do while a text is read: a row per cell, a column per token.

        prompt: a text of up to 60 tokens; of a longer one the end is shown
        layer: which layer, from 1
        what: keep, let_in, show: dark where that gate is open; memory: dark where much is remembered, of either sign
        cells: how many, those first that change most over the text
        """
        if layer > self.config.layers:
            raise UserError(f"there is no layer {layer}: choose from 1 to {self.config.layers}")
        ids = self._ids(prompt)
        open_, memory = self.network.watch(torch.tensor(ids, device=self._device()), layer - 1)
        seen = (memory.tanh().square() if what == "memory" else getattr(open_, what)).cpu()  # (T, H)
        chosen = seen.std(0, correction=0).topk(min(cells, seen.shape[1])).indices
        names = [self.data.name(token) for token in ids[-60:]]
        rows = [f"cell {number}" for number in chosen.tolist()]
        title = f"layer {layer}: {'tanh(memory)' if what == 'memory' else what.replace('_', ' ')}"
        return Images(heatmap(seen[-60:, chosen].T, rows, names, title)[None])

    @ask
    def copied(
        self, prompt: str = "", n: Annotated[int, Range(1, 64)] = 4, max_tokens: Annotated[int, Range(1, 100_000)] = 300,
        temperature: Annotated[float, Range(0, 10)] = 0.8, words: Annotated[int, Range(1, 100)] = 5, seed: int = 0,
    ) -> Passages:  # fmt: skip
        """Write, and mark with [[ ]] what stands word for word in the text it was trained on, longest runs first named.

        prompt: how the text begins
        n: how many continuations
        max_tokens: the most tokens of each
        temperature: 0 always takes the likeliest token; the lower, the more is copied
        words: the fewest words in a row that count as copied
        seed: which continuations
        """
        if self.trained_on is None:
            raise UserError("what was copied needs the training text, which this run does not know")
        old = self.trained_on().tokens
        pens = self._write(prompt, n, max_tokens, Taste(temperature), "", seed)
        return Passages(tuple(self._marked(prompt, pen.tokens, old, words) for pen in pens))

    # how the asks work

    def _write(self, prompt: str, n: int, most: int, taste: Taste, stop: str, seed: int) -> list[Pen]:
        """Write n continuations; a single one is told as it comes."""
        self._warn(prompt)
        stops = [part for part in stop.split("|") if part]
        pens = [Pen(self.data.decode, stops, getattr(self.data.coder, "end", None)) for _ in range(n)]
        tell = self.tell if n == 1 else lambda text: None
        tell(prompt)
        text = self._drawn(self._ids(prompt), taste, fortunes(n, seed), n)
        for _ in range(most):
            for pen, token in zip(pens, next(text).tolist(), strict=True):
                if new := pen.add(token):
                    tell(new)
            if all(pen.done for pen in pens):
                break
        for pen in pens:
            tell(pen.finish() + "\n")
        return pens

    def _drawn(self, ids: Sequence[int], taste: Taste, luck: Iterator[Tensor], rows: int) -> Iterator[Tensor]:
        """Yield the next token of every row, (B,) int64, for ever; all begin with the same tokens."""
        logits, state = self._read(ids)
        start = torch.zeros(rows, dtype=torch.int64, device=logits.device)
        logits, state = logits[start], state.rows(start)
        seen = torch.tensor([list(ids)] * rows)
        while True:
            token = choose(logits, next(luck).to(logits.device), taste, seen)  # (B,)
            yield token
            if taste.repetition_penalty != 1.0:
                seen = torch.cat([seen, token.cpu()[:, None]], 1)
            logits, state = self.network(token[:, None], state)
            logits = logits[:, -1]

    def _read(self, ids: Sequence[int]) -> tuple[Tensor, State]:
        """Read a text of any length: the logits (1, V) of what comes next, and what is remembered."""
        state, logits = self.network.empty(1), torch.empty(0)
        for part in torch.tensor([list(ids)]).to(self._device()).split(STRETCH, 1):
            logits, state = self.network(part, state)
        return logits[:, -1].float(), state

    def _marked(self, prompt: str, tokens: list[int], old: Tensor, words: int) -> str:
        """A prompt and what was added, what is copied in brackets, under a line that names the longest copied run."""
        fewest = 2 * words - 1 if self.data.codec["kind"] == "chars" else words  # tokens that so many words take

        def text(first: int, last: int) -> str:
            return self.data.decode(tokens[first:last])

        runs = [run for run in shared_runs(torch.tensor(tokens), old, fewest)
                if len(text(run.start, run.start + run.length).split()) >= words]  # fmt: skip
        taken = torch.zeros(len(tokens), dtype=torch.bool)
        for run in runs:
            taken[run.start : run.start + run.length] = True
        turns = [0, *(taken[1:] != taken[:-1]).nonzero()[:, 0].add(1).tolist(), len(tokens)]
        pieces = ((text(a, b), bool(taken[a])) for a, b in pairwise(turns) if a < b)
        out = "".join(f"[[{piece}]]" if old_words else piece for piece, old_words in pieces)
        share = 100 * float(taken.sum()) / max(1, len(tokens))
        said = f"{share:.0f} % stands in the training text in runs of {words} words or more"
        if runs:
            longest = text(runs[0].start, runs[0].start + runs[0].length)
            said += f', the longest: "{" ".join(longest.split())}"'
        return f"{said}\n\n{prompt}{out}"

    def _warn(self, text: str) -> None:
        """Tell what of a given text is unknown here."""
        if unknown := unknown_letters(self.data.coder, text):
            self.tell(f"({unknown})\n")

    def _ids(self, prompt: str) -> list[int]:
        """The tokens of a prompt; an empty one begins where a text begins."""
        if prompt:
            return self.data.encode(prompt)
        end = getattr(self.data.coder, "end", None)
        return [end] if end is not None else self.data.encode("\n") or [0]

    def _device(self) -> torch.device:
        return self.network.tokens.weight.device


def _long(windows: int) -> int:
    """Windows of one lane, where so many are read in at most LANES; the last lane may be shorter."""
    return -(-windows // min(LANES, windows))
