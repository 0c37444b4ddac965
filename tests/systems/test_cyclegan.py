"""CycleGAN: the paper's networks and game, the memory of the critics, pictures of any size, and its scores."""

from __future__ import annotations

import copy
import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import instance_norm

from handmade.core import Dice
from handmade.data.specs import DomainsBatch, DomainsSpec
from handmade.errors import UserError
from handmade.objectives.cycle import cycle_consistency
from handmade.recipe import load_recipe
from handmade.samplers.tiles import tiles
from handmade.systems.cyclegan.network import InstanceNorm, Reflect, clamped
from handmade.systems.cyclegan.pool import Pool
from handmade.systems.cyclegan.system import Config, CycleGAN, second_half
from handmade.systems.cyclegan.tiles import change, in_tiles

SMALL = {"width": 4, "blocks": 1, "critic_width": 4, "critic_layers": 1}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(size=16, channels=3, **config):
    return CycleGAN(Config(**{**SMALL, **config}), DomainsSpec(channels, size, ("blond", "black"), "hair"))


def batch_of(n, size=16, channels=3, partners=False):
    pixels = [torch.rand(n, channels, size, size) * 2 - 1 for _ in range(4)]
    return DomainsBatch(*pixels) if partners else DomainsBatch(*pixels[:2])


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def that_does_nothing(system):
    """Its masks are 0 everywhere."""
    with torch.no_grad():
        for generator in (system.to_a, system.to_b):
            generator.leave[1].weight.zero_()
            generator.leave[1].bias.fill_(-1.0)
    return system


# the networks


def test_without_mask_and_skip_the_networks_have_the_size_of_the_papers():
    system = CycleGAN(Config(mask=False, skip=False), DomainsSpec(3, 128, ("a", "b")))
    assert parameters(system.to_a) == parameters(system.to_b) == 11_372_931  # 5,248 fewer: no bias before a norm
    assert parameters(system.critic_a) == parameters(system.critic_b) == 2_763_841  # the same with 896 fewer


def test_weights_start_as_the_paper_says():
    system = small(width=32)
    for layer in system.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d) and layer.weight.numel() > 1000:
            assert abs(float(layer.weight.detach().std()) - 0.02) < 0.003


@pytest.mark.parametrize("recipe", ["hair", "glasses", "two-folders"])
def test_both_generators_of_a_shipped_run_fit_into_four_megabytes(recipe):
    made = load_recipe(f"cyclegan/{recipe}")
    system = CycleGAN(Config(**made.config), DomainsSpec(3, made.data["size"], ("a", "b")))
    kept = 2 * parameters(system.to_a) + 2 * parameters(system.to_b) + 2 * system.examples_a.numel()
    assert kept < 3.7 * 2**20 and set(made.train.ema) == {"to_a", "to_b"}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mirrored_edges_and_norms_keep_the_type_and_the_layout_that_comes_in(layout):
    x = torch.randn(2, 5, 9, 7).to(memory_format=layout)
    for module in (Reflect(3), InstanceNorm()):
        with torch.autocast("cpu", torch.bfloat16):
            out = module(x.bfloat16())
        assert out.dtype == torch.bfloat16 and out.is_contiguous(memory_format=layout)


def test_norms_are_instance_norm_in_either_layout():
    x = torch.randn(3, 5, 8, 8) * 3 + 1
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.allclose(InstanceNorm()(x.to(memory_format=layout)), instance_norm(x), atol=1e-5)


