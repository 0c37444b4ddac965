"""Conditional WGAN-GP: faces with the glasses and the hair you name. Gulrajani et al. 2017 (arXiv 1704.00028).

Objective, D a critic of slope 1 whose gap between real and drawn pictures is their Wasserstein distance, y_a the labels, p_a
the odds that the critic's own scores of the values give for what a picture shows, m between x and G(z, y):
    critic     minimises  E[D(G(z, y), y)] - E[D(x, y)] + penalty E[(|grad D(m, y)| - 1)^2] + naming sum_a E[-log p_a(y_a | x)]
    generator  minimises  -E[D(G(z, y), y)] + naming sum_a E[-log p_a(y_a | G(z, y))]
The critic moves five times for each move of the generator. Differing from the paper: any number of labels at once, which
the critic takes by projection, and names, and the generator takes at every layer (network.py); the pictures of a step's five
moves are drawn in one pass, and all of them are judged in the generator's turn; a share of the pictures pays the penalty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from handmade.artifacts import Images
from handmade.core import Judge, Range, Score, System, Turn, ask
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.drawn import score_drawn
from handmade.metrics.judged import agreement, known_to
from handmade.objectives.adversarial import gradient_penalty, wasserstein_critic, wasserstein_generator
from handmade.samplers.chance import left_to_chance, newest, untrained
from handmade.samplers.latents import latents, seed_numbers, square, walk
from handmade.systems.conditional_wgan.labels import code_of, example, read_change, read_sides, surprise, with_labels
from handmade.systems.conditional_wgan.network import Critic, Generator, initialise, judged
from handmade.systems.conditional_wgan.scores import monotonic

FADED, STEPS = 100, 8  # fades that are scored, and their strides


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the game."""

    latent: int = 64  # length of the noise vector z
    width: int = 64  # channels of the layer next to the pixels; doubled at every halving
    critic_steps: int = 5  # moves of the critic for one of the generator, each on fresh pictures (paper, algorithm 1)
    lr: float = 1e-4  # Adam, generator (paper, algorithm 1)
    critic_lr: float = 1e-4  # Adam, critic
    beta1: float = 0.0  # Adam, both players; momentum makes the game oscillate (paper, algorithm 1)
    penalty: float = 10.0  # weight of the gradient penalty, lambda (paper, algorithm 1)
    naming: float = 1.0  # weight of the surprise at each label (Odena et al. 2017); 0: labels by projection alone
    penalty_every: int = 1  # of a move's pictures every how many-th pays the penalty; 1: all, as in the paper


