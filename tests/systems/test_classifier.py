"""Classifier: what it learns, what it measures, and how it serves as a judge."""

import pytest
import torch
from PIL import Image

from handmade.core import Dice
from handmade.data.source import open_data
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.systems.classifier.system import Classifier, Config

TWO = ImageSpec(1, 8, {"class": ("boot", "shirt")})
MANY = ImageSpec(3, 16, {"hair": ("black", "blond", "red"), "glasses": ("no", "yes")})


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def batch_of(n, spec):
    labels = torch.stack([torch.randint(len(values), (n,)) for values in spec.labels.values()], 1)
    return ImageBatch(torch.rand(n, spec.channels, spec.size, spec.size) * 2 - 1, labels)


def learn(system, batches):
    optimizer = system.optimizers()["classifier"]
    for step, batch in enumerate(batches):
        system.dice = Dice(step)
        for turn in system.objective(batch):
            turn.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return system.eval()


def test_the_fully_connected_network_has_the_usual_size():
    system = Classifier(Config(network="mlp"), ImageSpec(1, 28, {"class": tuple("abcdefghij")}))
    assert sum(p.numel() for p in system.parameters()) == 242_762


@pytest.mark.parametrize("network", ["conv", "mlp"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 17), (1, 28), (4, 5), (3, 128)])
def test_pictures_of_any_size_can_be_learned(network, channels, size):
    spec = ImageSpec(channels, size, MANY.labels)
    system = Classifier(Config(network=network, width=3), spec)
    (turn,) = system.objective(batch_of(3, spec))
    assert turn.player == "classifier"
    assert turn.loss.isfinite()
    assert set(turn.log) == {"hair", "glasses"}


def test_the_loss_is_the_mean_over_attributes_of_the_surprise_at_the_true_name():
    system = Classifier(Config(width=4, shift=0, dropout=0), MANY).eval()
    batch = batch_of(6, MANY)
    hair, glasses = system.heads(system.trunk(batch.pixels)).split([3, 2], dim=1)
    p = [hair.softmax(1)[range(6), batch.labels[:, 0]], glasses.softmax(1)[range(6), batch.labels[:, 1]]]
    (turn,) = system.objective(batch)
    assert torch.allclose(turn.loss, -(p[0].log().mean() + p[1].log().mean()) / 2, atol=1e-5)


def test_dropout_hides_nothing_outside_training():
    system = Classifier(Config(network="mlp", dropout=0.9), TWO).eval()
    batch = batch_of(5, TWO)
    (first,), (second,) = system.objective(batch), system.objective(batch)
    first_logits = system.heads(system.dropout(system.trunk(batch.pixels)))
    assert torch.equal(first_logits, system.heads(system.trunk(batch.pixels)))
    assert first.loss.isfinite()
    assert second.loss.isfinite()


def test_shifting_moves_pictures_and_fills_from_the_edge():
    system = Classifier(Config(shift=2), TWO)
    ramp = torch.arange(8.0).expand(50, 1, 8, 8)  # the value of a pixel is its column
    moved = system._shifted(ramp)
    offsets = moved[:, 0, 0, 4] - 4
    assert set(offsets.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    expected = (torch.arange(8.0) + offsets[:, None]).clamp(0, 7)
    assert torch.equal(moved[:, 0, 3], expected)


def test_digits_are_learned_and_accuracy_and_confusions_are_those_of_held_out_pictures():
    train, spec = open_data({"source": "digits"}, "train")
    test, _ = open_data({"source": "digits"}, "test")
    generator = torch.Generator().manual_seed(0)
    batches = [train.batch(torch.randint(len(train), (64,), generator=generator), generator) for _ in range(80)]
    system = learn(Classifier(Config(width=8, shift=1), spec), batches)
    held_out = test.batch(torch.arange(len(test)), generator)
    with torch.no_grad():
        scores = system.evaluate(held_out)
        named = system.heads(system.trunk(held_out.pixels)).argmax(1)
    right = (named == held_out.labels[:, 0]).float().mean()
    assert next(iter(scores)) == "accuracy"
    assert scores["accuracy"].value == pytest.approx(float(right))
    assert scores["accuracy"].low < scores["accuracy"].value < scores["accuracy"].high
    assert scores["accuracy"].value > 0.9
    assert system.confusions[0].sum() == len(test)
    assert system.confusions[0].diagonal().sum() / len(test) == pytest.approx(float(right))
    assert set(list(scores)[1:]) == set(spec.labels["class"])


def test_confusions_travel_with_the_weights():
    system = Classifier(Config(width=3), MANY).eval()
    with torch.no_grad():
        system.evaluate(batch_of(20, MANY))
    twin = Classifier(Config(width=3), MANY)
    twin.load_state_dict(system.state_dict())
    shown = twin.confusion()
    assert shown.pixels.shape[0] == 2
    assert torch.equal(shown.pixels, system.confusion().pixels)
    assert shown.titles[0].startswith("hair")


def test_the_confusion_picture_is_dark_where_names_were_given():
    system = Classifier(Config(width=3), TWO)
    system.confusions[0] = torch.tensor([[9.0, 0.0], [5.0, 5.0]])
    cells = system.confusion().pixels[0, 0, 60::120, 60::120]
    assert cells[0].tolist() == [-1.0, 1.0]
    assert cells[1, 0] == cells[1, 1]
    assert -1 < float(cells[1, 0]) < 1


def test_a_picture_file_and_a_folder_are_named(tmp_path):
    Image.new("RGB", (20, 30), "navy").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    one = Classifier(Config(width=3), TWO).classify(path=tmp_path / "a.png")
    assert len(one.lines) == 1
    assert one.lines[0].startswith("a.png: ")
    assert "boot" in one.lines[0]
    assert "shirt" in one.lines[0]
    folder = Classifier(Config(width=3), MANY).classify(path=tmp_path)
    assert folder.lines[0].startswith("a.png: hair ")
    assert folder.lines[1] == "b.png: not a picture that can be read"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no pictures in"):
        Classifier(Config(width=3), TWO).classify(path=empty)


def test_data_without_labels_is_refused():
    with pytest.raises(UserError, match="needs labels"):
        Classifier(Config(), ImageSpec(3, 16))


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 16), (1, 64), (3, 100), (4, 8)])
def test_features_take_pictures_of_any_size_and_kind(channels, size):
    judge = Classifier(Config(width=3), MANY).eval()
    assert judge.features(torch.rand(5, channels, size, size) * 2 - 1).shape == (5, judge.heads.in_features)


def test_grey_pictures_give_a_colour_judge_the_same_features_as_their_colour_copies():
    judge = Classifier(Config(width=3), MANY).eval()
    grey = torch.rand(5, 1, 16, 16) * 2 - 1
    assert torch.allclose(judge.features(grey), judge.features(grey.expand(-1, 3, -1, -1)), atol=1e-5)
