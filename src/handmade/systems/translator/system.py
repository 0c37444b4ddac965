"""Translator: a Transformer that reads a sentence in one language and writes it in another. Vaswani et al. 2017 (1706.03762).

Objective, over the real tokens y of the translations of x, label smoothing e (Szegedy et al. 2015, arXiv 1512.00567):
    translator minimises  E[(1 - e) -log p(y_t | y_<t, x) + e mean_v -log p(v | y_<t, x)]
The networks are in network.py, attention with its mask written out. Differing from the paper: norms before the layers,
Muon for the matrices (`optimizer = "adam"` is the paper's), a rate that falls to zero evenly (the paper's rise and inverse
root: `noam`), and weights averaged at every step, not over the last checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from handmade.artifacts import Images, Text
from handmade.artifacts.heatmap import heatmap
from handmade.core import Range, Schedule, Score, System, Turn, ask
from handmade.data.codecs.sentences import pieces, sentences
from handmade.data.specs import PairBatch, PairSpec
from handmade.errors import Damaged, UserError
from handmade.metrics.translation import Judged, bleu, chrf, chrf_each, nearest
from handmade.networks.muon import MuonAdamW
from handmade.objectives.likelihood import cross_entropy
from handmade.samplers.beam import beam_search, greedy
from handmade.systems.translator.network import PAD, Seen, Transformer, trimmed

BOS, EOS = 2, 3
EXAMPLES = 10  # best and worst held-out sentences kept with the weights
SURE = 40  # tokens of a sentence that is translated in one piece, where training had sentences as long
MOST_BYTES = 20_000_000  # of a file to translate


@dataclass(frozen=True)
class Config:
    """The settings of the network and of its training."""

    width: int = 256  # length of the vector that stands for a token
    heads: int = 4  # in every attention; they share the width
    inner: int = 512  # units inside each feed-forward layer
    encoder_layers: int = 3  # blocks that read
    decoder_layers: int = 3  # blocks that write
    dropout: float = 0.1  # share of the numbers hidden while training
    smoothing: float = 0.1  # share of the odds that is asked to go to all tokens alike
    optimizer: Literal["muon", "adam"] = "muon"  # for the matrices
    lr: float = 0.015  # of the matrices at the top of the schedule; Adam wants about 2e-3
    rest_lr: float = 2e-3  # of embeddings and vectors, by Adam
    noam: float = 0.0  # above 0: the paper's schedule, which rises over this share of the run


class Translator(System):
    """One network that reads and writes, and the search that makes sentences of its odds."""

    data: PairSpec

    def __init__(self, config: Config, data: PairSpec):
        super().__init__(config, data)
        if config.heads > config.width:
            raise UserError(f"a width of {config.width} cannot be cut into {config.heads} heads: choose fewer heads")
        self.transformer = Transformer(
            data.size, config.width, config.heads, config.inner,
            (config.encoder_layers, config.decoder_layers), config.dropout,
        )  # fmt: skip
        kept = torch.zeros(3, 2 * EXAMPLES, data.longest, dtype=torch.int32)
        self.register_buffer("examples_kept", kept)  # source, reference, translation of the best, then of the worst
        self.register_buffer("examples_chrf", torch.zeros(2 * EXAMPLES))
        self.examples_kept: Tensor
        self.examples_chrf: Tensor

    def optimizers(self) -> Mapping[str, Optimizer | tuple[Optimizer, Schedule]]:
        """One player: Muon moves the matrices and Adam the rest, or Adam all, with the paper's schedule where it is wanted."""
        c, named = self.config, dict(self.transformer.named_parameters())
        inner = {name: weight for name, weight in named.items() if weight.ndim == 2 and "embedding" not in name}
        rest = [weight for name, weight in named.items() if name not in inner]
        if c.optimizer == "muon":
            matrices = {weight: 2 if "keys_values" in name else 1 for name, weight in inner.items()}
            moves: Optimizer = MuonAdamW(matrices, rest, c.lr, c.rest_lr)
        else:
            moves = Adam([{"params": list(inner.values())}, {"params": rest, "lr": c.rest_lr}], c.lr, (0.9, 0.98))
        return {"translator": (moves, noam(c.noam)) if c.noam else moves}

    def objective(self, batch: PairBatch) -> Iterator[Turn]:
        """Say every next token of the translations, given the source and the tokens before it."""
        logits = self.transformer(batch.source, batch.target)  # (M, V)
        labels = batch.target[:, 1:][batch.target[:, 1:] != PAD]  # (M,)
        weight = len(labels) / batch.share.sum()  # 1, or this part's share of a batch that was cut
        yield Turn("translator", cross_entropy(logits, labels, self.config.smoothing) * weight)

    def evaluate(self, held_out: PairBatch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Surprise at held-out translations, then BLEU and chrF of our own, beside those of a look-up where data are known."""
        nats, tokens = self._surprise(held_out)
        sources = [row[: row.index(EOS)] for row in held_out.source.tolist()]
        references = [self.data.decode(row) for row in held_out.target.tolist()]
        found = self._written(sources, beam=4, penalty=0.6)
        written = [self.data.decode(row) for row in found]
        self._keep_examples(held_out, found, chrf_each(written, references))
        named = f"{self.data.source_language} to {self.data.target_language}, {len(written)} held-out sentences"
        scores = {"nats": Score(nats, f"nats per token, {tokens} tokens of held-out translations"),
                  "bleu": scored(bleu(written, references), f"BLEU, {named}"),
                  "chrf": scored(chrf(written, references), f"chrF, {named}")}  # fmt: skip
        known = getattr(self.trained_on(), "pairs", ()) if self.trained_on is not None else ()
        if known:
            looked_up = [
                known[i].target for i in nearest([pair.source for pair in known], [*map(self.data.decode, sources)])
            ]
            about = "of the translation of the most similar training sentence"
            scores["bleu_looked_up"] = scored(bleu(looked_up, references), f"BLEU {about}, {named}")
            scores["chrf_looked_up"] = scored(chrf(looked_up, references), f"chrF {about}, {named}")
        return scores

    @ask
    def translate(
        self,
        text: str = "Choose the colour of the line.",
        file: Path = Path(),
        beam: Annotated[int, Range(1, 32)] = 4,
        length_penalty: Annotated[float, Range(0, 2)] = 0.6,
    ) -> Text:
        """Translate a text or a file, line by line: one line out per line in.

        text: what to translate
        file: a text file (UTF-8) to translate in its place
        beam: how many beginnings are kept while searching; 1 takes the likeliest token each time
        length_penalty: 0 favours short translations, 1 long ones
        """
        lines = (read_text(file) if file != Path() else text).replace("\r\n", "\n").removesuffix("\n").split("\n")
        if not any(line.strip() for line in lines):
            raise UserError("there is nothing to translate: give --text TEXT or --file PATH")
        parts = [[part for sentence in sentences(line) for part in pieces(sentence, self._fits)] for line in lines]
        rows = [self.data.encode(part) for line in parts for part in line]
        found = iter([self.data.decode(row) for row in self._written(rows, beam, length_penalty)])
        return Text(tuple(" ".join(" ".join(next(found).split()) for _ in line) for line in parts), stem="translation")

    @ask
    def attention(
        self,
        text: str = "Choose the colour of the line.",
        layer: Annotated[int, Range(0, 100)] = 0,
        heads: Literal["mean", "each"] = "mean",
    ) -> Images:
        """Show where the network looks in a sentence while it writes each token of the translation: dark is much.

        text: one sentence to translate
        layer: which layer of the decoder, 1 is the first; 0 is the mean over all
        heads: the mean of the layer's heads, or each of them
        """
        source = self.data.encode(" ".join(text.split()))
        if not 0 < len(source) < self.data.longest:
            raise UserError(f"give one sentence of 1 to {self.data.longest - 1} tokens, not {len(source)}")
        if layer > self.config.decoder_layers:
            raise UserError(f"layer must lie between 0 and {self.config.decoder_layers}, not {layer}")
        written = self._written([source], beam=4, penalty=0.6)[0]
        like = self.transformer.embedding.weight
        seen = self.transformer.encode(torch.tensor([[*source, EOS]], device=like.device))
        _, looks = self.transformer.decode(torch.tensor([[BOS, *written]], device=like.device), seen)
        weights = torch.stack(looks).mean(0)[0] if layer == 0 else looks[layer - 1][0]  # (K, T, S)
        maps = [weights.mean(0)] if heads == "mean" else list(weights)
        rows, columns = ([*map(self.data.name, tokens), "<eos>"] for tokens in (written, source))
        where = f"layer {layer}" if layer else "all layers"
        titles = [f"{where}, {f'head {k + 1}' if heads == 'each' else 'mean of the heads'}" for k in range(len(maps))]
        return Images(torch.stack([heatmap(m.cpu(), rows, columns, t) for m, t in zip(maps, titles, strict=True)]))

    @ask
    def examples(self, n: Annotated[int, Range(1, EXAMPLES)] = 5) -> Text:
        """Show the best and the worst held-out sentences, by chrF, as they were translated at the last score.

        n: how many of each
        """
        lines = []
        for first, word in ((0, "best"), (EXAMPLES, "worst")):
            for k in range(first, first + n):
                source, reference, written = (self.data.decode(row) for row in self.examples_kept[:, k].tolist())
                if source:
                    lines += [f"{word} {k - first + 1}, chrF {self.examples_chrf[k]:.1f}", f"  source       {source}",
                              f"  reference    {reference}", f"  translation  {written}"]  # fmt: skip
        if not lines:
            raise UserError("this run has not been scored yet, so it has no examples: train it for longer")
        return Text(tuple(" ".join(line.splitlines()) for line in lines), stem="examples")

    def _fits(self, text: str) -> bool:
        """Whether a sentence is no longer than many of those trained on; `longest` is the longest of either language."""
        return len(self.data.encode(text)) < min(self.data.longest, max(SURE, self.data.longest // 4))

    def _surprise(self, held_out: PairBatch) -> tuple[float, int]:
        """Nats per token, and how many tokens."""
        total, tokens = 0.0, 0
        for source, target in zip(held_out.source.split(64), held_out.target.split(64), strict=True):
            labels = target[:, 1:][target[:, 1:] != PAD]
            total += float(cross_entropy(self.transformer(source, target, slices=1), labels)) * len(labels)
            tokens += len(labels)
        return total / tokens, tokens

    def _written(self, rows: Sequence[Sequence[int]], beam: int, penalty: float) -> list[list[int]]:
        """Source tokens of each sentence, without end marks -> the tokens of its translation, short ones searched together."""
        order, found = sorted(range(len(rows)), key=lambda i: len(rows[i])), [[] for _ in rows]
        at_once = max(1, 256 // beam)
        for first in range(0, len(order), at_once):
            part = order[first : first + at_once]
            longest = [2 * len(rows[i]) + 10 for i in part]
            step = self._stepper([rows[i] for i in part])
            if beam == 1:
                best = greedy(step, BOS, EOS, longest)
            else:
                best = [written[0] for written in beam_search(step, BOS, EOS, longest, beam, penalty)]
            for i, written in zip(part, best, strict=True):
                found[i] = list(written.tokens)
        return found

    def _stepper(self, rows: Sequence[Sequence[int]]) -> Callable[[Tensor, Tensor], Tensor]:
        """The network as the search drives it: the source is read once, and each token costs one position."""
        device = self.transformer.embedding.weight.device
        source = nn.utils.rnn.pad_sequence([torch.tensor([*row, EOS]) for row in rows], batch_first=True).to(device)
        seen: list[Seen] = self.transformer.encode(trimmed(source))

        def step(tokens: Tensor, came: Tensor) -> Tensor:
            """(N,) newest tokens, (N,) the row each goes on from -> (N, V)."""
            if seen[0].mask.shape[0] != len(came) or bool((came != torch.arange(len(came))).any()):
                for memory in seen:
                    memory.take(came.to(device))
            hidden, _ = self.transformer.decode(tokens[:, None].to(device), seen)
            return self.transformer.logits(hidden[:, 0]).float().log_softmax(-1).cpu()

        return step

    def _keep_examples(self, held_out: PairBatch, written: list[list[int]], marks: list[float]) -> None:
        """Remember the best and worst of the longer half (short sentences are the easy ones), source by source."""
        order = sorted(range(len(marks)), key=lambda i: len(held_out.source[i].nonzero()))[len(marks) // 2 :]
        order = sorted(order, key=lambda i: -marks[i])
        half = min(EXAMPLES, len(order) // 2)
        self.examples_kept.zero_()
        for first, chosen in ((0, order[:half]), (EXAMPLES, order[::-1][:half])):
            for k, i in enumerate(chosen, first):
                self.examples_chrf[k] = marks[i]
                for side, tokens in enumerate((held_out.source[i].tolist(), held_out.target[i].tolist(), written[i])):
                    short = torch.tensor(tokens[: self.data.longest], dtype=torch.int32)
                    self.examples_kept[side, k, : len(short)] = short


def noam(rise: float) -> Schedule:
    """Rise evenly over a share of the run, then fall with the inverse root of the step (section 5.3)."""
    return lambda progress: min(progress / rise, math.sqrt(rise / max(progress, 1e-9)))


def scored(judged: Judged, about: str) -> Score:
    """A figure of sacrebleu's with its interval and signature."""
    return Score(judged.value, f"{about} ({judged.signature})", "higher", low=judged.low, high=judged.high)


def read_text(file: Path) -> str:
    """A UTF-8 file; UserError where there is none, Damaged with the place of a byte that is no UTF-8."""
    if not file.is_file():
        raise UserError(f"{file} is not a file: give a text file to translate")
    if file.stat().st_size > MOST_BYTES:
        raise UserError(f"{file} has {file.stat().st_size:,} bytes: cut it into files of at most {MOST_BYTES:,}")
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Damaged(
            f"{file} is no UTF-8 text: byte 0x{content[error.start]:02x} at {error.start:,}; save it as UTF-8"
        ) from None
