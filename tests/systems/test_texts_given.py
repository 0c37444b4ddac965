"""Texts that are handed to the rooms that write: line ends, several in a file, unknown letters, large seeds, tiny heat."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from handmade.data.own_text import open_own_text
from handmade.data.source import Wanted
from handmade.data.specs import TextBatch, TextSpec
from handmade.errors import UserError
from handmade.systems.gpt.system import Config as GPTConfig
from handmade.systems.gpt.system import GPTSystem
from handmade.systems.lstm.system import Config as LSTMConfig
from handmade.systems.lstm.system import LSTMSystem

SPEC = TextSpec({"kind": "chars", "characters": '\n "ABCDEGHIKLMNT-abcdefghijklmnopqrstuvwxyz'}, 48)


@pytest.fixture(scope="module", params=["gpt", "lstm"])
def made(request) -> Any:
    torch.manual_seed(0)
    gpt = request.param == "gpt"
    system = GPTSystem(GPTConfig(layers=1, width=16, heads=2), SPEC) if gpt else LSTMSystem(LSTMConfig(1, 16), SPEC)
    for parameter in system.parameters():  # untrained heads say next to nothing
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return system.eval()


@pytest.fixture(scope="module")
def gpt() -> GPTSystem:
    torch.manual_seed(0)
    return GPTSystem(GPTConfig(layers=1, width=16, heads=2), SPEC).eval()


@pytest.fixture
def told(made, monkeypatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(made, "tell", said.append, raising=False)
    return said


def test_line_ends_of_a_file_make_no_difference(made, tmp_path):
    text = "the cat\nsat on\nthe mat\n"
    for name, ends in (("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")):
        (tmp_path / name).write_bytes(text.replace("\n", ends).encode())
    values = [made.score(file=tmp_path / name).values for name in ("lf", "crlf", "cr")]
    assert values[0] == values[1] == values[2] and values[0]["tokens"] == len(text) - 1


def test_prompts_are_parted_whatever_the_line_ends_and_binary_files_are_refused(gpt, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"the cat\r\n---\r\nthe dog\r\n")
    assert [text[:7] for text in gpt.continue_(file=tmp_path / "a.txt", max_tokens=2).texts] == ["the cat", "the dog"]
    (tmp_path / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(UserError, match="is not text but a PNG picture"):
        gpt.continue_(file=tmp_path / "b.txt")


@pytest.mark.parametrize("n", [1, 3])
def test_a_prompt_goes_on_as_it_does_alone_whatever_stands_beside_it(gpt, tmp_path, n):
    (tmp_path / "both.txt").write_text("HAMLET\n---\nKING\n---\nKING\n")
    both = gpt.continue_(file=tmp_path / "both.txt", n=n, max_tokens=12, seed=5).texts
    king, more = (gpt.continue_(prompt="KING", n=count, max_tokens=12, seed=5).texts for count in (n, 4))
    assert both[n : 2 * n] == both[2 * n :] == king == more[:n]
    assert both[:n] == gpt.continue_(prompt="HAMLET", n=n, max_tokens=12, seed=5).texts


@pytest.mark.parametrize("seed", [1_700_000_000_000_000, 2**63 - 1, -(2**62)])
def test_every_seed_that_may_be_given_gives_a_text(made, seed):
    first, again, other = (made.continue_(prompt="the", max_tokens=30, seed=s).texts for s in (seed, seed, seed ^ 1))
    assert first == again != other


def test_unknown_letters_of_a_prompt_are_told(made, told):
    made.continue_(prompt="the \u043a\u043e\u0442", n=2, max_tokens=2)
    assert told[0].startswith("(3 of 7 characters (42.9%) are unknown to the codec, such as ") and "\u043a" in told[0]
    told.clear()
    made.score(text="a\u0085b")
    assert "1 of 3 characters (33.3%)" in told[0] and "U+0085" in told[0]
    told.clear()
    made.next_words(prompt="\u00e9")
    assert "1 of 1 characters" in told[0]
    told.clear()
    made.score(text="the cat")
    assert not told


@torch.no_grad()
def test_a_score_says_how_much_of_the_text_is_unknown(made):
    known, strange = SPEC.encode("the cat sat on the mat and"), SPEC.encode("\u043a\u043e\u0442 the cat sat on the mat")
    rows = [TextBatch(torch.tensor([tokens] * 2), torch.ones(2, dtype=torch.bool)) for tokens in (known, strange)]
    plain, other = (made.evaluate(batch)["bits_per_byte"].about for batch in rows)
    assert "unknown" not in plain and "8.0% of them unknown characters, all read as one sign" in other


def test_own_text_that_a_codec_lacks_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "ru.txt").write_text("\u043a\u043e\u0442 the cat sat on the mat. " * 40)
    windows, _ = open_own_text(Wanted("train", like=SPEC), str(tmp_path / "ru.txt"), codec="run", context=16)
    assert any("unknown to the codec, such as" in line and "\u043a" in line for line in windows.report.lines())
    (tmp_path / "en.txt").write_text("the cat sat on the mat\n" * 40)
    windows, _ = open_own_text(Wanted("train", like=SPEC), str(tmp_path / "en.txt"), codec="run", context=16)
    assert not any("unknown" in line for line in windows.report.lines())


def test_the_least_heat_takes_the_likeliest_token(made):
    odds = made.next_words(prompt="the", k=1, temperatures="1e-40,1").values
    assert next(iter(odds.values()))["1e-40"] == 1.0
    assert made.continue_(prompt="the", temperature=1e-40).texts == made.continue_(prompt="the", temperature=0).texts
