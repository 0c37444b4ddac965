"""The runs that ship: small, safe, made by the recipe they name, and as good as they say."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from handmade import api
from handmade.artifacts import Images
from handmade.artifacts.provenance import read_origin
from handmade.cli.main import main
from handmade.data.source import open_data
from handmade.engine import checkpoint
from handmade.engine.run import Run
from handmade.metrics.image import kid
from handmade.recipe import build_config, load_recipe, read_recipe
from handmade.registry import ZOO, find_recipe, find_room, system_class, zoo

SHIPPED = [
    "autoencoder/digits", "classifier/clothes", "classifier/faces", "clip/faces", "conditional_wgan/faces",
    "cyclegan/glasses", "cyclegan/hair", "dcgan/faces", "diffusion/clothes", "diffusion/faces", "flow_matching/faces",
    "gpt/austen", "gpt/plays", "image_gan/clothes", "image_gan/digits", "lstm/austen", "musegan/chorales",
    "music_transformer/chorales", "numbers_gan/fives", "shapes_gan/exponential", "super_resolution/faces",
    "text_to_image/emoji", "text_to_image/faces", "text_to_video/shapes", "translator/en-fr", "vae/faces",
]  # fmt: skip
COMMON = {
    "the",
    "and",
    "to",
    "of",
    "i",
    "you",
    "my",
    "a",
    "that",
    "in",
    "is",
    "not",
    "me",
    "it",
    "his",
    "he",
    "your",
    "be",
    "thou",
}


def test_the_promised_runs_ship():
    assert set(SHIPPED) <= set(zoo())


def test_the_zoo_is_small():
    assert sum(path.stat().st_size for path in ZOO.rglob("*") if path.is_file()) <= 60 * 10**6


@pytest.mark.parametrize("name", zoo())
def test_a_shipped_run_is_small_and_holds_nothing_but_data(name):
    files = [path for path in (ZOO / name).rglob("*") if path.is_file()]
    makes = find_room(name.split("/")[0]).system["makes"]
    assert sum(path.stat().st_size for path in files) <= (10 if makes == "text" else 4) * 10**6
    assert {path.suffix for path in files} <= {".toml", ".json", ".jsonl", ".md", ".safetensors", ""}


@pytest.mark.parametrize("name", zoo())
def test_a_shipped_run_is_its_recipe_and_its_weights_are_whole(name):
    _, table = find_recipe(name)
    run = Run(ZOO / name)
    path, passed = run.good_checkpoint()
    assert not passed and checkpoint.verify(path)["step"] == int(path.name)
    assert {
        value.dtype.itemsize for value in checkpoint.read(path, "weights").values() if value.is_floating_point()
    } == {2}
    assert "expect" in table


@pytest.mark.parametrize("name", zoo())
def test_the_recipe_that_ships_is_the_one_it_was_trained_by(name):
    """Only what fits the machine, and how often it was looked at, may differ from the room's own."""
    run, own = Run(ZOO / name), load_recipe(name, {}, None)
    shipped = read_recipe(run.folder / "recipe.toml")
    machine = {
        "precision",
        "channels_last",
        "threads",
        "sample_every",
        "score_every",
        "score_items",
        "log_every",
        "keep",
    }
    kind = sys.modules[system_class(own.room).__module__].Config
    assert (shipped.data, shipped.judge, shipped.borrow) == (own.data, own.judge, own.borrow)
    assert build_config(kind, shipped.config, name) == build_config(kind, own.config, name)
    for field in fields(own.train):
        assert field.name in machine or getattr(shipped.train, field.name) == getattr(own.train, field.name), field.name
    trained = [event["steps"] for event in run.events("end")]
    assert trained[-1] == own.train.steps or own.train.stop_after


@pytest.mark.parametrize("name", zoo())
def test_a_shipped_run_states_scores_with_its_recipe(name):
    (*_, last) = Run(ZOO / name).events("score")
    first = next(iter(last["scores"].values()))
    assert f"{first['value']:.4g}" in (ZOO / name / "README.md").read_text("utf-8")


def test_numbers_are_valid_and_of_every_kind():
    scores = api.evaluate("zoo:numbers_gan/fives", 1000)
    assert scores["valid"].value >= 0.99 and scores["entropy"].value >= 0.95


def test_the_curve_is_drawn_over_its_whole_range():
    scores = api.evaluate("zoo:shapes_gan/exponential", 1000)
    assert scores["error"].value <= 0.15 and scores["coverage"].value >= 0.95


def test_drawn_faces_are_many_and_near_the_real_ones():
    scores = api.evaluate("zoo:dcgan/faces", 256)
    assert scores["duplicates"].value <= 0.01
    assert scores["kid"].value <= 0.4, scores["kid"]


