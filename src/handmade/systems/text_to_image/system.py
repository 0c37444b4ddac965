"""Text to image: a sentence becomes a small picture, and a second model makes it large. Saharia et al. 2022 (2205.11487).

A reader turns the words of a sentence w into vectors, and a painter walks from noise to a picture that fits them. At time t in
0..1 a picture x has become x_t = (1 - t) x + t e, e ~ N(0, 1). Objective, over captioned pictures, times and noise:
    reader, painter minimise  E[|d|^2 + edges |slope d|^2],   d = painter(x_t, t, reader(w)) - (e - x)
Some captions are hidden at random, and of some only a part is told: the first lets a prompt be said louder than it was learnt
(classifier-free guidance, arXiv 2207.12598), the second lets a prompt be shorter than any caption. Differing from the paper:
the way is straight (flow matching, arXiv 2210.02747), reader and painter learn together from nothing, and pictures are folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Album, Images, Reel
from handmade.core import Judge, Range, Score, System, Turn, ask
from handmade.data.codecs.caption import NOTHING, UNKNOWN
from handmade.data.specs import CaptionBatch, CaptionSpec
from handmade.errors import UserError
from handmade.metrics.copies import nearest_known
from handmade.metrics.drawn import score_drawn
from handmade.metrics.judged import agreement
from handmade.networks.muon import MuonAdamW, matrices_of
from handmade.networks.text_encoder import TextEncoder
from handmade.objectives.denoising import beyond, middle_times, noisy, squared_error, straight, target
from handmade.samplers.diffusion import end
from handmade.samplers.walks import Walker, held_out_error
from handmade.systems.text_to_image.network import Painter

Count = Annotated[int, Range(1, 1000)]
Guidance = Annotated[float, Range(0, 20)]
Steps = Annotated[int, Range(1, 1000)]
LOUD = 4.0  # guidance of asks: what is asked for is then seen most often (benchmarks/pictures_quality.py, words)
SCORED = 2.0  # guidance of scores, between what was asked for and what there is
STRENGTHS = (0.0, 1.0, 2.0, 4.0, 8.0)  # of guidance, shown side by side


@dataclass(frozen=True)
class Config:
    """The settings of the reader, of the painter and of the training."""

    fold: int = 2  # pixels of a side that the painter takes as one place
    width: int = 32  # channels of the painter at the full size
    multiples: tuple[int, ...] = (1, 2, 2)  # widths of its sizes in multiples of it; each size halves the sides
    blocks: int = 1  # of every size, on the way down and again on the way up
    attended: int = 1  # how many of the smallest sizes look at all places and at the words
    words: int = 96  # length of a word's vector
    layers: int = 2  # of the reader
    direction: int = 0  # length of the sentence directions that a borrowed clip gives; 0 where none is borrowed
    hidden: float = 0.1  # share of captions that are not told at all
    partly: float = 0.2  # share of captions of which only a stretch of words is told
    shift: float = 0.0  # of the times: above 0 towards noise, below towards pictures
    edges: float = 0.0  # what an error of the slope weighs beside that of a pixel
    margin: float = 0.0  # how far beyond their values black and white lie: small errors then leave them black and white
    optimizer: Literal["muon", "adamw"] = "muon"  # muon moves the painter's matrices by Muon, the rest by AdamW
    lr: float = 0.02  # of the optimizer
    rest_lr: float = 1e-3  # of what is no matrix, with muon
    decay: float = 0.01  # weight decay


class TextToImage(System):
    """A reader and a painter, one player; the refiner, where one is lent, was trained elsewhere and only helps with asks."""

    data: CaptionSpec

    def __init__(self, config: Config, data: CaptionSpec):
        super().__init__(config, data)
        parts = config.fold * 2 ** (len(config.multiples) - 1)
        if data.size % parts:
            raise UserError(f"a size of {data.size} px cannot be folded by {config.fold} and halved "
                            f"{len(config.multiples) - 1} times: use a multiple of {parts} (data.size)")  # fmt: skip
        self.reader = TextEncoder(data.words.size, data.longest, config.words, config.layers)
        self.painter = Painter(data.channels, config.words, config.fold, config.width, config.multiples, config.blocks,
                               config.attended, config.direction)  # fmt: skip

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player, since what is read is read for the sake of the picture; the painter's matrices move by Muon."""
        c, matrices = self.config, matrices_of(self.painter)
        if c.optimizer == "adamw":
            return {"painter": AdamW(self.parameters(), c.lr, weight_decay=c.decay)}
        return {"painter": MuonAdamW(matrices, self.parameters(), c.lr, c.rest_lr, betas=(0.9, 0.99), decay=c.decay)}

    def objective(self, batch: CaptionBatch) -> Iterator[Turn]:
        """Put every picture somewhere on its way to noise, and say from its caption which way that is."""
        x, n = beyond(batch.pixels, self.config.margin), len(batch.pixels)  # (B, C, H, H)
        t = middle_times(self.dice.normal(n), self.config.shift)  # (B,)
        at, e = straight(t), self.dice.normal(n, *x.shape[1:])
        guess = self.paint(noisy(x, e, at), t, self.partly(batch.tokens))
        yield Turn("painter", squared_error(guess, target(x, e, at, "flow"), self.config.edges))

    def paint(self, x_t: Tensor, t: Tensor, told: Tensor) -> Tensor:
        """(B, C, H, H), times (B,) and the ids of words (B, T) -> the direction of the way, (B, C, H, H)."""
        words, sentence = self.reader(told)
        return self.painter(x_t, t, words, sentence, self.pointed(told))

    def pointed(self, told: Tensor) -> Tensor | None:
        """The ids of words (B, T) -> where a borrowed clip says that their sentence points, (B, S); it has ids of its own."""
        if not self.config.direction:
            return None
        if (clip := self.borrowed.get("clip")) is None:
            raise UserError('config.direction is set, but no clip is lent: borrow = { clip = "zoo:clip/faces" }')
        known = clip.data.words.encode(" ".join(self.data.vocabulary))
        ids = torch.tensor([NOTHING, NOTHING, *known], device=told.device)[told]  # (B, T)
        ids = ids.masked_fill(ids == UNKNOWN, NOTHING)
        with torch.no_grad():
            return clip.hear(ids[:, : clip.data.longest])

    def partly(self, tokens: Tensor) -> Tensor:
        """(B, T) captions -> what is told of them while training: nothing of some, a stretch of words of others."""
        longest, (n, width) = (tokens != 0).sum(1, keepdim=True), tokens.shape  # (B, 1)
        luck, ends = self.dice.uniform(n, 1), self.dice.uniform(n, 2).sort(1).values  # (B, 1), (B, 2)
        first, last = (ends[:, :1] * longest).floor().long(), (ends[:, 1:] * longest).ceil().long()  # (B, 1) each
        places = first + torch.arange(width, device=tokens.device)  # (B, T): the stretch is told from its start
        stretch = torch.where(places < last, tokens.gather(1, places.clamp(max=width - 1)), 0)
        told = torch.where(luck < self.config.hidden + self.config.partly, stretch, tokens)
        return torch.where(luck < self.config.hidden, 0, told)

    @property
    def walker(self) -> Walker:
        """The painter, ready to be asked for pictures; what it is told are the ids of words."""
        shape = (self.data.channels, self.data.size, self.data.size)
        return Walker(self.paint, straight, "flow", shape, next(self.parameters()).device, self.config.margin)

    def evaluate(self, held_out: CaptionBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Draw a picture for each held-out caption, and compare; see whether what was asked for is in it."""
        drawn = self.walker.draw(held_out.tokens, seed=0, guidance=SCORED, steps=12, sampler="dpm++")
        known = () if judge is None else (held_out.pixels, held_out.labels, self.data.labels, judge)
        seen = agreement(drawn, *known) if known else {}
        error = held_out_error(self.walker, held_out.pixels, held_out.tokens)
        return {**score_drawn(held_out.pixels, drawn, judge, paired=True), **seen, "error": error}

    @ask
    def generate(self, prompt: str = "", negative: str = "", n: Count = 8, seed: int = 0, guidance: Guidance = LOUD,
                 steps: Steps = 20, size: Annotated[int, Range(0, 1024)] = 0, refine: bool = True) -> Album:  # fmt: skip
        """Draw pictures from a sentence: a small one first, then, where a refiner is lent, the same large and sharp.

        prompt: what should be in the picture; nothing draws whatever comes
        negative: what should not be in it; heard with a guidance above 1
        n: how many pictures
        seed: which pictures; a larger n continues the same series
        guidance: how loud the prompt is: 1 as it was learnt, more exaggerates it, 0 forgets it
        steps: stops on the way from noise to picture
        size: pixels of a side; 0 leaves them as they come
        refine: let the refiner make them large and sharp
        """
        told, against = self._told([prompt], n), self._told([negative], n, "negative")
        coarse = self.walker.draw(told, seed, guidance, steps, "dpm++", against=against)
        refiner = self.borrowed.get("refiner") if refine else None
        fine = coarse if refiner is None else refiner.enlarge(coarse, seed=seed)
        stages = [("", _sized(fine, size))] + ([("coarse-", coarse)] if refiner is not None else [])
        columns = min(8, n)
        return _album([
            (f"{stage}{index:06d}.png", self.data.decode(pictures[index]))
            for first in range(0, n, columns) for stage, pictures in stages for index in range(n)[first : first + columns]
        ], columns)  # fmt: skip

    @ask
    def prompts(self, prompts: str = "", n: Annotated[int, Range(1, 64)] = 2, seed: int = 0, guidance: Guidance = LOUD,
                steps: Steps = 20, refine: bool = True) -> Images:  # fmt: skip
        """Draw several sentences side by side, each under its pictures; all pictures of a row are from the same noise.

        prompts: the sentences, with | between
        n: how many pictures of each
        seed: which ones: those of `generate` with one of the sentences
        guidance: how loud the prompts are
        steps: stops on the way from noise to picture
        refine: let the refiner make them large and sharp, where one is lent
        """
        said = [part.strip() for part in prompts.split("|")]
        refiner = self.borrowed.get("refiner") if refine else None
        stacks = []  # of (n, C, H, H): each sentence alone, since noise goes by the place of a picture among those drawn
        for told in self._told(said, 1).split(1):
            drawn = self.walker.draw(told.expand(n, -1), seed, guidance, steps, "dpm++")
            stacks.append(drawn if refiner is None else refiner.enlarge(drawn, seed=seed))
        pictures = torch.stack(stacks, 1).flatten(0, 1)  # (n * S, C, H, H), a row for each noise
        return Images(pictures, columns=len(said), titles=(*[""] * len(said) * (n - 1), *said))

    @ask
    def film(self, prompt: str = "", seed: int = 0, stops: Annotated[int, Range(2, 60)] = 12, guidance: Guidance = LOUD,
             steps: Steps = 48) -> Reel:  # fmt: skip
        """Watch one picture come out of its noise: the noisy picture at even stops, and below what is believed behind it.

        prompt: what should be in the picture
        seed: which picture
        stops: how many moments are shown
        guidance: how loud the prompt is
        steps: steps of the whole way
        """
        return Reel(self.walker.film(self._told([prompt], 1), seed, guidance, steps, "ddim", stops), columns=stops)

    @ask
    def guide(self, prompt: str = "", negative: str = "", n: Annotated[int, Range(1, 64)] = 6, seed: int = 0,
              steps: Steps = 20) -> Images:  # fmt: skip
        """Say the same louder and louder: a row of the same seeds for each strength of guidance.

        prompt: what should be in the picture
        negative: what should not be in it; heard with a guidance above 1
        n: how many seeds
        seed: which ones
        steps: stops on the way from noise to picture
        """
        told, against = self._told([prompt], n), self._told([negative], n, "negative")
        rows = [self.walker.draw(told, seed, strength, steps, "dpm++", against=against) for strength in STRENGTHS]
        titles = tuple(f"x{strength:g}" for strength in STRENGTHS for _ in range(n))
        return Images(torch.cat(rows), columns=n, titles=titles)

    @ask
    def between(self, prompt: str = "", to: str = "", n: Annotated[int, Range(2, 60)] = 8, seed: int = 0,
                guidance: Guidance = LOUD, steps: Steps = 20) -> Reel:  # fmt: skip
        """Go from one sentence to another in even steps, all from one noise: what the words share stays as it is.

        prompt: where it starts
        to: where it ends
        n: how many pictures on the way
        seed: which noise
        guidance: how loud the prompts are
        steps: stops on the way from noise to picture
        """
        told = torch.cat([self._told([text], 1, name) for text, name in ((prompt, "prompt"), (to, "to"))])  # (2, T)
        share = torch.linspace(0, 1, n, device=told.device)  # (n,)
        heard = []  # silence, then the mixtures: of words, sentences, directions
        for part in (*self.reader(ids := torch.cat([told, torch.zeros_like(told[:1])])), self.pointed(ids)):
            if part is not None:
                mixed = torch.lerp(part[:1], part[1:2], share.view(-1, *[1] * (part.ndim - 1)))
                heard.append(torch.cat([part[2:], mixed]))

        def guess(x_t: Tensor, t: Tensor, place: Tensor) -> Tensor:
            """What is told is here which of the mixtures, counted from 1, or 0: nothing."""
            return self.painter(x_t, t, *(part[place[:, 0]] for part in heard))

        walker = replace(self.walker, guess=guess)
        told, noise = torch.arange(1, n + 1, device=told.device)[:, None], walker.noise(seed, [0] * n)
        return Reel(end(walker.walk(noise(), noise, told, guidance, steps, "dpm++")), columns=min(n, 12))

    @ask
    def nearest(self, prompt: str = "", n: Annotated[int, Range(1, 64)] = 8, seed: int = 0, guidance: Guidance = LOUD,
                steps: Steps = 20) -> Images:  # fmt: skip
        """Put the nearest training picture under each new one: is anything copied?

        prompt: what should be in the pictures
        n: how many pictures
        seed: which pictures
        guidance: how loud the prompt is
        steps: stops on the way from noise to picture
        """
        if self.trained_on is None:
            raise UserError("what was copied needs the training pictures, which this run does not know")
        drawn = self.walker.draw(self._told([prompt], n), seed, guidance, steps, "dpm++").cpu()
        known = self.trained_on().pictures.pixels
        found = nearest_known(drawn, known)
        apart = tuple(f"{distance:.3f} away" for distance in found.distance)
        pictures = torch.cat([drawn, self.data.encode(known[found.index])])
        return Images(pictures, columns=n, titles=(*("drawn" for _ in apart), *apart))

    def _told(self, prompts: list[str], n: int, named: str = "prompt") -> Tensor:
        """Prompts -> the ids of their words, each n times, (n * prompts, T); the user hears what was not understood."""
        for prompt in prompts:
            if missed := self.data.not_understood(prompt, named):
                self.tell(missed + "\n")
        return self.data.tokens_of(prompts).repeat_interleave(n, 0).to(next(self.parameters()).device)


def _sized(pictures: Tensor, size: int) -> Tensor:
    """(N, C, H, H) -> (N, C, size, size); 0 leaves them as they are."""
    if size in (0, pictures.shape[-1]):
        return pictures
    return interpolate(pictures, (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def _album(named: list[tuple[str, Tensor]], columns: int) -> Album:
    """Pictures (C, H, H) uint8 under their names, read like a page."""
    return Album([levels for _, levels in named], tuple(name for name, _ in named), columns=columns)
