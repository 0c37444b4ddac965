"""Walks from noise to pictures with one network, its law of noise, and a guidance: what rooms that denoise ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from handmade.core import Score
from handmade.objectives.denoising import Law, Prediction, noisy, picture_in, squared_error, target
from handmade.samplers.diffusion import SAMPLERS, Believe, Draw, Stop, end, even_times
from handmade.samplers.guidance import guided
from handmade.samplers.noise import Noise

TOGETHER = 128  # pictures that are denoised in one batch
Guess = Callable[[Tensor, Tensor, Tensor], Tensor]  # pictures (B, ...), times (B,), what is told (B, ...) -> (B, ...)


@dataclass(frozen=True)
class Walker:
    """A network that takes noise out of pictures, ready to be asked for some.

    guess: the network; what it is told is a row of numbers per picture, and a row of zeros says nothing
    law: how much of a noisy picture is picture, and how much noise
    predict: what the guess is of
    shape: of one picture
    """

    guess: Guess
    law: Law
    predict: Prediction
    shape: tuple[int, ...]
    device: torch.device

    def draw(self, told: Tensor, seed: int, guidance: float, steps: int, sampler: str,
             change: Callable[[Believe], Believe] = lambda believe: believe) -> Tensor:  # fmt: skip
        """New pictures (n, *shape) from the noise of a seed, one for each row of `told` (n, ...)."""
        ends = []
        for rows in torch.arange(len(told)).split(TOGETHER):
            noise = self.noise(seed, rows.tolist())
            ends.append(end(self.walk(noise(), noise, told[rows], guidance, steps, sampler, change=change)))
        return torch.cat(ends)

    def noise(self, seed: int, pictures: Iterable[int]) -> Draw:
        """Fresh noise for these pictures of a seed, (n, *shape) at every call."""
        source = Noise(seed, pictures)
        return lambda: source.draw(*self.shape).to(self.device)

    def walk(self, x: Tensor, noise: Draw, told: Tensor, guidance: float, steps: int, sampler: str, start: float = 1.0,
             change: Callable[[Believe], Believe] = lambda believe: believe) -> Iterator[Stop]:  # fmt: skip
        """One walk of pictures x (B, *shape) from time `start` back to 0.

        change: lays something over what the network believes: a part that is known, say
        """
        believe = change(self.believe(told, guidance))
        return SAMPLERS[sampler](believe, x, even_times(steps, start).to(x.device), self.law, noise)

    def believe(self, told: Tensor, guidance: float) -> Believe:
        """The network as a sampler sees it; where guidance asks for both, it is asked with what is told and without."""
        plain = guidance == 1.0 or not bool(told.any())

        def believed(x: Tensor, t: Tensor) -> Tensor:
            times = t.expand(len(x))
            if plain:
                guess = self.guess(x, times, told)
            else:
                both = self.guess(torch.cat([x, x]), times.repeat(2), torch.cat([told, torch.zeros_like(told)]))
                asked, unasked = both.chunk(2)
                guess = guided(asked, unasked, guidance)
            return picture_in(guess, x, self.law(t), self.predict).clamp(-1, 1)

        return believed


def held_out_error(walker: Walker, x: Tensor, told: Tensor) -> Score:
    """The squared error of the guess on pictures x (N, *shape) at even times, the noise always the same."""
    n = len(x)
    t = (torch.arange(n, device=x.device) + 0.5) / n
    at, e = walker.law(t), Noise(0, range(n)).draw(*x.shape[1:]).to(x.device)
    parts = zip(*(whole.split(TOGETHER) for whole in (noisy(x, e, at), t, told)), strict=True)
    guess = torch.cat([walker.guess(*part) for part in parts])
    error = squared_error(guess, target(x, e, at, walker.predict))
    return Score(float(error), f"squared error per number of the guess, {n} held-out pictures at all times")
