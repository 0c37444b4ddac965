"""Conditional WGAN-GP: the game, where labels enter, and what can be asked by label."""

from itertools import count, islice

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from handmade import api
from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.engine.calibrate import Choice, apply
from handmade.engine.convolution import any_fits, use_patches
from handmade.engine.devices import World
from handmade.errors import UserError
from handmade.metrics.judged import agreement
from handmade.systems.conditional_wgan.labels import code_of, read_change
from handmade.systems.conditional_wgan.network import judged
from handmade.systems.conditional_wgan.scores import monotonic
from handmade.systems.conditional_wgan.system import ConditionalWGAN, Config

LABELS = {"glasses": ("no", "yes"), "hair": ("black", "blond", "red")}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def spec_of(size=16, channels=3):
    return ImageSpec(channels, size, LABELS)


def batch_of(n, channels=3, size=16):
    labels = torch.stack([torch.randint(len(values), (n,)) for values in LABELS.values()], 1)
    return ImageBatch(torch.rand(n, channels, size, size) * 2 - 1, labels)


def step_of(n, moves=5, **shape):
    return tuple(batch_of(n, **shape) for _ in range(moves))


def small(**config):
    """A small untrained system whose pictures have contrast."""
    system = ConditionalWGAN(Config(**{"latent": 7, "width": 4, **config}), spec_of())
    for parameter in system.generator.parameters():
        parameter.data *= 10
    return system


def codes_seen(system):
    """The codes that the generator is given, as they come."""
    seen = []
    system.generator.register_forward_pre_hook(lambda _, given: seen.append(given[1].clone()))
    return seen


# the game


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 64, 128])
def test_pictures_of_every_size_go_in_and_come_out(size, channels):
    system = ConditionalWGAN(Config(latent=7, width=3, critic_steps=2), spec_of(size, channels))
    turns = list(system.objective(step_of(2, 2, channels=channels, size=size)))
    assert [turn.player for turn in turns] == ["critic", "critic", "generator"]
    assert all(turn.loss.dtype == torch.float32 and turn.loss.isfinite() for turn in turns)
    assert system.generate(n=2).pixels.shape == (2, channels, size, size)


@pytest.mark.parametrize("size", [28, 4, 512])
def test_a_size_that_cannot_be_drawn_is_refused_by_name(size):
    with pytest.raises(UserError, match=f"cannot draw {size} px"):
        ConditionalWGAN(Config(), spec_of(size))


def test_pictures_without_labels_are_refused_with_what_to_do():
    with pytest.raises(UserError, match="have none: give class folders or a table of labels, or train dcgan"):
        ConditionalWGAN(Config(), ImageSpec(3, 16))


def test_the_losses_are_the_equations_of_the_docstring():
    system = small(critic_steps=1).eval()  # without batch statistics both networks are functions
    (real,) = batch = step_of(5, 1)
    code = code_of(real.labels, system.data)

    def believed(pixels):
        """The odds that the critic gives to the true labels, (5, 2)."""
        scores = system.critic(pixels)[:, 1:]
        odds = [scores[:, :2].softmax(1), scores[:, 2:].softmax(1)]
        return torch.stack([p[range(5), y] for p, y in zip(odds, real.labels.T, strict=True)], 1)

    def score(pixels):
        return judged(system.critic(pixels), code)

    system.dice = Dice(seed=1)
    fake = system.generator(system.dice.normal(5, 7), code)
    mixed = torch.lerp(real.pixels, fake.detach(), system.dice.uniform(5, 1, 1, 1)).requires_grad_()
    slopes = torch.stack([torch.autograd.grad(score(mixed)[i], mixed)[0][i].norm() for i in range(5)])
    gap = score(fake).mean() - score(real.pixels).mean()
    system.dice = Dice(seed=1)
    critic, generator = system.objective(batch)
    naming = -believed(real.pixels).log().mean(0).sum()
    torch.testing.assert_close(critic.loss, gap + 10 * (slopes - 1).square().mean() + naming)
    torch.testing.assert_close(critic.log["distance"], -gap)
    torch.testing.assert_close(generator.loss, -score(fake).mean() - believed(fake).log().mean(0).sum())


def test_every_move_of_the_critic_sees_pictures_of_its_own():
    """Using one real batch for all five moves teaches the critic that batch by heart."""
    numbered = (ImageBatch(torch.full((2, 3, 16, 16), i / 100), torch.zeros(2, 2, dtype=torch.int64)) for i in count())
    system = small()
    first, second = islice(system.stream(numbered), 2)
    assert [round(100 * float(part.pixels[0, 0, 0, 0])) for part in (*first, *second)] == list(range(10))


