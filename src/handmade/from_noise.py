"""What can be asked of every system that walks from noise to pictures: a room brings the network, these are its asks.

A room that inherits from `FromNoise` says with `walker` how its network takes noise out. What the network hears are labels: 0
where nothing is said, v + 1 for value v. The labels of the latest training pictures are remembered, so that those that nobody
names come as often as in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from handmade.artifacts import Images, Reel
from handmade.core import Judge, Range, Score, System, ask
from handmade.data.given import given_squares
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.copies import nearest_known
from handmade.metrics.drawn import score_drawn
from handmade.objectives.denoising import beyond, noisy
from handmade.samplers.chance import left_to_chance, newest, untrained
from handmade.samplers.diffusion import SAMPLERS, Believe, end
from handmade.samplers.walks import Walker, held_out_error

Sampler = Literal["dpm++", "ddim", "heun", "ddpm"]
Count = Annotated[int, Range(1, 10_000)]
Steps = Annotated[int, Range(1, 1000)]
Guidance = Annotated[float, Range(0, 20)]
LOUD, STEPS = 2.0, 20  # guidance and stops unless others are asked for
MIDDLE = (0.3, 0.8)  # times between which it exaggerates


class FromNoise(System):
    """A system with a network that takes noise out of pictures."""

    data: ImageSpec

    def __init__(self, config: Any, data: ImageSpec):
        super().__init__(config, data)
        self.register_buffer("remembered", untrained([len(values) for values in data.labels.values()]))  # (R, A)
        self.remembered: Tensor

    @property
    def walker(self) -> Walker:
        """The network, ready to be asked for pictures."""
        raise NotImplementedError(f"{type(self).__name__} brings no walker")

    def evaluate(self, held_out: ImageBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Draw as many pictures as were held out, as `generate` does, and compare; then the error on held-out pictures.

        Their labels are those of training pictures: with the labels of those that they are compared with they would be
        nearer to them than other real ones are.
        """
        told = self.chosen("", len(held_out.pixels), seed=0)
        drawn = self.walker.draw(told, seed=0, guidance=LOUD, steps=STEPS, sampler="dpm++")
        error = held_out_error(self.walker, held_out.pixels, held_out.labels + 1)
        return {**score_drawn(held_out.pixels, drawn, judge), "error": error}

    def told(self, label: str, n: int) -> Tensor:
        """A label text -> what the network hears for each of n pictures, (n, A)."""
        return self.data.said(label, n).to(next(self.parameters()).device)

    def chosen(self, label: str, n: int, seed: int) -> Tensor:
        """A label text -> what the network hears for n pictures of a seed, (n, A): what is not named, as in training."""
        named = {column: int(value) - 1 for column, value in enumerate(self.told(label, 1)[0]) if value}
        return 1 + left_to_chance(self.remembered, named, n, seed).to(self.remembered.device)

    def partly(self, labels: Tensor, hidden: float) -> Tensor:
        """(B, A) codes -> what is told while training: `hidden` of the pictures say nothing, the others each label less it.

        The codes are remembered.
        """
        self.remembered.copy_(newest(self.remembered, labels))
        drawn = self.dice.uniform(len(labels), 1 + labels.shape[1])  # (B, 1 + A)
        return torch.where((drawn[:, :1] < hidden) | (drawn[:, 1:] < hidden), 0, labels + 1)

    @ask
    def generate(self, n: Count = 64, seed: int = 0, label: str = "", guidance: Guidance = LOUD, steps: Steps = STEPS,
                 sampler: Sampler = "dpm++") -> Images:  # fmt: skip
        """Draw new pictures out of noise; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        label: what should be in them, such as glasses=yes,hair=black; what is not named comes as often as in training
        guidance: how loud the label is: 1 as it was learnt, more exaggerates it (half way through the noise), 0 forgets it
        steps: stops on the way from noise to picture
        sampler: the way from stop to stop
        """
        return Images(self.walker.draw(self.chosen(label, n, seed), seed, guidance, steps, sampler))

    @ask
    def film(self, seed: int = 0, label: str = "", stops: Annotated[int, Range(2, 60)] = 12, guidance: Guidance = LOUD,
             steps: Steps = 48, sampler: Sampler = "ddim") -> Reel:  # fmt: skip
        """Watch one picture come out of its noise: the noisy picture at even stops, and below what is believed behind it.

        seed: which picture
        label: what should be in it, such as glasses=yes
        stops: how many moments are shown
        guidance: how loud the label is
        steps: steps of the whole way
        sampler: the way from stop to stop
        """
        return Reel(self.walker.film(self.chosen(label, 1, seed), seed, guidance, steps, sampler, stops), columns=stops)

    @ask
    def compare(self, seed: int = 0, label: str = "", steps: Steps = STEPS) -> Images:
        """Put samplers and strengths of guidance side by side, all from one noise: a row for each sampler.

        seed: which picture
        label: what should be in it, such as glasses=yes
        steps: looks at the network that each may take
        """
        strengths = (0.0, 1.0, 2.0, 4.0, 8.0)
        told, pictures, titles = self.chosen(label, 1, seed), [], []
        for sampler in SAMPLERS:
            looks = max(1, steps // 2) if sampler == "heun" else steps  # it looks twice a stride
            for strength in strengths:
                pictures.append(self.walker.draw(told, seed, strength, looks, sampler))
                titles.append(f"{sampler} x{strength:g}")
        return Images(torch.cat(pictures), columns=len(strengths), titles=tuple(titles))

    @ask
    def inpaint(self, image: Path = Path("picture.png"), mask: Path = Path(), n: Count = 4, seed: int = 0, label: str = "",
                guidance: Guidance = LOUD, steps: Steps = 40) -> Images:  # fmt: skip
        """Draw a part of a picture anew: where the mask is white; the rest stays as it is.

        image: the picture
        mask: a picture of the same shape, white where something new may come; the transparent stays; left out: the middle half
        n: how many answers
        seed: which answers
        label: what should be in the picture, such as glasses=yes
        guidance: how loud the label is
        steps: stops on the way
        """
        known, walker = self._given(image), self.walker  # (1, C, H, H)
        free = self._free(mask, known)  # (1, 1, H, H), 1 where something new may come

        def keep(believe: Believe) -> Believe:
            return lambda x, t: torch.where(free, believe(x, t), beyond(known, walker.margin))

        return Images(torch.cat([known, walker.draw(self.told(label, n), seed, guidance, steps, "ddpm", keep)]))

    @ask
    def vary(self, image: Path = Path("picture.png"), strength: Annotated[float, Range(0.05, 1)] = 0.6, n: Count = 7,
             seed: int = 0, label: str = "", guidance: Guidance = LOUD, steps: Steps = STEPS) -> Images:  # fmt: skip
        """Noise a picture and find back another way: the first is yours, the others resemble it.

        image: the picture
        strength: how far towards noise: small keeps almost everything, 1 nothing
        n: how many variations
        seed: which variations
        label: what should be in them, such as glasses=yes
        guidance: how loud the label is
        steps: stops on the way back
        """
        given, walker = self._given(image), self.walker
        noise, level = walker.noise(seed, range(n)), walker.law(torch.tensor([strength], device=given.device))
        start = noisy(beyond(given, walker.margin), noise(), level)
        walk = walker.walk(start, noise, self.told(label, n), guidance, steps, "dpm++", strength)
        return Images(torch.cat([given, end(walk).clamp(-1, 1)]))

    @ask
    def nearest(self, n: Annotated[int, Range(1, 64)] = 8, seed: int = 0, label: str = "", guidance: Guidance = LOUD,
                steps: Steps = STEPS) -> Images:  # fmt: skip
        """Put the nearest training picture under each new one: is anything copied?

        n: how many pictures
        seed: which pictures
        label: what should be in them, such as glasses=yes
        guidance: how loud the label is
        steps: stops on the way from noise to picture
        """
        if self.trained_on is None:
            raise UserError("what was copied needs the training pictures, which this run does not know")
        drawn = self.walker.draw(self.chosen(label, n, seed), seed, guidance, steps, "dpm++")
        known = self.trained_on().pixels
        found = nearest_known(drawn.cpu(), known)
        pictures = torch.cat([drawn.cpu(), self.data.encode(known[found.index])])
        apart = tuple(f"{distance:.3f} away" for distance in found.distance)
        return Images(pictures, columns=n, titles=(*("drawn" for _ in apart), *apart))

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
        names, squares = given_squares(mask, size, 1, ground="black")
        if len(names) > 1:
            raise UserError(f"{mask} holds {len(names)} pictures: give one mask")
        if not (squares > 127).any():
            raise UserError(f"{mask} is white nowhere: paint it white where something new may come")
        return (squares > 127).to(known.device)
