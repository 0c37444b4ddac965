"""Super-resolution: a small picture becomes a large and sharp one. After InDI, Delbracio & Milanfar 2023 (arXiv 2303.11435).

A large picture x is made `times` smaller, sometimes spoilt a little, and enlarged again by cubic interpolation: y, soft. At
time t in 0..1 it is on its way from sharp to soft, x_t = (1 - t) x + t (y + noise e) with e ~ N(0, 1). Objective, over
pictures, spoilings, times and noise:
    refiner minimises  E|R(x_t, y, t) - x|
One look from t = 1 is a plain regression; more looks walk back to t = 0, each from where the one before led. Differing from the
paper: absolute errors, which keep outlines sharp where squares would blur them; the refiner goes on seeing y on the way;
half of the lessons are at t = 1; and it works where the small picture's pixels are (Shi et al. 2016, arXiv 1609.05158), on
pieces of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Album
from handmade.artifacts.names import png_names
from handmade.core import Judge, Range, Score, System, Turn, ask
from handmade.data.given import given_pictures
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.image import ssim
from handmade.metrics.similarity import psnr
from handmade.samplers.noise import Noise
from handmade.samplers.tiles import tiles
from handmade.systems.super_resolution.network import Refiner
from handmade.systems.super_resolution.small import enlarged, pieces, shrunk, spoilt

PASSES = 2  # looks at the network, where nobody says how many: the most exact, by measurement
TOGETHER = 8  # pictures that are refined at a time
EXAMPLES = 3  # held-out pictures that are kept with the weights
SIDE, OVERLAP = 512, 64  # about how many pixels a tile of a large picture has, and shares with the next
LARGEST = 2**25  # pixels of the largest picture that is made: 8192 x 4096
Passes = Annotated[int, Range(1, 16)]


@dataclass(frozen=True)
class Config:
    """The settings of the refiner, of the small pictures and of the training."""

    times: Literal[2, 3, 4, 8] = 4  # how much larger pictures become, on each side
    width: int = 48  # channels where the small picture's pixels are
    multiples: tuple[int, ...] = (1, 1, 1)  # widths of the sizes in multiples of it; each size halves the sides
    blocks: int = 1  # of every size, on the way down and again on the way up
    crop: int = 0  # pixels of the pieces learned from, cut out or the whole made smaller; 0: whole pictures
    noise: float = 0.1  # at t = 1, so that more than one sharp picture can come of a soft one
    first: float = 0.5  # share of the lessons at t = 1, where every walk begins
    spoilt: float = 0.5  # share of the small pictures that are blurred and noisy, as those that a model drew may be
    blur: float = 0.7  # of these at most, the width of a Gaussian in small pixels
    grain: float = 0.1  # and the noise at most, where black to white is 2
    lr: float = 2e-3  # AdamW
    decay: float = 0.01  # weight decay


class SuperResolution(System):
    """A refiner of enlarged pictures."""

    data: ImageSpec

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        self.side = config.crop or data.size  # of what is learned from
        self.grid = config.times * 2 ** (len(config.multiples) - 1)  # what all sides are multiples of
        if self.side % self.grid or self.side > data.size or data.size % config.times:
            raise UserError(f"pieces of {self.side} px out of pictures of {data.size} px cannot be learned from: config.crop, "
                            f"or data.size without it, must be a multiple of {self.grid}, at most data.size, and that a "
                            f"multiple of {config.times}")  # fmt: skip
        self.refiner = Refiner(data.channels, config.times, config.width, config.multiples, config.blocks)
        shown = torch.full((EXAMPLES, data.channels, self.side, self.side), 127, dtype=torch.uint8)
        self.register_buffer("examples", shown)  # held-out pictures, filled when scored
        self.examples: Tensor

    def optimizers(self) -> Mapping[str, Optimizer]:
        """AdamW for the only player."""
        return {"refiner": AdamW(self.refiner.parameters(), self.config.lr, weight_decay=self.config.decay)}

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """Make small pictures, enlarge them, go back a part of the way to the sharp ones, and guess the rest."""
        config, n = self.config, len(batch.pixels)
        x = pieces(batch.pixels, self.side, self.dice)  # (B, C, H, H)
        small = spoilt(shrunk(x, config.times), config.spoilt, config.blur, config.grain, self.dice)
        y = enlarged(small, config.times)  # (B, C, H, H)
        t = torch.where(self.dice.uniform(n) < config.first, 1.0, self.dice.uniform(n))  # (B,)
        part, e = t.view(-1, 1, 1, 1), self.dice.normal(n, *x.shape[1:])
        guess = self.refiner((1 - part) * x + part * (y + config.noise * e), y, t)
        yield Turn("refiner", (guess - x).abs().mean())

    def evaluate(self, held_out: ImageBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Make held-out pictures small, and see how much comes back of them, beside what cubic interpolation brings back."""
        x = held_out.pixels
        rows = torch.arange(EXAMPLES, device=x.device) % len(x)
        piece = interpolate(x[rows], (self.side, self.side), mode="area")
        self.examples.copy_(self.data.decode(piece))  # kept with the weights, so that an ask can show them
        scores: dict[str, Score] = {}
        for size in dict.fromkeys((self.data.size, self.side)):
            large = interpolate(x, (size, size), mode="area")
            small = shrunk(large, self.config.times)
            soft, sharp = enlarged(small, self.config.times), self.enlarge(small)
            about = f"of {len(x)} held-out pictures, {small.shape[-1]} px to {size} px"
            name = "" if size == self.data.size else f"_{size}"
            for way, made in (("", sharp), ("_bicubic", soft)):
                told = f"{about}{', by cubic interpolation alone' if way else ''}"
                signal, alike = float(psnr(large, made).mean()), float(ssim(large, made).mean())
                scores[f"psnr{name}{way}"] = Score(signal, f"peak signal-to-noise ratio in dB {told}", "higher")
                scores[f"ssim{name}{way}"] = Score(alike, f"structural similarity {told}", "higher")
        return scores

    @torch.no_grad()
    def enlarge(self, pixels: Tensor, seed: int = 0, passes: int = PASSES) -> Tensor:
        """Small pictures (N, C, h, w) in [-1, 1] of any size -> large ones (N, C, times h, times w).

        The same seed always gives the same. Each picture's noise goes by its place: the first comes out the same alone and in
        a crowd, and so does every other whose place stays.
        """
        h, w = (side * self.config.times for side in pixels.shape[2:])
        y = enlarged(pixels, self.config.times)
        y = pad(y, (0, -w % self.grid, 0, -h % self.grid), mode="replicate")
        e = Noise(seed, range(len(y))).draw(*y.shape[1:]).to(y)
        made = [self._in_tiles(soft, noise, passes)
                for soft, noise in zip(y.split(TOGETHER), e.split(TOGETHER), strict=True)]  # fmt: skip
        return torch.cat(made)[..., :h, :w].clamp(-1, 1)

    @ask
    def refine(self, image: Path = Path("picture.png"), passes: Passes = PASSES, seed: int = 0) -> Album:
        """Make a picture, or each picture of a folder, larger and sharp.

        image: a picture file, or a folder or .zip of them, of any size
        passes: looks at the network on the way: more are a little crisper, and take longer
        seed: which of the possible sharp pictures
        """
        names, made = [], []
        for name, levels in given_pictures(image, self.data.channels):
            self._check(name, levels.shape[1] * self.config.times, levels.shape[2] * self.config.times)
            names.append(name)
            made.append(self._levels(self.enlarge(self._pixels(levels), seed, passes)))
        return Album(made, png_names(names))

    @ask
    def compare(self, image: Path = Path(), n: Annotated[int, Range(1, EXAMPLES)] = EXAMPLES, passes: Passes = PASSES,
                seed: int = 0) -> Album:  # fmt: skip
        """Make large pictures small and large again: small, by cubic interpolation, refined, and true, side by side.

        image: large pictures: a file, or a folder or .zip of them; left out: test pictures that were never trained on
        n: how many of those test pictures
        passes: looks at the network on the way
        seed: which of the possible sharp pictures
        """
        given = given_pictures(image, self.data.channels) if image != Path() else (
            (f"{index:06d}.png", levels) for index, levels in enumerate(self.examples[:n])
        )  # fmt: skip
        names, strips, titles, times = [], [], [], self.config.times
        for name, levels in given:
            h, w = (side // times * times for side in levels.shape[1:])
            if not h or not w:
                raise UserError(f"{name} has {levels.shape[2]} x {levels.shape[1]} px: at least {times} x {times} are "
                                "needed to make it small")  # fmt: skip
            self._check(name, h, w)
            x = self._pixels(levels[:, :h, :w])  # (1, C, h, w)
            small = shrunk(x, times)
            soft, sharp = enlarged(small, times), self.enlarge(small, seed, passes)
            names.append(name)
            strips.append(self._levels(torch.cat([interpolate(small, scale_factor=times), soft, sharp, x], 3)))
            titles.append(f"{name}: {float(psnr(x, soft)):.1f} dB, refined {float(psnr(x, sharp)):.1f} dB")
        return Album(strips, png_names(names), tuple(titles), columns=1 if len(strips) <= EXAMPLES else None)

    def _check(self, name: str, h: int, w: int) -> None:
        """Raise UserError where the large picture would be too large."""
        if h * w > LARGEST:
            raise UserError(f"{name} would become {w} x {h} px: at most {LARGEST:,} pixels are made; give a smaller picture, "
                            "or a part of it")  # fmt: skip

    def _pixels(self, levels: Tensor) -> Tensor:
        """(C, H, W) uint8 -> (1, C, H, W) in [-1, 1], where the refiner is."""
        return self.data.encode(levels[None]).to(self.examples.device)

    def _levels(self, pixels: Tensor) -> Tensor:
        """(1, C, H, W) in [-1, 1] -> (C, H, W) uint8."""
        return self.data.decode(pixels)[0].cpu()

    def _in_tiles(self, y: Tensor, e: Tensor, passes: int) -> Tensor:
        """From soft to sharp, (B, C, H, W): in one piece, or in tiles where that would take too much memory."""
        total, weights = torch.zeros_like(y), torch.zeros_like(y[:1, :1])
        side, overlap = (math.ceil(most / self.grid) * self.grid for most in (SIDE, OVERLAP))
        for tile in tiles(y.shape[2], y.shape[3], side, overlap):
            place, weight = (..., tile.rows, tile.columns), tile.weight.to(y)
            total[place] += self._walk(y[place], e[place], passes) * weight
            weights[place] += weight
        return total / weights

    def _walk(self, y: Tensor, e: Tensor, passes: int) -> Tensor:
        """From soft to sharp, (B, C, H, W), in equal strides of time."""
        x = y + self.config.noise * e
        for t in torch.linspace(1, 0, passes + 1)[:-1].tolist():
            guess = self.refiner(x, y, x.new_full((len(x),), t))
            x = guess + (1 - 1 / (passes * t)) * (x - guess)  # (paper, equation 7, with its noise falling like t)
        return x
