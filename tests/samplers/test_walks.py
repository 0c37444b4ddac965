"""Ways back from noise, on data whose every belief is known: a normal distribution with mean 0.5 and deviation 0.3."""

from __future__ import annotations

import math

import pytest
import torch

from handmade.core import seeded
from handmade.objectives.denoising import cosine, linear, straight
from handmade.samplers.diffusion import SAMPLERS, ddim, even_times
from handmade.samplers.diffusion import end as end_of
from handmade.samplers.guidance import guided
from handmade.samplers.noise import Noise
from handmade.samplers.walks import Walker

MEAN, DEVIATION = 0.5, 0.3


def walk(name, steps, law=cosine, n=20_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, generator=generator)

    def believe(x, t):  # E[x_0 | x_t] of a normal distribution
        a, s = law(t)
        return MEAN + a * DEVIATION**2 / (a**2 * DEVIATION**2 + s**2) * (x - a * MEAN)

    return x, SAMPLERS[name](believe, x, even_times(steps), law, lambda: torch.randn(x.shape, generator=generator))


@pytest.mark.parametrize("law", [linear, cosine, straight], ids=["linear", "cosine", "straight"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_many_small_steps_end_in_the_distribution(name, law):
    drawn = end_of(walk(name, 200, law)[1])
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert drawn.std().item() == pytest.approx(DEVIATION, abs=0.03)


def test_on_the_straight_way_ddim_is_eulers_method():
    def believe(x, t):
        return x.sin()

    (stop,) = ddim(believe, torch.tensor([[0.7]]), torch.tensor([0.8, 0.6]), straight, lambda: torch.zeros(1, 1))
    flow = (0.7 - math.sin(0.7)) / 0.8  # dx/dt = (x - clean) / t
    assert stop.noisy.item() == pytest.approx(0.7 - 0.2 * flow, rel=1e-5)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++"])
def test_walks_without_fresh_noise_keep_the_order_of_their_starts(name):
    x, stops = walk(name, 50)
    drawn = end_of(stops)
    order = x.squeeze(1).argsort()
    assert (drawn[order].squeeze(1).diff() >= -1e-5).all()


def test_solvers_of_second_order_need_fewer_looks():
    true = end_of(walk("ddim", 1000)[1])
    error = {name: (end_of(walk(name, steps)[1]) - true).abs().mean().item()
             for name, steps in (("ddim", 16), ("heun", 8), ("dpm++", 16))}  # sixteen looks each  # fmt: skip
    assert error["dpm++"] < error["ddim"] and error["heun"] < error["ddim"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_stop_is_shown(name):
    stops = list(walk(name, 7, n=3)[1])
    assert len(stops) == 7
    assert torch.equal(stops[-1].noisy, stops[-1].clean)


def test_fresh_noise_is_drawn_by_the_share_that_is_asked_for():
    t, then = torch.tensor([0.8, 0.4])
    here, there = cosine(t), cosine(then)
    full = (there.s / here.s) * (1 - (here.a / there.a) ** 2).sqrt()  # of the chain itself

    def fresh(eta):
        """What a stop adds to a picture that is believed black, beside the noise that it keeps."""
        walk = ddim(
            lambda x, t: x * 0, torch.zeros(1, 1), torch.stack([t, then]), cosine, lambda: torch.ones(1, 1), eta
        )
        return next(walk).noisy.item()

    assert fresh(0.0) == 0
    assert fresh(0.5) == pytest.approx(0.5 * full.item(), rel=1e-5)
    assert fresh(1.0) == pytest.approx(full.item(), rel=1e-5)


def test_guidance_of_one_is_what_was_learnt_and_of_none_forgets():
    asked, unasked = torch.tensor([3.0]), torch.tensor([1.0])
    assert guided(asked, unasked, 1) == asked
    assert guided(asked, unasked, 0) == unasked
    assert guided(asked, unasked, 2) == 5


def looks_of(guidance, steps=10, **more):
    """How many pictures the network was shown at every stop of a walk of one picture, and the times."""
    seen = []

    def guess(x, times, told):
        seen.append((len(x), round(float(times[0]), 3)))
        return torch.zeros_like(x)

    walker = Walker(guess, cosine, "velocity", (1, 2, 2), torch.device("cpu"), **more)
    walker.draw(torch.ones(1, 1), 0, guidance, steps, "ddim")
    return seen


def test_guidance_exaggerates_in_the_middle_alone_and_forgets_everywhere():
    both = [time for pictures, time in looks_of(2.0, loud=(0.25, 0.75)) if pictures == 2]
    assert both == [0.7, 0.6, 0.5, 0.4, 0.3]
    assert all(pictures == 2 for pictures, _ in looks_of(2.0))
    assert all(pictures == 2 for pictures, _ in looks_of(0.5, loud=(0.25, 0.75)))
    assert all(pictures == 1 for pictures, _ in looks_of(1.0, loud=(0.25, 0.75)))


def quiet_walker(beliefs, **more):
    """A walker that believes what `beliefs(told)` says, (B, 1), whatever it sees."""

    def guess(x, times, told):
        return beliefs(told)[:, :, None, None].expand_as(x)

    return Walker(guess, straight, "picture", (1, 2, 2), torch.device("cpu"), **more)


def test_a_film_shows_beliefs_at_full_contrast_from_the_first_on():
    reel = quiet_walker(lambda told: 0.75 * told.float()).film(torch.ones(1, 1), 0, 1.0, 8, "ddim", 5)
    noisy, believed = reel.chunk(2, 2)
    assert torch.allclose(believed, torch.tensor(0.75))
    assert noisy[0].abs().max() == 1 > noisy[-1].abs().max()


def test_below_a_guidance_of_one_nothing_that_was_forbidden_is_drawn():
    walker, asked, forbidden = quiet_walker(torch.Tensor.float), torch.full((2, 1), 0.5), torch.full((2, 1), -0.5)
    drawn = {loud: walker.draw(asked, 0, loud, 4, "ddim", against=forbidden)[0, 0, 0, 0].item()
             for loud in (0.0, 0.5, 1.0, 1.25)}  # fmt: skip
    assert drawn == pytest.approx({0.0: 0.0, 0.5: 0.25, 1.0: 0.5, 1.25: 0.75})


def test_seeds_as_large_as_an_ask_takes_have_noise_of_their_own():
    largest = 2**63 - 1
    drawn = [Noise(seed, [index]).draw(3) for seed in (largest, -largest, largest - 1) for index in (0, 1)]
    assert len({tuple(row.flatten().tolist()) for row in drawn}) == 6
    assert torch.equal(Noise(5, [2]).draw(3)[0], torch.randn(3, generator=seeded(5 * 1_000_003 + 2)))