class ConditionalWGAN(System):
    """A generator that draws what its labels say, and the critic that measures how far from real that is."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        if data.size not in (8, 16, 32, 64, 128, 256):
            raise UserError(
                f"conditional_wgan cannot draw {data.size} px: use 8, 16, 32, 64, 128 or 256 (set data.size)"
            )
        if not data.labels:
            raise UserError(
                "conditional_wgan needs labels and these pictures have none: give class folders or a table of labels, "
                "or train dcgan, which draws without"
            )
        sizes = [len(values) for values in data.labels.values()]
        shape = (sum(sizes), config.width, data.channels, data.size)
        self.generator = Generator(config.latent, *shape).apply(initialise)
        self.critic = Critic(*shape).apply(initialise)
        self.register_buffer("remembered", untrained(sizes))  # (R, A) labels of the latest training pictures
        self.remembered: Tensor

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players."""
        betas = (self.config.beta1, 0.9)
        return {
            "critic": Adam(self.critic.parameters(), self.config.critic_lr, betas),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas),
        }

    def stream(self, loader: Iterable[ImageBatch]) -> Iterator[tuple[ImageBatch, ...]]:
        """A step takes a fresh batch for each move of the critic."""
        yield from zip(*[iter(loader)] * self.config.critic_steps, strict=False)

    def objective(self, batch: tuple[ImageBatch, ...]) -> Iterator[Turn]:
        """The critic moves on each part of the batch, then the generator on all that it drew."""
        labels = [part.labels for part in batch]  # of (B, A)
        self.remembered.copy_(newest(self.remembered, *labels))
        z = torch.cat([self.dice.normal(len(rows), self.config.latent) for rows in labels])
        code = code_of(torch.cat(labels), self.data)
        drawn = self.generator(z, code)  # (5 B, C, H, H), at once: it stands still until its own turn
        for part, fake in zip(batch, drawn.detach().split([len(rows) for rows in labels]), strict=True):
            yield self._criticise(part.pixels, fake, part.labels)
        scores = self.critic(drawn)  # by the critic that has just moved
        named = surprise(scores[:, 1:], torch.cat(labels), self.data)
        loss = wasserstein_generator(judged(scores, code)) + self.config.naming * named
        yield Turn("generator", loss, {"surprise at drawn": named})

    def _criticise(self, real: Tensor, fake: Tensor, labels: Tensor) -> Turn:
        """One move of the critic: open the gap between real and fake (B, C, H, H), with a slope of 1 between them."""
        code, every = code_of(labels, self.data), self.config.penalty_every
        on_real, on_fake = self.critic(torch.cat([real, fake])).chunk(2)  # (B, 1 + V) each
        distance = -wasserstein_critic(judged(on_real, code), judged(on_fake, code))
        named = surprise(on_real[:, 1:], labels, self.data)
        share = self.dice.uniform(len(real[::every]), 1, 1, 1)
        mixed = torch.lerp(real[::every], fake[::every], share).requires_grad_()
        penalty = gradient_penalty(judged(self.critic(mixed), code[::every]), mixed)
        loss = -distance + self.config.penalty * penalty + self.config.naming * named
        return Turn("critic", loss, {"distance": distance, "penalty": penalty, "surprise at real": named})

    def evaluate(self, held_out: ImageBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Draw as many pictures as were held out, as `generate` does; KID is the yardstick, then what the judge sees.

        agreement_...: the judge names what was asked for, the labels of the held-out pictures. monotonic: as the first
        attribute that it knows fades from its first value to its last, the probability it gives to the last rises.
        """
        n = len(held_out.pixels)
        z = latents(n, self.config.latent, seed=0)
        scores = score_drawn(held_out.pixels, self._draw(z, code_of(self._labels(n, {}, seed=0), self.data)), judge)
        if judge is None or not (known := known_to(judge, self.data.labels)):
            return scores
        name, values = known[0], self.data.labels[known[0]]
        start = with_labels(held_out.labels[:FADED], {name: 0}, self.data)
        end = with_labels(start, {name: len(values) - 1}, self.data)
        faded = self._fade(latents(len(start), self.config.latent, seed=1), start, end, STEPS)
        rising = monotonic(faded, STEPS + 1, name, values[-1], judge)
        drawn = self._draw(z, code_of(held_out.labels, self.data))
        seen = agreement(drawn, held_out.pixels, held_out.labels, self.data.labels, judge)
        return {**scores, **seen, "monotonic": rising}

    @ask
    def generate(self, n: Annotated[int, Range(1, 10_000)] = 64, seed: int = 0, label: str = "") -> Images:
        """Draw new pictures that show what you name; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        label: what they show, such as glasses=yes,hair=black; what is not named comes as often as in training
        """
        labels = self._labels(n, self.data.codes(label), seed)
        return Images(self._draw(latents(n, self.config.latent, seed), code_of(labels, self.data)))

    @ask
    def fade(
        self, start: str = "", end: str = "", steps: Annotated[int, Range(1, 100)] = 8, seeds: str = "0,1,2,3"
    ) -> Images:
        """Fade from labels to other labels with all else held; a row per seed, which is a picture of `generate`.

        start: the labels on the left, such as glasses=no; what is not named is the seed's own
        end: what has changed on the right, such as glasses=yes; left out with start: the first attribute
        steps: strides from left to right
        seeds: the rows, separated by commas
        """
        first = read_change(example(self.data), self.data, "fade")
        before, after = (
            (self.data.codes(start, "start"), self.data.codes(end, "end")) if start or end else (first.start, first.end)
        )
        z, labels = self._first(seed_numbers(seeds), before)
        return Images(self._fade(z, labels, with_labels(labels, after, self.data), steps), columns=steps + 1)

    @ask
    def walk(self, seeds: str = "0,1,2,3", steps: Annotated[int, Range(1, 100)] = 6, label: str = "") -> Images:
        """Walk from picture to picture with the labels held.

        seeds: the pictures to visit, separated by commas; each is the first of `generate` with its seed and these labels
        steps: strides from each picture to the next
        label: the labels that are held, such as hair=red; those not named are the first picture's
        """
        stops, labels = self._first(seed_numbers(seeds), self.data.codes(label))
        z = walk(stops, steps)
        return Images(self._draw(z, code_of(labels[:1], self.data).expand(len(z), -1)), columns=len(z))

    @ask
    def grid(
        self, across: str = "", down: str = "", side: Annotated[int, Range(2, 32)] = 6, seed: int = 0, label: str = ""
    ) -> Images:
        """Change two characteristics of one picture at once, one across and one down.

        across: what changes from left to right, such as glasses=no..yes or seed=3..8; left out: the first attribute down leaves
        down: what changes from top to bottom; left out: the first attribute that across leaves, or the seed where there is none
        side: pictures along each side
        seed: which picture
        label: what all of them show, such as hair=black; what is not named is the seed's own
        """
        right, below = read_sides(across, down, self.data)
        corner = self._labels(1, {**self.data.codes(label), **right.start, **below.start}, seed)
        top, left = (code_of(with_labels(corner, change.end, self.data), self.data) for change in (right, below))
        here, t = code_of(corner, self.data), torch.linspace(0, 1, side)
        x, y = t.repeat(side).unsqueeze(1), t.repeat_interleave(side).unsqueeze(1)  # (side * side, 1)
        a, b = right.seeds or below.seeds or (seed, seed)
        places = (a, b, a, b) if right.seeds else (a, a, b, b)  # of the corners in reading order
        z = square(torch.cat([latents(1, self.config.latent, place) for place in places]), side)
        return Images(self._draw(z, here + x * (top - here) + y * (left - here)), columns=side)

    @ask
    def find(
        self,
        want: str = "",
        label: str = "",
        n: Annotated[int, Range(1, 1000)] = 8,
        tries: Annotated[int, Range(1, 100_000)] = 1000,
        seed: int = 0,
    ) -> Images:
        """Find seeds whose picture shows what you want, by the eyes of a trained classifier that the recipe borrows.

        want: what it must show, such as glasses=yes,expression=happy; also what the pictures were not drawn by
        label: the labels they are drawn by; seed s is the first picture of `generate --seed s` with the same label
        n: how many to find
        tries: how many seeds to look at before giving up
        seed: the first one to look at
        """
        probe = getattr(self, "borrowed", {}).get("probe")
        if probe is None:
            raise UserError(
                "find needs a classifier's eyes: train the recipe with --borrow.probe RUN, a classifier's run or zoo run"
            )
        wanted, last = self._wanted(want, probe.data), min(seed + tries, 2**63)  # there seeds end
        hundreds = (range(first, min(first + 100, last)) for first in range(seed, last, 100))
        found = list(islice((hit for seeds in hundreds for hit in self._look(probe, seeds, label, wanted)), n))
        if not found:
            raise UserError(
                f'none of {last - seed} seeds from {seed} shows "{want}": ask for it by label, or raise tries'
            )
        titles = tuple(f"seed {number}" + f", {100 * odds:.0f} %" * bool(wanted) for number, _, odds in found)
        names = tuple(f"seed-{number}.png" for number, _, _ in found)
        return Images(torch.stack([picture for _, picture, _ in found]), titles=titles, names=names)

    def _look(
        self, probe: Any, seeds: range, label: str, wanted: Mapping[str, int]
    ) -> Iterator[tuple[int, Tensor, float]]:
        """Yield each seed in whose picture the probe sees all that is wanted, the picture, and the least of its beliefs."""
        z, labels = self._first(seeds, self.data.codes(label))
        drawn = self._draw(z, code_of(labels, self.data))
        odds = dict(zip(probe.data.labels, (part.cpu() for part in probe.probabilities(drawn)), strict=True))
        agrees = [odds[name].argmax(1) == value for name, value in wanted.items()]
        beliefs = [odds[name][:, value] for name, value in wanted.items()]
        for row, number in enumerate(seeds):
            if all(bool(seen[row]) for seen in agrees):
                yield number, drawn[row].cpu(), min((float(belief[row]) for belief in beliefs), default=1.0)

    def _wanted(self, want: str, known: ImageSpec) -> dict[str, int]:
        """What the probe is to see; says where it was taught other labels than these pictures have."""
        strange = [name for name in self.data.labels if name not in known.labels]
        if strange:
            self.tell(
                f"the probe was not taught {', '.join(strange)}, it sees {', '.join(known.labels)}: to look for others, train "
                f"with --borrow.probe RUN, a classifier of your pictures"
            )
        return known.codes(want, "want")

    def _labels(self, n: int, named: Mapping[str, int], seed: int) -> Tensor:
        """(n, A) labels: what is named, and the rest as in a training picture that shows it, drawn by the seed."""
        places = list(self.data.labels)
        return left_to_chance(self.remembered, {places.index(name): code for name, code in named.items()}, n, seed)

    def _first(self, seeds: Iterable[int], named: Mapping[str, int]) -> tuple[Tensor, Tensor]:
        """The first latent of each seed (K, L) and its labels (K, A)."""
        z = [latents(1, self.config.latent, seed) for seed in seeds]
        return torch.cat(z), torch.cat([self._labels(1, named, seed) for seed in seeds])

    def _fade(self, z: Tensor, start: Tensor, end: Tensor, steps: int) -> Tensor:
        """(N, L) and labels (N, A) -> (N * (steps + 1), C, H, H), row by row from `start` to `end`."""
        t = torch.linspace(0, 1, steps + 1, device=start.device)[:, None]  # (steps + 1, 1)
        before, after = code_of(start, self.data)[:, None], code_of(end, self.data)[:, None]  # (N, 1, V)
        return self._draw(z.repeat_interleave(steps + 1, 0), torch.lerp(before, after, t).flatten(0, 1))

    def _draw(self, z: Tensor, code: Tensor) -> Tensor:
        """(N, L) and (N, V) -> (N, C, H, H) in [-1, 1], a hundred at a time."""
        device = self.remembered.device
        parts = zip(z.to(device).split(100), code.to(device).split(100), strict=True)
        return torch.cat([self.generator(*part) for part in parts])
