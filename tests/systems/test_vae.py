"""VAE: its objective, its two networks, and the handles that its codes are."""

import pytest
import torch
from PIL import Image
from torch import nn

from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.objectives.variational import discretised_logistic, gaussian_kl
from handmade.systems.vae.system import VAE, Config

LABELS = {"glasses": ("no", "yes"), "hair": ("black", "blond", "red")}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(size=16, channels=3, labels=LABELS, **changed):
    settings = {"latent": 6, "width": 4, "labels_first": 0, **changed}
    return VAE(Config(**settings), ImageSpec(channels, size, labels)).eval()


def batch_of(n, size=16, channels=3, labels=LABELS):
    codes = [torch.randint(len(values), (n, 1)) for values in labels.values()]
    pixels = torch.randint(256, (n, channels, size, size)) / 127.5 - 1
    return ImageBatch(pixels, torch.cat([torch.zeros(n, 0, dtype=torch.int64), *codes], dim=1))


def taught(steps=200, **changed):
    """A VAE that has seen pictures which are light with glasses and dark without, and have the colour of the hair."""
    system = small(lr=5e-3, width=8, labels_first=80, **changed)
    optimizers = system.optimizers()
    for step in range(steps):
        system.step, system.dice = step, Dice(seed=step)
        for turn in system.objective(told_by_colour(32)):
            optimizers[turn.player].zero_grad()
            turn.loss.backward()
            optimizers[turn.player].step()
    with torch.no_grad():
        system.evaluate(told_by_colour(64))
    return system


def told_by_colour(n):
    batch = batch_of(n)
    light = batch.labels[:, :1] * 1.0 - 0.5 + 0.2 * torch.rand(n, 1)
    tint = torch.eye(3)[batch.labels[:, 1]] * 0.4
    return ImageBatch((light + tint)[:, :, None, None].expand(-1, -1, 16, 16).contiguous(), batch.labels)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "me.png"
    Image.new("RGB", (20, 16), (60, 60, 110)).save(path)
    return path


def test_the_networks_that_ship_fit_in_four_megabytes_of_half_precision():
    system = VAE(
        Config(), ImageSpec(3, 64, {"glasses": ("no", "yes"), "rest": tuple("abcdefghijklmnopqrstuvwxyzabcdefg")})
    )
    count = sum(p.numel() for net in (system.encoder, system.decoder) for p in net.parameters())
    assert count < 2_000_000


def test_no_dense_layer_is_the_giant_of_the_book():
    system = VAE(Config(patch=4), ImageSpec(3, 256))
    largest = max(sum(p.numel() for p in m.parameters()) for m in system.modules() if isinstance(m, nn.Linear))
    assert largest < 400_000  # the book's has 31 million, twice
    assert sum(p.numel() for p in system.parameters()) < 3_000_000


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "patch"), [(8, 2), (28, 2), (32, 1), (64, 2), (128, 2), (256, 4)])
def test_pictures_of_every_size_go_in_and_come_out(size, patch, channels):
    system = small(size, channels, patch=patch)
    turns = list(system.objective(batch_of(3, size, channels)))
    assert [turn.player for turn in turns] == ["reader", "vae"]
    assert all(turn.loss.dtype == torch.float32 and turn.loss.isfinite() for turn in turns)
    assert system.generate(n=2).pixels.shape == (2, channels, size, size)


@pytest.mark.parametrize("size", [17, 25, 26, 254])
def test_a_size_that_cannot_be_halved_is_refused_by_name(size):
    with pytest.raises(UserError, match=f"cannot cut {size} px"):
        small(size)


def test_the_losses_are_the_equations_of_the_docstring():
    system, batch = small(beta=2.0, naming=0.3, hiding=0.7), batch_of(5)
    system.shares.copy_(torch.tensor([0.25, 0.75, 0.2, 0.3, 0.5]))
    system.dice = Dice(seed=1)
    mean, log_variance, logits = system.encoder(batch.pixels)
    z = mean + (log_variance / 2).exp() * Dice(seed=1).normal(5, 6)
    glasses, hair = batch.labels.T
    told = torch.cat([torch.eye(2)[glasses], torch.eye(3)[hair]], dim=1)
    picture = discretised_logistic(
        batch.pixels, system.decoder(torch.cat([z, told], 1)), system.decoder.log_scale
    ).mean()
    rows = torch.arange(5)

    def odds(out):
        return out[:, :2].softmax(1), out[:, 2:].softmax(1)

    named, read = odds(logits), odds(system.reader(z))
    misnamed = -(named[0][rows, glasses].log() + named[1][rows, hair].log()).mean()
    leak = sum(
        (share * (share.log() - seen.log())).sum(1).mean()
        for share, seen in zip(system.shares.split([2, 3]), read, strict=True)
    )
    expected = (picture + 2 * gaussian_kl(mean, log_variance).mean()) / (3 * 16 * 16) + 0.3 * misnamed + 0.7 * leak
    reader, vae = system.objective(batch)
    assert torch.allclose(reader.loss, -(read[0][rows, glasses].log() + read[1][rows, hair].log()).mean(), atol=1e-5)
    assert torch.allclose(vae.loss, expected, rtol=1e-5)
    assert {"reconstruction", "kl"} <= vae.log.keys(), "both parts are shown apart"


def test_z_is_dear_at_first_and_then_costs_beta():
    system = small(beta=2.0, labels_first=100)
    prices = []
    for step in (0, 50, 100, 5000):
        system.step = step
        prices.append(system._price(dims=400))
    assert prices == pytest.approx([800, 40, 2, 2])
    assert small(labels={}, labels_first=100)._price(dims=400) == 1, "without labels there is nothing to learn first"


