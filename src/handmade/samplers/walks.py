"""Walks from noise to pictures with one network, its law of noise, and a guidance: what rooms that denoise ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from handmade.core import Score
from handmade.objectives.denoising import Law, Prediction, beyond, noisy, picture_in, squared_error, target
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
    margin: how far beyond -1 and 1 the network puts black and white (`beyond`); what is drawn is clamped
    loud: times between which guidance exaggerates: in all that noise it would make pictures alike, and near the end it
        changes little (Kynkaanniemi et al. 2024, arXiv 2404.07724); a look outside costs half as much
    """

    guess: Guess
    law: Law
    predict: Prediction
    shape: tuple[int, ...]
    device: torch.device
    margin: float = 0.0
    loud: tuple[float, float] = (0.0, 1.0)

    def draw(self, told: Tensor, seed: int, guidance: float, steps: int, sampler: str,
             change: Callable[[Believe], Believe] = lambda believe: believe,
             against: Tensor | None = None) -> Tensor:  # fmt: skip
        """New pictures (n, *shape) from the noise of a seed, one for each row of `told` (n, ...).

        against: rows (n, ...) that guidance above 1 leads away from; left out, it leads away from what is drawn unasked
        """
        ends = []
        for rows in torch.arange(len(told)).split(TOGETHER):
            noise, away = self.noise(seed, rows.tolist()), None if against is None else against[rows]
            walk = self.walk(noise(), noise, told[rows], guidance, steps, sampler, change=change, against=away)
            ends.append(end(walk).clamp(-1, 1))
        return torch.cat(ends)

    def noise(self, seed: int, pictures: Iterable[int]) -> Draw:
        """Fresh noise for these pictures of a seed, (n, *shape) at every call."""
        source = Noise(seed, pictures)
        return lambda: source.draw(*self.shape).to(self.device)

    def walk(self, x: Tensor, noise: Draw, told: Tensor, guidance: float, steps: int, sampler: str, start: float = 1.0,
             change: Callable[[Believe], Believe] = lambda believe: believe,
             against: Tensor | None = None) -> Iterator[Stop]:  # fmt: skip
        """One walk of pictures x (B, *shape) from time `start` back to 0.

        change: lays something over what the network believes: a part that is known, say
        """
        believe = change(self.believe(told, guidance, against))
        return SAMPLERS[sampler](believe, x, even_times(steps, start).to(x.device), self.law, noise)

    def film(self, told: Tensor, seed: int, guidance: float, steps: int, sampler: str, stops: int) -> Tensor:
        """One picture at even stops of its walk, the noisy one above the one believed behind it, (stops, C, 2 H, H)."""
        noise = self.noise(seed, range(1))
        start = noise()
        walk = list(self.walk(start, noise, told, guidance, steps, sampler))
        walk = [Stop(start, walk[0].clean), *walk]
        shown = [walk[round(k * (len(walk) - 1) / (stops - 1))] for k in range(stops)]
        seen = torch.cat([stop.noisy for stop in shown])  # (stops, C, H, H), as loud as it may be without being clamped
        seen = seen / seen.abs().amax((1, 2, 3), keepdim=True).clamp_min(1)
        return torch.cat([seen, torch.cat([stop.clean.clamp(-1, 1) for stop in shown])], 2)

    def believe(self, told: Tensor, guidance: float, against: Tensor | None = None) -> Believe:
        """The network as a sampler sees it; where guidance asks for both, it is asked with what is told and without.

        Below 1 guidance leads towards what is drawn without, and that must not be what was forbidden.
        """
        without = torch.zeros_like(told) if against is None or guidance < 1 else against
        plain = guidance == 1.0 or torch.equal(told, without)

        def believed(x: Tensor, t: Tensor) -> Tensor:
            times = t.expand(len(x))
            if plain or (guidance > 1 and not self.loud[0] <= float(t) <= self.loud[1]):
                guess = self.guess(x, times, told)
            else:
                both = self.guess(torch.cat([x, x]), times.repeat(2), torch.cat([told, without]))
                asked, unasked = both.chunk(2)
                guess = guided(asked, unasked, guidance)
            return picture_in(guess, x, self.law(t), self.predict).clamp(-1 - self.margin, 1 + self.margin)

        return believed


def held_out_error(walker: Walker, x: Tensor, told: Tensor) -> Score:
    """The squared error of the guess on pictures x (N, *shape) at even times, the noise always the same."""
    x, n = beyond(x, walker.margin), len(x)
    t = (torch.arange(n, device=x.device) + 0.5) / n
    at, e = walker.law(t), Noise(0, range(n)).draw(*x.shape[1:]).to(x.device)
    parts = zip(*(whole.split(TOGETHER) for whole in (noisy(x, e, at), t, told)), strict=True)
    guess = torch.cat([walker.guess(*part) for part in parts])
    error = squared_error(guess, target(x, e, at, walker.predict))
    return Score(float(error), f"squared error per number of the guess, {n} held-out pictures at all times")
