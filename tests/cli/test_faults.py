"""What goes wrong ends in one plain line, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import pickle
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import hand
from handmade import api
from handmade.cli.main import main
from handmade.engine.foreign import read_weights

MISTAKES = {
    ("trian",): 'no word "trian"; did you mean "train"',
    ("train",): "required: ROOM/RECIPE",
    ("train", "dcgn/smoke"): 'no room "dcgn"; did you mean "dcgan"',
    ("train", "toy_gan/smok"): 'no recipe "toy_gan/smok"; did you mean "toy_gan/smoke"',
    ("train", "toy_gan"): 'no recipe "toy_gan"',
    ("train", "toy_gan/smoke", "--config.widht", "3"): 'no setting "config.widht"; did you mean "width"',
    ("train", "toy_gan/smoke", "--train.stepps", "3"): 'no setting "train.stepps"; did you mean "steps"',
    ("train", "toy_gan/smoke", "--trian.steps", "3"): 'no setting "trian.steps"',
    ("train", "toy_gan/smoke", "--train.steps", "many"): "train.steps cannot be 'many'",
    ("train", "toy_gan/smoke", "--train.steps", "0"): "train.steps cannot be 0",
    ("train", "toy_gan/smoke", "--train.steps", "1.5"): "train.steps cannot be 1.5",
    ("train", "toy_gan/smoke", "--train.ema", "0.9"): "train.ema cannot be 0.9",
    ("train", "toy_gan/smoke", "--train.ema.generator", "0.9"): "no setting",
    ("train", "toy_gan/smoke", "--train.precision", "half"): "train.precision cannot be 'half'",
    ("train", "toy_gan/smoke", "--config.width", "wide"): "config.width cannot be 'wide'",
    ("train", "toy_gan/smoke", "--data.source", "shape"): 'no data set "shape"; did you mean "shapes"',
    ("train", "toy_gan/smoke", "--data.cruve", "sine"): 'no setting "cruve"; did you mean "curve"',
    ("train", "toy_gan/smoke", "--data.curve", "sin"): "curve cannot be 'sin'; did you mean \"sine\"",
    ("train", "toy_gan/smoke", "--data", "."): "takes no files",
    ("train", "toy_gan/smoke", "--minutes", "0"): "minutes must be more than 0",
    ("train", "toy_gan/smoke", "--minutes", "soon"): "invalid float value",
    ("train", "toy_gan/smoke", "--devices", "0"): "devices must lie between 1 and 64",
    ("train", "toy_gan/smoke", "--devices", "-1"): "devices must lie between 1 and 64",
    ("train", "toy_gan/smoke", "--config.width"): "--config.width needs a value",
    ("train", "toy_gan/smoke", "--fast"): "unrecognized arguments: --fast",
    ("resume", "nowhere"): 'no run "nowhere"',
    ("ask", "nowhere", "generate"): 'no run "nowhere"',
    ("ask", "zoo:dcgan/nothing", "generate"): 'the zoo has no "dcgan/nothing"',
    ("ask", "RUN", "genrate"): 'cannot be asked to "genrate"; did you mean "generate"',
    ("ask", "RUN", "generate", "--m", "3"): "unrecognized arguments",
    ("ask", "RUN", "generate", "--n", "many"): "n must be a whole number, not 'many'",
    ("ask", "RUN", "generate", "--n", "0"): "n must lie between 1 and 1000, not '0'",
    ("ask", "RUN", "generate", "--at", "7"): "no checkpoint of step 7",
    ("ask", "RUN", "generate", "--at", "worst"): "worst",
    ("evaluate", "nowhere"): 'no run "nowhere"',
    ("evaluate", "RUN", "--items", "0"): "items must be at least 1",
    ("recreate", "nothing.png"): "no file nothing.png",
    ("import", "toy_gan", "nothing.pt"): "no file nothing.pt",
    ("import", "toy", "nothing.pt"): 'no room "toy"',
    ("data", "lst"): 'no verb "lst"; did you mean "list"',
    ("data", "show", "facs"): 'no data set "facs"; did you mean "faces"',
    ("data", "prepare"): "needs a name",
    ("show", "dcgn"): 'no room "dcgn"; did you mean "dcgan"',
    ("new", "My Room"): "use small letters",
    ("new", "dcgan"): 'already a room "dcgan"',
    ("demo", "--minutes", "0"): "minutes must be more than 0",
    ("demo", "--only", "nobody/nothing"): "nobody/nothing",
}


@pytest.mark.parametrize(("words", "expected"), MISTAKES.items(), ids=[" ".join(words) for words in MISTAKES])
def test_a_mistake_is_answered_in_one_line_that_helps(say, trained, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    done = say(*(trained if word == "RUN" else word for word in words))
    assert done.code == 2, done
    assert expected in done.complaint()
    assert done.out == "" and not list(tmp_path.iterdir())


def test_debug_shows_where_it_happened(say):
    with pytest.raises(Exception, match="no room"):
        main(["show", "dcgn", "--debug"])


BROKEN_RECIPES = {
    "newer": ("format = 2\n", 2, "newer version"),
    "no number": ('format = "x"\n', 2, "recipe.toml"),
    "train is no table": ("format = 1\nname = 'toy_gan/smoke'\ntrain = 3\n", 2, "train"),
    "config is no table": ("format = 1\nname = 'toy_gan/smoke'\nconfig = 3\n", 2, "config"),
    "data is no table": ("format = 1\nname = 'toy_gan/smoke'\ndata = 'faces'\n", 2, "data"),
    "no name": ("format = 1\n", 2, "no room"),
    "a room that is gone": ("format = 1\nname = 'gone/smoke'\n", 2, 'no room "gone"'),
    "unknown key": ("format = 1\nname = 'toy_gan/smoke'\nrun = 'rm'\n", 2, 'no setting "run"'),
    "half": ("format = 1\nname = 'toy_gan/sm", 2, "not TOML"),
    "bytes": ("\x00\xff", 2, "not TOML"),
}


@pytest.mark.parametrize(("text", "code", "expected"), BROKEN_RECIPES.values(), ids=BROKEN_RECIPES)
@pytest.mark.parametrize("word", ["resume", "ask"])
def test_a_run_whose_recipe_is_not_ours_is_refused(say, trained, tmp_path, text, code, expected, word):
    (tmp_path / "recipe.toml").write_bytes(text.encode("latin-1"))
    done = say(word, tmp_path, *(["generate"] if word == "ask" else []))
    assert done.code == code and expected in done.complaint(), done


@pytest.mark.parametrize("name", ["spec.json", "environment.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "faces"}', '{"choice": {"fast": 1}}'])
def test_a_damaged_small_file_of_a_run_is_named(say, trained, tmp_path, name, content):
    import shutil

    run = shutil.copytree(trained, tmp_path / "run")
    (run / name).write_text(content)
    done = say("resume", run, "--train.steps", 6)
    if name == "environment.json" and content == '{"kind": "faces"}':
        return  # it names no choice: one is made
    assert done.code == 4 and name in done.complaint(), done


def test_a_run_without_any_good_checkpoint_is_damaged(say, trained, tmp_path):
    import shutil

    run = shutil.copytree(trained, tmp_path / "run")
    for path in run.glob("checkpoints/*/weights.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    for words in (("resume", run), ("ask", run, "generate"), ("evaluate", run)):
        done = say(*words)
        assert done.code == 4 and "no good checkpoint" in done.complaint(), done


# the user's own pictures


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for k in range(120):
        Image.fromarray(noise.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{k:02d}.png")
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_picture(path: Path) -> Path:
    """A small file whose valid header promises 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def train_on(say, folder, out):
    return say("train", "dcgan/smoke", "--data", folder, "--out", out, "--train.steps", 2, "--train.batch", 8,
               "--train.score_items", 12, "--config.width", 8, "--train.precision", "float32", "--train.threads", 1,
               "--train.channels_last", "false")  # fmt: skip


