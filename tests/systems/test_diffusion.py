"""The diffusion room: what it is asked for in training, and what can be asked of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.objectives.denoising import cosine, noisy
from handmade.samplers.walks import Walker
from handmade.systems.diffusion.system import Config, Diffusion

SPEC = ImageSpec(1, 8, {"glasses": ("no", "yes"), "hair": ("black", "blond", "red")})
SMALL = Config(width=8, multiples=(1, 2), blocks=1)


def room(config: Config = SMALL, spec: ImageSpec = SPEC) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(config, spec)


def awake(system: Diffusion) -> Diffusion:
    """With last layers that are no longer zero."""
    with torch.no_grad():
        for value in system.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.1)
    return system.eval()


def batch(n: int = 6) -> ImageBatch:
    return ImageBatch(torch.rand(n, 1, 8, 8) * 2 - 1, torch.stack([torch.arange(n) % 2, torch.arange(n) % 3], 1))


def test_convolutions_move_by_muon_unless_adamw_is_asked_for():
    wide = Config(width=16, multiples=(1, 2), blocks=1)
    system = room(wide)
    muon, rest = system.optimizers()["denoiser"].param_groups
    assert system.denoiser.unet.stem.weight in set(rest["params"]), "one channel of nine pixels: no matrix worth it"
    assert any(parameter.ndim == 4 for parameter in muon["params"])
    assert len(muon["params"]) + len(rest["params"]) == len(list(system.parameters()))
    (group,) = room(dataclasses.replace(wide, optimizer="adamw", lr=1e-3)).optimizers()["denoiser"].param_groups
    assert group["lr"] == 1e-3 and len(group["params"]) == len(list(system.parameters()))


@pytest.mark.parametrize("predict", ["velocity", "noise", "picture"])
def test_the_loss_is_the_mean_square_of_what_an_untrained_network_leaves_out(predict):
    system, given = room(Config(width=8, multiples=(1, 2), blocks=1, predict=predict)), batch()
    system.dice = Dice(3)
    (turn,) = system.objective(given)
    dice = Dice(3)  # the same draws again
    at, e = cosine(dice.spread(6)), dice.normal(6, 1, 8, 8)
    a, s = at.a.view(-1, 1, 1, 1), at.s.view(-1, 1, 1, 1)
    wanted = {"noise": e, "picture": given.pixels, "velocity": a * e - s * given.pixels}[predict]
    assert turn.player == "denoiser"
    assert torch.allclose(turn.loss, wanted.square().mean())  # its guess is zero: the last layer starts there


def test_labels_are_hidden_as_often_as_the_recipe_says():
    system = room()
    told = system.partly(torch.ones(20_000, 2, dtype=torch.int64), 0.2)
    assert set(told.unique().tolist()) == {0, 2}
    assert (told == 0).all(1).float().mean().item() == pytest.approx(0.2 + 0.8 * 0.04, abs=0.01)
    assert (told == 0).float().mean().item() == pytest.approx(0.2 + 0.8 * 0.2, abs=0.01)


def test_a_picture_of_a_seed_is_the_same_alone_and_in_a_crowd():
    system = awake(room())
    crowd = system.generate(n=5, seed=7, steps=3).pixels
    alone = system.generate(n=1, seed=7, steps=3).pixels
    assert torch.allclose(crowd[:1], alone, atol=1e-5)
    assert not torch.allclose(crowd[0], system.generate(n=1, seed=8, steps=3).pixels[0], atol=1e-2)


def test_labels_and_guidance_reach_the_picture():
    system = awake(room())
    plain = system.walker.draw(torch.zeros(2, 2, dtype=torch.int64), 0, 1.0, 4, "dpm++")  # nothing said
    blond, loud, forgotten = (
        system.generate(n=2, steps=4, label="hair=blond", guidance=guidance).pixels for guidance in (1.0, 5.0, 0.0)
    )
    assert not torch.allclose(plain, blond, atol=1e-3)
    assert (loud - plain).abs().mean() > (blond - plain).abs().mean()
    assert torch.allclose(forgotten, plain, atol=1e-4)


def test_labels_that_nobody_names_come_as_in_training(monkeypatch):
    system, heard = awake(room()), []
    given = ImageBatch(torch.zeros(1500, 1, 8, 8), torch.tensor([[1, 2]]).expand(1500, 2))
    list(system.objective(given))
    monkeypatch.setattr(Walker, "draw", lambda self, told, *rest: heard.append(told) or torch.zeros(len(told), 1, 8, 8))
    for label, wanted in (("", [2, 3]), ("hair=black", [2, 1]), ("glasses=no", [1, 3])):
        system.generate(n=3, label=label)
        assert heard[-1].tolist() == [wanted] * 3
    again = room()
    again.load_state_dict(system.state_dict())
    assert again.chosen("", 5, seed=1).eq(torch.tensor([2, 3])).all(), "a checkpoint remembers"


@pytest.mark.parametrize(
    ("label", "said"), [("hare=red", 'did you mean "hair"'), ("hair=rad", 'did you mean "red"'), ("hair", "one value")]
)
def test_a_wrong_label_is_one_line(label, said):
    with pytest.raises(UserError, match=said):
        room().generate(n=1, label=label)


def test_without_labels_a_label_is_refused():
    with pytest.raises(UserError, match="trained without labels"):
        room(spec=ImageSpec(1, 8)).generate(n=1, label="hair=red")


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match=r"18 px cannot be folded by 1 and halved 2 times.*multiple of 4"):
        room(Config(width=8, multiples=(1, 2, 2)), ImageSpec(1, 18))


def picture(path: Path, shade: int = 255, size: int = 8) -> Path:
    Image.fromarray(np.full((size, size), shade, np.uint8)).save(path)
    return path


def test_inpainting_leaves_what_the_mask_does_not_free(tmp_path):
    system = awake(room())
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    mine = picture(tmp_path / "mine.png", 200)
    drawn = system.inpaint(image=mine, mask=tmp_path / "mask.png", n=2, steps=4).pixels
    assert len(drawn) == 3  # the picture itself comes first
    assert torch.equal(drawn[1:, :, :, :4], drawn[:1, :, :, :4].expand(2, -1, -1, -1))
    assert not torch.allclose(drawn[1, :, :, 4:], drawn[0, :, :, 4:], atol=0.05)


def test_what_is_transparent_in_a_mask_stays(tmp_path):
    layer = np.zeros((8, 8, 4), np.uint8)
    layer[:, 4:] = 255  # painted white on a transparent layer
    Image.fromarray(layer).save(tmp_path / "layer.png")
    mine = picture(tmp_path / "mine.png", 200)
    drawn = awake(room()).inpaint(image=mine, mask=tmp_path / "layer.png", n=1, steps=4).pixels
    assert torch.equal(drawn[1, :, :, :4], drawn[0, :, :, :4])
    assert not torch.allclose(drawn[1, :, :, 4:], drawn[0, :, :, 4:], atol=0.05)


def test_a_mask_without_white_is_refused(tmp_path):
    mine, black = picture(tmp_path / "mine.png"), picture(tmp_path / "black.png", 0)
    with pytest.raises(UserError, match=r"black\.png is white nowhere: paint it white where something new may come"):
        room().inpaint(image=mine, mask=black, n=1, steps=1)


def test_a_folder_is_no_mask(tmp_path):
    picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    with pytest.raises(UserError, match="give one mask"):
        room().inpaint(image=tmp_path / "a.png", mask=tmp_path, n=1, steps=1)
    with pytest.raises(UserError, match="holds 2 pictures: give one"):
        room().vary(image=tmp_path, n=1, steps=1)


def test_a_small_strength_keeps_the_picture_and_a_large_one_does_not(tmp_path):
    """With a network that knows all, whose belief is always one grey: the nearer the start, the more is left of it."""
    system = room()
    mine = picture(tmp_path / "mine.png")
    x = torch.ones(1, 1, 8, 8)
    seen = {}

    def guess(x_t, t, told):
        seen[round(float(t[0]), 2)] = (x_t - x).abs().mean().item()
        return torch.zeros_like(x_t)

    object.__setattr__(system, "denoiser", guess)
    for strength in (0.1, 0.9):
        system.vary(image=mine, strength=strength, n=1, steps=2)
    assert seen[0.1] < 0.3 < seen[0.9]


def test_a_perfect_network_ends_in_the_picture_with_every_sampler():
    x = torch.rand(3, 1, 8, 8) * 2 - 1

    def guess(x_t, t, told):  # the velocity that leads back to x
        at = cosine(t)
        a, s = at.a.view(-1, 1, 1, 1), at.s.view(-1, 1, 1, 1)
        return a * (x_t - a * x) / s - s * x

    walker = Walker(guess, cosine, "velocity", (1, 8, 8), torch.device("cpu"))
    for sampler in ("ddpm", "ddim", "heun", "dpm++"):
        drawn = walker.draw(torch.zeros(3, 1, dtype=torch.int64), seed=0, guidance=1.0, steps=5, sampler=sampler)
        assert torch.allclose(drawn, x, atol=1e-3), sampler


def test_with_a_margin_a_small_error_leaves_black_black():
    """The network is a little wrong everywhere; only grey shows it."""
    x = torch.full((2, 1, 8, 8), -1.0)
    x[:, :, :, 4:] = 0.25

    def guess(x_t, t, told):
        at = cosine(t)
        a, s = at.a.view(-1, 1, 1, 1), at.s.view(-1, 1, 1, 1)
        believed = torch.where(x < 0, -1.1, x) + 0.05
        return a * (x_t - a * believed) / s - s * believed

    walker = Walker(guess, cosine, "velocity", (1, 8, 8), torch.device("cpu"), margin=0.1)
    drawn = walker.draw(torch.zeros(2, 1, dtype=torch.int64), seed=0, guidance=1.0, steps=5, sampler="dpm++")
    assert torch.equal(drawn[:, :, :, :4], x[:, :, :, :4])
    assert torch.allclose(drawn[:, :, :, 4:], torch.tensor(0.3), atol=1e-3)


def test_a_margin_is_learnt_and_edits_keep_the_picture(tmp_path):
    system, given = room(dataclasses.replace(SMALL, margin=0.2)), batch()
    given.pixels[:, :, :4] = -1.0
    system.dice = Dice(3)
    (turn,) = system.objective(given)
    dice = Dice(3)
    at, e = cosine(dice.spread(6)), dice.normal(6, 1, 8, 8)
    moved = torch.where(given.pixels == -1, -1.2, given.pixels)
    assert torch.allclose(turn.loss, (at.a.view(-1, 1, 1, 1) * e - at.s.view(-1, 1, 1, 1) * moved).square().mean())
    black = picture(tmp_path / "black.png", 0)
    drawn = awake(system).inpaint(image=black, n=1, steps=3).pixels
    assert (drawn[1, :, :2] == -1).all()
    assert system.vary(image=black, n=1, steps=2).pixels.abs().max() <= 1


def test_errors_of_slopes_weigh_as_much_as_the_recipe_says():
    given = batch()
    losses = {}
    for weight in (0.0, 1.0, 2.0):
        system = room(dataclasses.replace(SMALL, edges=weight))
        system.dice = Dice(3)
        (turn,) = system.objective(given)
        losses[weight] = turn.loss.item()
    dice = Dice(3)
    at, e = cosine(dice.spread(6)), dice.normal(6, 1, 8, 8)
    v = at.a.view(-1, 1, 1, 1) * e - at.s.view(-1, 1, 1, 1) * given.pixels  # all of it is error at first
    slopes = v.diff(dim=2).square().mean() + v.diff(dim=3).square().mean()
    assert losses[1.0] - losses[0.0] == pytest.approx(float(slopes), rel=1e-4)
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * float(slopes), rel=1e-4)


def test_a_film_goes_from_noise_to_the_picture_of_its_seed():
    system = awake(room())
    reel = system.film(seed=4, stops=5, steps=8)
    assert reel.pixels.shape == (5, 1, 16, 8)  # noisy above, believed below
    last = system.generate(n=1, seed=4, steps=8, sampler="ddim").pixels
    assert torch.allclose(reel.pixels[-1, :, 8:], last[0], atol=1e-5)


def test_compare_has_a_row_for_each_sampler():
    sheet = awake(room()).compare(label="hair=red", steps=4)
    assert len(sheet.pixels) == 4 * 5 and sheet.columns == 5
    assert sheet.titles[0].startswith("ddpm") and sheet.titles[-1] == "dpm++ x8"


def test_noise_is_added_as_the_law_says():
    x, e = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)
    at = cosine(torch.tensor([0.5]))
    assert torch.allclose(noisy(x, e, at), at.a + 2 * at.s)
