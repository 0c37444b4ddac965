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

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Images
from handmade.core import Judge, Score, Turn, ask, seeded
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.from_codes import FromCodes, slid
from handmade.metrics.drawn import score_drawn
from handmade.metrics.similarity import score_alike
from handmade.samplers.arithmetic import group_means, one_hots, strengths
from handmade.samplers.latents import latents


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


class Autoencoder(FromCodes):
    """An encoder that turns pictures into short codes, and a decoder that draws them again (more asks: from_codes.py)."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        widths, side = shape(config.width, data.size)
        if not widths or side > 8:
            raise UserError(
                f"autoencoder cannot halve {data.size} px down to less than 8: use 8, 16, 32, 64 and so on, or 3, 5 or 7 times "
                "a power of two, such as 28, 48 or 80 (set data.size)"
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
        codes = self.codes(held_out.pixels)
        self._lay_gaussian(codes, one_hots(held_out.labels, self.sizes))
        drawn = self.draw(self.new(len(codes), seed=0, label=""))
        return {
            **score_alike(held_out.pixels, self.draw(codes)),
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
    def slider(self, image: Path = Path("picture.png"), label: str = "", strength: str = "1.0") -> Images:
        """Move your picture towards a label, along the difference of two groups.

        image: a picture file, or a folder or .zip of them
        label: what it shall be, such as class=three; left out: the last value of the first label
        strength: how far to go, 0 to 1 and beyond; several side by side: "0.25,0.5,1"
        """
        wanted, (names, pixels) = self.wish(label), self.given(image)
        codes, steps = self.codes(pixels), strengths(strength)
        way = self._way(codes, wanted)
        return slid(names, steps, [self.draw(codes + step * way) for step in steps])

    def _way(self, codes: Tensor, wanted: Mapping[str, int]) -> Tensor:
        """(N, L) from each code's own group, the nearest, to the wanted one of each attribute {name: value}."""
        way = torch.zeros_like(codes)
        for name, offsets in zip(self.data.labels, self.offsets.split(self.sizes), strict=True):
            if name in wanted:
                own = torch.cdist(codes - self.middle, offsets).argmin(1)
                way = way + offsets[wanted[name]] - offsets[own]
        return way

    def codes(self, pixels: Tensor) -> Tensor:
        """(N, C, H, H) pictures -> (N, L) codes, a few hundred at a time."""
        return torch.cat([self.encoder(part) for part in pixels.split(250)])

    def new(self, n: int, seed: int, label: str) -> Tensor:
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

    def named(self, wanted: Mapping[str, int]) -> Tensor:
        """(1, L): the mean code of all pictures, moved to each of the labels."""
        rows = self.rows(wanted)
        return self.middle[None] + self.offsets[rows].sum(0)

    def draw(self, codes: Tensor) -> Tensor:
        """(N, L) codes -> (N, C, H, H) in [-1, 1], a few hundred at a time."""
        return torch.cat([self.decoder(part) for part in codes.split(250)])
