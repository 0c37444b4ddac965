"""Autoencoder: a picture squeezed into a few numbers, and drawn again from them.

Objective, the error of the picture that comes back, and a small price on long codes:
    autoencoder minimises  E[|x - decoder(z)|^2 + price / 2 * |z|^2],   z = encoder(x)
The price and the decay of the weights keep neighbouring codes alike (Ghosh et al. 2020, arXiv 1903.12436, RAE), so that a
Gaussian can be laid over the codes after training and drawn from. It differs from the paper in that Gaussian: its mean
depends on the labels where there are some, and it is laid over held-out codes whenever the run is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Images
from handmade.artifacts.names import png_names
from handmade.core import Judge, Range, Score, System, Turn, ask, seeded
from handmade.data.given import given_squares
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.drawn import score_drawn
from handmade.metrics.similarity import psnr, score_alike
from handmade.samplers.arithmetic import group_means, one_hots, straight, strengths, terms
from handmade.samplers.latents import latents, seed_numbers


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of their training."""

    latent: int = 12  # numbers that a picture is squeezed into
    width: int = 16  # channels next to the pixels; doubled at every halving, up to four times
    price: float = 1e-2  # of a code's squared length; 0: a plain autoencoder, whose codes lie anywhere
    lr: float = 2e-3  # AdamW
    decay: float = 0.05  # weight decay


def shape(width: int, size: int) -> tuple[list[int], int]:
    """Channels of each halving, and the side that is left: 16 px: [16, 32], 4."""
    widths: list[int] = []
    while size > 4 and size % 2 == 0:
        widths.append(min(width * 2 ** len(widths), 4 * width))
        size //= 2
    return widths, size


def encoder(config: Config, data: ImageSpec) -> nn.Sequential:
    """(B, C, H, H) pixels -> (B, latent) codes."""
    widths, side = shape(config.width, data.size)
    layers: list[nn.Module] = []
    for outer, inner in pairwise([data.channels, *widths]):  # halves the picture each time
        layers += [nn.Conv2d(outer, inner, 4, 2, 1), nn.SiLU(), nn.Conv2d(inner, inner, 3, 1, 1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, config.latent))