def test_a_cut_mask_is_exact_and_can_always_come_back():
    x = torch.tensor([-2.0, -2.0, 0.3, 3.0, 3.0], requires_grad=True)
    out = clamped(x)
    assert torch.allclose(out, torch.tensor([0.0, 0.0, 0.3, 1.0, 1.0])) and out[0] == 0 and out[4] == 1
    out.backward(torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0]))  # a step goes against the gradient
    assert x.grad is not None and x.grad.tolist() == [-1.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(("size", "channels"), [(16, 1), (20, 3)])
def test_every_form_of_the_generator_plays(mask, skip, size, channels):
    system = small(size, channels, mask=mask, skip=skip, kernel=3)
    turns = list(system.objective(batch_of(3, size, channels)))
    assert [turn.player for turn in turns] == ["critics", "generators"]
    assert all(turn.loss.dtype == torch.float32 and turn.loss.isfinite() for turn in turns)
    assert system.examples(n=2).pixels.shape == (12, channels, size, size)


@pytest.mark.parametrize(("size", "layers"), [(17, 1), (16, 3), (30, 2)])
def test_a_size_that_cannot_be_learned_is_refused_by_name(size, layers):
    with pytest.raises(UserError, match=f"{size} px"):
        small(size, critic_layers=layers)


# the game


def test_the_losses_are_the_equations_of_the_docstring():
    system = small(cycle=3.0, identity=2.0, price=0.5)
    batch = batch_of(4)
    (a, b), to_b, to_a = (batch.a, batch.b), system.to_b, system.to_a

    def painted(generator, x):
        strokes = generator(x)
        mask = (0.5 + strokes[:, 3:]).clamp(0, 1)
        return x + mask * (strokes[:, :3].tanh() - x), mask

    (as_b, mask_b), (as_a, mask_a) = painted(to_b, a), painted(to_a, b)
    critics, generators = system.objective(batch)
    expected = 0.0
    for critic, real, made in ((system.critic_a, a, as_a), (system.critic_b, b, as_b)):
        expected += ((critic(real) - 1).square().mean() + critic(made).square().mean()) / 2
    assert torch.allclose(critics.loss, torch.as_tensor(expected), atol=1e-5)
    fooled = (system.critic_b(as_b) - 1).square().mean() + (system.critic_a(as_a) - 1).square().mean()
    cycle = (painted(to_a, as_b)[0] - a).abs().mean() + (painted(to_b, as_a)[0] - b).abs().mean()
    (same_a, on_a), (same_b, on_b) = painted(to_a, a), painted(to_b, b)
    identity = (same_a - a).abs().mean() + (same_b - b).abs().mean()
    assert on_a.shape == on_b.shape == (4, 1, 16, 16)
    assert torch.allclose(
        generators.loss, fooled + 3 * cycle + 2 * identity + 0.5 * (mask_a.mean() + mask_b.mean()), atol=1e-4
    )


def test_without_hiding_the_way_back_teaches_only_who_goes_back():
    def slopes(system):
        loss = list(system.objective(batch))[1].loss
        return torch.autograd.grad(loss, [*system.to_a.parameters(), *system.to_b.parameters()], allow_unused=True)

    batch = batch_of(3)
    free, bound = small(cycle=3.0), small(cycle=3.0, hiding=False)
    none = small(cycle=0.0)
    for system in (bound, none):
        system.load_state_dict(free.state_dict())
    as_b, as_a = bound._paint(bound.to_b, batch.a)[0].detach(), bound._paint(bound.to_a, batch.b)[0].detach()
    back = cycle_consistency(batch.a, bound._paint(bound.to_a, as_b)[0])
    back = back + cycle_consistency(batch.b, bound._paint(bound.to_b, as_a)[0])
    alone = torch.autograd.grad(3 * back, [*bound.to_a.parameters(), *bound.to_b.parameters()])
    for whole, rest, there in zip(slopes(bound), slopes(none), alone, strict=True):
        assert torch.allclose(whole, rest + there, atol=1e-5)
    assert any(
        not torch.allclose(one, other, atol=1e-5) for one, other in zip(slopes(bound), slopes(free), strict=True)
    )


def test_pictures_that_need_no_change_are_looked_at_only_on_their_steps_and_count_more_there():
    losses = {}
    always, seldom = small(identity=2.0), small(identity=2.0, identity_every=4)
    never = small(identity=0.0)
    for system in (seldom, never):
        system.load_state_dict(always.state_dict())
    batch = batch_of(4)
    for name, system in (("always", always), ("seldom", seldom), ("never", never)):
        for system.step in (0, 1):
            system.pools = {"a": Pool(0), "b": Pool(0)}
            losses[name, system.step] = float(list(system.objective(batch))[1].loss.detach())
    assert losses["seldom", 1] == pytest.approx(losses["never", 1])
    extra = losses["always", 0] - losses["never", 0]
    assert losses["seldom", 0] - losses["never", 0] == pytest.approx(4 * extra, rel=1e-3) and extra > 0


def test_the_critics_gradient_does_not_reach_the_generators():
    system = small()
    next(system.objective(batch_of(3))).loss.backward()
    assert all(p.grad is None for network in (system.to_a, system.to_b) for p in network.parameters())


def test_the_learning_rate_falls_in_the_second_half_only():
    assert [second_half(p) for p in (0.0, 0.3, 0.5, 0.75, 1.0)] == [1, 1, 1, 0.5, 0]


# the memory of the critics


def numbered(first, n):
    return torch.arange(first, first + n, dtype=torch.float32).view(n, 1, 1, 1)


def test_half_of_what_a_pool_shows_is_old_and_nothing_is_lost_or_doubled():
    pool, shown = Pool(40), []
    for step in range(200):
        shown.append(pool.swap(numbered(4 * step, 4), Dice(step)).flatten())
    fresh = torch.stack([row >= 4 * step for step, row in enumerate(shown)])
    assert fresh[:10].all(), "it fills first"
    assert 0.4 < float(fresh[10:].float().mean()) < 0.6
    old = torch.stack(shown)[10:][~fresh[10:]]
    assert len(old.unique()) == len(old), "a picture that was shown again has left the pool"


def test_a_batch_cut_in_parts_is_shown_what_the_whole_one_is():
    whole, parts = Pool(16), Pool(16)
    for step in range(60):
        fresh = numbered(4 * step, 4)
        cut = [parts.swap(fresh[2 * k : 2 * k + 2], Dice(step, k, 2)) for k in range(2)]
        assert torch.equal(whole.swap(fresh, Dice(step)), torch.cat(cut))


def test_a_pool_goes_on_from_its_state_and_starts_anew_for_other_pictures():
    pool = Pool(8)
    for step in range(20):
        pool.swap(numbered(4 * step, 4), Dice(step))
    twin = Pool(8)
    twin.load({"kept": {part: kept.clone() for part, kept in pool.state()["kept"].items()}})
    for step in range(20, 40):
        fresh = numbered(4 * step, 4)
        assert torch.equal(pool.swap(fresh, Dice(step)), twin.swap(fresh, Dice(step)))
    larger = torch.rand(2, 3, 4, 4)
    assert torch.equal(pool.swap(larger, Dice(0)), larger)
    assert torch.equal(Pool(0).swap(larger, Dice(0)), larger)


def test_the_pools_are_in_the_state_of_the_stream():
    system, batch = small(pool=6), batch_of(3)
    for step in range(4):
        system.dice = Dice(step)
        list(system.objective(batch_of(3)))
    kept, losses = copy.deepcopy(system.stream_state()), []
    for state in (kept, {"a": {"kept": {}}, "b": {"kept": {}}}, kept):
        system.load_stream_state(copy.deepcopy(state))
        system.dice = Dice(9)
        losses.append(float(next(system.objective(batch)).loss.detach()))
    assert losses[0] == losses[2] != losses[1]


# pictures of any size


def test_what_every_tile_leaves_alone_comes_back_unchanged():
    picture = torch.rand(3, 70, 333) * 2 - 1
    assert torch.allclose(in_tiles(picture, lambda x: x, 64, 16), picture, atol=1e-6)


@pytest.mark.parametrize("kind", ["constant", "gradient"])
def test_seams_do_not_show_on_a_plain_picture(kind):
    """Columns step no more where tiles meet than inside of tiles; a hard edge between the same tiles would."""
    level = torch.full((1, 1, 1), 0.3) if kind == "constant" else torch.linspace(-1, 1, 400).view(1, 1, 400)
    picture = level.expand(3, 40, 400).contiguous()
    system = small(mask=False)
    with torch.no_grad():
        steps = in_tiles(picture, lambda x: system._translated(x, 1), 64, 16)[:, 12:28].diff(dim=2).abs()
    meets = torch.zeros(399, dtype=torch.bool)
    for start in [tile.columns.start for tile in tiles(40, 400, 64, 16)][1:]:
        meets[start - 2 : start + 18] = True
    meets[:12] = meets[-12:] = False  # the edge of the picture itself
    inside = ~meets
    inside[:12] = inside[-12:] = False
    assert steps[:, :, meets].max() < steps[:, :, inside].max() + 0.02


def test_a_picture_of_the_learned_size_is_looked_at_as_it_is():
    system = small(kernel=3)
    picture = torch.rand(3, 16, 16) * 2 - 1
    with torch.no_grad():
        wanted = system._translated(picture[None], 1)[0]
        for fit in (True, False):
            assert torch.equal(change(picture, lambda x: system._translated(x, 1), 16, fit), wanted)


@pytest.mark.parametrize("detail", ["fit", "full"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 23), (64, 16), (100, 41)])
def test_pictures_of_any_size_keep_it_and_their_names(tmp_path, size, detail):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / "a.bmp")
    made = small(kernel=3).translate(image=tmp_path / "a.bmp", to="black", detail=detail)
    assert made.names == ("a.png",) and made.levels[0].shape == (3, *size)


