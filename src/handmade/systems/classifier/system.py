"""Classifier: a network that names what it sees, all attributes of a picture at once.

Objective, the mean cross-entropy over the labelled attributes a (hair, glasses, ...), each with a head of its own:
    classifier minimises  mean_a E[-log p_a(label_a | x)]
Two classes are the simplest case: the softmax of two logits is the sigmoid of their difference. `network = "mlp"` is
the fully connected network of 784-256-128-64 units that introductions to deep learning begin with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Images, Text
from handmade.core import Score, System, Turn, ask
from handmade.data.decode import decode
from handmade.data.given import given_files
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import Damaged, UserError


@dataclass(frozen=True)
class Config:
    """The settings of the network and of its training."""

    network: Literal["conv", "mlp"] = "conv"  # convolutional, or fully connected layers
    width: int = 16  # channels at full resolution; doubled at every halving, up to 12 times as many
    dropout: float = 0.1  # share of the features hidden from the heads while training; never after the heads
    shift: int = 2  # pixels by which training pictures are moved at random
    lr: float = 2e-3  # AdamW
    decay: float = 0.01  # weight decay


def convolutional(width: int, data: ImageSpec) -> nn.Sequential:
    """(B, C, H, H) pixels -> (B, D) features; every stage halves the picture, down to 4 px."""
    layers = [*convolution(data.channels, width, stride=1)]
    channels, size = width, data.size
    while size > 4:
        wider = min(2 * channels, 12 * width)
        layers += [*convolution(channels, wider, stride=2), *convolution(wider, wider, stride=1)]
        channels, size = wider, (size + 1) // 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def convolution(inner: int, outer: int, stride: int) -> list[nn.Module]:
    """One 3 x 3 convolution with its normalisation and activation."""
    return [nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(True)]


def fully_connected(data: ImageSpec) -> nn.Sequential:
    """(B, C, H, H) pixels -> (B, 64) features, through 256 and 128 units."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inner, outer in ((data.channels * data.size**2, 256), (256, 128), (128, 64)):
        layers += [nn.Linear(inner, outer), nn.ReLU(True)]
    return nn.Sequential(*layers)


