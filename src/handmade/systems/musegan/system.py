"""MuseGAN: several voices at once, out of noise for the chords, the style, each melody and each groove.

Dong, Hsiao, Yang, Yang 2018 (arXiv 1709.06298), the hybrid model, trained as in Gulrajani et al. 2017 (arXiv 1704.00028):
    critic     minimises  E[D(x')] - E[D(x)] + penalty E[(|grad D(m)| - 1)^2]        m between x and x'
    generator  minimises  -E[D(x')]        with  x' = choose(G(chords, style, melody, groove))
x and x' are rolls: which pitch each voice sounds at each step, and whether it is struck there (rolls.py). `choose` decides
every step and passes the gradient of the softmax (straight through, as in Dong & Yang 2018, arXiv 1804.09399), so the critic
reads music as finished as the real one. Differing from the paper: those decisions, strokes (its rolls cannot tell a note that
is held from one that is struck again), rests as a choice of their own, no BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from handmade.artifacts.music import Instrument, Music, Sound
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.codecs.pianoroll import piece_of_roll
from handmade.data.specs import RollSpec
from handmade.errors import UserError, did_you_mean
from handmade.metrics.music import copied, score_rolls
from handmade.midi import LONGEST_PLAYED
from handmade.objectives.adversarial import gradient_penalty, wasserstein_critic, wasserstein_generator
from handmade.samplers.latents import latents, spherical
from handmade.systems.musegan.network import BEAT, Critic, Generator
from handmade.systems.musegan.rolls import cells_of, choose, rolls_of

KINDS = ("chords", "style", "melody", "groove")  # of noise
STEADY = 1e-5  # Adam's epsilon: without momentum its first strides are signs, of rounding too, unless this is larger
COPIES = 16  # pieces that are searched for in the training music
TOGETHER = 256  # pieces that are written in one batch
Kind = Literal["chords", "style", "melody", "groove"]
Seed = Annotated[int, Range(-1, 2**31)]


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the game."""

    latent: int = 32  # length of each of the four noises
    width: int = 48  # channels of a voice at its finest
    critic_width: int = 96  # channels of the critic at a step
    critic_steps: int = 5  # moves of the critic for one of the generator, each on fresh music (algorithm 1)
    lr: float = 1e-3  # Adam, generator
    critic_lr: float = 1e-3  # Adam, critic
    beta1: float = 0.0  # Adam, both players; momentum makes the game oscillate (Gulrajani 2017, algorithm 1)
    penalty: float = 10.0  # weight of the gradient penalty, lambda (Gulrajani 2017, algorithm 1)
    penalty_every: int = 1  # of a move's pieces every how many-th pays the penalty; 1: all, as in the paper


