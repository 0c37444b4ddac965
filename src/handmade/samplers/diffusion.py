"""Ways back from noise to pictures: pure functions that know no network.

Each walks along `times` (S + 1,), falling from 1 (or wherever the noisy picture is) to 0, and yields at every stop the
noisy picture and the clean one that is believed to be behind it. `believe(x, t)` is the network: noisy pictures (B, ...) at
time t () -> clean ones (B, ...). One stop costs one look at the network; Heun's takes two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from handmade.objectives.denoising import Law

Believe = Callable[[Tensor, Tensor], Tensor]
Draw = Callable[[], Tensor]  # fresh normal noise in the shape of the pictures
Name = Literal["ddpm", "ddim", "heun", "dpm++"]


class Stop(NamedTuple):
    """Where a walk stands."""

    noisy: Tensor  # (B, ...)
    clean: Tensor  # (B, ...), what is believed to be behind it


def even_times(steps: int, start: float = 1.0) -> Tensor:
    """(steps + 1,) times from `start` down to 0, at equal distances."""
    return torch.linspace(start, 0, steps + 1)


def ddim(believe: Believe, x: Tensor, times: Tensor, law: Law, draw: Draw, eta: float = 0.0) -> Iterator[Stop]:
    """Say what is picture and what is noise, and mix them again with less noise (Song et al. 2021, arXiv 2010.02502, eq. 12).

    eta: share of the noise that is drawn afresh at every stop: 0 none, and the walk depends on its start alone; 1 is ddpm
    """
    for t, then in _strides(times):
        clean = believe(x, t)
        here, there = law(t), law(then)
        noise = (x - here.a * clean) / here.s
        added = here.s.square() - (here.a / there.a * there.s).square()  # noise that the way from `then` to t adds
        fresh = eta * there.s / here.s * added.clamp(min=0).sqrt()  # (paper, equation 16, for any law)
        x = there.a * clean + (there.s.square() - fresh.square()).clamp(min=0).sqrt() * noise
        if eta > 0 and then > 0:
            x = x + fresh * draw()
        yield Stop(clean if then == 0 else x, clean)


def ddpm(believe: Believe, x: Tensor, times: Tensor, law: Law, draw: Draw) -> Iterator[Stop]:
    """The way back of the chain itself, with fresh noise at every stop (Ho et al. 2020, arXiv 2006.11239, algorithm 2)."""
    return ddim(believe, x, times, law, draw, eta=1.0)


def heun(believe: Believe, x: Tensor, times: Tensor, law: Law, draw: Draw) -> Iterator[Stop]:
    """Two looks a stride: the second from where the first one leads (Karras et al. 2022, arXiv 2206.00364, algorithm 1).

    In y = x / a and n = s / a the way is straight where the belief is constant: dy/dn = (y - clean) / n.
    """
    for t, then in _strides(times):
        here, there = law(t), law(then)
        clean = believe(x, t)
        if then == 0:  # from the last stop the belief itself is the picture
            yield Stop(clean, clean)
            return
        y, n, m = x / here.a, here.s / here.a, there.s / there.a
        slope = (y - clean) / n
        ahead = y + (m - n) * slope
        again = believe(ahead * there.a, then)
        x = there.a * (y + (m - n) * (slope + (ahead - again) / m) / 2)
        yield Stop(x, clean)


def dpm_solver(believe: Believe, x: Tensor, times: Tensor, law: Law, draw: Draw) -> Iterator[Stop]:
    """DPM-Solver++(2M): one look a stride, and the one before remembered (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    In l = log(a / s) the belief is drawn out in a straight line over the next stride h.
    """
    before: tuple[Tensor, Tensor] | None = None  # the last belief, and the stride that led here
    for t, then in _strides(times):
        here, there = law(t), law(then)
        clean = believe(x, t)
        if then == 0:
            yield Stop(clean, clean)
            return
        h = (there.a / there.s).log() - (here.a / here.s).log()
        drawn_out = clean
        if before is not None:
            ratio = h / (2 * before[1])
            drawn_out = (1 + ratio) * clean - ratio * before[0]
        x = there.s / here.s * x - there.a * torch.expm1(-h) * drawn_out
        before = (clean, h)
        yield Stop(x, clean)


SAMPLERS: dict[str, Callable[[Believe, Tensor, Tensor, Law, Draw], Iterator[Stop]]] = {
    "ddpm": ddpm, "ddim": ddim, "heun": heun, "dpm++": dpm_solver,
}  # fmt: skip


def end(walk: Iterable[Stop]) -> Tensor:
    """The picture at the end of a walk."""
    clean = None
    for stop in walk:
        clean = stop.clean
    if clean is None:
        raise ValueError("a walk needs at least one step")
    return clean


def _strides(times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return pairwise(times)