class Classifier(System):
    """A trunk that turns pictures into features, and one linear head per attribute that reads them."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        if not data.labels:
            raise UserError("a classifier needs labels and these pictures have none: give class folders")
        self.sizes = [len(values) for values in data.labels.values()]
        self.trunk = convolutional(config.width, data) if config.network == "conv" else fully_connected(data)
        wide = next(layer for layer in reversed(list(self.trunk.modules())) if isinstance(layer, nn.Conv2d | nn.Linear))
        self.heads = nn.Linear(wide.weight.shape[0], sum(self.sizes))  # the heads of all attributes, side by side
        self.dropout = nn.Dropout(config.dropout)
        counts = torch.zeros(len(self.sizes), max(self.sizes), max(self.sizes))
        self.register_buffer("confusions", counts)  # (A, V, V): last held-out counts of (attribute, true, named)
        self.confusions: Tensor

    def optimizers(self) -> Mapping[str, Optimizer]:
        """AdamW for the only player."""
        players = [*self.trunk.parameters(), *self.heads.parameters()]
        return {"classifier": AdamW(players, self.config.lr, weight_decay=self.config.decay)}

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """Name every attribute; the loss is the mean surprise at the true names."""
        logits = self.heads(self.dropout(self.trunk(self._shifted(batch.pixels)))).split(self.sizes, dim=1)
        losses = [cross_entropy(given, true) for given, true in zip(logits, batch.labels.T, strict=True)]
        surprises = {name: loss.detach() for name, loss in zip(self.data.labels, losses, strict=True)}
        yield Turn("classifier", torch.stack(losses).mean(), surprises)

    def evaluate(self, held_out: ImageBatch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Share of held-out labels named right: of all, then of each attribute or, with only one, of each class."""
        counts = torch.zeros_like(self.confusions)
        for pixels, labels in zip(held_out.pixels.split(256), held_out.labels.split(256), strict=True):
            for a, odds in enumerate(self.probabilities(pixels)):
                counts[a].index_put_((labels[:, a], odds.argmax(1)), counts.new_ones(len(labels)), accumulate=True)
        self.confusions.copy_(counts)  # kept with the weights, so that the ask can show it
        right, seen = counts.diagonal(dim1=1, dim2=2), counts.sum(2)  # (A, V) each
        scores = {"accuracy": share(right.sum(), seen.sum(), "held-out labels named right")}
        for a, (attribute, values) in enumerate(self.data.labels.items()):
            if len(self.data.labels) > 1:
                scores[attribute] = share(right[a].sum(), seen[a].sum(), f"{attribute} named right")
                continue
            for v, value in enumerate(values):
                scores[value] = share(right[a, v], seen[a, v], f"pictures of {value} named right")
        return scores

    def features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) pictures in [-1, 1], any size, grey or colour -> (N, D), what the heads read.

        This is what makes a trained classifier a judge of pictures that other systems draw.
        """
        return torch.cat([self.trunk(self._adapted(part)) for part in pixels.split(256)])

    def probabilities(self, pixels: Tensor) -> list[Tensor]:
        """(B, C, H, W) pictures in [-1, 1], any size, grey or colour -> for each attribute (B, V)."""
        return [part.softmax(1) for part in self.heads(self.trunk(self._adapted(pixels))).split(self.sizes, dim=1)]

    @ask
    def classify(self, path: Path = Path("picture.png")) -> Text:
        """Name what is in a picture, or in each picture of a folder.

        path: a picture file or a folder of them
        """
        named = (f"{name}: {self._named(content)}" for name, content in given_files(path))
        return Text(tuple(named), stem="classes")

    @ask
    def confusion(self) -> Images:
        """Show what was taken for what when last scored: rows are true names, columns given ones, dark is often."""
        cells = [counts[:size, :size] for counts, size in zip(self.confusions, self.sizes, strict=True)]
        shares = [c / c.sum(1, keepdim=True).clamp_min(1) for c in cells]  # each row sums to 1
        grey = [1 - 2 * s.sqrt() for s in shares]  # the root makes a tenth as dark as a third would be
        pictures = [interpolate(g[None, None], size=(240, 240)) for g in grey]
        titles = [
            f"{attribute} {100 * c.trace() / c.sum().clamp_min(1):.1f} % right, from the top: {', '.join(values)}"
            for (attribute, values), c in zip(self.data.labels.items(), cells, strict=True)
        ]
        return Images(torch.cat(pictures), titles=tuple(titles))

    def _named(self, content: bytes) -> str:
        """A picture file -> the likeliest name of each attribute, or the three likeliest of the only one."""
        try:
            raw = torch.from_numpy(decode(content, self.data.size, self.data.channels).copy())
        except Damaged as error:
            return str(error)
        odds = self.probabilities(self.data.encode(raw[None]).to(self.confusions.device))
        likeliest = 1 if len(odds) > 1 else min(3, self.sizes[0])
        words = []
        for (attribute, values), shares in zip(self.data.labels.items(), odds, strict=True):
            for share, value in zip(*(found.tolist() for found in shares[0].topk(likeliest)), strict=True):
                words.append(f"{f'{attribute} ' * (len(odds) > 1)}{values[value]} {100 * share:.0f} %")
        return ", ".join(words)

    def _shifted(self, pixels: Tensor) -> Tensor:
        """Move each picture by up to `shift` pixels; its edge fills the gap."""
        b, _, h, w = pixels.shape
        if self.config.shift == 0:
            return pixels
        moves = self.dice.integers(2 * self.config.shift + 1, b, 2)  # (B, 2)
        rows = moves[:, :1] + torch.arange(h, device=pixels.device)  # (B, H)
        columns = moves[:, 1:] + torch.arange(w, device=pixels.device)  # (B, W)
        padded = pad(pixels, [self.config.shift] * 4, mode="replicate")
        which = torch.arange(b, device=pixels.device)[:, None, None]
        return padded[which, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)  # (B, C, H, W)

    def _adapted(self, pixels: Tensor) -> Tensor:
        """Pictures of any size, grey or colour -> (N, C, H, H) as this network learned them."""
        if pixels.shape[1] != self.data.channels:
            grey = pixels.mean(1, keepdim=True)
            pixels = grey.expand(-1, self.data.channels, -1, -1)
        if pixels.shape[2:] != (self.data.size, self.data.size):
            pixels = interpolate(pixels, size=(self.data.size, self.data.size), mode="bilinear", antialias=True)
        return pixels


def share(right: Tensor, seen: Tensor, about: str) -> Score:
    """A share with its 95 % interval (Wilson 1927)."""
    n, z = max(float(seen), 1.0), 1.96
    p = float(right) / n
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    return Score(p, f"share of {int(n)} {about}", "higher", None, low, high)
