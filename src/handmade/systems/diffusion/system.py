"""Diffusion: a network learns to take noise out of pictures, and makes pictures out of noise. Ho et al. 2020 (2006.11239).

At time t in 0..1 a picture x has become x_t = a_t x + s_t e, e ~ N(0, 1). Objective, over pictures, times and noise:
    denoiser minimises  E[|D(x_t, t, labels) - v|^2],   v = a_t e - s_t x      (or e, or x: `predict`)
Differing from the paper: time is continuous (Kingma et al. 2021, arXiv 2107.00630), the network is asked for v (Salimans & Ho
2022, arXiv 2202.00512), the noise follows a cosine (Nichol & Dhariwal 2021, arXiv 2102.09672), and it is told the labels, some
of them hidden at random, so that what was asked for can be said louder (classifier-free guidance, arXiv 2207.12598).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Images, Reel
from handmade.core import Judge, Range, Score, System, Turn, ask
from handmade.data.given import given_squares
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.drawn import score_drawn
from handmade.objectives.denoising import LAWS, Levels, noisy, spread_times, squared_error, target
from handmade.samplers.diffusion import SAMPLERS, Believe, Stop, end
from handmade.samplers.noise import Noise
from handmade.samplers.walks import TOGETHER, Walker
from handmade.systems.diffusion.network import Denoiser

Sampler = Literal["dpm++", "ddim", "heun", "ddpm"]
Count = Annotated[int, Range(1, 10_000)]
Steps = Annotated[int, Range(1, 1000)]
Guidance = Annotated[float, Range(0, 20)]


@dataclass(frozen=True)
class Config:
    """The settings of the denoiser, of the noise and of the training."""

    width: int = 32  # channels at the full size
    multiples: tuple[int, ...] = (1, 2, 3)  # widths of the sizes in multiples of it; each size halves the sides
    blocks: int = 2  # of every size, on the way down and again on the way up
    attended: int = 1  # how many of the smallest sizes look at all places at once
    dropout: float = 0.0  # share of the numbers hidden inside a block while training
    noise: Literal["cosine", "linear"] = "cosine"  # the law by which pictures turn into it
    predict: Literal["velocity", "noise", "picture"] = "velocity"  # what the network is asked for
    hidden: float = 0.1  # share of pictures whose labels are all hidden, and of each label of the others
    lr: float = 1e-3  # AdamW
    decay: float = 0.01  # weight decay


class Diffusion(System):
    """A denoiser, and the walks that start from noise and end in pictures."""

    data: ImageSpec

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        smallest = 2 ** (len(config.multiples) - 1)
        if data.size % smallest:
            raise UserError(f"a size of {data.size} px cannot be halved {len(config.multiples) - 1} times: use a multiple "
                            f"of {smallest} (data.size), or fewer config.multiples")  # fmt: skip
        if any(config.width * multiple % 4 for multiple in config.multiples):
            raise UserError(f"a width of {config.width} cannot be cut into 4 heads: choose a multiple of 4")
        self.denoiser = Denoiser(data.channels, data.labels, config.width, config.multiples, config.blocks,
                                 config.attended, config.dropout)  # fmt: skip

    def optimizers(self) -> Mapping[str, Optimizer]:
        """AdamW for the only player."""
        return {"denoiser": AdamW(self.denoiser.parameters(), self.config.lr, weight_decay=self.config.decay)}

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """Noise the pictures, each to a time of its own, and guess what was done to them."""
        x, n = batch.pixels, len(batch.pixels)  # (B, C, H, H)
        t = spread_times(self.dice.uniform(n))  # (B,)
        at, e = self.levels(t), self.dice.normal(n, *x.shape[1:])
        guess = self.denoiser(noisy(x, e, at), t, self._partly(batch.labels))
        yield Turn("denoiser", squared_error(guess, target(x, e, at, self.config.predict)))

    def levels(self, t: Tensor) -> Levels:
        """How much picture and how much noise there is at times t."""
        return LAWS[self.config.noise](t)

    def _partly(self, labels: Tensor) -> Tensor:
        """(B, A) codes -> what the denoiser is told: some pictures' labels are all hidden, and some of each label."""
        drawn = self.dice.uniform(len(labels), 1 + labels.shape[1])  # (B, 1 + A)
        hide = (drawn[:, :1] < self.config.hidden) | (drawn[:, 1:] < self.config.hidden)
        return torch.where(hide, 0, labels + 1)

    def evaluate(self, held_out: ImageBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Draw as many pictures as were held out, with their labels, and compare; then the error on held-out pictures."""
        drawn = self.walker.draw(held_out.labels + 1, seed=0, guidance=1.0, steps=20, sampler="dpm++")
        return {**score_drawn(held_out.pixels, drawn, judge), "error": self._error(held_out)}

    def _error(self, held_out: ImageBatch) -> Score:
        """The objective on held-out pictures at even times, every label told, the noise always the same."""
        x, n = held_out.pixels, len(held_out.pixels)
        t = (torch.arange(n, device=x.device) + 0.5) / n
        at, e = self.levels(t), Noise(0, range(n)).draw(*x.shape[1:]).to(x.device)
        parts = zip(*(whole.split(TOGETHER) for whole in (noisy(x, e, at), t, held_out.labels + 1)), strict=True)
        guess = torch.cat([self.denoiser(*part) for part in parts])
        error = squared_error(guess, target(x, e, at, self.config.predict))
        return Score(float(error), f"squared error per number of the guess, {n} held-out pictures at all times")

    @ask
    def generate(self, n: Count = 64, seed: int = 0, label: str = "", guidance: Guidance = 1.5, steps: Steps = 20,
                 sampler: Sampler = "dpm++") -> Images:  # fmt: skip
        """Draw new pictures out of noise; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        label: what should be in them, such as glasses=yes,hair=black; what is not said is left to chance
        guidance: how loud the label is: 1 as it was learnt, more exaggerates it, 0 forgets it
        steps: stops on the way from noise to picture
        sampler: the way from stop to stop
        """
        return Images(self.walker.draw(self._told(label, n), seed, guidance, steps, sampler))

    @ask
    def film(self, seed: int = 0, label: str = "", stops: Annotated[int, Range(2, 60)] = 12, guidance: Guidance = 1.5,
             steps: Steps = 48, sampler: Sampler = "ddim") -> Reel:  # fmt: skip
        """Watch one picture come out of its noise: the noisy picture at even stops, and below what is believed behind it.

        seed: which picture
        label: what should be in it, such as glasses=yes
        stops: how many moments are shown
        guidance: how loud the label is
        steps: steps of the whole way
        sampler: the way from stop to stop
        """
        noise = self.walker.noise(seed, range(1))
        start = noise()
        way = self.walker.walk(start, noise, self._told(label, 1), guidance, steps, sampler)
        walk = [Stop(start, start), *way]
        shown = [walk[round(k * (len(walk) - 1) / (stops - 1))] for k in range(stops)]
        moments = torch.cat([torch.cat([stop.noisy, stop.clean], 2) for stop in shown])  # (stops, C, 2 H, H)
        return Reel(moments / moments.abs().amax((1, 2, 3), keepdim=True).clamp_min(1), columns=stops)

    @ask
    def compare(self, seed: int = 0, label: str = "", steps: Steps = 20) -> Images:
        """Put samplers and strengths of guidance side by side, all from one noise: a row for each sampler.

        seed: which picture
        label: what should be in it, such as glasses=yes
        steps: looks at the network that each may take
        """
        strengths = (0.0, 1.0, 2.0, 4.0, 8.0)
        pictures, titles = [], []
        for sampler in SAMPLERS:
            looks = max(1, steps // 2) if sampler == "heun" else steps  # it looks twice a stride
            for strength in strengths:
                pictures.append(self.walker.draw(self._told(label, 1), seed, strength, looks, sampler))
                titles.append(f"{sampler} x{strength:g}")
        return Images(torch.cat(pictures), columns=len(strengths), titles=tuple(titles))

    @ask
    def inpaint(self, image: Path = Path(), mask: Path = Path(), n: Count = 4, seed: int = 0, label: str = "",
                guidance: Guidance = 1.5, steps: Steps = 40) -> Images:  # fmt: skip
        """Draw a part of a picture anew: where the mask is white; the rest stays as it is.

        image: the picture
        mask: a picture of the same shape, white where something new may come; left out: the middle half
        n: how many answers
        seed: which answers
        label: what should be in the picture, such as glasses=yes
        guidance: how loud the label is
        steps: stops on the way
        """
        known = self._given(image)  # (1, C, H, H)
        free = self._free(mask, known)  # (1, 1, H, H), 1 where something new may come

        def keep(believe: Believe) -> Believe:
            return lambda x, t: torch.where(free, believe(x, t), known)

        return Images(torch.cat([known, self.walker.draw(self._told(label, n), seed, guidance, steps, "ddpm", keep)]))

    @ask
    def vary(self, image: Path = Path(), strength: Annotated[float, Range(0.05, 1)] = 0.6, n: Count = 7, seed: int = 0,
             label: str = "", guidance: Guidance = 1.5, steps: Steps = 20) -> Images:  # fmt: skip
        """Noise a picture and find back another way: the first is yours, the others resemble it.

        image: the picture
        strength: how far towards noise: small keeps almost everything, 1 nothing
        n: how many variations
        seed: which variations
        label: what should be in them, such as glasses=yes
        guidance: how loud the label is
        steps: stops on the way back
        """
        given, noise = self._given(image), self.walker.noise(seed, range(n))
        start = noisy(given, noise(), self.levels(torch.tensor([strength], device=given.device)))
        walk = self.walker.walk(start, noise, self._told(label, n), guidance, steps, "dpm++", strength)
        return Images(torch.cat([given, end(walk)]))

    @property
    def walker(self) -> Walker:
        """The denoiser, ready to be asked for pictures."""
        shape = (self.data.channels, self.data.size, self.data.size)
        return Walker(self.denoiser, self.levels, self.config.predict, shape, next(self.parameters()).device)

    def _told(self, label: str, n: int) -> Tensor:
        """A label text -> what the denoiser is told for each of n pictures, (n, A): 0 where nothing is said."""
        if label and not self.data.labels:
            raise UserError(f'label="{label}": this run was trained without labels, so it cannot be asked for one')
        codes = self.data.codes(label)
        row = [codes.get(name, -1) + 1 for name in self.data.labels]
        return torch.tensor([row], dtype=torch.int64, device=next(self.parameters()).device).expand(n, -1)

    def _given(self, image: Path) -> Tensor:
        """The user's picture, (1, C, H, H)."""
        names, squares = given_squares(image, self.data.size, self.data.channels)
        if len(names) > 1:
            raise UserError(f"{image} holds {len(names)} pictures: give one")
        return self.data.encode(squares).to(next(self.parameters()).device)

    def _free(self, mask: Path, known: Tensor) -> Tensor:
        """Where something new may come, (1, 1, H, H): white in the user's mask, or the middle half without one."""
        size = self.data.size
        if mask == Path():
            free = torch.zeros(1, 1, size, size, dtype=torch.bool, device=known.device)
            free[..., size // 4 : size - size // 4, size // 4 : size - size // 4] = True
            return free
        names, squares = given_squares(mask, size, 1)
        if len(names) > 1:
            raise UserError(f"{mask} holds {len(names)} pictures: give one mask")
        return (squares > 127).to(known.device)