def test_faces_show_the_labels_that_were_asked_for():
    system, judge = api.load("zoo:conditional_wgan/faces"), api.load("zoo:classifier/faces")
    drawn = system.generate(n=64, seed=3, label="glasses=yes,hair=black").pixels
    with torch.no_grad():
        odds = dict(zip(judge.data.labels, judge.probabilities(drawn), strict=True))
    for name, value in (("glasses", "yes"), ("hair", "black")):
        right = odds[name].argmax(1) == judge.data.labels[name].index(value)
        assert right.float().mean() >= 0.95, name


def test_blond_hair_turns_black_as_if_it_had_been_drawn_so():
    scores = api.evaluate("zoo:cyclegan/hair", 24)
    assert scores["partner"].value <= 0.3 and scores["outside"].value <= 2


def test_the_slider_gives_a_face_glasses_and_takes_them_away(tmp_path: Path):
    """One that wears none, and one that does; the judge of all other tests sees the difference."""
    vae, judge = api.load("zoo:vae/faces"), api.load("zoo:classifier/faces")
    for now, then in (("no", "yes"), ("yes", "no")):
        face, _ = open_data({"source": "faces", "size": 64, "n": 40, "where": f"glasses={now}"})
        pixels = face.batch(torch.arange(8), torch.Generator()).pixels
        Images(pixels).save(tmp_path / now)
        (tmp_path / now / "sheet.png").unlink()
        moved = vae.slider(image=tmp_path / now, label=f"glasses={then}").pixels
        with torch.no_grad():
            odds = judge.probabilities(moved)[list(judge.data.labels).index("glasses")]
        assert (odds.argmax(1) == judge.data.labels["glasses"].index(then)).float().mean() >= 0.75


def test_the_translator_keeps_capitals_and_accents():
    told = api.load("zoo:translator/en-fr").translate(text="Opens a dialog to edit the selected style.")
    assert told.lines == ("Ouvre une boîte de dialogue permettant d'éditer le style sélectionné.",), told.lines


def test_the_plays_go_on_in_verse():
    system = api.load("zoo:gpt/plays")
    spoken = system.continue_(prompt="HAMLET:\n", max_tokens=300, temperature=0.7, seed=1)
    words = "".join(str(spoken.text())).split()
    assert len(words) > 30 and sum(word.strip(".,:;!?").lower() in COMMON for word in words) > len(words) / 5


def test_the_judge_sees_what_is_missing():
    """Faces of one hair colour, or blurred, are farther from real faces than other real faces are."""
    judge = api.load("zoo:classifier/faces")
    faces, _ = open_data({"source": "faces", "size": 64, "n": 600}, "train")
    blond, _ = open_data({"source": "faces", "size": 64, "n": 600, "where": "hair=blond"}, "train")
    seeds = torch.Generator().manual_seed(0)
    pixels = faces.batch(torch.arange(600), seeds).pixels
    with torch.no_grad():
        real, other = judge.features(pixels[:300]), judge.features(pixels[300:])
        one = judge.features(blond.batch(torch.arange(len(blond)), seeds).pixels)
        dim = judge.features(avg_pool2d(pixels[300:], 3, 1, 1))
    near = kid(real, other, small=True).value
    assert near < 0.02 < kid(real, one, small=True).value
    assert near < 0.02 < kid(real, dim, small=True).value


def test_an_ask_of_a_shipped_run_names_the_run_and_not_this_machine(tmp_path: Path):
    artifact = api.load("zoo:shapes_gan/exponential").generate(n=8)
    assert artifact.origin["run"] == "zoo:shapes_gan/exponential"
    assert str(ZOO) not in "".join(path.read_text("utf-8") for path in artifact.save(tmp_path) if path.suffix == ".svg")


def test_a_shipped_run_draws_nearly_the_same_in_bf16_and_says_so(tmp_path, capsys):
    words = ["ask", "zoo:dcgan/faces", "generate", "--n", "4", "--out"]
    assert main([*words, str(tmp_path / "plain")]) == 0
    assert main([*words, str(tmp_path / "fast"), "--precision", "bf16"]) == 0
    plain, fast = (np.asarray(Image.open(tmp_path / which / "sheet.png"), dtype=int) for which in ("plain", "fast"))
    assert 0 < np.abs(plain - fast).mean() < 2  # of 255
    assert read_origin(tmp_path / "fast" / "000003.png")["precision"] == "bf16"
    assert main(["recreate", str(tmp_path / "fast" / "000003.png"), "--out", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    system = api.load("zoo:text_to_image/faces", precision="bf16")
    for part in (system, *system.borrowed.values()):  # whoever it borrows computes so, too
        assert all(hasattr(child.forward, "__wrapped__") for child in part.children())
