"""Number sequences from noise: a GAN that makes choices. Goodfellow et al. 2014 (arXiv 1406.2661).

Objective, the non-saturating game, with the R1 penalty of Mescheder et al. 2018 (arXiv 1801.04406) on real sequences:
    discriminator minimises  E[softplus(-D(x))] + E[softplus(D(x'))] + gamma / 2 E[|grad D(x)|^2]
    generator     minimises  E[softplus(-D(x'))]        with  x' = choose(G(z)), one number for each place
G gives scores for every number at every place. `choose` draws one number with these odds and passes the gradient of the
softmax (straight-through Gumbel: Jang et al. 2016, arXiv 1611.01144; Maddison et al. 2016, arXiv 1611.00712).
Differing from the 2014 paper: choices, R1, Adam without momentum and a falling learning rate. The discriminator reads
whole sequences, so it sees when numbers are missing: a packed sample (Lin et al. 2018, arXiv 1712.04086).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from handmade.artifacts import Text
from handmade.core import Range, Score, System, Turn, ask, seeded
from handmade.data.specs import NumbersSpec
from handmade.metrics.numbers import duplicate_share, entropy_ratio, rarest_share, valid_share
from handmade.objectives.adversarial import non_saturating_discriminator, non_saturating_generator, r1_penalty

AT_ONCE = 1_000_000  # random numbers held in memory by an ask


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the game."""

    latent: int = 16  # length of the noise vector z
    width: int = 128  # units in each of the two hidden layers, both players
    gamma: float = 0.2  # weight of the R1 penalty
    lr: float = 1e-3  # Adam, both players
    beta1: float = 0.0  # momentum: 0 with R1 (Mescheder et al. 2018)


def perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """(B, inputs) -> (B, outputs), two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(0.2),
        nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )  # fmt: skip


def choose(scores: Tensor, luck: Tensor) -> Tensor:
    """(B, L, V) scores and uniform noise -> (B, L, V) one-hot, number v with odds exp(score); backward, a softmax."""
    odds = (scores.float() - (-luck.log()).log()).softmax(
        -1
    )  # with Gumbel noise the largest wins as often as it should
    chosen = torch.zeros_like(odds).scatter_(-1, odds.argmax(-1, keepdim=True), 1.0)
    return odds + (chosen - odds).detach()


class NumbersGAN(System):
    """A generator that writes numbers from a set it is never told, and the discriminator that teaches it."""

    def __init__(self, config: Config, data: NumbersSpec):
        super().__init__(config, data)
        self.generator = nn.Sequential(
            perceptron(config.latent, config.width, data.length * data.depth),
            nn.Unflatten(1, (data.length, data.depth)),
        )
        self.discriminator = nn.Sequential(nn.Flatten(), perceptron(data.length * data.depth, config.width, 1))

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players."""
        betas = (self.config.beta1, 0.99)
        return {
            "discriminator": Adam(self.discriminator.parameters(), self.config.lr, betas),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas),
        }

    def objective(self, numbers: Tensor) -> Iterator[Turn]:
        """The judge learns to tell written sequences from real ones, then the forger learns to please the judge."""
        real = self.data.encode(numbers).requires_grad_()  # (B, L, V) one-hot
        scores = self.generator(self.dice.uniform(len(real), self.config.latent) * 2 - 1)  # (B, L, V)
        fake = choose(scores, self.dice.uniform(*real.shape))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())  # (B, 1) logits
        penalty = self.config.gamma * r1_penalty(on_real, real)
        beliefs = {"D(x)": on_real.detach().sigmoid().mean(), "D(G(z))": on_fake.detach().sigmoid().mean()}
        yield Turn("discriminator", non_saturating_discriminator(on_real, on_fake) + penalty, beliefs)
        yield Turn("generator", non_saturating_generator(self.discriminator(fake)))  # judged by the D just updated

    def evaluate(self, held_out: Tensor, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Compare how often each number comes at each place with the truth; look for wrong, rare and repeated ones."""
        members, real = self.data.members, held_out.cpu()
        drawn = self._draw(len(real), seed=0).cpu()  # as many as are held out: chance then treats both alike
        about = f"total variation from the true frequencies, mean over places, {len(real)} sequences"
        entropy = "entropy of the valid numbers as a share of the true one"
        rarest = "how often the rarest number comes, 1 if as often as it should"
        return {
            "distance": Score(
                frequency_distance(drawn, self.data), about, "lower", frequency_distance(real, self.data)
            ),
            "valid": Score(valid_share(drawn, members), f"share of {drawn.numel()} numbers in the set", "higher", 1.0),
            "entropy": Score(entropy_ratio(drawn, members), entropy, "higher", entropy_ratio(real, members)),
            "rarest": Score(rarest_share(drawn, members), rarest, "higher", rarest_share(real, members)),
            "repeated": Score(
                duplicate_share(drawn), "share of sequences written before", "lower", duplicate_share(real)
            ),
        }

    @ask
    def generate(self, n: Annotated[int, Range(1, 100_000)] = 20, seed: int = 0) -> Text:
        """Write new sequences, one per line; the same seed always gives the same ones.

        n: how many sequences
        seed: which sequences; a larger n continues the same series
        """
        return Text(tuple(" ".join(map(str, row)) for row in self._draw(n, seed).tolist()), stem="numbers")

    def _draw(self, n: int, seed: int) -> Tensor:
        """(n, L) numbers; each sequence takes one row of luck, so that a larger n continues the same series."""
        places = (self.data.length, self.data.depth)
        luck, rows = seeded(seed), max(1, AT_ONCE // (places[0] * places[1]))
        like, drawn = next(self.generator.parameters()), []
        for first in range(0, n, rows):
            u = torch.rand(min(rows, n - first), self.config.latent + places[0] * places[1], generator=luck).to(like)
            z, u = u[:, : self.config.latent] * 2 - 1, u[:, self.config.latent :].unflatten(1, places)
            drawn.append(self.data.decode(choose(self.generator(z), u)))  # (rows, L)
        return torch.cat(drawn)


def frequency_distance(numbers: Tensor, data: NumbersSpec) -> float:
    """Total variation in 0..1 between numbers (N, L) and an even spread over the set, mean over places.

    A number too often, missing or outside the set counts; chance leaves some even in real numbers (the floor).
    """
    truth = torch.zeros(data.depth).index_fill(0, torch.tensor(data.members), 1 / len(data.members))
    frequency = data.encode(numbers).mean(0)  # (L, V)
    return float((frequency - truth).abs().sum(-1).mean() / 2)
