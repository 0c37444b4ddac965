"""Super-resolution: how small pictures are made, the game, pictures of any size, and what the asks say and refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from handmade import api
from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.similarity import psnr
from handmade.networks.unet import Attention
from handmade.recipe import load_recipe
from handmade.samplers.tiles import tiles
from handmade.systems.super_resolution import system as room
from handmade.systems.super_resolution.small import blurred, enlarged, pieces, shrunk, spoilt
from handmade.systems.super_resolution.system import Config, SuperResolution

SMALL = {"times": 2, "width": 8, "multiples": (1, 2)}  # of the refiner


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(size=16, channels=3, **config):
    return SuperResolution(Config(**{**SMALL, **config}), ImageSpec(channels, size))


def awake(system):
    """With last layers that are no longer zero."""
    with torch.no_grad():
        for value in system.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.1)
    return system.eval()


def batch(n=6, size=16, channels=3):
    return ImageBatch(torch.rand(n, channels, size, size) * 2 - 1, torch.zeros(n, 0, dtype=torch.int64))


def picture(path, width, height, mode="RGB"):
    levels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(path)
    return path


# how small pictures are made


def test_a_small_pixel_is_the_mean_of_those_it_takes_the_place_of():
    x = torch.randn(2, 3, 8, 12)
    assert torch.allclose(shrunk(x, 4), x.unflatten(2, (2, 4)).unflatten(4, (3, 4)).mean((3, 5)), atol=1e-6)


def test_enlarging_keeps_flat_colours_and_stays_within_black_and_white():
    flat = torch.tensor([-1.0, 0.3]).view(1, 2, 1, 1).expand(1, 2, 5, 7)
    assert torch.allclose(enlarged(flat, 4), flat.repeat_interleave(4, 2).repeat_interleave(4, 3), atol=1e-6)
    assert enlarged(torch.rand(1, 1, 6, 6).round() * 2 - 1, 4).abs().max() <= 1


def test_a_blur_of_nothing_changes_nothing_and_a_wide_one_is_a_gaussian():
    x = torch.zeros(2, 2, 9, 9)
    x[:, :, 4, 4] = 1.0
    out = blurred(x, torch.tensor([0.0, 0.8]))
    weights = torch.exp(-torch.arange(-2, 3.0).square() / (2 * 0.8**2))
    weights = weights / weights.sum()
    assert torch.allclose(out[0], x[0], atol=1e-6)
    assert torch.allclose(out[1, 0, 2:7, 2:7], weights[:, None] * weights, atol=1e-6)


def test_as_many_small_pictures_are_spoilt_as_asked_and_the_others_left_alone():
    x = torch.rand(2000, 1, 4, 4)
    changed = (spoilt(x, 0.25, 0.7, 0.1, Dice(0)) - x).abs().flatten(1).amax(1) > 1e-5
    assert float(changed.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.allclose(spoilt(x, 0.0, 0.7, 0.1, Dice(0)), x, atol=1e-6)


def test_pieces_are_cut_out_or_are_the_whole_made_smaller():
    x = torch.rand(12, 1, 16, 16)
    made = pieces(x, 8, Dice(1))
    whole = shrunk(x, 2)
    windows = x.unfold(2, 8, 1).unfold(3, 8, 1)  # (12, 1, 9, 9, 8, 8)
    is_cut = [(windows[i, 0] == made[i, 0]).all(-1).all(-1).any().item() for i in range(12)]
    is_whole = [torch.allclose(made[i], whole[i], atol=1e-6) for i in range(12)]
    assert all(a != b for a, b in zip(is_cut, is_whole, strict=True)) and 0 < sum(is_cut) < 12
    assert torch.equal(pieces(x, 16, Dice(1)), x)


# the game


def test_the_loss_is_the_equation_of_the_docstring():
    system, given = awake(small(noise=0.3, spoilt=0.0)), batch()
    system.dice = Dice(3)
    (turn,) = system.objective(given)
    dice, x, n = Dice(3), given.pixels, 6  # the same draws again
    y = enlarged(spoilt(shrunk(x, 2), 0.0, 0.7, 0.1, dice), 2)
    t = torch.where(dice.uniform(n) < 0.5, 1.0, dice.uniform(n))
    part, e = t.view(-1, 1, 1, 1), dice.normal(n, 3, 16, 16)
    guess = system.refiner((1 - part) * x + part * (y + 0.3 * e), y, t)
    assert turn.player == "refiner" and 0 < (t == 1).sum() < n
    assert torch.allclose(turn.loss, (guess - x).abs().mean())


def test_an_untrained_refiner_gives_the_cubic_picture_back():
    system = small(size=16, noise=0.0).eval()
    given = torch.rand(3, 3, 5, 7) * 2 - 1
    assert torch.allclose(system.enlarge(given), enlarged(given, 2), atol=1e-6)
    assert torch.allclose(system.enlarge(given, passes=4), enlarged(given, 2), atol=1e-6)


@pytest.mark.parametrize(("size", "crop"), [(17, 0), (18, 0), (16, 32), (16, 6), (17, 8)])
def test_sizes_that_do_not_divide_are_refused_by_name(size, crop):
    with pytest.raises(UserError, match=f"{crop or size} px"):
        small(size, crop=crop)


def test_no_place_looks_at_another_but_through_convolutions():
    assert not any(isinstance(module, Attention) for module in small().modules())


# pictures of any size


@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 17), (13, 5), (8, 8)])
@pytest.mark.parametrize("times", [2, 3, 4])
def test_pictures_of_any_size_become_so_many_times_as_large(h, w, times):
    system = awake(small(size=24, times=times))
    assert system.enlarge(torch.rand(2, 3, h, w) * 2 - 1, passes=2).shape == (2, 3, times * h, times * w)


def test_a_picture_is_the_same_alone_and_in_a_crowd_and_the_seed_decides():
    system, given = awake(small()), torch.rand(10, 3, 8, 8) * 2 - 1
    crowd = system.enlarge(given, seed=4)
    assert torch.allclose(crowd[:1], system.enlarge(given[:1], seed=4), atol=1e-5)
    assert not torch.allclose(crowd, system.enlarge(given, seed=5), atol=1e-3)


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(8, 16, 4), (16, 16, 4), (20, 16, 4), (64, 16, 4), (60, 16, 8)]
)
def test_tiles_cover_a_picture_and_every_place_counts(length, side, overlap):
    weight = torch.zeros(length, 12)
    for tile in tiles(length, 12, side, overlap):
        assert tile.weight.shape == (min(side, length), 12) and tile.rows.start % 4 == 0
        weight[tile.rows, tile.columns] += tile.weight
    assert weight.min() > 0


def test_a_large_picture_has_no_seams(monkeypatch):
    """A refiner that adds the same everywhere gives the same in tiles as in one piece."""
    system, given = small(noise=0.0).eval(), torch.rand(1, 3, 20, 33) * 2 - 1
    with torch.no_grad():
        system.refiner.unet.out.bias.fill_(0.05)
    whole = system.enlarge(given)
    monkeypatch.setattr(room, "SIDE", 16)
    monkeypatch.setattr(room, "OVERLAP", 8)
    assert torch.allclose(system.enlarge(given), whole, atol=1e-5)


# asks


def test_refine_keeps_names_and_shapes(tmp_path):
    system = awake(small(times=4))
    picture(tmp_path / "wide.png", 9, 4)
    picture(tmp_path / "high.jpg", 5, 11, "L")
    made = dict(zip(*((album := system.refine(image=str(tmp_path))).names, album.levels), strict=True))
    assert {name: tuple(levels.shape) for name, levels in made.items()} == {
        "wide.png": (3, 16, 36), "high.png": (3, 44, 20)}  # fmt: skip


def test_compare_shows_small_soft_refined_and_true(tmp_path):
    system = awake(small(channels=1))
    system.evaluate(batch(6, channels=1))
    assert [tuple(levels.shape) for levels in system.compare(n=3).levels] == [(1, 16, 64)] * 3
    given = picture(tmp_path / "odd.png", 13, 11)
    (strip,) = system.compare(image=str(given)).levels
    assert strip.shape == (1, 10, 48)
    with pytest.raises(UserError, match=r"dot.png has 1 x 1 px"):
        system.compare(image=str(picture(tmp_path / "dot.png", 1, 1)))


def test_what_is_no_picture_or_would_be_too_large_is_refused_in_one_line(tmp_path, monkeypatch):
    system = small()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for image, said in (("missing.png", "missing.png"), ("broken.png", "broken.png"), (".", "broken.png")):
        with pytest.raises(UserError, match=said) as error:
            system.refine(image=str(tmp_path / image))
        assert len(str(error.value).splitlines()) == 1
    monkeypatch.setattr(room, "LARGEST", 100)
    with pytest.raises(UserError, match="20 x 16 px"):
        system.refine(image=str(picture(tmp_path / "large.png", 10, 8)))
    with pytest.raises(UserError, match="passes"):
        system.refine(image="picture.png", passes=0)


def test_scores_stand_beside_those_of_cubic_interpolation():
    scores = small(size=32, crop=16, noise=0.0).eval().evaluate(batch(6, 32))
    assert list(scores)[:4] == ["psnr", "ssim", "psnr_bicubic", "ssim_bicubic"]
    assert {"psnr_16", "ssim_16", "psnr_16_bicubic", "ssim_16_bicubic"} == set(list(scores)[4:])
    for name, score in scores.items():
        assert score.better == "higher"
        if "bicubic" not in name:
            assert score.value == pytest.approx(scores[f"{name}_bicubic"].value, abs=1e-3)  # untrained


# recipes


@pytest.mark.parametrize("name", ["faces", "emoji"])
def test_a_shipped_run_fits_into_a_megabyte_and_a_bit(name):
    made = load_recipe(f"super_resolution/{name}")
    system = SuperResolution(Config(**made.config), ImageSpec(3, made.data["size"]))
    assert 2 * sum(p.numel() for p in system.parameters()) + system.examples.numel() < 1.2e6
    assert set(made.train.ema) == {"refiner"}


def test_a_short_training_beats_cubic_interpolation(tmp_path):
    run = api.train("super_resolution/smoke", out=tmp_path / "run", overrides={"train.threads": "1"})
    scores = json.loads([json.dumps(event) for event in run.events("score")][-1])["scores"]
    for name in ("psnr", "ssim"):
        assert scores[name]["value"] > scores[f"{name}_bicubic"]["value"]
    system = api.load(run)
    true = system.data.encode(system.examples)
    soft, sharp = enlarged(shrunk(true, 2), 2), system.enlarge(shrunk(true, 2))
    assert psnr(true, sharp).mean() > psnr(true, soft).mean() + 2
    assert not torch.equal(interpolate(shrunk(true, 2), scale_factor=2.0), sharp)
