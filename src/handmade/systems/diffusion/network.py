"""The denoiser: a U-Net that is told how noisy a picture is, and what is in it, as far as somebody says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from handmade.networks.unet import UNet, waves

TIMES = 1000.0  # steps that one unit of time has for the waves, as in the paper


class Denoiser(nn.Module):
    """Noisy pictures, their times and their labels -> a guess of the same shape."""

    def __init__(self, channels: int, labels: Mapping[str, Sequence[str]], width: int, multiples: Sequence[int],
                 blocks: int, attended: int, dropout: float, fold: int = 1):  # fmt: skip
        super().__init__()
        self.width, condition = width, 4 * width
        self.time = nn.Sequential(nn.Linear(width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.labels = nn.ModuleList(nn.Embedding(len(values) + 1, condition) for values in labels.values())
        self.unet = UNet(channels, channels, width, multiples, blocks, condition, attended, dropout=dropout, fold=fold)

    def forward(self, x_t: Tensor, t: Tensor, said: Tensor) -> Tensor:
        """(B, C, H, H), times (B,) in 0..1, labels (B, A): 0 nothing is said, v + 1 value v -> (B, C, H, H)."""
        condition = self.time(waves(t * TIMES, self.width))  # (B, condition)
        for column, embedding in enumerate(self.labels):
            condition = condition + embedding(said[:, column])
        return self.unet(x_t, condition)