@pytest.mark.parametrize("detail", ["fit", "full"])
def test_a_picture_7000_px_wide_is_translated(tmp_path, detail):
    Image.new("RGB", (7000, 24), (200, 180, 90)).save(tmp_path / "wide.jpg")
    made = small(kernel=3).translate(image=tmp_path, to="black", detail=detail)
    assert made.names == ("wide.png",) and made.levels[0].shape == (3, 24, 7000)


def test_a_translator_that_does_nothing_returns_the_very_levels(tmp_path):
    levels = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    for detail in ("fit", "full"):
        made = that_does_nothing(small()).translate(image=tmp_path / "a.png", detail=detail).levels[0]
        assert np.array_equal(made.movedim(0, 2).numpy(), levels)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "I;16", "CMYK"])
def test_pictures_of_other_kinds_are_translated(tmp_path, mode):
    picture = Image.new(mode, (20, 30), 40)
    file = tmp_path / ("a.tif" if mode in ("I;16", "CMYK") else "a.png")
    picture.save(file)
    assert small(kernel=3).translate(image=file).levels[0].shape == (3, 30, 20)
    assert small(channels=1, kernel=3).translate(image=file).levels[0].shape == (1, 30, 20)


# asks


def test_a_folder_comes_back_under_the_same_names(tmp_path):
    for name in ("one.png", "two.jpg", "sub/three.png", "two.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (18, 16), "gold").save(tmp_path / name)
    made = small(kernel=3).translate(image=tmp_path, to="blond")
    assert made.names == ("one.png", "sub-three.png", "two-bmp.png", "two-jpg.png")


def test_a_round_trip_tells_the_cycle_error_of_each_picture(tmp_path):
    levels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    Image.fromarray(levels[::-1].copy()).save(tmp_path / "b.png")
    made = small(kernel=3).round_trip(image=tmp_path)
    strip = made.levels[0]
    assert strip.shape == (3, 16, 48) and torch.equal(strip[:, :, :16], torch.from_numpy(levels).movedim(2, 0))
    error = (strip[:, :, 32:].float() - strip[:, :, :16].float()).abs().mean()
    assert made.titles[0] == f"a.png: cycle error {error:.1f} of 255"
    assert all(title in made.text(60, colour=False) for title in made.titles)
    nothing = that_does_nothing(small()).round_trip(image=tmp_path)
    assert nothing.titles == ("a.png: cycle error 0.0 of 255", "b.png: cycle error 0.0 of 255")


def test_mistakes_are_told_in_one_line(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match='"blnd"; did you mean "blond"'):
        small().translate(image=tmp_path / "a.png", to="blnd")
    (tmp_path / "not.png").write_bytes(b"no picture at all")
    with pytest.raises(UserError, match=r"not\.png cannot be used: not a picture"):
        small().translate(image=tmp_path / "not.png")
    with pytest.raises(UserError, match="does not exist"):
        small().translate(image=tmp_path / "nowhere.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        small().translate(image=tmp_path / "empty")


# scores


class Sees:
    """A judge that takes every picture for black."""

    labels: ClassVar = {"hair": ("black", "blond", "red")}

    def __call__(self, pixels):
        return pixels.flatten(1)[:, :8]

    def odds(self, pixels):
        return {"hair": torch.tensor([[0.8, 0.1, 0.1]]).expand(len(pixels), 3)}


def test_doing_nothing_is_at_the_whole_distance_from_the_partner_and_changes_nothing_outside():
    with torch.no_grad():
        scores = that_does_nothing(small()).evaluate(batch_of(6, partners=True))
    assert next(iter(scores)) == "partner"
    assert scores["partner"].value == pytest.approx(1) and scores["to black"].value == pytest.approx(1)
    assert scores["cycle"].value == 0


def test_outside_counts_only_where_picture_and_partner_are_the_same():
    batch = batch_of(4, partners=True)
    a_as_b, b_as_a = batch.a.clone(), batch.b.clone()
    a_as_b[:, :, :8], b_as_a[:, :, :8] = 1.0, -1.0
    batch = batch._replace(a_as_b=a_as_b, b_as_a=b_as_a)
    system = small()
    with torch.no_grad():
        assert that_does_nothing(small()).evaluate(batch)["outside"].value == 0
        made = system._translated(batch.a, 1), system._translated(batch.b, 0)
        scores = system.evaluate(batch)
    parts = [(m - x)[:, :, 8:].abs().mean() for m, x in zip(made, batch[:2], strict=True)]
    assert scores["outside"].value == pytest.approx(float(sum(parts)) / 2 * 127.5, rel=1e-4)


def test_without_partners_the_kernel_distance_to_the_wanted_kind_is_the_yardstick():
    with torch.no_grad():
        few, scores = small().evaluate(batch_of(2)), small().evaluate(batch_of(20))
    assert [*few] == ["cycle"], "too few for a distance do not end a training"
    assert next(iter(scores)) == "kid" and "partner" not in scores and scores["kid"].floor is not None


def test_a_judge_that_knows_the_attribute_says_what_it_sees():
    with torch.no_grad():
        scores = small().evaluate(batch_of(20, partners=True), Sees())
        assert (scores["seen as black"].value, scores["seen as blond"].value) == (1, 0)
        other = CycleGAN(Config(**SMALL), DomainsSpec(3, 16, ("horse", "zebra"), ""))
        assert not any(name.startswith("seen") for name in other.evaluate(batch_of(20), Sees()))


def test_examples_are_the_held_out_pictures_that_were_scored():
    system, batch = small(), batch_of(5, partners=True)
    with torch.no_grad():
        system.evaluate(batch)
    shown = system.examples(n=3)
    levels = system.data.decode(batch.a[:3])
    assert torch.equal(system.data.decode(shown.pixels[:3]), levels) and shown.columns == 3
    assert shown.titles[0] == "blond" and shown.titles[3] == "as black" and shown.titles[6] == "and back"


# with the command line


def test_own_pictures_of_two_kinds_can_be_learned_and_a_new_one_translated(tmp_path, capsys):
    from handmade.cli.main import main

    dice = np.random.default_rng(0)
    for kind, colour in (("gold", (230, 190, 60)), ("steel", (70, 80, 110))):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for i in range(12):
            noisy = np.clip(np.array(colour) + dice.integers(-20, 20, (20 + i, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "mine" / kind / f"{i}.png")
    words = ["--config.width", "4", "--config.blocks", "1", "--data.size", "16", "--config.critic_layers", "1"]
    words += ["--config.critic_width", "4"]
    words += ["--train.steps", "3", "--train.batch", "2", "--train.threads", "1", "--out", str(tmp_path / "run")]
    assert main(["train", "cyclegan/two-folders", "--data", str(tmp_path / "mine"), *words]) == 0, capsys.readouterr()
    Image.new("RGB", (31, 45), (230, 190, 60)).save(tmp_path / "new.jpg")
    capsys.readouterr()
    wanted = ["ask", str(tmp_path / "run"), "translate", "--image", str(tmp_path / "new.jpg"), "--to"]
    assert main([*wanted, "steel", "--out", str(tmp_path / "out"), "--json"]) == 0, capsys.readouterr()
    assert [file.rsplit("/", 1)[1] for file in json.loads(capsys.readouterr().out)["files"]] == ["new.png", "sheet.png"]
    with Image.open(tmp_path / "out" / "new.png") as picture:
        assert picture.size == (31, 45)
    assert main([*wanted, "steal"]) == 2
    assert 'did you mean "steel"' in capsys.readouterr().err
