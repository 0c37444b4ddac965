"""VAE: pictures as codes, one part for what a picture looks like and one for what it is called.

Kingma and Welling 2014 (arXiv 1312.6114). The encoder gives a Gaussian over z and names the labels y; the decoder draws a
picture from both (Kingma et al. 2014, arXiv 1406.5298, M2). Objective, in nats for each number of a picture, z ~ q(z | x):
    vae minimises     E[-log p(x | z, y)] + price * KL(q(z | x) || N(0, 1)) + naming * E[-log q(y | x)]
                      + hiding * E[KL(p(y) || reader(y | z))]
    reader minimises  E[-log reader(y | z)]
At a price of 1 the first two terms bound -log p(x | y). p(x | z, y) is a logistic over the 256 levels of a pixel; its one
scale is learned, which balances the two terms by itself (Rybkin et al. 2021, arXiv 2006.13202). Two things make z keep quiet
about what y says, so that another y changes the picture, and only what y names: the price of z starts at the number of
numbers in a picture and falls to beta, and the last term hides what is left (Lample et al. 2017, arXiv 1706.00409, whose
pictures have no y of their own). Pictures without labels make this a plain VAE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer

from handmade.artifacts import Images
from handmade.core import Judge, Score, Turn, ask, seeded
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.from_codes import FromCodes, slid
from handmade.metrics.drawn import score_drawn
from handmade.metrics.similarity import score_alike
from handmade.objectives.variational import bits_per_dim, discretised_logistic, gaussian_kl
from handmade.samplers.arithmetic import group_means, one_hots, straight, strengths
from handmade.samplers.latents import latents, walk
from handmade.systems.vae.network import Decoder, Encoder, stages


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of their training."""

    latent: int = 64  # length of z
    width: int = 32  # channels of the widest stage; doubled at every halving, up to four times
    blocks: int = 1  # residual blocks at each stage
    patch: int = 2  # side of the squares that a picture is cut into at the door
    beta: float = 1.0  # weight of the KL term; above 1: plainer codes, blurred pictures
    labels_first: int = 2000  # steps in which z is so dear at first that the decoder has to learn what the labels mean
    naming: float = 0.1  # weight of naming the labels right, in nats for each number of a picture
    hiding: float = 0.05  # weight of hiding the labels from the reader of z, in the same unit
    lr: float = 1e-3  # AdamW
    decay: float = 0.01  # weight decay


def reader(latent: int, labels: int) -> nn.Module:
    """(B, latent) z -> (B, V) logits of the labels; it learns to find in z what should not be there."""
    if not labels:
        return nn.Identity()
    return nn.Sequential(nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, labels))