@pytest.mark.usefixtures("own_cache")
def test_a_folder_that_is_missing_or_empty_is_the_users_mistake(say, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("missing", "empty"):
        done = train_on(say, tmp_path / folder, tmp_path / "run")
        assert done.code == 2 and folder in done.complaint(), done
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("own_cache")
def test_one_broken_picture_among_many_is_named_and_the_others_are_used(say, pictures, tmp_path):
    (pictures / "bad.png").write_bytes((pictures / "00.png").read_bytes()[:200])
    (pictures / "notes.png").write_text("this is a text")
    huge_picture(pictures / "huge.png")
    done = train_on(say, pictures, tmp_path / "run")
    assert done.code == 0, done
    assert ", 3 broken" in done.said, done
    for name in ("bad.png", "notes.png", "huge.png"):
        assert name in done.said, done


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("kind", ["huge", "text"])
def test_a_folder_of_nothing_but_bad_pictures_is_refused_at_once(say, tmp_path, kind):
    folder = tmp_path / "pictures"
    folder.mkdir()
    path = folder / "picture.png"
    huge_picture(path) if kind == "huge" else path.write_text("this is a text")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = train_on(say, folder, tmp_path / "run")
    assert done.code in (2, 4) and "picture.png" in done.complaint(), done
    if kind == "huge":
        assert "16 megapixels" in done.complaint()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown / 1000:.0f} MB"
    assert not (tmp_path / "run").exists()


