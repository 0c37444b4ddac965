"""Image GAN: networks as wide as the usual ones, its game, and what can be asked of it."""

import pytest
import torch

from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.systems.image_gan.system import Config, ImageGAN


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def batch_of(n, channels=1, size=8):
    return ImageBatch(torch.rand(n, channels, size, size) * 2 - 1, torch.zeros(n, 0, dtype=torch.int64))


def test_the_networks_have_the_usual_size_and_the_generator_its_normalisation_besides():
    system = ImageGAN(Config(), ImageSpec(1, 28))
    assert sum(p.numel() for p in system.discriminator.parameters()) == 1_460_225
    assert sum(p.numel() for p in system.generator.parameters()) == 1_486_352 + 2 * (256 + 512 + 1024)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 17), (4, 5)])
def test_pictures_of_any_size_and_kind_go_in_and_come_out(channels, size):
    system = ImageGAN(Config(latent=5, width=20), ImageSpec(channels, size))
    turns = list(system.objective(batch_of(3, channels, size)))
    assert [turn.player for turn in turns] == ["discriminator", "generator"]
    assert all(turn.loss.dtype == torch.float32 and turn.loss.isfinite() for turn in turns)
    assert system.generate(n=2).pixels.shape == (2, channels, size, size)


def test_the_judges_loss_is_cross_entropy_and_the_penalty():
    system = ImageGAN(Config(width=32, r1=3.0), ImageSpec(1, 8)).eval()
    batch = batch_of(5)
    system.dice = Dice(seed=1)
    fake = system.generator(system.dice.normal(5, 100))
    real = batch.pixels.clone().requires_grad_()
    on_real, on_fake = system.discriminator(real), system.discriminator(fake)
    (slope,) = torch.autograd.grad(on_real.sum(), real)
    told = -(on_real.sigmoid().log().mean() + (1 - on_fake.sigmoid()).log().mean())
    system.dice = Dice(seed=1)
    judge = next(system.objective(batch))
    assert torch.allclose(judge.loss, told + 3.0 * slope.square().sum((1, 2, 3)).mean() / 2, atol=1e-5)


def test_nothing_is_dropped_when_pictures_are_asked_for():
    system = ImageGAN(Config(width=32), ImageSpec(1, 8))
    assert torch.equal(system.generate(n=4, seed=2).pixels, system.generate(n=4, seed=2).pixels)
    assert system.training  # the ask gives the system back as it was


def test_a_walk_and_a_grid_show_the_pictures_of_their_seeds():
    system = ImageGAN(Config(width=32), ImageSpec(1, 8))
    first = {seed: system.generate(n=1, seed=seed).pixels[0] for seed in range(4)}
    row, cells = system.walk(seeds="0,3", steps=4), system.grid(side=3)
    assert torch.allclose(row.pixels[0], first[0], atol=1e-5)
    assert torch.allclose(row.pixels[-1], first[3], atol=1e-5)
    for place, seed in zip((0, 2, 6, 8), range(4), strict=True):
        assert torch.allclose(cells.pixels[place], first[seed], atol=1e-5)
    with pytest.raises(UserError, match="whole numbers"):
        system.walk(seeds="a,b")


def test_the_yardstick_is_the_kernel_distance():
    system = ImageGAN(Config(width=32), ImageSpec(1, 8)).eval()
    white = ImageBatch(torch.ones(40, 1, 8, 8), torch.zeros(40, 0, dtype=torch.int64))
    with torch.no_grad():
        scores = system.evaluate(white)
    assert next(iter(scores)) == "kid"
    assert scores["kid"].value > 0.5 > abs(scores["kid"].floor)