class MuseGAN(System):
    """A generator that writes bars for several voices, and the critic that hears how far from real they are."""

    def __init__(self, config: Config, data: RollSpec):
        super().__init__(config, data)
        if data.steps % BEAT or data.bars * data.steps % 8:
            raise UserError(f"musegan cannot write bars of {data.steps} steps: use bars of 8, 16, ... steps")
        outputs = data.high - data.low + 3  # pitches, rest, stroke
        self.generator = Generator(config.latent, config.width, data.voices, data.bars, data.steps, outputs)
        self.critic = Critic(config.critic_width, data.voices, data.bars * data.steps, outputs)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players, which leaves weights alone whose slope is nothing but rounding."""
        betas = (self.config.beta1, 0.9)
        return {
            "critic": Adam(self.critic.parameters(), self.config.critic_lr, betas, STEADY),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas, STEADY),
        }

    def stream(self, loader: Iterable[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """A step takes a fresh batch for each move of the critic."""
        yield from zip(*[iter(loader)] * self.config.critic_steps, strict=False)

    def objective(self, batch: tuple[Tensor, ...]) -> Iterator[Turn]:
        """The critic moves on each part of the batch, then the generator on all that it wrote."""
        voices, latent = self.data.voices, self.config.latent
        shapes = ((latent,), (latent,), (voices, latent), (voices, latent))
        noise = [torch.cat([self.dice.normal(len(part), *shape) for part in batch]) for shape in shapes]
        written = choose(self.generator(*noise))  # (5 B, V, T, O), at once: it stands still until its own turn
        for states, fake in zip(batch, written.detach().split([len(part) for part in batch]), strict=True):
            yield self._criticise(rolls_of(states, self.data), fake)
        yield Turn("generator", wasserstein_generator(self.critic(written)))  # judged by the critic that has just moved

    def _criticise(self, real: Tensor, fake: Tensor) -> Turn:
        """One move of the critic: open the gap between real and fake (B, V, T, O), with a slope of 1 between them."""
        on_real, on_fake = self.critic(torch.cat([real, fake])).chunk(2)
        distance = -wasserstein_critic(on_real, on_fake)
        some = slice(None, None, self.config.penalty_every)
        share = self.dice.uniform(len(real[some]), 1, 1, 1)  # another for each piece, at every move
        mixed = torch.lerp(real[some], fake[some], share).requires_grad_()
        penalty = gradient_penalty(self.critic(mixed), mixed)
        return Turn("critic", -distance + self.config.penalty * penalty, {"distance": distance, "penalty": penalty})

    def evaluate(self, held_out: Tensor, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Write as many pieces as were held out and compare what can be counted; the distance of the counts comes first."""
        real = self.data.cells(self.data.decode(held_out)).cpu()
        made = self._write(*self._noise(len(real), [0] * 4))
        scores = score_rolls(real, made, self.data.steps)
        if self.trained_on is None:  # the training music is not at hand
            return scores
        old = self.data.cells(self.trained_on().states)
        about = f"notes in a row as in training, in some key: the longest run of a piece, mean of {COPIES}"
        return {**scores, "copied": Score(copied(made[:COPIES], old), about, "lower", copied(real[:COPIES], old))}

    @ask
    def generate(
        self, n: Annotated[int, Range(1, 1000)] = 8, seed: int = 0, chords_seed: Seed = -1, style_seed: Seed = -1,
        melody_seed: Seed = -1, groove_seed: Seed = -1, instrument: Instrument = "choir",
        soundfont: Path = Path(), sound: Sound = "wav",
    ) -> Music:  # fmt: skip
        """Write new pieces; hold three of the four noises and vary one to hear what it does.

        n: how many pieces
        seed: which pieces; a larger n continues the same series
        chords_seed: the noise that all voices share, other in every bar; -1: that of seed
        style_seed: the noise that all voices and bars share; -1: that of seed
        melody_seed: the noise of each voice alone, other in every bar; -1: that of seed
        groove_seed: the noise of each voice alone, the same in all its bars; -1: that of seed
        instrument: what plays
        soundfont: your own .sf2, played instead
        sound: the kind of the files of sound
        """
        given = (chords_seed, style_seed, melody_seed, groove_seed)
        noise = self._noise(n, [seed if other < 0 else other for other in given])
        return self._music(self._write(*noise), (instrument, soundfont, sound))

    @ask
    def vary(
        self, noise: Kind = "melody", n: Annotated[int, Range(1, 1000)] = 4, seed: int = 0,
        instrument: Instrument = "choir", soundfont: Path = Path(), sound: Sound = "wav",
    ) -> Music:  # fmt: skip
        """Hold three of the noises of one piece and vary the fourth: the first piece is that of `generate`.

        noise: what varies
        n: how many pieces
        seed: which piece
        instrument: what plays
        soundfont: your own .sf2, played instead
        sound: the kind of the files of sound
        """
        one, other = self._noise(1, [seed] * 4), self._noise(n, [seed] * 4)
        kept = [b if kind == noise else a.expand_as(b) for kind, a, b in zip(KINDS, one, other, strict=True)]
        titles = tuple(f"{noise} {number + 1}" for number in range(n))
        return self._music(self._write(*kept), (instrument, soundfont, sound), titles)

    @ask
    def join(
        self, n: Annotated[int, Range(1, 1000)] = 6, seed: int = 0, hold: str = "style, groove", walk: bool = False,
        instrument: Instrument = "choir", soundfont: Path = Path(), sound: Sound = "wav",
    ) -> Music:  # fmt: skip
        """Write one long piece: stretches one after the other that share some of their noise.

        n: how many stretches
        seed: which piece
        hold: the noises that all stretches share, of chords, style, melody, groove; what is not named changes
        walk: what changes moves in equal strides from one end to another, instead of anew in every stretch
        instrument: what plays
        soundfont: your own .sf2, played instead
        sound: the kind of the files of sound
        """
        most = int((LONGEST_PLAYED - 1) / (self.data.bars * self.data.steps / BEAT * 60 / self.data.tempo))
        if n > most:
            raise UserError(f"n={n} stretches are too long to be played: at most {most}")
        held = [word.strip() for word in hold.split(",") if word.strip()]
        for word in held:
            if word not in KINDS:
                raise UserError(f'hold="{hold}": no noise "{word}"{did_you_mean(word, KINDS)}')
        noise = [
            z[:1].expand_as(z) if kind in held else _walked(z) if walk else z
            for kind, z in zip(KINDS, self._noise(n, [seed] * 4), strict=True)
        ]
        return self._music(self._write(*noise).flatten(0, 1).unsqueeze(0), (instrument, soundfont, sound))

    def _noise(self, n: int, seeds: Sequence[int]) -> tuple[Tensor, ...]:
        """The four noises of n pieces, from a seed each: no two kinds share a number, whatever their seeds."""
        latent, voices, device = self.config.latent, self.data.voices, next(self.parameters()).device
        chords, style = (latents(n, latent, 4 * seed + kind).to(device) for kind, seed in enumerate(seeds[:2]))
        own = [latents(n, voices * latent, 4 * seed + kind).to(device) for kind, seed in enumerate(seeds[2:], 2)]
        return chords, style, *(z.unflatten(1, (voices, latent)) for z in own)

    def _write(self, *noise: Tensor) -> Tensor:
        """The four noises of N pieces -> their cells (N, T, V), on the CPU."""
        parts = zip(*(z.split(TOGETHER) for z in noise), strict=True)
        return torch.cat([cells_of(choose(self.generator(*part)), self.data) for part in parts]).cpu()

    def _music(self, cells: Tensor, played: tuple[str, Path, str], titles: tuple[str, ...] = ()) -> Music:
        """Cells (N, T, V) as pieces, and what they are played with."""
        (instrument, font, sound), beats = played, self.data.steps // BEAT
        pieces = tuple(piece_of_roll(piece.numpy(), self.data.tempo) for piece in cells)
        own = None if font == Path() else font
        return Music(pieces, instrument, beats, titles=titles, sound=sound, soundfont=own)


def _walked(z: Tensor) -> Tensor:
    """(N, ..., Z) -> as many, in equal strides on the sphere from the first to the last."""
    way = torch.linspace(0, 1, len(z), device=z.device).view(-1, *[1] * (z.ndim - 1))
    return spherical(z[:1], z[-1:], way)