# weights from elsewhere


class Evil:
    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


def good_weights(trained):
    from safetensors.torch import load_file

    return load_file(next(trained.glob("checkpoints/*/weights.safetensors")))


@pytest.mark.parametrize("kind", ["plain pickle", "in a zip", "beside tensors", "not a pickle", "empty"])
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(say, trained, tmp_path, kind):
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    match kind:
        case "plain pickle":
            path.write_bytes(pickle.dumps(Evil(canary)))
        case "in a zip":
            torch.save(Evil(canary), path)
        case "beside tensors":
            torch.save({"state_dict": good_weights(trained), "more": Evil(canary)}, path)
        case "not a pickle":
            path.write_bytes(b"this is a text")
        case "empty":
            path.write_bytes(b"")
    done = say("import", "toy_gan", path, "--out", tmp_path / "run")
    assert done.code in (2, 4) and "evil.pt" in done.complaint(), done
    assert not canary.exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors", ".bin"])
def test_good_weights_become_a_run_like_any_other(say, trained, tmp_path, ending):
    from safetensors.torch import save_file

    weights, path = good_weights(trained), tmp_path / f"good{ending}"
    if ending == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if ending == ".pt" else weights, path)
    done = say("import", "toy_gan", path, "--out", tmp_path / "run")
    assert done.code == 0, done
    loaded = api.load(tmp_path / "run").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    done = say("ask", tmp_path / "run", "generate", "--n", 3, "--out", tmp_path / "out", "--json")
    assert done.code == 0 and done.json()["files"], done
    done = say("resume", tmp_path / "run")
    assert done.code == 2 and "weights only" in done.complaint(), done


def test_weights_of_another_network_are_refused_with_the_first_difference(say, trained, tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"conv.weight": torch.ones(3)}, path)
    done = say("import", "toy_gan", path, "--out", tmp_path / "run")
    assert done.code == 2 and "is missing" in done.complaint() and not (tmp_path / "run").exists(), done
    done = say("import", "toy_gan", trained / "README.md", "--out", tmp_path / "run")
    assert done.code == 2 and "cannot read .md" in done.complaint(), done


def test_the_restricted_reader_reads_tensors_and_nothing_else(tmp_path):
    torch.save({"model": {"a": torch.ones(2), "note": "x"}}, tmp_path / "a.pth")
    assert list(read_weights(tmp_path / "a.pth")) == ["a"]


# places


