"""Asks with names that are words of Python, and what an ask says while it works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from handmade import api
from handmade.cli.main import main
from handmade.core import asks_of
from handmade.registry import find_room, system_class


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt that has hardly learnt."""
    out = tmp_path_factory.mktemp("run") / "gpt"
    few = {"train.steps": "3", "train.threads": "1", "train.precision": "float32", "train.score_items": "16"}
    api.train("gpt/smoke", out=out, overrides=few)
    return out


def test_an_ask_goes_by_its_name_without_the_underscore(run):
    room = find_room("gpt")
    assert "continue" in asks_of(system_class(room)) and "continue" in room.asks
    system: Any = api.load(run)
    artifact = getattr(system, "continue")(prompt="Call", max_tokens=5)
    assert artifact.origin["ask"] == "continue"
    assert dict(artifact.items()) == dict(system.continue_(prompt="Call", max_tokens=5).items())


def test_a_continuation_is_told_on_standard_output_and_the_folder_is_not(run, tmp_path, capsys):
    words = ["ask", str(run), "continue", "--prompt", "Call", "--max-tokens", "20", "--temperature", "0"]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert told.out.rstrip("\n") == (tmp_path / "out" / "000000.txt").read_text().rstrip("\n")
    assert str(tmp_path / "out") in told.err
    assert main([*words[:-2], "--max_tokens", "4", "--json", "--out", str(tmp_path / "again")]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"folder", "files"}


def test_a_score_prints_one_document_of_its_values(run, tmp_path, capsys):
    capsys.readouterr()
    assert main(["ask", str(run), "score", "--text", "Call me", "--json", "--out", str(tmp_path)]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"nats_per_token", "tokens", "perplexity"}


def test_a_loaded_run_knows_the_text_it_was_trained_on(run):
    system: Any = api.load(run)
    assert system.trained_on is not None
    tokens = system.trained_on().tokens
    assert tokens.dtype == torch.int32 and "Ishmael" in system.data.decode(tokens[:4000].tolist())


@pytest.mark.parametrize(
    "extra", [["--file", "{binary}"], ["--file", "{missing}"], ["--prompt", "a", "--file", "{good}"]]
)
def test_files_that_are_no_prompt_are_the_users_mistake(run, tmp_path, capsys, extra):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "good").write_text("a")
    names = {name: str(tmp_path / name) for name in ("binary", "missing", "good")}
    words = [word.format(**names) for word in extra]
    assert main(["ask", str(run), "continue", *words, "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
