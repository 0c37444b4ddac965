"""CLIP: pictures and sentences become directions that agree where they belong together. Radford et al. 2021 (2103.00020).

An eye turns picture x_i into a direction u_i, a reader sentence w_j into a direction v_j. Objective, over groups of pairs:
    eye, reader minimise  -1/2 E_i[log softmax_j(s u_i . v_j)]_i - 1/2 E_j[log softmax_i(s u_i . v_j)]_j
so that of the sentences of a group each picture finds its own, and of the pictures each sentence; s, how sharply, is learnt.
Differing from the paper: a sentence is the sum of its words over the root of their number, there are no image Transformers, and
pairs are told apart in groups of a fixed size, so that one process and two play the same game.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Album, Table
from handmade.core import Judge, Range, Score, System, Turn, ask
from handmade.data.codecs.caption import words_of
from handmade.data.given import given_squares
from handmade.data.specs import CaptionBatch, CaptionSpec
from handmade.errors import UserError
from handmade.networks.text_encoder import TextEncoder
from handmade.objectives.contrastive import contrastive
from handmade.systems.clip.network import Eye

SHARPEST = 100.0  # as in the paper, 2.5: sharper makes learning unstable
TOGETHER = 256  # pictures or sentences that are looked at in one batch


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the training."""

    width: int = 32  # channels of the eye's first layer
    multiples: tuple[int, ...] = (1, 2, 3, 4)  # widths of its blocks in multiples of it; each block halves the sides
    words: int = 96  # length of a word's vector in the reader
    layers: int = 2  # of the reader
    shared: int = 64  # length of the directions that both give
    group: int = 64  # pairs that are told apart from each other
    lr: float = 1e-3  # AdamW
    decay: float = 0.05  # weight decay


