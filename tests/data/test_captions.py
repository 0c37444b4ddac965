"""Pictures with sentences: the words of captions, the held-out combinations, and the user's own folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from handmade.data.codecs.caption import CaptionWords, words_of
from handmade.data.source import for_path, open_data
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources.captions import apart
from handmade.data.specs import CaptionSpec, spec_from_json, spec_to_json
from handmade.errors import UserError

FACES = {"source": "captions", "size": 16, "n": 60, "held_out": 12}


def test_words_are_small_letters_without_marks():
    assert words_of("A smiling face, with Anna's GLASSES!  (2 of them)") == [
        "a", "smiling", "face", "with", "anna's", "glasses", "2", "of", "them",
    ]  # fmt: skip


def test_the_most_frequent_words_get_ids_and_others_are_unknown():
    codec = CaptionWords.train(["red cat", "red dog", "blue dog", "red"], 2)
    assert codec.words == ("red", "dog")
    assert codec.encode("Red, dog & cat") == [2, 3, 1]
    assert codec.decode([2, 0, 1, 3]) == "red ? dog"
    assert codec.unknown("cat red cat emu") == ["cat", "emu"]


def test_prompts_are_filled_up_and_what_is_not_understood_is_said():
    spec = CaptionSpec(3, 16, {}, ("green", "hair"), 3)
    assert spec.tokens_of(["green", "", "hair green hair hair"]).tolist() == [[2, 0, 0], [0, 0, 0], [3, 2, 3]]
    assert spec.tokens_of(["gren hair", "hair a green b hair"]).tolist() == [[3, 0, 0], [3, 2, 3]], (
        "not even as unknown"
    )
    assert spec.not_understood("green hair") == spec.not_understood("") == ""
    assert '"gren" (did you mean "green"?)' in spec.not_understood("gren hair")
    assert "first 3 of its 4 words" in spec.not_understood("hair green hair hair")
    assert "first 3" not in spec.not_understood("hair gren hair hair")
    with pytest.raises(UserError, match='negative="zebra!": no word of it'):
        spec.not_understood("zebra!", "negative")


def test_a_spec_comes_back_from_its_file():
    _, spec = open_data(FACES)
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_held_out_faces_are_of_combinations_that_training_never_sees():
    (train, spec), (test, same) = open_data(FACES, "train"), open_data(FACES, "test")
    assert spec == same and len(test) == 12 and 40 <= len(train) < 60

    def triples(dataset):
        return {tuple(codes[:3].tolist()) for codes in dataset.pictures.codes}

    assert not triples(train) & triples(test)
    assert apart({"hair": "green", "cut": "long", "glasses": "yes"})
    every = [
        apart({"hair": hair, "cut": cut, "glasses": glasses})
        for hair in lorelei.LABELS["hair"] for cut in lorelei.LABELS["cut"] for glasses in lorelei.LABELS["glasses"]
    ]  # fmt: skip
    assert sum(every) == len(every) / 5


def test_a_batch_holds_the_pictures_their_words_and_their_labels():
    dataset, spec = open_data(FACES)
    batch = dataset.batch(torch.tensor([3, 1]), torch.Generator())
    assert batch.pixels.shape == (2, 3, 16, 16) and batch.tokens.shape == (2, spec.longest)
    assert spec.words.decode(batch.tokens[0].tolist()) == " ".join(words_of(dataset.captions[3]))
    shown = {name: values[code] for (name, values), code in zip(spec.labels.items(), batch.labels[1], strict=True)}
    assert lorelei.caption(shown) == dataset.captions[1]


def test_where_no_face_may_be_trained_on_that_is_said():
    first = next(n for n in range(1000) if apart(lorelei.attributes(n, 0)))
    with pytest.raises(UserError, match="choose a larger n"):
        open_data({**FACES, "n": 1, "seed": first})


@pytest.fixture
def folder(tmp_path):
    rows = ["file_name,text"]
    for number in range(30):
        colour = ["red", "green", "blue"][number % 3]
        pixels = np.zeros((20, 20, 3), np.uint8)
        pixels[..., number % 3] = 200
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,A {colour} square")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    return tmp_path


def test_your_own_folder_with_a_table_of_captions(folder):
    data = for_path({"source": "captions", "size": 16}, folder)
    assert data == {
        "path": str(folder),
        "kind": "captions",
        "size": 16,
        "channels": 3,
        "flip": False,
        "vocabulary": 4000,
    }
    (train, spec), (test, _) = open_data(data), open_data(data, "test")
    assert len(train) + len(test) == 30 and len(test) >= 1
    assert set(spec.vocabulary) == {"a", "square", "red", "green", "blue"}
    channel = ["red", "green", "blue"].index(train.captions[0].split()[1])
    assert train.pictures.pixels[0, channel].min() > 150


def test_an_empty_caption_is_named(folder):
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace("7.png,A green square", "7.png, "))
    with pytest.raises(UserError, match=r"1 of 30 pictures have an empty caption, the first is 7\.png"):
        open_data(for_path({"source": "captions", "size": 16}, folder))


def test_pictures_without_captions_are_told_how_to_get_some(folder):
    (folder / "metadata.csv").unlink()
    with pytest.raises(UserError, match=r"have no captions .*metadata\.csv with the columns file_name and text"):
        open_data(for_path({"source": "captions", "size": 16}, folder))


def test_captions_without_a_single_word_are_refused(folder):
    (folder / "metadata.csv").write_text("file_name,text\n" + "\n".join(f"{n}.png,!!" for n in range(30)))
    with pytest.raises(UserError, match="the captions have no words"):
        open_data(for_path({"source": "captions", "size": 16}, folder))