def test_the_readers_gradient_does_not_reach_the_encoder():
    system = small()
    next(system.objective(batch_of(4))).loss.backward()
    assert all(p.grad is None for p in [*system.encoder.parameters(), *system.decoder.parameters()])


def test_pictures_without_labels_make_a_plain_vae_with_one_player():
    system = small(labels={})
    assert [turn.player for turn in system.objective(batch_of(4, labels={}))] == ["vae"] == list(system.optimizers())
    with torch.no_grad():
        scores = system.evaluate(batch_of(40, labels={}))
    assert next(iter(scores)) == "bits_per_dim"
    assert system.arithmetic().pixels.shape == (4, 3, 16, 16)
    with pytest.raises(UserError, match="without labels"):
        system.slider()


def test_the_bound_is_that_of_the_objective_and_the_price_of_the_labels():
    system, batch = small(), batch_of(50)
    with torch.no_grad():
        scores = system.evaluate(batch)
    shares = torch.cat([torch.eye(2)[batch.labels[:, 0]], torch.eye(3)[batch.labels[:, 1]]], 1).mean(0)
    names = -(shares * shares.log()).sum()
    nats = scores["reconstruction"].value + scores["kl"].value + float(names)
    assert scores["bits_per_dim"].value == pytest.approx(nats / (768 * torch.tensor(2.0).log().item()), rel=1e-5)
    assert torch.allclose(system.shares, shares)


def test_a_label_is_changed_on_a_given_picture_and_the_rest_is_kept(picture):
    system = taught()
    strip = system.slider(image=picture, label="glasses=yes", strength="0,0.5,1")
    given, half, full = strip.pixels
    assert torch.allclose(given, torch.tensor([60, 60, 110])[:, None, None] / 127.5 - 1, atol=1e-6), (
        "0 is the picture itself"
    )
    assert given.mean() + 0.3 < half.mean() + 0.15 < full.mean()
    assert full.mean() > given.mean() + 0.6, "light with glasses"
    assert float((full - given).mean((1, 2)).std()) < 0.15, "its colour stays"


def test_files_come_out_under_the_names_of_those_that_went_in(picture):
    system = small()
    assert system.slider(image=picture, label="hair=red").names == ("me.png",)
    assert system.slider(image=picture, label="hair=red", strength="0.5,1").names == ("me-0.5.png", "me-1.png")
    assert system.reconstruct(image=picture).names == ("me-given.png", "me.png")


def test_new_pictures_are_what_they_are_told_to_be():
    system = taught()
    dark, light = (system.generate(n=20, label=f"glasses={value}").pixels for value in ("no", "yes"))
    assert float(dark.mean((1, 2, 3)).max()) < float(light.mean((1, 2, 3)).min())
    assert torch.allclose(system.generate(n=3, seed=5).pixels, system.generate(n=7, seed=5).pixels[:3], atol=1e-5)


def test_an_equation_shows_every_term_and_what_comes_out(picture):
    system = taught()
    strip = system.arithmetic(equation=f"{picture} - glasses=no + glasses=yes")
    assert strip.titles == (f"+ {picture}", "- glasses=no", "+ glasses=yes", "= result")
    given, without, worn, result = strip.pixels.mean((1, 2, 3))
    assert float(result - given) == pytest.approx(float(worn - without), abs=0.15) and result > given + 0.5
    same = system.arithmetic(equation="4 - 7 + 7").pixels
    assert torch.allclose(same[0], same[-1], atol=1e-4)


def test_a_walk_begins_and_ends_with_its_pictures(picture):
    system = small()
    row = system.interpolate(seeds="3,8", steps=5)
    assert row.columns == 6
    assert torch.allclose(row.pixels[0], system.generate(n=1, seed=3).pixels[0], atol=1e-5)
    assert torch.allclose(row.pixels[-1], system.generate(n=1, seed=8).pixels[0], atol=1e-5)
    ends = system.interpolate(image=picture, to=picture, steps=1).pixels
    assert torch.allclose(ends[0], system.reconstruct(image=picture).pixels[1], atol=1e-5)
    with pytest.raises(UserError, match="two pictures"):
        system.interpolate(image=picture)


@pytest.mark.parametrize(
    ("ask", "arguments", "says"),
    [
        ("slider", {"label": "beard=yes"}, "no attribute"),
        ("slider", {"label": "hair=green"}, "no value"),
        ("slider", {"strength": "much"}, "give numbers"),
        ("arithmetic", {"equation": "nowhere.png + 1"}, "nowhere.png"),
        ("arithmetic", {"equation": "glasses=maybe"}, "no value"),
        ("generate", {"label": "beard=yes"}, "no attribute"),
        ("interpolate", {"seeds": "a,b"}, "whole numbers"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(picture, ask, arguments, says):
    chosen = {**({"image": picture} if ask == "slider" else {}), **arguments}
    with pytest.raises(UserError, match=says) as refusal:
        getattr(small(), ask)(**chosen)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_judge_says_how_often_the_slider_is_seen_to_work():
    class Judge:
        def __init__(self):
            self.labels = {"glasses": ("no", "yes")}

        def __call__(self, pixels):
            return pixels.mean((2, 3))

        def odds(self, pixels):
            light = (pixels.mean((1, 2, 3)) > 0.1).float()
            return {"glasses": torch.stack([1 - light, light], dim=1)}

    system = taught()
    with torch.no_grad():
        scores = system.evaluate(told_by_colour(64), Judge())
    assert scores["slider_glasses"].value > 0.95
    assert "slider_hair" not in scores, "the judge knows no hair"