def test_the_critics_gradient_does_not_reach_the_generator():
    system = small()
    next(system.objective(step_of(3))).loss.backward()
    assert all(parameter.grad is None for parameter in system.generator.parameters())


def test_every_layer_starts_with_the_weights_it_was_meant_to_have():
    """A function that is given the whole network, not each layer, finds nothing to initialise and says nothing."""
    system = ConditionalWGAN(Config(latent=50, width=32), spec_of(32))
    for layer in system.generator.modules():
        if isinstance(layer, nn.ConvTranspose2d | nn.Linear):
            assert abs(float(layer.weight.detach().std()) - 0.02) < 0.002
    for layer in system.critic.modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            assert float(layer.weight.detach().std()) == pytest.approx((2 / 1.04 / fan_in) ** 0.5, rel=0.1)


def test_the_critic_adds_one_score_for_the_picture_and_one_for_each_label():
    system, pixels = small(), torch.rand(1, 3, 16, 16)
    scores = {
        (a, b): float(judged(system.critic(pixels), code_of(torch.tensor([[a, b]]), system.data)).detach())
        for a in range(2)
        for b in range(3)
    }
    for b in (1, 2):
        assert scores[1, b] - scores[0, b] == pytest.approx(scores[1, 0] - scores[0, 0], abs=1e-5)
    assert len({round(score, 6) for score in scores.values()}) == 6


