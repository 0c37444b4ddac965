"""A language model that writes: a decoder-only Transformer. Radford et al. 2018 and 2019 (GPT, GPT-2).

Objective, the mean surprise at each token, given those before it in the window:
    gpt minimises  E_t[-log p(x_t | x_1 ... x_(t-1))]
With `style = "gpt2"` the network is GPT-2's, number for number, and published weights fit it. With `style = "modern"`, for
small networks trained here, it has what pays on this size; each departure is named in network.py and measured in the README.
Matrices learn by Muon, the rest by AdamW (muon.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from handmade.metrics.text import bits_per_byte, perplexity, shared_runs
from handmade.networks.low_rank import adapt, merge
from handmade.networks.muon import MuonAdamW
from handmade.networks.quantised import keep
from handmade.samplers.pen import Pen
from handmade.samplers.tokens import Taste, fortunes
from handmade.systems.gpt.network import GPT, Form
from handmade.systems.gpt.writing import continued, kept, surprises

AT_ONCE = 2_000_000  # logits held in memory by a score


@dataclass(frozen=True)
class Config:
    """The settings of the network and of its optimizer."""

    layers: int = 4  # blocks
    width: int = 128  # length of the vector that stands for a token
    heads: int = 4  # heads of attention; where they do not divide the width, fewer
    style: Literal["modern", "gpt2"] = "modern"  # what pays for small networks, or exactly GPT-2
    bias: bool = True  # gpt2: biases in linear layers and norms
    tied: bool = False  # the head shares the embedding; gpt2 always does
    dropout: float = 0.0  # share of numbers set to zero in training
    optimizer: Literal["muon", "adamw"] = "muon"  # for the matrices
    lr: float = 0.02  # of the matrices; AdamW wants about 1e-3
    rest_lr: float = 3e-3  # of embeddings, head and vectors
    momentum: float = 0.95  # Muon
    decay: float = 0.0  # weight decay of the matrices
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"  # gpt2: OpenAI's, or nanoGPT's
    kept: Literal["float32", "bf16", "int8", "int4"] = "float32"  # how weights are kept; only float32 trains
    rank: Annotated[int, Range(0, 4096)] = 0  # above 0: train only products of this rank beside the matrices (LoRA)
    alpha: float = 16.0  # LoRA: the products count alpha / rank


def form_of(config: Config, data: TextSpec) -> Form:
    """The network that a config asks for, on this data."""
    heads = next(k for k in range(max(1, min(config.heads, config.width)), 0, -1) if config.width % k == 0)
    sizes: dict[str, Any] = {"vocabulary": data.size, "context": data.context, "layers": config.layers,
                             "width": config.width, "heads": heads, "dropout": config.dropout}  # fmt: skip
    if config.style == "gpt2":
        return Form(**sizes, bias=config.bias, activation=config.activation)
    return Form.modern(**sizes, tied=config.tied)


class GPTSystem(System):
    """A network that reads tokens and gives odds for the next one."""

    def __init__(self, config: Config, data: TextSpec):
        super().__init__(config, data)
        self.network = GPT(form_of(config, data))
        if config.kept != "float32":
            keep(self.network, config.kept)
        if config.rank:
            adapt(self.network, config.rank, config.alpha)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player; its matrices move by Muon unless the config says AdamW."""
        c, matrices, rest = self.config, {}, []
        if c.kept != "float32":
            raise UserError(f"weights kept in {c.kept} cannot be trained: import them again with --precision float32")
        for name, parameter in self.network.named_parameters():
            if not parameter.requires_grad:
                continue  # beside it, a low-rank product is trained
            if name.startswith("blocks.") and parameter.ndim == 2:
                matrices[parameter] = 3 if "qkv" in name else 1
            else:
                rest.append(parameter)
        if c.optimizer == "muon":
            return {"gpt": MuonAdamW(matrices, rest, c.lr, c.rest_lr, c.momentum, decay=c.decay)}
        groups = [{"params": list(matrices), "weight_decay": c.decay}, {"params": rest, "weight_decay": 0.0}]
        return {"gpt": AdamW([group for group in groups if group["params"]], c.lr, betas=(0.9, 0.99))}

    def hand_over(self) -> Mapping[str, Tensor]:
        """The weights that another training starts from; low-rank products are added to theirs."""
        if self.config.kept != "float32":
            raise UserError(f"weights kept in {self.config.kept} cannot be trained: import them again in float32")
        merge(self.network)
        return self.state_dict()

    def objective(self, batch: TextBatch) -> Iterator[Turn]:
        """Guess each token from those before it; the loss is the mean surprise at what came, in nats."""
        yield Turn("gpt", self.network(batch.tokens[:, :-1], targets=batch.tokens[:, 1:]))

    def evaluate(self, held_out: TextBatch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Surprise at held-out text, per byte and per token, each window on its own."""
        rows = max(1, AT_ONCE // (held_out.tokens[0].numel() * self.data.size))
        means = torch.cat([self._nats(part) for part in held_out.tokens.split(rows)]).double()  # (N,)
        count = held_out.tokens[:, 1:].numel()
        tokens = held_out.tokens[:, 1:].flatten().tolist()
        size, unknown = len(self.data.decode(tokens).encode()), unknown_share(self.data.coder, tokens)
        nats, wide = float(means.mean()), 1.96 * float(means.std(correction=0)) / len(means) ** 0.5
        about = (
            f"held-out text: {count:,} tokens{unknown}, {size:,} bytes, in windows of {held_out.tokens.shape[1] - 1}"
        )
        bits = [bits_per_byte(count * value, size) for value in (nats, nats - wide, nats + wide)]
        return {
            "bits_per_byte": Score(bits[0], f"surprise per byte of {about}", "lower", None, bits[1], bits[2]),
            "nats": Score(nats, f"surprise per token of {about}", "lower", None, nats - wide, nats + wide),
        }

    def _nats(self, tokens: Tensor) -> Tensor:
        """(B, T + 1) -> (B,) mean surprise of each row."""
        logits = self.network(tokens[:, :-1]).float()  # (B, T, V)
        return torch.nn.functional.cross_entropy(logits.mT, tokens[:, 1:], reduction="none").mean(1)

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
        file: a text file that holds the prompt instead; several prompts are parted by lines of ---
        n: how many continuations of each prompt
        max_tokens: the most tokens to add
        temperature: 0 always takes the likeliest token, 1 follows the odds, more is wilder
        top_k: choose among the k likeliest tokens; 0: among all
        top_p: choose among the likeliest that together have this probability; 1: among all
        min_p: choose among tokens at least this share as likely as the likeliest; 0: among all
        repetition_penalty: above 1, tokens that have come already get less likely
        stop: end before this text comes; several are parted by |
        seed: which continuations; a larger n adds to the same series
        """
        taste = Taste(temperature, top_k, top_p, min_p, repetition_penalty)
        prompts = _prompts(prompt, file)
        pens = self._write(prompts, n, max_tokens, taste, stop, seed)
        begun = [prompt for prompt in prompts for _ in range(n)]
        texts = tuple(prompt + pen.text for prompt, pen in zip(begun, pens, strict=True))
        return Passages(texts, given=tuple(map(len, begun)))

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
        text = _prompts(prompt, file)[0]
        self._warn(text)
        return likeliest(self._logits_after(text), k, heats, self._name)

    @ask
    def score(self, text: str = "To be, or not to be, that is the question.", file: Path = Path()) -> Table:
        """Measure how surprised the model is by a text.

        text: the text
        file: a text file to score instead
        """
        content = given_text("" if file != Path() else text, file)
        self._warn(content)
        tokens = self.data.encode(content)
        end = self._end()
        given = [] if end is None else [end]  # with a mark for a text's start, its first token counts too
        nats = surprises(self.network, [*given, *tokens])
        if not len(nats):
            raise UserError(
                f"a text of {len(tokens)} tokens cannot be scored: give --text, or --file, with two or more"
            )
        mean = float(nats.double().mean())
        values = {"nats_per_token": mean, "tokens": len(nats), "perplexity": perplexity(mean)}
        return Table(("measure", "value"), tuple(values.items()), values)

    @ask
    def attention(
        self, prompt: str = "To be, or not to be", layer: Annotated[int, Range(0, 1000)] = 0,
        head: Annotated[int, Range(0, 1000)] = 0,
    ) -> Images:  # fmt: skip
        """Draw where each head looks: a row per token, dark where it takes much from the token of that column.

        prompt: a text of up to 40 tokens; of a longer one the end is shown
        layer: which layer, from 1; 0: all
        head: which head, from 1; 0: all
        """
        ids = self._ids(prompt)[-min(40, self.data.context) :]
        form, names = self.network.form, [self._name(token) for token in ids]
        maps = self.network.maps(torch.tensor([ids]).to(self._device()))[:, 0].cpu()  # (L, K, T, T)
        if layer > form.layers or head > form.heads:
            raise UserError(f"there is no layer {layer}, head {head}: choose from {form.layers} and {form.heads}, or 0")
        places = [(a, b) for a in range(form.layers) for b in range(form.heads)
                  if layer in (0, a + 1) and head in (0, b + 1)]  # fmt: skip
        titles = tuple(f"layer {a + 1}, head {b + 1}" for a, b in places)
        pictures = [heatmap(maps[a, b], names, names) for a, b in places]
        return Images(torch.stack(pictures), columns=None if head or layer else form.heads, titles=titles)

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
        pens = self._write([prompt], n, max_tokens, Taste(temperature), "", seed)
        return Passages(tuple(self._marked(prompt, pen.tokens, old, words) for pen in pens))

    # how the asks work

    def _write(self, prompts: Sequence[str], n: int, most: int, taste: Taste, stop: str, seed: int) -> list[Pen]:
        """Write n continuations of each prompt, the same luck for each; a single one is told as it comes."""
        self._warn("".join(prompts))
        ids = [self._ids(prompt) for prompt in prompts]
        for tokens in ids:
            if len(tokens) > self.data.context:
                self.tell(f"(the prompt has {len(tokens):,} tokens, more than the {self.data.context:,} seen at once: "
                          f"its last {kept(self.data.context):,} are read)\n")  # fmt: skip
        stops = [part for part in stop.split("|") if part]
        pens = [Pen(self.data.decode, stops, self._end()) for _ in range(n * len(ids))]
        if len(pens) == 1:
            self.tell(prompts[0])
        if self.origin is not None:  # a run that was loaded to be asked, not one in training
            self.network.arrange()
        luck = (row.repeat(len(ids)) for row in fortunes(n, seed))  # a prompt goes on as it does alone
        text = continued(self.network, ids, taste, luck, n, most)
        for _ in range(most):
            for pen, token in zip(pens, next(text).tolist(), strict=True):
                new = pen.add(token)
                if new and len(pens) == 1:
                    self.tell(new)
            if all(pen.done for pen in pens):
                break
        rest = [pen.finish() for pen in pens]
        if len(pens) == 1:
            self.tell(rest[0] + "\n")
        return pens

    def _marked(self, prompt: str, tokens: list[int], old: Tensor, words: int) -> str:
        """A prompt and what was added, what is copied in brackets, under a line that names the longest copied run."""
        fewest = 2 * words - 1 if self.data.codec["kind"] == "chars" else words  # tokens that so many words take
        runs = [run for run in shared_runs(torch.tensor(tokens), old, fewest)
                if len(self.data.decode(tokens[run.start : run.start + run.length]).split()) >= words]  # fmt: skip
        taken = torch.zeros(len(tokens) + 1, dtype=torch.bool)
        for run in runs:
            taken[run.start : run.start + run.length] = True
        text, inside, first = "", False, 0
        for place in range(len(tokens) + 1):
            if place == len(tokens) or bool(taken[place]) != inside:
                piece = self.data.decode(tokens[first:place])
                text += f"[[{piece}]]" if inside and piece else piece
                inside, first = not inside, place
        share = float(taken.sum()) / max(1, len(tokens))
        longest = self.data.decode(tokens[runs[0].start : runs[0].start + runs[0].length]) if runs else ""
        named = f', the longest: "{" ".join(longest.split())}"' if runs else ""
        return (
            f"{100 * share:.0f} % stands in the training text in runs of {words} words or more{named}\n\n{prompt}{text}"
        )

    def _warn(self, text: str) -> None:
        """Tell what of a given text is unknown here."""
        if unknown := unknown_letters(self.data.coder, text):
            self.tell(f"({unknown})\n")

    def _ids(self, prompt: str) -> list[int]:
        """The tokens of a prompt; an empty one begins where a text begins."""
        if prompt:
            return self.data.encode(prompt)
        end = self._end()
        return [end] if end is not None else self.data.encode("\n") or [0]

    def _logits_after(self, prompt: str) -> Tensor:
        ids = torch.tensor([self._ids(prompt)[-self.data.context :]]).to(self._device())
        return self.network(ids, last=True)[0, -1].float().cpu()

    def _end(self) -> int | None:
        """The token that parts texts, where the codec has one."""
        return getattr(self.data.coder, "end", None)

    def _name(self, token: int) -> str:
        return self.data.coder.name(token)

    def _device(self) -> torch.device:
        return self.network.tokens.weight.device


def _prompts(prompt: str, file: Path) -> list[str]:
    """The prompt, or those of a file."""
    text = given_text(prompt, file)
    if file == Path():
        return [text]
    parts = [part.strip("\n") for part in f"\n{text}\n".split("\n---\n")]
    return [part for part in parts if part] or [""]
