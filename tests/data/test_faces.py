from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from handmade.data.pictures import Pictures
from handmade.data.source import open_data
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources import faces as faces_source
from handmade.data.sources.faces import Faces
from handmade.errors import HandmadeError, UserError

GENERATOR = torch.Generator()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are drawn in blocks of ten, so that a test draws few."""
    monkeypatch.setattr(faces_source, "BLOCK", 10)


def draw(split: str = "train", **options) -> Faces:
    dataset, _ = open_data({"source": "faces", "size": 32, "n": 20, "held_out": 10, **options}, split)
    assert isinstance(dataset, Faces)
    return dataset


def test_a_batch_of_faces_has_the_promised_shape_kind_and_range():
    dataset = draw(n=13)
    batch = dataset.batch(torch.tensor([0, 12, 5]), GENERATOR)
    assert batch.pixels.shape == (3, 3, 32, 32)
    assert batch.pixels.dtype == torch.float32
    assert batch.pixels.abs().max() <= 1
    assert batch.labels.shape == (3, 7)
    assert batch.labels.dtype == torch.int64
    assert torch.equal(dataset.spec.decode(batch.pixels)[1], dataset.pixels[12])


def test_labels_and_caption_tell_what_was_drawn():
    dataset = draw()
    for row in range(5):
        face = lorelei.attributes(0, row)
        named = {
            name: values[int(dataset.codes[row, column])]
            for column, (name, values) in enumerate(dataset.spec.labels.items())
        }
        assert named == face
        caption = dataset.captions(torch.tensor([row]))[0]
        for name in ("hair", "eyes", "skin", "background"):
            assert face[name] in caption
        assert ("glasses" in caption) == (face["glasses"] == "yes")


def test_two_processes_filling_one_cache_at_once_draw_the_same_bits_as_this_one(tmp_path: Path):
    code = (
        "import hashlib\n"
        "from handmade.data.sources import faces\n"
        "faces.BLOCK = 10\n"
        "print(hashlib.sha256(faces.draw_faces(0, 0, 20, 32, print)).hexdigest())"
    )
    env = {**os.environ, "HANDMADE_CACHE": str(tmp_path / "shared")}
    running = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in "ab"]
    answers = [process.communicate(timeout=120)[0].splitlines()[-1] for process in running]
    assert answers == [hashlib.sha256(draw().pixels.numpy().tobytes()).hexdigest()] * 2
    assert sorted(path.name for path in (tmp_path / "shared").rglob("*") if path.is_file()) == [
        "0000000.npz",
        "0000010.npz",
    ]


def test_worker_processes_draw_the_same_bits_as_this_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faces_source, "_cores", lambda: 2)
    drawn = dict(faces_source._drawn([0, 10, 20, 30, 40], seed=4, size=16))
    assert list(drawn) == [0, 10, 20, 30, 40]
    for start, block in drawn.items():
        assert (block == lorelei.draw_block(4, start, 10, 16)).all()


def test_a_worker_that_dies_is_an_error_with_its_last_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faces_source, "_cores", lambda: 2)
    with pytest.raises(HandmadeError, match=r"drawing faces failed: .*width"):
        list(faces_source._drawn([0, 10, 20, 30], seed=0, size=-1))


def test_a_larger_set_draws_only_what_is_missing_and_begins_with_the_smaller(own_cache: Path):
    small = draw(n=20)
    blocks = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npz")}
    assert len(blocks) == 2
    large = draw(n=35)
    assert torch.equal(large.pixels[:20], small.pixels)
    assert len(list(own_cache.rglob("*.npz"))) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in blocks.items())


def test_a_damaged_block_in_the_cache_is_drawn_again(own_cache: Path):
    before = draw().pixels
    block = next(own_cache.rglob("*.npz"))
    block.write_bytes(block.read_bytes()[:100])
    assert torch.equal(draw().pixels, before)


def test_faces_are_drawn_without_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = draw(n=2).pixels
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "file" / "cache"))
    assert torch.equal(draw(n=2).pixels, before)


def test_progress_is_told_block_by_block():
    said: list[tuple[int, int, str]] = []
    open_data({"source": "faces", "size": 16, "n": 20}, "train", lambda *words: said.append(words))
    assert said == [(10, 20, "drawing faces"), (20, 20, "drawing faces")]


def test_test_faces_are_never_training_faces():
    train, test = draw(), draw("test")
    assert not set(train.numbers) & set(test.numbers)
    assert train.fingerprint != test.fingerprint


def test_a_counterfactual_changes_what_was_asked_and_nothing_else():
    dataset = draw("test", size=64)
    rows = torch.arange(10)
    column = list(dataset.spec.labels).index("glasses")
    real = dataset.batch(rows, GENERATOR).pixels
    assert torch.equal(dataset.counterfactual(rows), real)
    worn, bare = dataset.counterfactual(rows, glasses="yes"), dataset.counterfactual(rows, glasses="no")
    own = torch.where(dataset.codes[:, column, None, None, None] == 1, worn, bare)
    assert torch.equal(own, real)
    changed = (worn != bare).any(1).float().mean((1, 2))
    assert changed.min() > 0.002
    assert changed.max() < 0.15
    background = dataset.counterfactual(rows, background="lemon", hair="blue")
    assert background.shape == real.shape


def test_a_counterfactual_names_an_unknown_attribute_or_value():
    dataset = draw(n=1)
    with pytest.raises(UserError, match='did you mean "glasses"'):
        dataset.counterfactual(torch.tensor([0]), glases="yes")
    with pytest.raises(UserError, match='hair cannot be "blonde"; did you mean "blond"'):
        dataset.counterfactual(torch.tensor([0]), hair="blonde")


def test_where_keeps_some_faces_and_they_still_know_how_they_were_drawn():
    everyone, some = draw(n=60), draw(n=60, where="glasses=1, hair=red|blue|black")
    assert 0 < len(some) < 40
    assert some.spec.labels["glasses"] == ("yes",)
    assert some.spec.labels["hair"] == ("black", "red", "blue")
    assert some.fingerprint != everyone.fingerprint
    rows = torch.arange(len(some))
    assert torch.equal(some.counterfactual(rows), some.batch(rows, GENERATOR).pixels)
    for row, number in enumerate(some.numbers):
        face = lorelei.attributes(0, number)
        assert face["glasses"] == "yes"
        assert some.spec.labels["hair"][int(some.codes[row, 1])] == face["hair"]
        assert some.captions(torch.tensor([row])) == [lorelei.caption(face)]


def test_where_names_an_unknown_attribute_a_value_and_an_empty_choice():
    for where, message in [("glases=1", 'did you mean "glasses"'), ("hair=blonde", 'did you mean "blond"')]:
        with pytest.raises(UserError, match=message):
            draw(n=1, where=where)
    missing = "no" if lorelei.attributes(0, 0)["glasses"] == "yes" else "yes"
    with pytest.raises(UserError, match="leaves no picture"):
        draw(n=1, where=f"glasses={missing}")


def test_attributes_are_drawn_evenly_and_combinations_do_not_repeat_soon():
    drawn = [lorelei.attributes(0, index) for index in range(3000)]
    for name, values in lorelei.LABELS.items():
        share = Counter(face[name] for face in drawn)
        assert set(share) == set(values)
        if name != "cut":
            assert max(share.values()) / min(share.values()) < 1.4
    assert len({tuple(face.values()) for face in drawn}) > 2500


def test_grey_faces_have_one_channel_and_flips_happen_in_training_only():
    grey = draw(n=3, channels=1, flip=True)
    assert grey.pixels.shape == (3, 1, 32, 32)
    assert grey.flip
    assert not draw("test", flip=True).flip


def test_pictures_without_captions_say_how_to_give_them_some():
    plain = draw(n=2)
    bare = Pictures(plain.pixels, plain.codes, plain.spec, "bare")
    with pytest.raises(UserError, match=r"metadata\.csv"):
        bare.captions(torch.tensor([0]))