def test_a_share_of_the_pictures_pays_the_penalty_and_parts_agree_on_which():
    system = small(critic_steps=1, penalty_every=2).eval()
    whole, losses = step_of(8, 1), {}
    for parts in (1, 2):
        losses[parts] = []
        for part in range(parts):
            cut = tuple(ImageBatch(*(x[8 // parts * part : 8 // parts * (part + 1)] for x in b)) for b in whole)
            system.dice = Dice(1, part, parts)
            losses[parts].append(next(system.objective(cut)).loss.detach())
    torch.testing.assert_close(torch.stack(losses[2]).mean(), losses[1][0])


# the penalty's second derivative in every way of computing


def critic_gradients(system, batch):
    system.dice = Dice(seed=1)
    turn = next(system.objective(batch))
    parameters = list(system.critic.parameters())
    turn.loss.backward(inputs=parameters)
    return torch.cat([parameter.grad.flatten() for parameter in parameters])


def test_weight_gradients_by_patches_keep_the_penaltys_second_derivative():
    batch, found = step_of(3, 1, size=16), []
    for patched in (False, True):
        torch.manual_seed(0)
        system = ConditionalWGAN(Config(latent=7, width=256, critic_steps=1), spec_of())
        assert any_fits(system.critic)
        if patched:
            use_patches(system)
        found.append(critic_gradients(system, batch))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5 * float(found[0].abs().max()))


@pytest.mark.parametrize(
    "choice", [Choice(channels_last=True), Choice("bf16"), Choice("bf16", True, patches=True)], ids=str
)
def test_the_penaltys_second_derivative_is_the_same_in_other_layouts_and_nearly_in_bf16(choice):
    batch, found = step_of(4, 1), []
    for how in (Choice(), choice):
        torch.manual_seed(0)
        system = ConditionalWGAN(Config(latent=7, width=128, critic_steps=1), spec_of())
        apply(how, system, World())
        found.append(critic_gradients(system, batch))
    likeness = torch.cosine_similarity(*found, dim=0)
    assert likeness > (0.9999 if choice.precision == "float32" else 0.99)


# labels


def test_labels_that_are_not_named_come_together_as_they_did_in_training():
    system = small(critic_steps=1)
    together = torch.tensor([[0, 0], [0, 0], [0, 0], [1, 2]]).repeat(256, 1)  # black or, seldom, red with glasses
    list(system.objective((ImageBatch(torch.zeros(1024, 3, 16, 16), together),)))
    seen = codes_seen(system)
    system.generate(n=400)
    assert {tuple(row) for row in seen[-1].int().tolist()} <= {(1, 0, 1, 0, 0), (0, 1, 0, 0, 1)} or len(seen) > 1
    drawn = torch.cat(seen)
    assert 0.18 < float(drawn[:, 1].mean()) < 0.32
    assert torch.equal(drawn[:, 1], drawn[:, 4])
    seen.clear()
    system.generate(n=50, label="hair=red")
    assert seen[0][:, 1].all() and seen[0][:, 4].all()
    seen.clear()
    system.generate(n=50, label="hair=blond")  # never seen: the rest is drawn as if it had been named last
    assert seen[0][:, 3].all() and 0 < seen[0][:, 1].mean() < 1


def test_a_larger_number_continues_the_same_series_labels_included():
    system = small()
    assert same(system.generate(n=3, seed=5).pixels, system.generate(n=40, seed=5).pixels[:3])


def test_a_label_that_is_not_there_is_refused_naming_the_nearest():
    with pytest.raises(UserError, match='did you mean "glasses"'):
        small().generate(label="glases=yes")
    with pytest.raises(UserError, match='no value "purple"'):
        small().generate(label="hair=purple")


def test_a_change_is_read_from_two_dots():
    data = spec_of()
    change = read_change("glasses=no..yes, hair=red..black", data, "across")
    assert change == ({"glasses": 0, "hair": 2}, {"glasses": 1, "hair": 0}, None)
    assert read_change("seed=3..-8", data, "down").seeds == (3, -8)
    for wrong, told in {
        "glasses=yes": r'across="glasses=yes": say what changes, from what to what, such as "glasses=no..yes"',
        "glases=no..yes": 'did you mean "glasses"',
        "hair=red..blnd": 'did you mean "blond"',
        "seed=a..b": "seeds must be whole numbers",
    }.items():
        with pytest.raises(UserError, match=told):
            read_change(wrong, data, "across")


# asks


def picture(system, seed, label=""):
    return system.generate(n=1, seed=seed, label=label).pixels[0]


def same(a, b):
    return torch.allclose(a, b, atol=1e-5)


def test_a_fade_goes_from_label_to_label_in_one_row_per_seed():
    system = small().eval()
    row = system.fade(start="glasses=no,hair=red", end="glasses=yes", steps=4, seeds="3,8")
    assert row.columns == 5 and len(row.pixels) == 10
    for line, seed in enumerate((3, 8)):
        assert same(row.pixels[5 * line], picture(system, seed, "glasses=no,hair=red"))
        assert same(row.pixels[5 * line + 4], picture(system, seed, "glasses=yes,hair=red"))
        assert not same(row.pixels[5 * line + 2], row.pixels[5 * line])
    named = system.fade(start="glasses=no", end="glasses=yes", seeds="3")
    assert torch.equal(system.fade(seeds="3").pixels, named.pixels), "by itself it fades the first attribute"


def test_a_walk_holds_the_labels_and_visits_its_seeds():
    system = small().eval()
    seen = codes_seen(system)
    row = system.walk(seeds="3,8", steps=5, label="hair=red,glasses=yes")
    assert row.columns == 6 and len({tuple(code) for code in seen[0].tolist()}) == 1
    assert same(row.pixels[0], picture(system, 3, "hair=red,glasses=yes"))
    assert same(row.pixels[-1], picture(system, 8, "hair=red,glasses=yes"))


def test_a_grid_changes_one_thing_across_and_another_down():
    system = small().eval()
    cells = system.grid(across="glasses=no..yes", down="hair=black..red", side=3, seed=4)
    assert cells.columns == 3 and len(cells.pixels) == 9
    for place, label in {0: "no,hair=black", 2: "yes,hair=black", 6: "no,hair=red", 8: "yes,hair=red"}.items():
        assert same(cells.pixels[place], picture(system, 4, f"glasses={label}")), label
    cells = system.grid(across="glasses=no..yes", down="seed=3..8", side=3, label="hair=blond")
    for place, (seed, value) in {0: (3, "no"), 2: (3, "yes"), 6: (8, "no"), 8: (8, "yes")}.items():
        assert same(cells.pixels[place], picture(system, seed, f"glasses={value},hair=blond")), place
    with pytest.raises(UserError, match="both change the seed"):
        system.grid(across="seed=1..2", down="seed=3..4")


class Eyes:
    """Sees whether a picture is brighter on its left half: something that no label is about."""

    data = ImageSpec(3, 16, {"light": ("right", "left")})
    labels = data.labels

    def __call__(self, pixels):
        return pixels.flatten(1)

    def odds(self, pixels):
        left = 20 * (pixels[..., :8].mean((1, 2, 3)) - pixels[..., 8:].mean((1, 2, 3)))
        return {"light": torch.stack([(-left).sigmoid(), left.sigmoid()], 1)}

    def probabilities(self, pixels):
        return list(self.odds(pixels).values())


def lent(system):
    object.__setattr__(system, "borrowed", {"probe": Eyes()})
    return system


def test_find_names_seeds_whose_pictures_show_what_no_label_says():
    system, told = lent(small().eval()), []
    system.tell = told.append
    for value, sign in (("left", 1), ("right", -1)):
        found = system.find(want=f"light={value}", label="hair=red", n=4, seed=10)
        assert len(found.pixels) == 4
        for name, pixels in zip(found.names, found.pixels, strict=True):
            number = int(name.removeprefix("seed-").removesuffix(".png"))
            assert number >= 10 and same(pixels, picture(system, number, "hair=red"))
            assert sign * (pixels[..., :8].mean() - pixels[..., 8:].mean()) > 0
    assert told[0].startswith("the probe was not taught glasses, hair, it sees light: to look for others, train with")


def test_find_says_what_to_do_where_it_cannot_help():
    with pytest.raises(UserError, match=r"--borrow\.probe RUN"):
        small().find(want="light=left")
    with pytest.raises(UserError, match='did you mean "light"'):
        lent(small()).find(want="lihgt=left")
    dark = lent(small().eval())
    nn.init.zeros_(dark.generator.grow[-1].weight)
    with pytest.raises(UserError, match='none of 5 seeds from 3 shows "light=left"'):
        dark.find(want="light=left", tries=5, seed=3)


# scores


def test_agreement_is_the_share_of_pictures_that_the_judge_names_as_asked():
    data = ImageSpec(3, 16, {"light": ("left", "right"), "mood": ("good", "bad")})  # another order than the judge's
    left = torch.cat([torch.ones(4, 3, 16, 8), -torch.ones(4, 3, 16, 8)], 3)
    held_out = ImageBatch(torch.cat([left, left.flip(3)]), torch.tensor([[0, 0]] * 4 + [[1, 0]] * 4))
    drawn = held_out.pixels.clone()
    drawn[0] = drawn[4]
    scores = agreement(drawn, held_out.pixels, held_out.labels, data.labels, Eyes())
    assert scores.keys() == {"agreement_light"}
    assert scores["agreement_light"].value == 7 / 8
    assert scores["agreement_light"].floor == 1.0


def test_a_fade_is_monotonic_where_the_probability_rises_and_never_falls():
    strengths = torch.tensor([[-0.1, 0.0, 0.1], [-0.1, 0.1, 0.0], [0.0, 0.0, 0.0]])
    fades = torch.zeros(9, 3, 16, 16)
    fades[..., :8] = strengths.flatten()[:, None, None, None]
    assert monotonic(fades, 3, "light", "left", Eyes()).value == pytest.approx(1 / 3)


def test_without_a_judge_that_knows_the_labels_only_pictures_are_compared():
    system, held_out = small().eval(), batch_of(40)
    with torch.no_grad():
        plain, seen = system.evaluate(held_out), system.evaluate(held_out, judge=Eyes())
    assert next(iter(plain)) == "kid"
    assert plain.keys() == seen.keys()


# your own pictures


def paint(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 40, (20, 24, 3)) + np.array(colour)
    Image.fromarray(noise.astype(np.uint8)).save(path)


def train_on(folder, out):
    few = {"train.steps": "2", "train.batch": "4", "train.threads": "1", "train.precision": "float32"}
    return api.load(
        api.train("conditional_wgan/smoke", data=folder, out=out, overrides={**few, "train.score_items": "8"})
    )


def test_class_folders_and_a_table_of_labels_train_as_they_are(tmp_path):
    for i in range(80):
        paint(tmp_path / "kinds" / ("red" if i % 2 else "blue") / f"{i}.png", (200, 0, 0) if i % 2 else (0, 0, 200))
    system = train_on(tmp_path / "kinds", tmp_path / "run")
    assert system.data.labels == {"class": ("blue", "red")}
    assert system.generate(n=2, label="class=red").pixels.shape == (2, 3, 16, 16)
    assert len(system.grid(side=2).pixels) == 4
    lines = ["file,colour,mood"]
    for i in range(80):
        paint(tmp_path / "table" / f"{i}.png", (200, 0, 0) if i % 2 else (0, 0, 200))
        lines.append(f"{i}.png,{'red' if i % 2 else 'blue'},{'good' if i % 3 else 'bad'}")
    (tmp_path / "table" / "labels.csv").write_text("\n".join(lines))
    system = train_on(tmp_path / "table", tmp_path / "other")
    assert set(system.data.labels) == {"colour", "mood"}
    assert system.generate(n=2, label="mood=bad,colour=red").pixels.shape == (2, 3, 16, 16)


def test_own_pictures_without_labels_are_refused_before_a_run_is_there(tmp_path):
    for i in range(6):
        paint(tmp_path / "loose" / f"{i}.png", (9, 9, 9))
    with pytest.raises(UserError, match="conditional_wgan needs labels"):
        train_on(tmp_path / "loose", tmp_path / "run")
    assert not (tmp_path / "run").exists()
