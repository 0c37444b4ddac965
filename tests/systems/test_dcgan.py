"""DCGAN: the paper's networks, its game, and what can be asked of it."""

import pytest
import torch
from torch.nn.functional import softplus

from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.engine.devices import World
from handmade.engine.turns import Table, players_of
from handmade.errors import UserError
from handmade.systems.dcgan.system import DCGAN, Config


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def batch_of(n, channels=3, size=16):
    return ImageBatch(torch.rand(n, channels, size, size) * 2 - 1, torch.zeros(n, 0, dtype=torch.int64))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_both_networks_have_the_size_of_the_papers():
    system = DCGAN(Config(), ImageSpec(3, 64))
    assert parameters(system.discriminator) == 2_765_568
    assert parameters(system.generator) == 3_576_704


def test_weights_start_as_the_paper_says():
    system = DCGAN(Config(width=32), ImageSpec(3, 32))
    for layer in [*system.generator, *system.discriminator]:
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert abs(float(layer.weight.detach().std()) - 0.02) < 0.002
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert abs(float(layer.weight.detach().mean()) - 1) < 0.02
            assert 0 < float(layer.weight.detach().std()) < 0.04


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_pictures_of_every_size_go_in_and_come_out(size, channels):
    system = DCGAN(Config(latent=7, width=3), ImageSpec(channels, size))
    turns = list(system.objective(batch_of(3, channels, size)))
    assert [turn.player for turn in turns] == ["discriminator", "generator"]
    assert all(turn.loss.dtype == torch.float32 and turn.loss.isfinite() for turn in turns)
    assert system.generate(n=2).pixels.shape == (2, channels, size, size)


@pytest.mark.parametrize("size", [28, 4, 512])
def test_a_size_that_cannot_be_drawn_is_refused_by_name(size):
    with pytest.raises(UserError, match=f"cannot draw {size} px"):
        DCGAN(Config(), ImageSpec(3, size))


@pytest.mark.parametrize("at_once", [False, True])
def test_the_two_losses_are_the_equations_of_the_docstring(at_once):
    system = DCGAN(
        Config(width=4, at_once=at_once), ImageSpec(3, 16)
    ).eval()  # without batch statistics both networks are functions
    real = batch_of(5)
    system.dice = Dice(seed=1)
    fake = system.generator(system.dice.normal(5, 100, 1, 1))
    p_real, p_fake = system.discriminator(real.pixels).sigmoid(), system.discriminator(fake).sigmoid()
    system.dice = Dice(seed=1)
    moves = list(system.objective(real))
    judge, forger = moves[0] if at_once else moves
    assert torch.allclose(judge.loss, -(p_real.log().mean() + (1 - p_fake).log().mean()), atol=1e-5)
    assert torch.allclose(forger.loss, -p_fake.log().mean(), atol=1e-5)


def test_the_penalty_is_laid_on_the_judge_only_on_its_steps():
    ones = ImageBatch(torch.ones(3, 3, 16, 16), torch.zeros(3, 0, dtype=torch.int64))
    system = DCGAN(Config(width=4, norm="none", r1=10.0, r1_every=4), ImageSpec(3, 16))
    losses = []
    for step in (0, 1, 3, 4):
        system.step, system.dice = step, Dice(seed=1)
        losses.append(float(next(system.objective(ones)).loss.detach()))
    assert losses[0] == losses[3] > losses[1] == losses[2]


@pytest.mark.parametrize("at_once", [False, True])
def test_the_forger_learns_from_the_judge_that_has_just_moved_or_both_from_one_judgement(at_once):
    system = DCGAN(Config(width=4, at_once=at_once), ImageSpec(3, 16))
    judged, before = [], [parameter.detach().clone() for parameter in system.parameters()]
    system.discriminator.register_forward_hook(lambda module, given, logits: judged.append(logits.detach()))
    turns = list(Table(system, players_of(system), World()).play([batch_of(4)], seed=0))
    assert len(judged) == (2 if at_once else 3)  # the real ones once, the drawn ones once or twice
    assert float(turns[1].loss.detach()) == pytest.approx(float(softplus(-judged[-1]).mean()))
    assert not torch.allclose(judged[0], judged[-1])
    assert at_once or not torch.allclose(judged[1], judged[2])  # the same pictures, by another judge
    assert all(not torch.equal(old, new) for old, new in zip(before, system.parameters(), strict=True))


def test_a_walk_begins_and_ends_with_the_pictures_of_its_seeds():
    system = DCGAN(Config(width=4), ImageSpec(3, 16))
    row = system.walk(seeds="3,8", steps=5)
    assert row.columns == 6
    assert torch.allclose(row.pixels[0], system.generate(n=1, seed=3).pixels[0], atol=1e-5)
    assert torch.allclose(row.pixels[-1], system.generate(n=1, seed=8).pixels[0], atol=1e-5)


def test_a_grid_has_the_pictures_of_its_seeds_in_the_corners():
    system = DCGAN(Config(width=4), ImageSpec(3, 16))
    cells = system.grid(seeds="1,2,3,4", side=3)
    assert cells.pixels.shape == (9, 3, 16, 16)
    for place, seed in zip((0, 2, 6, 8), (1, 2, 3, 4), strict=True):
        assert torch.allclose(cells.pixels[place], system.generate(n=1, seed=seed).pixels[0], atol=1e-5)
    with pytest.raises(UserError, match="four corners"):
        system.grid(seeds="1,2")


def test_a_judge_decides_what_is_compared():
    system = DCGAN(Config(width=4), ImageSpec(3, 16)).eval()
    plain_colours = (torch.rand(40, 3, 1, 1) * 2 - 1).expand(-1, -1, 16, 16)
    held_out = ImageBatch(plain_colours, torch.zeros(40, 0, dtype=torch.int64))
    with torch.no_grad():
        plain = system.evaluate(held_out)
        blind = system.evaluate(held_out, judge=lambda pixels: torch.zeros(len(pixels), 4))
    assert next(iter(plain)) == "kid"
    assert plain["kid"].value > plain["kid"].floor
    assert blind["kid"].value == pytest.approx(0, abs=1e-6)