class CLIP(System):
    """An eye and a reader, one player: neither can win without the other."""

    data: CaptionSpec

    def __init__(self, config: Config, data: CaptionSpec):
        super().__init__(config, data)
        if config.group < 2:
            raise UserError(f"group must be at least 2, not {config.group}: one pair has nothing to be told apart from")
        self.eye = Eye(data.channels, config.width, config.multiples, config.shared)
        self.reader = TextEncoder(data.words.size, data.longest, config.words, config.layers)
        self.point = nn.Linear(config.words, config.shared)  # sentences -> directions
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # the paper's start

    def optimizers(self) -> Mapping[str, Optimizer]:
        """AdamW for the only player; the sharpness does not decay."""
        decaying = [value for name, value in self.named_parameters() if name != "log_sharpness"]
        groups = [{"params": decaying}, {"params": [self.log_sharpness], "weight_decay": 0.0}]
        return {"pair": AdamW(groups, self.config.lr, weight_decay=self.config.decay)}

    def objective(self, batch: CaptionBatch) -> Iterator[Turn]:
        """Let every picture find its sentence among those of its group, and every sentence its picture."""
        u = self.eye(batch.pixels)  # (B, D)
        v = self.point(self.reader(batch.tokens)[1])  # (B, D)
        yield Turn("pair", contrastive(u, v, self.sharpness, self.config.group), {"sharpness": self.sharpness.detach()})

    @property
    def sharpness(self) -> Tensor:
        """How sharply agreement is weighed, a scalar: the inverse of the softmax's temperature."""
        return self.log_sharpness.exp().clamp(max=SHARPEST)

    def evaluate(self, held_out: CaptionBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """How often a picture finds its own among all held-out sentences, and the other way round."""
        u, v = self.see(held_out.pixels), self.hear(held_out.tokens)
        agree, n = u @ v.T, len(u)  # (N, N)
        same = (held_out.tokens[:, None] == held_out.tokens[None]).all(2)  # the same sentence twice is no mistake
        scores = {}
        for name, odds, alike, what in (
            ("finds_sentence", agree, same, "pictures that find their sentence"),
            ("finds_picture", agree.T, same.T, "sentences that find their picture"),
        ):
            for k in (1, 5):
                best = odds.topk(min(k, n), 1).indices  # (N, k)
                found = alike.gather(1, best).any(1).float().mean()
                about = f"share of {n} held-out {what} among the {k} nearest of {n} (chance: {k / n:.3f})"
                scores[name if k == 1 else f"{name}_in_{k}"] = Score(float(found), about, "higher", 1.0)
        loss = contrastive(u, v, self.sharpness, self.config.group)
        return {**scores, "loss": Score(float(loss), f"objective on {n} held-out pairs in groups, nats")}

    def see(self, pixels: Tensor) -> Tensor:
        """(N, C, H, H) pictures in [-1, 1] -> their directions (N, D), of length 1."""
        return normalize(torch.cat([self.eye(part) for part in pixels.split(TOGETHER)]).float(), dim=1)

    def hear(self, tokens: Tensor) -> Tensor:
        """(N, T) ids of words -> the directions of the sentences (N, D), of length 1."""
        return normalize(
            torch.cat([self.point(self.reader(part)[1]) for part in tokens.split(TOGETHER)]).float(), dim=1
        )

    @ask
    def search(self, images: Path = Path("picture.png"), text: str = "a face",
               n: Annotated[int, Range(1, 1000)] = 12) -> Album:  # fmt: skip
        """Find the pictures of a folder that fit a sentence best.

        images: a folder or .zip of pictures, or one picture
        text: what to look for
        n: how many to show, the best first
        """
        names, squares = given_squares(images, self.data.size, self.data.channels)
        agree = self._agreement(squares, [text], "text")[:, 0]  # (N,)
        best = agree.argsort(descending=True, stable=True)[:n].tolist()
        titles = tuple(f"{agree[row]:.2f} {names[row]}" for row in best)
        files = tuple(f"{place:06d}.png" for place in range(len(best)))
        return Album([squares[row] for row in best], files, titles)

    @ask
    def caption_match(self, image: Path = Path("picture.png"), captions: str = "a smiling face | a sad face") -> Table:
        """Say which of some sentences fits a picture best, and how surely; of several pictures, of each.

        image: a picture, or a folder or .zip of them
        captions: the sentences, with | between
        """
        sentences = [part.strip() for part in captions.split("|") if part.strip()]
        if len(sentences) < 2:
            raise UserError(f'captions="{captions}": give at least two sentences with | between')
        names, squares = given_squares(image, self.data.size, self.data.channels)
        agree = self._agreement(squares, sentences, "captions")  # (N, S)
        odds = (agree * self.sharpness.cpu()).softmax(1)
        rows = [
            (name, sentences[place], round(float(odds[row, place]), 4), round(float(agree[row, place]), 4))
            for row, name in enumerate(names) for place in odds[row].argsort(descending=True).tolist()
        ]  # fmt: skip
        values = {name: dict(zip(sentences, map(float, odds[row]), strict=True)) for row, name in enumerate(names)}
        return Table(("picture", "sentence", "odds", "agreement"), rows, values, bars=("odds",), stem="match")

    @ask
    def nearest_words(self, text: str = "a face", n: Annotated[int, Range(1, 100)] = 12) -> Table:
        """Show which single words point where a sentence points: what the reader made of it.

        text: the sentence
        n: how many words
        """
        self._heard(text, "text")
        words = self.data.vocabulary
        agree = self.hear(self._tokens(list(words))) @ self.hear(self._tokens([text]))[0]
        best = agree.argsort(descending=True, stable=True)[:n].tolist()
        rows = [(words[place], round(float(agree[place]), 4)) for place in best]
        return Table(("word", "agreement"), rows, dict(rows), stem="words")

    def _agreement(self, squares: Tensor, sentences: list[str], named: str) -> Tensor:
        """(N, C, H, H) uint8 pictures and S sentences -> how well they agree, (N, S) in -1..1."""
        for sentence in sentences:
            if not words_of(sentence):
                raise UserError(f"{named} is empty: say in words what should be in the picture")
            self._heard(sentence, named)
        pixels = self.data.encode(squares).to(next(self.parameters()).device)
        return (self.see(pixels) @ self.hear(self._tokens(sentences)).T).cpu()

    def _heard(self, sentence: str, named: str) -> None:
        if missed := self.data.not_understood(sentence, named):
            self.tell(missed + "\n")

    def _tokens(self, sentences: list[str]) -> Tensor:
        return self.data.tokens_of(sentences).to(next(self.parameters()).device)
