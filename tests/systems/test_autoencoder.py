"""Autoencoder: its objective, its codes, and the Gaussian that is laid over them."""

import pytest
import torch
from PIL import Image

from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.systems.autoencoder.system import Autoencoder, Config, shape

LABELS = {"class": ("dark", "light")}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(size=16, channels=1, labels=LABELS, **changed):
    return Autoencoder(Config(**{"latent": 4, "width": 4, **changed}), ImageSpec(channels, size, labels)).eval()


def batch_of(n, size=16, channels=1, labels=LABELS):
    """Dark and light pictures, each of its own shade."""
    codes = torch.randint(2, (n, len(labels)))
    shade = (codes[:, :1] if labels else torch.randint(2, (n, 1))) - 0.5 + 0.2 * torch.randn(n, 1)
    return ImageBatch(shade[:, :, None, None].expand(-1, channels, size, size).clamp(-1, 1).contiguous(), codes)


def taught(steps=150, **changed):
    system = small(**changed)
    optimizer = system.optimizers()["autoencoder"]
    for _ in range(steps):
        optimizer.zero_grad()
        next(system.objective(batch_of(32, labels=changed.get("labels", LABELS)))).loss.backward()
        optimizer.step()
    with torch.no_grad():
        system.evaluate(batch_of(200, labels=changed.get("labels", LABELS)))
    return system


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "dark.png"
    Image.new("L", (20, 16), 70).save(path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 28, 40, 64, 256])
def test_pictures_of_every_size_go_in_and_come_out(size, channels):
    system = small(size, channels)
    (turn,) = system.objective(batch_of(3, size, channels))
    assert turn.loss.dtype == torch.float32 and turn.loss.isfinite()
    assert system.generate(n=2).pixels.shape == (2, channels, size, size)


@pytest.mark.parametrize("size", [4, 17, 36])
def test_a_size_that_cannot_be_halved_is_refused_by_name(size):
    with pytest.raises(UserError, match=f"cannot halve {size} px"):
        small(size)


def test_the_sizes_that_are_advised_are_those_that_are_taken():
    powers = [2**k for k in range(8)]
    advised = {n for n in powers if n >= 8} | {m * n for m in (3, 5, 7) for n in powers[1:]}
    taken = set()
    for size in range(2, 129):
        try:
            taken.add(Autoencoder(Config(latent=2, width=1), ImageSpec(1, size)).data.size)
        except UserError as error:
            assert "use 8, 16, 32, 64 and so on, or 3, 5 or 7 times a power of two" in str(error)
    assert taken == {size for size in advised if size <= 128}


def test_sides_are_halved_down_to_four_to_eight():
    assert shape(16, 8) == ([16], 4)
    assert shape(16, 28) == ([16, 32], 7)
    assert shape(8, 256) == ([8, 16, 32, 32, 32, 32], 4)


def test_the_loss_is_the_equation_of_the_docstring():
    system, batch = small(price=0.5), batch_of(5)
    z = system.encoder(batch.pixels)
    error = (batch.pixels - system.decoder(z)).pow(2).sum() / 5
    (turn,) = system.objective(batch)
    assert torch.allclose(turn.loss, error + 0.25 * z.pow(2).sum() / 5)


def test_the_gaussian_has_the_mean_and_the_spread_of_the_codes():
    system = taught()
    with torch.no_grad():
        batch = batch_of(200)
        system.evaluate(batch)
        codes = system.encoder(batch.pixels)
        new = system.new(20_000, seed=0, label="")
        light = system.new(5000, seed=0, label="class=light")
    assert torch.allclose(new.mean(0), codes.mean(0), atol=0.05 * float(codes.std()) + 0.02)
    assert torch.allclose(new.T.cov(), codes.T.cov(correction=0), rtol=0.1, atol=0.05 * float(codes.var()))
    assert torch.allclose(light.mean(0), codes[batch.labels[:, 0] == 1].mean(0), atol=0.05 * float(codes.std()) + 0.02)


def test_new_pictures_are_what_they_are_told_to_be():
    system = taught()
    dark, light = (system.generate(n=20, label=f"class={name}").pixels.mean((1, 2, 3)) for name in ("dark", "light"))
    assert dark.max() < 0.1 < light.max() and dark.mean() < -0.3 < 0.3 < light.mean()
    assert torch.allclose(system.generate(n=3, seed=5).pixels, system.generate(n=7, seed=5).pixels[:3], atol=1e-5)


def test_pictures_without_labels_work(picture):
    system = taught(labels={})
    assert system.generate(n=3).pixels.isfinite().all()
    assert system.arithmetic().pixels.shape == (4, 1, 16, 16)
    with pytest.raises(UserError, match="without labels"):
        system.slider(image=picture)


def test_a_picture_slides_to_a_label_and_back(picture):
    system = taught()
    start, half, full = system.slider(image=picture, label="class=light", strength="0,0.5,1").pixels.mean((1, 2, 3))
    assert start < half - 0.2 < full - 0.4
    back = system.reconstruct(image=picture).pixels
    assert float(start) == pytest.approx(float(back[1].mean()), abs=1e-5)
    stay = system.slider(image=picture, label="class=dark").pixels.mean()
    assert float(stay) == pytest.approx(float(start), abs=1e-5), "it is in that group already"


def test_an_equation_shows_every_term_and_what_comes_out(picture):
    system = taught()
    strip = system.arithmetic(equation=f"{picture} - class=dark + class=light")
    assert strip.titles == (f"+ {picture}", "- class=dark", "+ class=light", "= result")
    assert strip.pixels[3].mean() > strip.pixels[0].mean() + 0.5
    same = system.arithmetic(equation="4 - 7 + 7").pixels
    assert torch.allclose(same[0], same[-1], atol=1e-4)


def test_a_folder_of_picked_pictures_is_a_group(picture):
    system = taught()
    Image.new("L", (16, 16), 200).save(picture.parent / "light.png")
    whole = system.arithmetic(equation=f"{picture.parent} + {picture} - {picture}").pixels
    one, other = (system._term(str(picture.parent / name)) for name in ("dark.png", "light.png"))
    assert torch.allclose(whole[0], system.draw((one + other) / 2)[0], atol=1e-5)


def test_a_walk_begins_and_ends_with_its_pictures(picture):
    system = taught(steps=5)
    row = system.interpolate(seeds="3,8", steps=5)
    assert row.columns == 6
    assert torch.allclose(row.pixels[0], system.generate(n=1, seed=3).pixels[0], atol=1e-5)
    assert torch.allclose(row.pixels[-1], system.generate(n=1, seed=8).pixels[0], atol=1e-5)
    with pytest.raises(UserError, match="two pictures"):
        system.interpolate(image=picture)


@pytest.mark.parametrize(
    ("ask", "arguments", "says"),
    [
        ("slider", {"label": "colour=red"}, "no attribute"),
        ("slider", {"strength": "much"}, "give numbers"),
        ("arithmetic", {"equation": "nowhere.png + 1"}, "nowhere.png"),
        ("generate", {"label": "class=red"}, "no value"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(picture, ask, arguments, says):
    chosen = {**({"image": picture} if ask == "slider" else {}), **arguments}
    with pytest.raises(UserError, match=says) as refusal:
        getattr(small(), ask)(**chosen)
    assert len(str(refusal.value).splitlines()) == 1
