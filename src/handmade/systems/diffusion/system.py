"""Diffusion: a network learns to take noise out of pictures, and makes pictures out of noise. Ho et al. 2020 (2006.11239).

At time t in 0..1 a picture x has become x_t = a_t x + s_t e, e ~ N(0, 1). Objective, over pictures, times and noise:
    denoiser minimises  E[|d|^2 + edges |slope d|^2],   d = D(x_t, t, labels) - v,   v = a_t e - s_t x   (or e, or x: `predict`)
Differing from the paper: time is continuous (Kingma et al. 2021, arXiv 2107.00630), the network is asked for v (Salimans & Ho
2022, arXiv 2202.00512), the noise follows a cosine (Nichol & Dhariwal 2021, arXiv 2102.09672), and it is told the labels, some
of them hidden at random, so that what was asked for can be said louder (classifier-free guidance, arXiv 2207.12598). Outlines
may weigh more (`edges`), and pictures that are black or white in large parts keep them clean (`margin`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.optim import AdamW, Optimizer

from handmade.core import Turn
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.from_noise import MIDDLE, FromNoise
from handmade.networks.muon import MuonAdamW, matrices_of
from handmade.objectives.denoising import LAWS, Levels, beyond, noisy, squared_error, target
from handmade.samplers.walks import Walker
from handmade.systems.diffusion.network import Denoiser


@dataclass(frozen=True)
class Config:
    """The settings of the denoiser, of the noise and of the training."""

    width: int = 32  # channels at the full size
    multiples: tuple[int, ...] = (1, 2, 3)  # widths of the sizes in multiples of it; each size halves the sides
    fold: int = 1  # pixels of a side that the network takes as one place: 2 is four times as fast, and a little coarser
    blocks: int = 2  # of every size, on the way down and again on the way up
    attended: int = 1  # how many of the smallest sizes look at all places at once
    dropout: float = 0.0  # share of the numbers hidden inside a block while training
    noise: Literal["cosine", "linear"] = "cosine"  # the law by which pictures turn into it
    predict: Literal["velocity", "noise", "picture"] = "velocity"  # what the network is asked for
    edges: float = 0.0  # what an error of the slope weighs beside that of a pixel
    margin: float = 0.0  # how far beyond their values black and white lie: small errors then leave them black and white
    hidden: float = 0.1  # share of pictures whose labels are all hidden, and of each label of the others
    optimizer: Literal["muon", "adamw"] = "muon"  # muon moves the matrices by Muon, the rest by AdamW
    lr: float = 0.02  # of the optimizer
    rest_lr: float = 1e-3  # of what is no matrix, with muon
    decay: float = 0.01  # weight decay


class Diffusion(FromNoise):
    """A denoiser, and the walks that start from noise and end in pictures (their asks: from_noise.py)."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        parts = config.fold * 2 ** (len(config.multiples) - 1)
        if data.size % parts:
            raise UserError(f"a size of {data.size} px cannot be folded by {config.fold} and halved "
                            f"{len(config.multiples) - 1} times: use a multiple of {parts} (data.size), or fewer "
                            "config.multiples")  # fmt: skip
        self.denoiser = Denoiser(data.channels, data.labels, config.width, config.multiples, config.blocks,
                                 config.attended, config.dropout, config.fold)  # fmt: skip

    def optimizers(self) -> Mapping[str, Optimizer]:
        """The only player's convolutions and linear layers move by Muon, each as the matrix of its filters."""
        c, matrices = self.config, matrices_of(self.denoiser)
        if c.optimizer == "adamw":
            return {"denoiser": AdamW(self.parameters(), c.lr, weight_decay=c.decay)}
        return {"denoiser": MuonAdamW(matrices, self.parameters(), c.lr, c.rest_lr, betas=(0.9, 0.99), decay=c.decay)}

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """Noise the pictures, each to a time of its own, and guess what was done to them."""
        x, n = beyond(batch.pixels, self.config.margin), len(batch.pixels)  # (B, C, H, H)
        t = self.dice.spread(n)  # (B,), an even share of all times: a steadier loss (Kingma et al. 2021, I.1)
        at, e = self.levels(t), self.dice.normal(n, *x.shape[1:])
        guess = self.denoiser(noisy(x, e, at), t, self.partly(batch.labels, self.config.hidden))
        yield Turn("denoiser", squared_error(guess, target(x, e, at, self.config.predict), self.config.edges))

    def levels(self, t: Tensor) -> Levels:
        """How much picture and how much noise there is at times t."""
        return LAWS[self.config.noise](t)

    @property
    def walker(self) -> Walker:
        """The denoiser, ready to be asked for pictures."""
        shape = (self.data.channels, self.data.size, self.data.size)
        device, margin = next(self.parameters()).device, self.config.margin
        return Walker(self.denoiser, self.levels, self.config.predict, shape, device, margin, MIDDLE)