def decoder(config: Config, data: ImageSpec) -> nn.Sequential:
    """(B, latent) codes -> (B, C, H, H) pixels in [-1, 1]."""
    widths, side = shape(config.width, data.size)
    layers: list[nn.Module] = [
        nn.Linear(config.latent, widths[-1] * side**2),
        nn.Unflatten(1, (widths[-1], side, side)),
    ]
    for inner, outer in pairwise([*widths[::-1], data.channels]):  # doubles the picture each time
        layers += [nn.SiLU(), nn.Conv2d(inner, inner, 3, 1, 1), nn.SiLU(), nn.ConvTranspose2d(inner, outer, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Tanh())


class Autoencoder(System):
    """An encoder that turns pictures into short codes, and a decoder that draws them again."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        widths, side = shape(config.width, data.size)
        if not widths or side > 8:
            raise UserError(
                f"autoencoder cannot halve {data.size} px down to 8 or less: use a multiple of 8, 28, or 2 x 3, 5 or 7 "
                "times a power of two (set data.size)"
            )
        self.encoder, self.decoder = encoder(config, data), decoder(config, data)
        self.sizes = [len(values) for values in data.labels.values()]
        labels = sum(self.sizes)
        self.register_buffer("middle", torch.zeros(config.latent))  # mean code, when last scored
        self.register_buffer(
            "offsets", torch.zeros(labels, config.latent)
        )  # from it to the mean of each label's pictures
        self.register_buffer("shares", torch.ones(labels))  # how often each label comes
        self.register_buffer("spread", torch.eye(config.latent))  # (L, L) turns noise into what labels do not explain
        self.middle: Tensor
        self.offsets: Tensor
        self.shares: Tensor
        self.spread: Tensor

    def optimizers(self) -> Mapping[str, Optimizer]:
        """AdamW for the only player."""
        weights = [*self.encoder.parameters(), *self.decoder.parameters()]
        return {"autoencoder": AdamW(weights, self.config.lr, weight_decay=self.config.decay)}

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """Squeeze, draw again, and pay for every difference and for the length of the code."""
        z = self.encoder(batch.pixels)
        error = (batch.pixels - self.decoder(z)).square().flatten(1).sum(1).mean()
        length = z.square().sum(1).mean()
        loss = error + self.config.price / 2 * length
        yield Turn("autoencoder", loss, {"error": error.detach(), "length of code": length.detach()})

    def evaluate(self, held_out: ImageBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Compare pictures with what comes back of them, lay a Gaussian over their codes, and judge what it draws."""
        codes = self._codes(held_out.pixels)
        self._lay_gaussian(codes, one_hots(held_out.labels, self.sizes))
        drawn = self._draw(self._new(len(codes), seed=0, label=""))
        return {
            **score_alike(held_out.pixels, self._draw(codes)),
            **score_drawn(held_out.pixels, drawn, judge),
        }

    def _lay_gaussian(self, codes: Tensor, told: Tensor) -> None:
        """Remember mean and spread of codes (N, L), and what each label (N, V) adds to the mean."""
        self.middle.copy_(codes.mean(0))
        self.offsets.copy_(group_means(codes, told) - self.middle)
        self.shares.copy_(told.mean(0))
        rest = (codes - self.middle - told @ self.offsets).double()
        covariance = rest.T @ rest / len(rest) + 1e-6 * torch.eye(len(self.middle), device=rest.device)
        self.spread.copy_(torch.linalg.cholesky(covariance))

    @ask
    def reconstruct(self, image: Path = Path("picture.png")) -> Images:
        """Show each given picture, and what comes back from its code.

        image: a picture file, or a folder or .zip of them
        """
        names, pixels = self._given(image)
        back = self._draw(self._codes(pixels))
        kept = [f"{name}: {ratio:.1f} dB" for name, ratio in zip(names, psnr(pixels, back).tolist(), strict=True)]
        pairs = torch.stack([pixels, back], dim=1).flatten(0, 1)  # (2 N, C, H, H)
        titles = tuple(title for pair in zip(names, kept, strict=True) for title in pair)
        return Images(pairs, columns=2, titles=titles, names=png_names(names, ("-given", "")))

    @ask
    def generate(self, n: Annotated[int, Range(1, 10_000)] = 40, seed: int = 0, label: str = "") -> Images:
        """Draw new pictures, from the Gaussian that was laid over codes; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        label: what they must be, such as class=three; left out: each as often as in the data
        """
        return Images(self._draw(self._new(n, seed, label)))

    @ask
    def interpolate(
        self, image: Path = Path(), to: Path = Path(), seeds: str = "0,1,2,3", steps: Annotated[int, Range(1, 100)] = 6
    ) -> Images:
        """Walk from picture to picture in straight lines: between given pictures, or else between seeds.

        image: a picture file, or a folder or .zip of those to visit; left out: the seeds
        to: another picture file, visited last
        seeds: pictures of `generate` to visit, separated by commas
        steps: strides from each picture to the next
        """
        paths = [path for path in (image, to) if path != Path()]
        stops = torch.cat([self._codes(self._given(path)[1]) for path in paths] or [self._seeded(seeds)])
        if len(stops) < 2:
            raise UserError("a walk needs two pictures: give --image and --to, a folder, or two seeds")
        return Images(self._draw(straight(stops, steps)), columns=steps * (len(stops) - 1) + 1)

    @ask
    def arithmetic(self, equation: str = "0 - 1 + 2") -> Images:
        """Add and subtract codes, and show every term and what comes out.

        equation: terms with + or - between spaces: a label (class=three), a picture file or a folder of picked ones, a seed
        """
        found = terms(equation)
        codes = torch.cat([self._term(term.name) for term in found])  # (K, L)
        result = codes.new_tensor([term.sign for term in found]) @ codes
        titles = [f"{'+' if term.sign > 0 else '-'} {term.name}" for term in found]
        pictures = self._draw(torch.cat([codes, result[None]]))
        return Images(pictures, columns=len(pictures), titles=(*titles, "= result"))

    @ask
    def slider(self, image: Path = Path("picture.png"), label: str = "", strength: str = "1.0") -> Images:
        """Move your picture towards a label, along the difference of two groups.

        image: a picture file, or a folder or .zip of them
        label: what it shall be, such as class=three; left out: the last value of the first label
        strength: how far to go, 0 to 1 and beyond; several side by side: "0.25,0.5,1"
        """
        if not self.sizes:
            raise UserError("this run was trained on pictures without labels: use arithmetic with picked pictures")
        first, values = next(iter(self.data.labels.items()))
        wanted = self.data.codes(label or f"{first}={values[-1]}")
        names, pixels = self._given(image)
        codes, steps = self._codes(pixels), strengths(strength)
        way = self._way(codes, wanted)
        pictures = torch.stack([self._draw(codes + step * way) for step in steps], dim=1).flatten(
            0, 1
        )  # (N * K, C, H, H)
        endings = tuple(f"-{step:g}" for step in steps) if len(steps) > 1 else ("",)
        titles = tuple(f"{name} {step:g}" for name in names for step in steps)
        return Images(pictures, columns=len(steps), titles=titles, names=png_names(names, endings))

    def _way(self, codes: Tensor, wanted: Mapping[str, int]) -> Tensor:
        """(N, L) from each code's own group, the nearest, to the wanted one of each attribute {name: value}."""
        way = torch.zeros_like(codes)
        for name, offsets in zip(self.data.labels, self.offsets.split(self.sizes), strict=True):
            if name in wanted:
                own = torch.cdist(codes - self.middle, offsets).argmin(1)
                way = way + offsets[wanted[name]] - offsets[own]
        return way

    def _given(self, path: Path) -> tuple[list[str], Tensor]:
        """The names of given pictures, and their middle squares (N, C, H, H) in [-1, 1]."""
        names, raw = given_squares(path, self.data.size, self.data.channels)
        return names, self.data.encode(raw).to(self.middle.device)

    def _codes(self, pixels: Tensor) -> Tensor:
        """(N, C, H, H) pictures -> (N, L) codes, a few hundred at a time."""
        return torch.cat([self.encoder(part) for part in pixels.split(250)])

    def _new(self, n: int, seed: int, label: str) -> Tensor:
        """(N, L) codes of new pictures: the mean of their labels, which come as often as in the data, and noise."""
        wanted, dice, device = self.data.codes(label), seeded(seed), self.middle.device
        chances = torch.stack([torch.rand(len(self.sizes), generator=dice) for _ in range(n)]).to(device)
        codes = self.middle + latents(n, len(self.middle), seed).to(device) @ self.spread.T
        parts = zip(
            self.data.labels, self.offsets.split(self.sizes), self.shares.split(self.sizes), chances.T, strict=True
        )
        for name, offsets, shares, chance in parts:
            chosen = (chance[:, None] * shares.sum() > shares.cumsum(0)[:-1]).sum(1)  # (N,)
            codes = codes + (offsets[wanted[name]] if name in wanted else offsets[chosen])
        return codes

    def _seeded(self, seeds: str) -> Tensor:
        """The code of the first picture of `generate` for each seed in a text such as "0,1"."""
        return torch.cat([self._new(1, seed, label="") for seed in seed_numbers(seeds)])

    def _term(self, name: str) -> Tensor:
        """One term of an equation -> (1, L): the mean code of a label's pictures or of picked ones, or a seed's."""
        if name.isdecimal():
            return self._seeded(name)
        if "=" not in name or Path(name).exists():
            return self._codes(self._given(Path(name))[1]).mean(0, keepdim=True)
        starts = {label: sum(self.sizes[:a]) for a, label in enumerate(self.data.labels)}
        rows = [starts[label] + value for label, value in self.data.codes(name).items()]
        return self.middle[None] + self.offsets[rows].sum(0)

    def _draw(self, codes: Tensor) -> Tensor:
        """(N, L) codes -> (N, C, H, H) in [-1, 1], a few hundred at a time."""
        return torch.cat([self.decoder(part) for part in codes.split(250)])
