"""The gpt room: GPT-2's sizes, caching, writing, Muon, scores and asks."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from handmade.data.specs import TextBatch, TextSpec
from handmade.engine.devices import World, prepare
from handmade.engine.turns import Table, players_of
from handmade.errors import UserError
from handmade.samplers.pen import Pen
from handmade.samplers.tokens import Taste, fortunes
from handmade.systems.gpt.network import GPT, GPT2_SIZES, Cache, Form
from handmade.systems.gpt.system import Config, GPTSystem, form_of
from handmade.systems.gpt.writing import continued, kept, surprises

LETTERS = " \n.abcdefghijklmnopqrstuvwxyz"
SPEC = TextSpec({"kind": "chars", "characters": LETTERS}, 32)
TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 40


def network(style: str = "modern", **changed: Any) -> GPT:
    """A small random network with weights large enough to matter."""
    torch.manual_seed(0)
    sizes = {"vocabulary": 50, "context": 32, "layers": 2, "width": 32, "heads": 4, **changed}
    made = GPT(Form(**sizes) if style == "gpt2" else Form.modern(**sizes)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.2)
    return made


def system(**config: Any) -> GPTSystem:
    """A small untrained system."""
    torch.manual_seed(0)
    return GPTSystem(Config(**{"layers": 2, "width": 32, "heads": 2, **config}), SPEC)


def windows(n: int = 16, seed: int = 0) -> TextBatch:
    """Windows of a text that can be learnt."""
    tokens = torch.tensor(SPEC.encode(TEXT))
    starts = torch.randint(len(tokens) - 33, (n,), generator=torch.Generator().manual_seed(seed))
    return TextBatch(tokens.unfold(0, 33, 1)[starts], torch.ones(n, dtype=torch.bool))


def learn(made: GPTSystem, steps: int, precision: str = "float32") -> float:
    """Play some steps; the last loss."""
    prepare(made, World(), precision, False)
    table, loss = Table(made, players_of(made), World()), math.nan
    for step in range(steps):
        (turn,) = table.play([windows(seed=step)], seed=step)
        loss = turn.loss.item()
    return loss


@pytest.fixture(scope="module")
def taught() -> GPTSystem:
    """A system that knows the text."""
    made = system()
    learn(made, 200)
    return made.eval()


# the network


def test_the_published_sizes_have_the_published_numbers_of_parameters():
    expected = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}
    for name, (layers, width, heads) in GPT2_SIZES.items():
        with torch.device("meta"):
            made = GPT(Form(layers=layers, width=width, heads=heads))
        assert sum(p.numel() for p in made.parameters()) == expected[name]


@pytest.mark.parametrize("style", ["gpt2", "modern"])
def test_the_cache_changes_nothing(style):
    made, tokens = network(style), torch.randint(50, (3, 20))
    with torch.no_grad():
        cache = Cache(made.form, 25)
        parts = [made(tokens[:, :7], cache), made(tokens[:, 7:12], cache)]
        parts += [made(tokens[:, t : t + 1], cache) for t in range(12, 20)]
        torch.testing.assert_close(torch.cat(parts, 1), made(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("style", ["gpt2", "modern"])
def test_padding_at_the_left_changes_nothing(style):
    made, tokens, padding = network(style), torch.randint(50, (3, 20)), torch.tensor([0, 5, 19])
    with torch.no_grad():
        padded = made(tokens, padding=padding)
        for row, skip in enumerate(padding.tolist()):
            torch.testing.assert_close(padded[row, skip:], made(tokens[row : row + 1, skip:])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("style", ["gpt2", "modern"])
def test_no_token_sees_the_future(style):
    made, tokens = network(style).requires_grad_(), torch.randint(50, (1, 20))
    other = tokens.clone()
    other[:, 12:] = (other[:, 12:] + 1) % 50
    assert torch.allclose(made(tokens)[:, :12], made(other)[:, :12], atol=1e-6)
    assert not torch.allclose(made(tokens)[:, 12:], made(other)[:, 12:], atol=1e-3)


def test_attention_maps_are_odds_over_the_past():
    maps = network().maps(torch.randint(50, (2, 9)))
    assert maps.shape == (2, 2, 4, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 4, 9))
    assert (maps.triu(1) == 0).all()


def test_turning_matrices_in_memory_changes_neither_shapes_nor_numbers():
    made, tokens = network("gpt2"), torch.randint(50, (1, 9))
    with torch.no_grad():
        before, shapes = made(tokens), [p.shape for p in made.parameters()]
        made.arrange()
        torch.testing.assert_close(made(tokens), before, rtol=1e-4, atol=1e-5)
    assert [p.shape for p in made.parameters()] == shapes
    assert not made.blocks[0].attention.qkv.weight.is_contiguous()


def test_more_tokens_than_the_context_are_refused():
    with pytest.raises(UserError, match="33 tokens are more than the 32"):
        network()(torch.zeros(1, 33, dtype=torch.int64))


def test_an_untrained_network_is_as_surprised_as_chance():
    batch = windows()
    for turn in system().objective(batch):
        assert turn.loss.item() == pytest.approx(math.log(SPEC.size), rel=0.02)


def test_the_fused_loss_is_that_of_the_logits():
    made, tokens = network(), torch.randint(50, (3, 12))
    expected = torch.nn.functional.cross_entropy(made(tokens[:, :-1]).mT, tokens[:, 1:])
    assert made(tokens[:, :-1], targets=tokens[:, 1:]).item() == pytest.approx(expected.item(), rel=1e-5)


def test_heads_that_do_not_divide_the_width_become_fewer():
    assert form_of(Config(width=13, heads=4), SPEC).heads == 1
    assert form_of(Config(width=30, heads=4), SPEC).heads == 3
    with pytest.raises(UserError, match="cannot be cut"):
        Form(width=30, heads=4)


# learning


def test_both_styles_and_optimizers_learn():
    for config in ({}, {"style": "gpt2"}, {"optimizer": "adamw", "lr": 3e-3}):
        assert learn(system(**config), 60) < 1.3, config


def test_in_bf16_the_loss_is_that_of_float32():
    plain, fast = (learn(system(), 40, precision) for precision in ("float32", "bf16"))
    assert fast == pytest.approx(plain, rel=0.03)


def test_the_optimizer_goes_on_from_its_saved_state():
    batches, runs = windows(), []
    for interrupted in (False, True):
        made = system()
        optimizer = made.optimizers()["gpt"]
        for step in range(6):
            if interrupted and step == 3:
                state, optimizer = optimizer.state_dict(), made.optimizers()["gpt"]
                optimizer.load_state_dict(state)
            next(made.objective(batches)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        runs.append(made.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


# writing


def by_hand(made: GPT, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens, everything read again for each."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(made(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("style", ["gpt2", "modern"])
def test_prompts_of_different_lengths_continue_together_as_they_do_alone(style):
    made, prompts = network(style), [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    with torch.no_grad():
        steps = list(itertools.islice(continued(made, prompts, Taste(temperature=0), fortunes(3, 0)), 20))
        for row, prompt in enumerate(prompts):
            assert [int(step[row]) for step in steps] == by_hand(made, prompt, 20)


def test_writing_goes_on_beyond_the_context_and_long_prompts_are_cut():
    made, prompt = network(), torch.randint(50, (70,)).tolist()
    with torch.no_grad():
        tokens = [int(t) for t in itertools.islice(continued(made, [prompt], Taste(temperature=0), fortunes(1, 0)), 50)]
        assert tokens[:8] == by_hand(made, prompt[-kept(32) :], 8)
    assert len(tokens) == 50


def test_copies_of_a_prompt_are_different_and_more_of_them_continue_the_series():
    made = network()
    with torch.no_grad():
        three, five = (
            torch.stack(list(itertools.islice(continued(made, [[1, 2]], Taste(), fortunes(n, 4), n), 12)), 1)
            for n in (3, 5)
        )
    assert torch.equal(three, five[:3]) and len(five.unique(dim=0)) == 5


def test_a_pen_shows_text_as_it_comes_and_stops_before_the_stop_text():
    pen = Pen(lambda ids: "".join(map(chr, ids)), ["STOP"], end=0)
    pieces = [pen.add(ord(letter)) for letter in "go on, STAY; now STOP and more"]
    assert "".join(pieces) + pen.finish() == "go on, STAY; now " == pen.text
    assert pieces[7] == "" and pen.done  # an S may be the beginning of STOP
    ended = Pen(lambda ids: "".join(map(chr, ids)), [], end=0)
    assert "".join(ended.add(token) for token in [104, 105, 0, 106]) == "hi" and ended.done


def test_letters_of_several_bytes_are_shown_when_they_are_whole():
    pen = Pen(lambda ids: bytes(ids).decode("utf-8", "replace"), [], None)
    assert [pen.add(byte) for byte in "aé".encode()] == ["a", "", "é"]


def test_surprises_of_a_long_text_are_those_of_windows_that_see_enough():
    made, tokens = network(), torch.randint(50, (100,)).tolist()
    with torch.no_grad():
        found = surprises(made, tokens)
        assert found.shape == (99,)
        first = torch.nn.functional.cross_entropy(
            made(torch.tensor([tokens[:32]]))[0], torch.tensor(tokens[1:33]), reduction="none"
        )
        torch.testing.assert_close(found[:32], first, rtol=1e-4, atol=1e-4)
        assert len(surprises(made, tokens[:1])) == 0


# asks


def test_a_taught_system_goes_on_with_what_it_read(taught):
    (text,) = taught.continue_(prompt="the cat", max_tokens=40, temperature=0).texts
    assert text.startswith("the cat sat on the mat and the dog")


def test_continuations_are_told_as_they_come(taught):
    told: list[str] = []
    taught.tell = told.append
    try:
        (text,) = taught.continue_(prompt="the c", max_tokens=30, stop="\n").texts
    finally:
        del taught.tell
    assert "".join(told).rstrip("\n") == text.rstrip("\n") and len(told) > 10


def test_a_long_prompt_slides_and_says_so(taught):
    told: list[str] = []
    taught.tell = told.append
    try:
        (text,) = taught.continue_(prompt=TEXT[:200], max_tokens=20, temperature=0).texts
    finally:
        del taught.tell
    assert "200 tokens, more than the 32" in told[0]
    assert text.startswith(TEXT[:215])


def test_prompts_come_from_a_file(taught, tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("the cat\n---\nthe dog sat\n")
    texts = taught.continue_(file=tmp_path / "prompts.txt", n=2, max_tokens=5).texts
    assert [text[:7] for text in texts] == ["the cat", "the cat", "the dog", "the dog"]
    (tmp_path / "bad.txt").write_bytes(b"abc\xff")
    with pytest.raises(UserError, match="byte 0xff at position 3"):
        taught.continue_(file=tmp_path / "bad.txt")
    with pytest.raises(UserError, match="cannot read"):
        taught.continue_(file=tmp_path / "none.txt")


def test_next_words_are_the_odds_of_the_network(taught):
    values = taught.next_words(prompt="the cat sat on the mat and the do", k=5, temperatures="0.5,1,2").values
    assert next(iter(values)) == "g"
    cold, plain, hot = values["g"].values()
    assert 1 >= cold > plain > hot > 0.3
    with pytest.raises(UserError, match="temperatures"):
        taught.next_words(prompt="the", temperatures="0")


def test_a_known_text_scores_better_than_an_unknown_one(taught):
    known, other = (taught.score(text=text).values for text in (TEXT[:120], "quick zebras jump over lazy vixens " * 3))
    assert known["nats_per_token"] < 1 < other["nats_per_token"]
    assert known["tokens"] == 119 and known["perplexity"] == pytest.approx(math.exp(known["nats_per_token"]))
    with pytest.raises(UserError, match="two or more"):
        taught.score(text="a")


def test_attention_draws_the_heads_that_are_asked_for(taught):
    assert len(taught.attention(prompt="the cat").pixels) == 4
    assert len(taught.attention(prompt="the cat", layer=1).pixels) == 2
    assert len(taught.attention(prompt="the cat", layer=2, head=1).pixels) == 1
    with pytest.raises(UserError, match="no layer 3"):
        taught.attention(prompt="the cat", layer=3)


def test_copies_of_the_training_text_are_marked(taught):
    class Known:
        tokens = torch.tensor(SPEC.encode(TEXT))

    taught.trained_on = Known
    try:
        (text,) = taught.copied(prompt="the cat", n=1, max_tokens=60, temperature=0).texts
    finally:
        taught.trained_on = None
    assert "stands in the training text" in text and "[[" in text and "sat on the mat and" in text


def test_scores_are_bits_per_byte_first(taught):
    with torch.no_grad():
        scores = taught.evaluate(windows())
    assert list(scores) == ["bits_per_byte", "nats"]
    assert scores["bits_per_byte"].value == pytest.approx(scores["nats"].value / math.log(2), rel=1e-5)
    assert scores["nats"].value < 0.6