class VAE(FromCodes):
    """An encoder that turns pictures into codes, a decoder that turns codes into pictures, and a reader that spies on z."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        self.sizes = [len(values) for values in data.labels.values()]
        labels, shape = sum(self.sizes), stages(data.size, config.patch, config.width)
        self.encoder = Encoder(data.channels, shape, config.blocks, config.latent, labels, config.patch)
        self.decoder = Decoder(data.channels, shape, config.blocks, config.latent + labels, config.patch)
        self.reader = reader(config.latent, labels)
        even = torch.cat([torch.ones(0), *(torch.full((n,), 1 / n) for n in self.sizes)])
        self.register_buffer("groups", torch.zeros(labels, config.latent))  # mean z of each label, when last scored
        self.register_buffer("middle", torch.zeros(config.latent))  # mean z of all pictures
        self.register_buffer("shares", even)  # (V,) how often each label comes
        self.groups: Tensor
        self.middle: Tensor
        self.shares: Tensor

    def optimizers(self) -> Mapping[str, Optimizer]:
        """AdamW for both players; the scale of the pixels has far to go and learns ten times as fast."""
        scale = self.decoder.log_scale
        weights = [*self.encoder.parameters(), *(p for p in self.decoder.parameters() if p is not scale)]
        groups = [{"params": weights}, {"params": [scale], "lr": 10 * self.config.lr, "weight_decay": 0.0}]
        players = {"vae": AdamW(groups, self.config.lr, weight_decay=self.config.decay)}
        if self.sizes:
            players["reader"] = AdamW(self.reader.parameters(), self.config.lr, weight_decay=self.config.decay)
        return players

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """The reader looks for labels in z; then both networks pay for the picture, the code, wrong names and leaks."""
        told, dims = one_hots(batch.labels, self.sizes), batch.pixels[0].numel()
        mean, log_variance, logits = self.encoder(batch.pixels)
        z = mean + (log_variance / 2).exp() * self.dice.normal(*mean.shape)
        if self.sizes:
            yield Turn("reader", self._surprise(self.reader(z.detach()), told))
        drawn = self.decoder(torch.cat([z, told], dim=1))
        picture = discretised_logistic(batch.pixels, drawn, self.decoder.log_scale).mean()
        kl = gaussian_kl(mean, log_variance).mean()
        loss = (picture + self._price(dims) * kl) / dims
        parts = {"reconstruction": picture.detach(), "kl": kl.detach()}
        if self.sizes:
            usual = self.shares.expand_as(told)
            misnamed = self._surprise(logits, told)
            leak = self._surprise(self.reader(z), usual) - self._surprise(usual.clamp_min(1e-6).log(), usual)
            loss = loss + self.config.naming * misnamed + self.config.hiding * leak
            parts |= {"misnamed": misnamed.detach(), "leak": leak.detach()}
        yield Turn("vae", loss, parts)

    def _price(self, dims: int) -> float:
        """Nats of picture that a nat of z must be worth: at first as many as the picture has numbers, later beta."""
        ahead = 1 - self.step / self.config.labels_first if self.config.labels_first and self.sizes else 0.0
        return self.config.beta * dims ** max(0.0, ahead)

    def _surprise(self, logits: Tensor, odds: Tensor) -> Tensor:
        """(B, V) logits, (B, V) true odds -> cross-entropy summed over the attributes, a scalar in nats."""
        heads = zip(logits.split(self.sizes, dim=1), odds.split(self.sizes, dim=1), strict=True)
        return torch.stack([cross_entropy(given, true) for given, true in heads]).sum()

    def evaluate(self, held_out: ImageBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Bound the surprise at held-out pictures, see what comes back, move every label, and compare new pictures."""
        n, dims, told = len(held_out.pixels), held_out.pixels[0].numel(), one_hots(held_out.labels, self.sizes)
        noise = latents(n, self.config.latent, seed=0).to(told.device)
        found: list[tuple[Tensor, ...]] = []
        for x, y, e in zip(held_out.pixels.split(100), told.split(100), noise.split(100), strict=True):
            mean, log_variance, _ = self.encoder(x)
            drawn = self.decoder(torch.cat([mean + (log_variance / 2).exp() * e, y], dim=1))
            surprise = discretised_logistic(x, drawn, self.decoder.log_scale)
            found.append((surprise, gaussian_kl(mean, log_variance), mean))
        surprise, kl, z = (torch.cat(column) for column in zip(*found, strict=True))
        self.middle.copy_(z.mean(0))
        self.groups.copy_(group_means(z, told))
        self.shares.copy_(told.mean(0))
        names = -told @ self.shares.clamp_min(1e-6).log()  # with the price of the labels the sum bounds -log p(x)
        bits = bits_per_dim(surprise + kl + names, dims)
        half = 1.96 * float(bits.std()) / n**0.5
        value, about = float(bits.mean()), f"of {n} held-out pictures"
        bound = "bits for each number of a picture, at most, mean"
        return {
            "bits_per_dim": Score(value, f"{bound} {about}", "lower", None, value - half, value + half),
            "reconstruction": Score(float(surprise.mean()), f"nats for a picture whose code is known, mean {about}"),
            "kl": Score(float(kl.mean()), f"nats for a code, mean {about}"),
            **score_alike(held_out.pixels, self.draw(torch.cat([z, told], dim=1))),
            **self._agreement(held_out, judge),
            **score_drawn(held_out.pixels, self.draw(self.new(n, seed=0, label="")), judge),
        }

    def _agreement(self, held_out: ImageBatch, judge: Judge | None) -> dict[str, Score]:
        """How often the judge sees the new value of a label that the slider has changed, for each label it knows."""
        pixels, labels, scores = held_out.pixels[:256], held_out.labels[:256], {}
        for a, (name, values) in enumerate(self.data.labels.items()):
            if judge is None or tuple(judge.labels.get(name, ())) != tuple(values) or len(values) < 2:
                continue
            wanted = (labels[:, a] + 1) % len(values)
            codes = self.codes(pixels, seed=0)
            there = codes.clone()
            first = self.config.latent + sum(self.sizes[:a])
            there[:, first : first + len(values)] = one_hots(wanted[:, None], [len(values)])
            seen = judge.odds(self._moved(pixels, codes, there))[name].argmax(1)
            least = judge.odds(pixels)[name].argmax(1) == labels[:, a]
            about = f"share of {len(pixels)} held-out pictures in which the judge sees the {name} they were given"
            scores[f"slider_{name}"] = Score(
                float((seen == wanted).float().mean()), about, "higher", float(least.float().mean())
            )
        return scores

    @ask
    def slider(
        self,
        image: Path = Path("picture.png"),
        label: str = "",
        strength: str = "1.0",
        seed: int = 0,
        plain: bool = False,
    ) -> Images:
        """Give your picture a label it does not have, or take one away; nothing else changes.

        image: a picture file, or a folder or .zip of them
        label: what it shall be, such as glasses=yes; left out: the last value of the first label
        strength: how far to go, 0 to 1 and beyond; several side by side: "0.25,0.5,1"
        seed: which of the ways that the picture leaves open, such as the frame of its glasses
        plain: show the decoder's own drawing, without what the code has lost of the picture
        """
        wanted, (names, pixels) = self.wish(label), self.given(image)
        codes, steps = self.codes(pixels, seed), strengths(strength)
        there = self._labelled(codes, wanted)
        moved = [codes + step * (there - codes) for step in steps]
        return slid(names, steps, [self.draw(code) if plain else self._moved(pixels, codes, code) for code in moved])

    def codes(self, pixels: Tensor, seed: int | None = None) -> Tensor:
        """(N, C, H, H) pictures -> (N, L + V) codes: z, and how sure the encoder is of every label.

        seed: z is drawn from q(z | x), which decides what the picture leaves open; without one, z is its middle
        """
        codes = []
        for part in pixels.split(100):
            mean, log_variance, logits = self.encoder(part)
            if seed is not None:
                mean = mean + (log_variance / 2).exp() * latents(len(part), self.config.latent, seed).to(mean.device)
            codes.append(torch.cat([mean, *(head.softmax(1) for head in logits.split(self.sizes, dim=1))], dim=1))
        return torch.cat(codes)

    def _labelled(self, codes: Tensor, wanted: Mapping[str, int]) -> Tensor:
        """(N, L + V) codes -> the same with the wanted labels {attribute: value}."""
        parts = list(codes.split([self.config.latent, *self.sizes], dim=1))
        for place, name in enumerate(self.data.labels, start=1):
            if name in wanted:
                parts[place] = torch.zeros_like(parts[place]).index_fill(
                    1, codes.new_tensor([wanted[name]]).long(), 1.0
                )
        return torch.cat(parts, dim=1)

    def _moved(self, pixels: Tensor, codes: Tensor, there: Tensor) -> Tensor:
        """Pictures (N, C, H, W) as they are, but where another code is drawn differently: there they are its drawing.

        The more it differs, the more of the drawing is taken; all of it from a difference of 32 levels on.
        """
        drawn = self.draw(there)
        share = (4 * (drawn - self.draw(codes)).abs().amax(1, keepdim=True)).clamp_max(1)  # (N, 1, H, W)
        return pixels + share * (drawn - pixels)

    def new(self, n: int, seed: int, label: str) -> Tensor:
        """(N, L + V) codes of new pictures: standard normal z, labels as often as in the data."""
        dice, parts = seeded(seed), [latents(n, self.config.latent, seed).to(self.middle.device)]
        chances = torch.stack([torch.rand(len(self.sizes), generator=dice) for _ in range(n)]).to(self.middle.device)
        for shares, chance in zip(self.shares.split(self.sizes), chances.T, strict=True):
            chosen = (chance[:, None] > shares.cumsum(0)[:-1]).sum(1)  # (N,)
            parts.append(one_hots(chosen[:, None], [len(shares)]))
        return self._labelled(torch.cat(parts, dim=1), self.data.codes(label))

    def named(self, wanted: Mapping[str, int]) -> Tensor:
        """(1, L + V): the mean z of these labels, and the labels; of all others their shares."""
        rows = self.rows(wanted)
        z = self.middle + (self.groups[rows] - self.middle).sum(0)
        return self._labelled(torch.cat([z, self.shares])[None], wanted)

    def between(self, stops: Tensor, steps: int) -> Tensor:
        """A walk along great circles in z, and in straight lines in the labels."""
        z, shares = stops.split([self.config.latent, sum(self.sizes)], dim=1)
        return torch.cat([walk(z, steps), straight(shares, steps)], dim=1)

    def draw(self, codes: Tensor) -> Tensor:
        """(N, L + V) codes -> (N, C, H, H) in [-1, 1], a hundred at a time."""
        return torch.cat([self.decoder(part) for part in codes.split(100)]).clamp(-1, 1)
