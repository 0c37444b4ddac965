"""Flow matching: the straight way from noise to pictures. Liu et al. 2022 (2209.03003), Lipman et al. 2022 (2210.02747).

At time t in 0..1 a picture x has become x_t = (1 - t) x + t e, e ~ N(0, 1). Objective, over pictures, times and noise:
    flow minimises  E[|F(x_t, t, labels) - (e - x)|^2]
e - x is the direction of the whole way, so a few steps along it suffice. Differing from the papers: times come mostly from the
middle of the way (Esser et al. 2024, arXiv 2403.03206), labels are hidden at random so that they can be said louder
(classifier-free guidance), and the network is a small Transformer over patches (network.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch.optim import Optimizer

from handmade.core import Turn
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.from_noise import MIDDLE, FromNoise
from handmade.networks.muon import MuonAdamW, matrices_of
from handmade.objectives.denoising import beyond, middle_times, noisy, squared_error, straight, target
from handmade.samplers.walks import Walker
from handmade.systems.flow_matching.network import DiT, Layer


@dataclass(frozen=True)
class Config:
    """The settings of the network and of the training."""

    patch: int = 4  # pixels of a patch's side
    width: int = 160  # length of the vector that stands for a patch
    layers: int = 6  # of attention and thought
    heads: int = 5  # in every attention, or as many of them as divide the width
    hidden: float = 0.1  # share of pictures whose labels are all hidden, and of each label of the others
    margin: float = 0.0  # how far beyond their values black and white lie: small errors then leave them black and white
    shift: float = 0.0  # of the times: above 0 towards noise, below towards pictures
    lr: float = 0.02  # Muon, for the matrices
    rest_lr: float = 1e-3  # AdamW, for all else
    decay: float = 0.01  # weight decay


class FlowMatching(FromNoise):
    """A network that knows at every place which way the pictures are (what can be asked of it: from_noise.py)."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        if data.size % config.patch:
            raise UserError(f"a size of {data.size} px cannot be cut into patches of {config.patch} px: change data.size, or "
                            f"config.patch")  # fmt: skip
        self.flow = DiT(data.channels, data.size, data.labels, config.patch, config.width, config.layers, config.heads)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """The only player's matrices move by Muon; queries, keys and values are three that share one parameter."""
        c = self.config
        thirds = {layer.ask.weight: 3 for layer in self.flow.modules() if isinstance(layer, Layer)}
        matrices = {**matrices_of(self.flow), **thirds}
        return {"flow": MuonAdamW(matrices, self.parameters(), c.lr, c.rest_lr, betas=(0.9, 0.99), decay=c.decay)}

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """Put every picture somewhere on its way to noise, and say which way that is."""
        x, n = beyond(batch.pixels, self.config.margin), len(batch.pixels)  # (B, C, H, H)
        t = middle_times(self.dice.normal(n), self.config.shift)  # (B,)
        at, e = straight(t), self.dice.normal(n, *x.shape[1:])
        told = self.partly(batch.labels, self.config.hidden)
        yield Turn("flow", squared_error(self.flow(noisy(x, e, at), t, told), target(x, e, at, "flow")))

    @property
    def walker(self) -> Walker:
        """The network, ready to be asked for pictures; on the straight way `ddim` is Euler's method."""
        shape = (self.data.channels, self.data.size, self.data.size)
        device, margin = next(self.parameters()).device, self.config.margin
        return Walker(self.flow, straight, "flow", shape, device, margin, MIDDLE)
