"""Drawn clips: what moves is what the sentence says, edges are soft, and combinations are kept apart."""

from __future__ import annotations

import json
import math

import pytest
import torch

from handmade.data.loader import Loader
from handmade.data.source import check_data, open_data
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources import _moving as moving
from handmade.data.sources import clips as source
from handmade.data.sources import faces as drawings
from handmade.data.specs import spec_from_json, spec_to_json
from handmade.errors import UserError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are drawn in blocks of four, so that a test draws few."""
    monkeypatch.setattr(drawings, "BLOCK", 4)


def opened(split: str = "train", **options):
    return open_data({"source": "clips", "n": 200, **options}, split)  # type: ignore[arg-type]


def all_of(dataset):
    return dataset.batch(torch.arange(len(dataset)), torch.Generator())


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_frames_words_and_labels():
    dataset, spec = opened()
    batch = dataset.batch(torch.tensor([3, 0, 3]), torch.Generator())
    assert batch.pixels.shape == (3, 16, 3, 32, 32) and batch.pixels.dtype == torch.float32
    assert batch.pixels.abs().max() <= 1
    assert batch.tokens.shape == (3, spec.longest) and batch.labels.shape == (3, 5)
    assert torch.equal(batch.pixels[0], batch.pixels[2]) and not torch.equal(batch.pixels[0], batch.pixels[1])
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec
    assert "16 x 3 x 32 x 32" in repr(spec)


def test_every_object_is_kept_in_every_colour_from_one_direction():
    train, test = (all_of(opened(split, n=6000)[0]).labels for split in ("train", "test"))
    seen, unseen = ({tuple(row) for row in labels[:, :3].tolist()} for labels in (train, test))
    assert unseen == {(o, c, moving.apart(o, c)) for o in range(6) for c in range(6)}
    assert len(seen) == 6 * 6 * 7 and not seen & unseen
    for pair in ((0, 1), (0, 2), (1, 2)):  # what is unseen together is seen in pairs
        assert {tuple(row) for row in test[:, pair].tolist()} <= {tuple(row) for row in train[:, pair].tolist()}


def test_the_table_of_held_out_combinations_is_the_truth():
    short = {"".join(word[0] for word in name.split(" and ")): i for i, name in enumerate(moving.DIRECTIONS)}
    rows = [line.split() for line in (source.__doc__ or "").splitlines()]
    told = {row[0]: row[1:] for row in rows if row and row[0] in moving.OBJECTS}
    assert {name: [short[word] for word in row] for name, row in told.items()} == {
        name: [moving.apart(o, c) for c in range(6)] for o, name in enumerate(moving.OBJECTS)
    }


def test_the_sentence_names_what_the_labels_say():
    dataset, spec = opened()
    for text, codes in zip(dataset.captions, all_of(dataset).labels.tolist(), strict=True):
        what, colour, way, size, ground = (v[c] for v, c in zip(spec.labels.values(), codes, strict=True))
        assert f"{colour} {what} moves {way}" in text
        assert text.startswith("an orange" if text[1] == "n" else "a ")
        assert all(word not in text or word in (size, f"{ground} background") for word in spec.labels["size"])
        assert " on a " not in text or text.endswith(f" on a {ground} background")
    assert any(" on a " not in text for text in dataset.captions)
    assert any(text.split()[1] in ("small", "large") for text in dataset.captions)


def test_what_is_drawn_moves_evenly_in_the_direction_named_and_stays_inside():
    dataset, _ = opened("test", held_out=72)
    batch = all_of(dataset)
    ground = batch.pixels[:, :1, :, :1, :1]
    apart = (batch.pixels - ground).abs().amax(2)  # (N, F, H, W)
    area = apart.sum((2, 3))
    assert torch.allclose(area, area.mean(1, keepdim=True).expand_as(area), rtol=0.03), "no shape is cut off by an edge"
    line = torch.arange(32.0)
    middles = torch.stack([(apart.sum(2) * line).sum(-1), (apart.sum(3) * line).sum(-1)], -1) / area[..., None]
    steps = middles.diff(dim=1)  # (N, F - 1, 2)
    assert (steps - steps.mean(1, keepdim=True)).abs().max() < 0.1
    for way, code in zip((middles[:, -1] - middles[:, 0]).tolist(), batch.labels[:, 2].tolist(), strict=True):
        right, down = list(moving.DIRECTIONS.values())[code]
        assert math.hypot(*way) > 0.29 * 32
        assert [abs(part) < 0.3 or part * side > 0 for part, side in zip(way, (right, down), strict=True)] == [
            True,
            True,
        ]


def test_a_pixel_on_an_edge_is_partly_shape():
    """The area of a disc is the sum of what its pixels show of it."""
    plans = moving.plan(1, 0, held_out=False)
    plans.codes[0], plans.radius[0], plans.shades[:] = (0, 0, 0, 0, 2), 0.2, 1.0  # a red circle on black
    drawn = moving.draw(plans, 32, 4)[0]  # (F, 3, 32, 32)
    low, high = moving.GROUNDS["black"][0], moving.COLOURS["red"][0]
    area = ((drawn[:, 0] - low) / (high - low)).sum((1, 2))
    assert torch.allclose(area, torch.full((4,), math.pi * (0.9 * 0.2 * 32) ** 2), rtol=0.01)


def test_distances_are_those_to_the_outline():
    table = dict(zip(moving.OBJECTS, moving.distances(), strict=True))
    middle = moving.TABLE // 2
    assert float(table["circle"][middle, middle]) == pytest.approx(-0.9, abs=0.03)
    assert float(table["square"][middle, middle]) == pytest.approx(-0.8, abs=0.03)
    assert float(table["square"][0, 0]) == pytest.approx(
        math.sqrt(2) * 0.8, abs=1e-4
    )  # from a corner of the table, 1.6
    assert float(table["ring"][middle, middle]) == pytest.approx(0.45, abs=0.03)
    assert all((shape < 0).any() and (shape[0] > 0).all() for shape in table.values())


def test_the_same_seed_draws_the_same_clips_and_more_of_them_are_others():
    (a, _), (b, _), (c, _) = opened(), opened(), opened(seed=1)
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert torch.equal(all_of(a).pixels, all_of(b).pixels) and not torch.equal(all_of(a).pixels, all_of(c).pixels)


@pytest.mark.parametrize("options", [{"channels": 1}, {"size": 17, "frames": 5}, {"size": 8, "frames": 2}])
def test_grey_clips_and_odd_sizes(options):
    dataset, spec = opened(**options)
    batch = next(Loader(dataset, batch=3, seed=0))
    assert batch.pixels.shape == (3, spec.frames, spec.channels, spec.size, spec.size)


# --- faces -----------------------------------------------------------------------------------------------------------


def faces(split: str = "train", **options):
    return opened(split, of="faces", size=16, **{"n": 90, "held_out": 6, **options})


def test_a_face_changes_in_one_attribute_alone():
    dataset, spec = faces()
    batch, columns = all_of(dataset), list(spec.labels)
    assert batch.pixels.shape[1:] == (16, 3, 16, 16)
    for text, codes in zip(dataset.captions, batch.labels.tolist(), strict=True):
        value = {name: spec.labels[name][codes[columns.index(name)]] for name in columns}
        differing = [name for name in source.CHANGING if value[name] != value[f"{name}_after"]]
        assert len(differing) == 1
        assert text.startswith(lorelei.caption(value)), "the sentence begins with the first picture"
        if differing == ["hair"]:
            assert text.endswith(f"and its hair turns {value['hair_after']}")
        else:
            assert text.endswith("starts to smile" if value["expression_after"] == "happy" else "stops smiling")


def test_a_clip_fades_from_one_drawing_to_the_other():
    dataset, spec = faces()
    number, face, change = next(source._changing(0, 0, 90, held_out=False))
    ends = [lorelei.draw(0, number, known, 16) for known in source._ends(face, change)]
    clip = spec.decode(dataset.batch(torch.tensor([0]), torch.Generator()).pixels)[0]
    assert torch.equal(clip[0], torch.from_numpy(ends[0].copy())) and torch.equal(
        clip[-1], torch.from_numpy(ends[1].copy())
    )
    away = (clip.float() - clip[:1].float()).abs().mean((1, 2, 3))
    assert (away.diff() >= 0).all() and away[-1] > 0


def test_held_out_changes_are_of_combinations_that_training_never_sees():
    def pairs(dataset, spec):
        columns = [list(spec.labels).index(name) for name in ("hair", "hair_after", "expression", "expression_after")]
        return {tuple(row) for row in all_of(dataset).labels[:, columns].tolist()}

    train, test = faces(n=400), faces("test", held_out=20)
    assert len(test[0]) == 20 and not pairs(*train) & pairs(*test)
    assert train[1] == faces("test", n=400)[1]


def test_faces_too_small_to_draw_and_too_few_are_refused_in_one_line():
    with pytest.raises(UserError, match="faces of 8 px cannot be drawn"):
        opened(of="faces", size=8)
    assert check_data({"source": "clips"})["of"] == "shapes"
