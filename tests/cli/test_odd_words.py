"""Odd words, numbers and files: one plain line, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from commands import Done, command, hand
from handmade import api
from handmade.artifacts.provenance import png_bytes
from handmade.cli.main import main
from handmade.engine.tensors import open_tensors
from handmade.errors import Damaged
from handmade.registry import find_room, system_class

LONG = "99999999999999999999"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ask", "RUN", "generate", "--seed", LONG), f"seed must have fewer digits than '{LONG}'"),
        (("ask", "zoo:dcgan/faces", "walk", "--seeds", f"1,{LONG}"), f"seeds must have fewer digits than {LONG}"),
        (("train", "toy_gan/smoke", "--train.seed", LONG), "train.seed cannot be"),
        (("resume", "RUN", "--minutes", "nan"), "minutes must be more than 0"),
        (("resume", "RUN", "--minutes", "inf"), "minutes must be more than 0 and less than a million"),
        (("resume", "RUN", "--minutes", "-2"), "minutes must be more than 0"),
        (("evaluate", "RUN", "--at", "²"), 'there is no checkpoint "²"'),
        (("ask", "zoo:lstm/austen", "score", "--text", "a" * 50_000), "text is too long, with 50,002 bytes"),
        (("ask", "zoo:lstm/austen", "score", "--text", "caf\udce9"), "text has bytes that are not UTF-8"),
        (("ask", "zoo:lstm/austen", "score", "--file", "caf\udce9.txt"), "file has bytes that are not UTF-8"),
        (("ask", "zoo:lstm/austen", "score", "--file", "a\0b"), "no file has a zero byte in its name"),
        (("ask", "zoo:lstm/austen", "score", "--file", "\x1b[2J\u202e.txt"), "cannot read \\x1b[2J\\u202e.txt: No such"),
        (("data", "doubt", "faces", "--attribute", "glasses", "--out", "."), "must be a table to write"),
        (("data", "doubt", "faces", "--attribute", "glasses", "--out", "t.png"), "must be a table to write"),
        (("data", "doubt", "faces", "--attribute", "glasses", "--out", "no/t.csv"), "in a folder that exists"),
        (("data", "doubt", "faces", "where"), 'data doubt does not know "where"'),
    ],
)  # fmt: skip
def test_what_no_machine_can_do_is_answered_in_one_line(say, trained, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    done = say(*(trained if word == "RUN" else word for word in words))
    assert done.code == 2 and says in done.complaint(), done
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "prompt", ["Open\u00a0it", "👨\u200d👩 said", "3.45\u202fPM", "a\rb", "I say! " * 1500], ids=range(5)
)
def test_what_was_made_from_any_text_can_be_made_again(say, tmp_path, prompt):
    asked = "--prompt", prompt, "--max-tokens", 2, "--seed", 1_700_000_000_000_000
    done = say("ask", "zoo:gpt/plays", "continue", *asked, "--out", tmp_path / "out")
    assert done.code == 0, done
    again = say("recreate", tmp_path / "out" / "000000.txt", "--out", tmp_path / "again")
    assert again.code == 0 and "the same bytes" in again.said


def test_a_strange_files_text_steers_no_terminal(say, tmp_path):
    say("ask", "zoo:gpt/plays", "next_words", "--prompt", "a", "--out", tmp_path / "out")
    note = next((tmp_path / "out").glob("*.csv.json"))
    told = json.loads(note.read_text())
    for arguments in ({"temperatures": "\x1b[2J\nhandmade: done"}, {"\u202eprompt": "x"}, {"file": "a\0b"}):
        note.write_text(json.dumps({**told, "arguments": arguments}))
        done = say("recreate", note.with_suffix(""), "--out", tmp_path / "again")
        assert done.code == 2 and done.said.count("\n") == 1 and done.said[:-1].isprintable(), done


def test_help_for_a_word_needs_no_other_word(capsys):
    with pytest.raises(SystemExit) as left:
        main(["ask", "--help"])
    assert left.value.code == 0 and "what to ask for" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["list"], ["--version"]], ids=str)
def test_a_reader_that_goes_away_is_no_error(words):
    reading, writing = os.pipe()
    os.close(reading)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command(*words), env=kept, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_who_listens_is_no_error():
    line = ["bash", "-c", f"{sys.executable} -m handmade list >&-"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_machine_without_memory_is_one_line(say, tmp_path):
    done = say("train", "shapes_gan/smoke", "--config.width", 2_000_000, "--out", tmp_path / "run")
    assert done.code == 1 and done.complaint() == "there is not enough memory"


def test_ctrl_c_in_the_demo_says_which_run_goes_on_and_how(tmp_path):
    line = command("demo", "--minutes", "2", "--only", "shapes_gan/exponential", "--out", tmp_path / "demo")
    demo = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    said = ""
    for heard in demo.stderr or ():
        said += heard
        if heard.startswith("step "):
            demo.send_signal(signal.SIGINT)
            break
    said += demo.communicate(timeout=60)[1]
    done = Done(demo.returncode, "", said)
    assert demo.returncode == 130, done
    assert done.complaint().startswith("shapes_gan/exponential: stopped and saved; `handmade resume ")


# --- recreate ---------------------------------------------------------------------------------------------------------


def test_a_file_is_not_written_over_by_what_it_is_compared_with(say, trained, tmp_path):
    assert say("ask", trained, "generate", "--n", 3, "--out", tmp_path / "made").code == 0
    file = next(path for path in (tmp_path / "made").iterdir() if path.suffix == ".png")
    before = file.read_bytes()
    done = say("recreate", file, "--out", tmp_path / "made")
    assert done.code == 2 and "would be written over" in done.complaint()
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"run": None}, {"step": None}, {"sha256": None}, {"threads": 0}, {"threads": 10**9}]
)
def test_a_note_of_origin_that_says_too_little_is_damaged(say, trained, tmp_path, change):
    assert say("ask", trained, "generate", "--n", 3, "--out", tmp_path / "made").code == 0
    file = next(path for path in (tmp_path / "made").iterdir() if path.suffix == ".png")
    from handmade.artifacts import provenance

    origin = {**provenance.read_origin(file), **change}
    kept = {key: value for key, value in origin.items() if value is not None}
    file.write_bytes(png_bytes(Image.open(file), kept))
    done = say("recreate", file, "--out", tmp_path / "again")
    assert done.code == 4 and next(iter(change)) in done.complaint(), done


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_header_of_nothing_but_brackets_is_damaged(tmp_path):
    text = b"[" * 100_000
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(Damaged, match="not a safetensors file"):
        open_tensors(tmp_path / "w.safetensors")


def test_a_room_that_was_mended_is_imported_anew(tmp_path, monkeypatch):
    room = tmp_path / "rooms" / "mended"
    room.mkdir(parents=True)
    (room / "recipes.toml").write_text(
        "[system]\ntitle = 'Mended'\nclass = 'system:Mended'\n[recipe.smoke]\nabout = 'x'\n"
    )
    (room / "system.py").write_text("early = 1\nimport a_module_that_nobody_has\n")
    monkeypatch.setenv("HANDMADE_ROOMS", str(tmp_path / "rooms"))
    with pytest.raises(ModuleNotFoundError):
        system_class(find_room("mended"))
    (room / "system.py").write_text("class Mended:\n    pass\n")
    assert system_class(find_room("mended")).__name__ == "Mended"


# --- settings given to resume -----------------------------------------------------------------------------------------


def test_settings_given_to_resume_hold_from_now_on(say, trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    assert say("resume", run, "--train.steps", 7, "--config.lr", 0.5).code == 0
    assert "lr = 0.5" in (run / "recipe.toml").read_text() and "steps = 7" in (run / "recipe.toml").read_text()
    told = say("resume", run, "--train.steps", 8)
    assert told.code == 0 and "lr = 0.5" in (run / "recipe.toml").read_text()


def test_how_to_compute_can_be_told_to_resume(tmp_path):
    few = {"train.steps": "5", "train.precision": "auto", "train.threads": "auto"}
    run = api.train("toy_gan/smoke", out=tmp_path / "run", overrides=few)
    path = run.folder / "environment.json"
    odd = {"precision": "bf16", "channels_last": False, "threads": 1}
    path.write_text(json.dumps({**json.loads(path.read_text()), "choice": odd}))
    starts = []
    api.resume(run, overrides={"train.steps": "6", "train.precision": "float32"},
               observers=[lambda e: starts.append(e) if e["kind"] == "start" else 0])  # fmt: skip
    assert starts[0]["choice"].startswith("float32")


def test_a_run_that_somebody_trains_keeps_its_settings_and_its_stop_file(trained, tmp_path):
    run = api.find_run(shutil.copytree(trained, tmp_path / "run"))
    (run.folder / "stop").touch()
    before = (run.folder / "recipe.toml").read_text()
    with run.locked():
        done = hand("resume", run.folder, "--train.steps", 9)
    assert done.code == 2, done
    assert (run.folder / "stop").exists() and (run.folder / "recipe.toml").read_text() == before