def test_an_out_folder_that_cannot_be_used_is_the_users_mistake(say, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "full"):
        done = say("train", "toy_gan/smoke", "--out", out, "--train.steps", 2)
        assert done.code == 2 and str(out) in done.complaint(), done
    assert (tmp_path / "file").read_text() == "mine" and [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_full_folder_for_what_is_made_is_the_users_mistake(say, trained, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = say("ask", trained, "generate", "--n", 2, "--out", tmp_path / "file")
    assert done.code == 2 and "file" in done.complaint(), done


def test_an_odd_environment_is_no_obstacle(tmp_path):
    here = tmp_path / "my runs 🎨 ünï"
    here.mkdir()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")
    odd = {"NO_COLOR": "1", "TERM": "dumb", "HOME": None, "HANDMADE_HOME": None, "HANDMADE_CACHE": str(blocked),
           "XDG_DATA_HOME": None, "COLUMNS": "20", "LANG": "C", "HANDMADE_RUNS": "runs"}  # fmt: skip
    done = hand("train", "toy_gan/smoke", "--train.steps", 5, "--json", cwd=here, **odd)
    assert done.code == 0 and done.json()["step"] == 5, done
    assert "\x1b" not in done.said + done.out and "\r" not in done.said
    done = hand("ask", "latest", "generate", "--n", 2, "--out", "made here 🎨", cwd=here, **odd)
    assert done.code == 0 and (here / "made here 🎨" / "sheet.png").is_file(), done
    done = hand("recreate", "made here 🎨/points.csv", cwd=here, **odd)
    assert done.code == 0 and "the same bytes" in done.said, done


def test_pictures_are_drawn_without_a_cache(say, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")
    monkeypatch.setenv("HANDMADE_CACHE", str(blocked))
    done = say("train", "dcgan/smoke", "--data.n", 16, "--data.held_out", 8, "--out", tmp_path / "run", "--train.steps", 1,
               "--train.batch", 8, "--train.score_items", 8, "--config.width", 8, "--train.precision", "float32",
               "--train.threads", 1, "--train.channels_last", "false")  # fmt: skip
    assert done.code == 0, done


# one JSON document


def test_json_is_one_document_and_the_talk_goes_elsewhere(say, trained, tmp_path):
    made = say("ask", trained, "generate", "--n", 2, "--out", tmp_path / "made", "--json").json()
    assert all(Path(path).is_file() for path in made["files"])
    for words in (
        ("list", "--json"),
        ("show", "toy_gan", "--json"),
        ("show", "toy_gan/smoke", "--json"),
        ("evaluate", trained, "--items", 64, "--json"),
        ("doctor", "--json"),
        ("data", "list", "--json"),
        ("data", "show", "shapes", "--json"),
        ("train", "toy_gan/smoke", "--train.steps", 2, "--out", tmp_path / "run", "--json"),
        ("resume", tmp_path / "run", "--train.steps", 3, "--json"),
    ):
        done = say(*words)
        assert done.code == 0 and isinstance(json.loads(done.out), dict | list), (words, done)


@pytest.mark.parametrize(
    ("recipes", "code", "named"),
    [
        ("[system\n", "x = 1\n", "is not TOML"),
        ("[system]\ntitle = 'Mine'\n", "x = 1\n", "lacks [system] 'class'"),
        ("[system]\nclass = 'system:Mine'\n", "def broken(:\n", "invalid syntax"),
        ("[system]\nclass = 'absent:Mine'\n", "x = 1\n", "No such file"),
    ],
)
def test_a_broken_room_of_ones_own_is_named_and_leaves_the_others_alone(
    tmp_path, monkeypatch, say, recipes, code, named
):
    room = tmp_path / "rooms" / "mine"
    room.mkdir(parents=True)
    (room / "recipes.toml").write_text(recipes)
    (room / "system.py").write_text(code)
    monkeypatch.setenv("HANDMADE_ROOMS", str(tmp_path / "rooms"))
    told = say("list")
    assert told.code == 0 and "dcgan" in told.out and "left out: " in told.out and named in told.out
    shown = say("show", "mine")
    assert shown.code == 2 and named in shown.said and len(shown.said.strip().splitlines()) == 1
    assert say("show", "dcgan").code == 0
