"""The lstm room: the equations, memory carried along lanes, exact resume, and asks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from handmade.data.loader import Loader
from handmade.data.specs import TextBatch, TextSpec
from handmade.data.texts import Windows
from handmade.engine.devices import World, cut, prepare
from handmade.engine.turns import Table, players_of
from handmade.errors import UserError
from handmade.samplers.tokens import Taste, fortunes
from handmade.systems.lstm.network import LSTM, WIDE, Layer, State, ThroughTime
from handmade.systems.lstm.system import LANES, Config, LSTMSystem

LETTERS = " \n.abcdefghijklmnopqrstuvwxyz"
SPEC = TextSpec({"kind": "chars", "characters": LETTERS}, 16)
TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60


def system(**config: Any) -> LSTMSystem:
    torch.manual_seed(0)
    return LSTMSystem(Config(**{"layers": 2, "width": 24, "dropout": 0.0, **config}), SPEC)


def lanes(batch: int = 4, context: int = 16) -> Loader:
    tokens = torch.tensor(SPEC.encode(TEXT), dtype=torch.int32)
    return Loader(Windows(tokens, context, "lanes", ""), batch)


def learn(made: LSTMSystem, steps: int, loader: Loader | None = None, parts: int = 1) -> list[float]:
    """Play some steps; their losses."""
    table, loader, losses = Table(made, players_of(made), World()), loader or lanes(), []
    made.train()
    for step in range(steps):
        batch = next(loader)
        (turn,) = table.play([cut(batch, k, parts) for k in range(parts)], seed=step)
        losses.append(turn.loss.item())
        made.step += 1
    return losses


@pytest.fixture(scope="module")
def taught() -> LSTMSystem:
    """A system that knows the text."""
    torch.set_num_threads(1)
    made = system(width=48)
    learn(made, 250)
    return made.eval()


def random_layer(inputs: int, width: int) -> tuple[Layer, nn.LSTM]:
    """A layer of ours and torch's own, with the same weights."""
    torch.manual_seed(0)
    ours, theirs = Layer(inputs, width), nn.LSTM(inputs, width)
    with torch.no_grad():
        ours.of_input.copy_(theirs.weight_ih_l0)
        ours.of_said.copy_(theirs.weight_hh_l0)
        ours.bias.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
    return ours, theirs


# the equations


def test_the_equations_written_out_are_those_of_torchs_own_layer():
    ours, theirs = random_layer(7, 13)
    x, h, c = torch.randn(9, 3, 7), torch.randn(3, 13), torch.randn(3, 13)
    said, (last, cell) = theirs(x, (h[None], c[None]))
    for now in range(9):
        h, c, gates = ours.step(x[now], h, c)
        torch.testing.assert_close(h, said[now])
        assert all(bool(((gate >= 0) & (gate <= 1)).all()) for gate in (gates.let_in, gates.keep, gates.show))
    torch.testing.assert_close((h, c), (last[0], cell[0]))


def test_a_stretch_of_text_at_once_is_the_same_as_step_by_step():
    ours, theirs = random_layer(7, 13)
    x, h, c = torch.randn(9, 3, 7), torch.randn(3, 13), torch.randn(3, 13)
    said, last, cell = ours(x, h, c)
    torch.testing.assert_close(said, theirs(x, (h[None], c[None]))[0])
    for now in range(9):
        h, c, _ = ours.step(x[now], h, c)
        torch.testing.assert_close(said[now], h)
    torch.testing.assert_close((last, cell), (h, c))


def test_the_slopes_written_out_are_those_that_torch_derives():
    ours, _ = random_layer(7, 13)
    x, h, c = (torch.randn(*shape, requires_grad=True) for shape in ((9, 3, 7), (3, 13), (3, 13)))
    factors = torch.randn(9, 3, 13)

    def slopes(said: torch.Tensor, last: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = (said * factors).sum() + last.square().sum() + cell.exp().sum()
        return torch.autograd.grad(loss, [x, h, c, *ours.parameters()])

    inputs = nn.functional.linear(x, ours.of_input, ours.bias)
    by_hand = slopes(*ThroughTime.apply(inputs, ours.of_said, h, c))
    outs, a, b = [], h, c
    for now in range(9):
        a, b, _ = ours.step(x[now], a, b)
        outs.append(a)
    torch.testing.assert_close(by_hand, slopes(torch.stack(outs), a, b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [32, WIDE])
def test_bf16_learns_what_float32_learns(width):
    ends = []
    for precision in ("float32", "bf16"):
        made = system(width=width, layers=1)
        prepare(made, World(), precision, False)
        ends.append(sum(learn(made, 12)[-3:]) / 3)
    assert ends[1] == pytest.approx(ends[0], rel=0.02)


def test_watching_the_gates_sees_what_the_network_computes():
    torch.manual_seed(0)
    made, tokens = LSTM(11, 12, 3, False), torch.randint(11, (1, 8))
    _, state = made(tokens, made.empty(1))
    for layer in range(3):
        gates, memory = made.watch(tokens[0], layer)
        assert gates.keep.shape == memory.shape == (8, 12)
        torch.testing.assert_close(memory[-1:], state.memory[layer])


# memory


def test_a_text_in_two_parts_is_read_as_one():
    made = system().eval().network
    nn.init.normal_(made.head.weight)
    tokens = torch.randint(SPEC.size, (3, 20))
    whole, end = made(tokens, made.empty(3))
    first, state = made(tokens[:, :7], made.empty(3))
    second, last = made(tokens[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(last, end)
    assert not torch.allclose(made(tokens[:, 7:], made.empty(3))[0], second)


def test_rows_go_on_with_their_memory_and_fresh_rows_begin_without():
    made, tokens = system(), torch.randint(SPEC.size, (4, 17))
    list(made.objective(TextBatch(tokens, torch.ones(4, dtype=torch.bool))))
    carried = made.carried[0].memory
    assert carried.shape == (2, 4, 24) and bool((carried != 0).any()) and not carried.requires_grad
    state = made._remembered(torch.tensor([False, True, False, True]))
    assert torch.equal(state.memory[:, [0, 2]], carried[:, [0, 2]])
    assert not state.memory[:, [1, 3]].any() and not state.said[:, [1, 3]].any()


def test_memory_is_carried_over_the_border_of_a_window():
    """A letter comes again four tokens later; a window of six tokens often begins in between."""
    letters = torch.randint(3, 7, (3000, 1), generator=torch.Generator().manual_seed(0))
    ones, twos = torch.ones(3000, 3, dtype=torch.int64), torch.full((3000, 3), 2)
    tokens = torch.cat([letters, ones, letters, twos], 1).flatten().int()
    losses = {}
    for forgetful in (False, True):
        loader, made = Loader(Windows(tokens, 6, "lanes", ""), 32), system(layers=1, width=48)
        table, played = Table(made, players_of(made), World()), []
        for step in range(200):
            batch = next(loader)
            batch = batch._replace(fresh=batch.fresh | forgetful)
            (turn,) = table.play([batch], seed=step)
            played.append(turn.loss.item())
        losses[forgetful] = sum(played[-20:]) / 20
    assert losses[False] < losses[True] - 0.08, losses


def test_parts_of_a_batch_keep_their_own_memory():
    losses = [learn(system(), 6, lanes(), parts) for parts in (1, 2, 4)]
    for played in losses[1:]:
        assert played == pytest.approx(losses[0], rel=1e-4)


def test_what_is_remembered_is_part_of_the_state():
    made, loader = system(), lanes()
    learn(made, 3, loader)
    kept = made.stream_state()
    twin = system()
    twin.load_state_dict(made.state_dict())
    batch = next(loader)
    expected = next(made.objective(batch)).loss.item()
    assert next(twin.objective(batch)).loss.item() != expected
    twin.load_stream_state(kept)
    assert next(twin.objective(batch)).loss.item() == expected
    assert bool(made._remembered(torch.zeros(7, dtype=torch.bool)).memory.eq(0).all()), "another batch begins anew"


def test_dropout_is_the_same_at_all_steps_and_keeps_the_mean():
    made = system(dropout=0.3, width=1000).train()
    masks = made._masks(8)
    assert masks is not None and masks.shape == (3, 8, 1000)
    assert {round(value, 4) for value in masks.unique().tolist()} == {0.0, round(1 / 0.7, 4)}
    assert masks.mean().item() == pytest.approx(1.0, abs=0.03)
    assert made.eval()._masks(8) is None and system().train()._masks(8) is None


# scores


def windows(text: str) -> TextBatch:
    tokens = torch.tensor(SPEC.encode(text)).unfold(0, 17, 16)
    return TextBatch(tokens, torch.ones(len(tokens), dtype=torch.bool))


def test_an_untrained_system_is_as_surprised_as_by_pure_chance():
    with torch.no_grad():
        scores = system().eval().evaluate(windows(TEXT))
    assert next(iter(scores)) == "bits_per_byte"
    assert scores["nats"].value == pytest.approx(math.log(SPEC.size), rel=1e-5)
    assert scores["bits_per_byte"].value == pytest.approx(math.log2(SPEC.size), rel=1e-5)


@pytest.mark.parametrize("count", [1, 5, LANES, LANES + 1, 3 * LANES + 5])
def test_held_out_windows_are_read_in_lanes(taught, count):
    held = windows(TEXT).tokens[:count]
    with torch.no_grad():
        means = taught._read_in_lanes(held)
        long = -(-count // min(LANES, count))
        for first in range(0, count, long):
            state = taught.network.empty(1)
            for row in range(first, min(first + long, count)):
                logits, state = taught.network(held[row : row + 1, :-1], state)
                expected = nn.functional.cross_entropy(logits[0], held[row, 1:])
                torch.testing.assert_close(means[row], expected, rtol=1e-3, atol=1e-4)
        about = taught.evaluate(TextBatch(held, torch.ones(count, dtype=torch.bool)))["nats"].about
    assert about.endswith(f"read in {len(range(0, count, long))} lanes")


def test_a_taught_system_beats_the_model_that_counts_only_where_it_knows_the_training_text(taught):
    with torch.no_grad():
        assert "counting" not in taught.evaluate(windows(TEXT))
        taught.trained_on = lambda: lanes().dataset
        scores = taught.evaluate(windows(TEXT))
    taught.trained_on = None
    assert 0 < scores["counting"].value < 1
    assert scores["bits_per_byte"].value < 0.5


# asks


def test_the_likeliest_continuation_is_the_text_it_knows(taught):
    (text,) = taught.continue_(prompt="the cat sat on", max_tokens=36, temperature=0.0).texts
    assert text == "the cat sat on the mat and the dog sat on the log.\n"[: len(text)]
    told: list[str] = []
    taught.tell = told.append
    (again,) = taught.continue_(prompt="the cat sat on", max_tokens=36, temperature=0.0).texts
    del taught.tell
    assert "".join(told) == again + "\n" and len(told) > 30


def test_a_larger_number_continues_the_same_series(taught):
    few = taught.continue_(n=2, max_tokens=30, temperature=1.5, seed=3).texts
    many = taught.continue_(n=4, max_tokens=30, temperature=1.5, seed=3).texts
    assert many[:2] == few and len(set(many)) == 4
    assert taught.continue_(n=2, max_tokens=30, temperature=1.5, seed=4).texts != few


def test_tastes_narrow_the_choice(taught):
    greedy = taught.continue_(prompt="the dog", max_tokens=20, temperature=0.0).texts
    assert taught.continue_(prompt="the dog", max_tokens=20, temperature=2.0, top_k=1).texts == greedy
    assert taught.continue_(prompt="the dog", max_tokens=20, temperature=2.0, top_p=0.001).texts == greedy
    (text,) = taught.continue_(prompt="the", max_tokens=60, temperature=0.0, stop="dog|log").texts
    assert text.endswith("and the ") and "dog" not in text
    penalised = taught.continue_(prompt="the dog", max_tokens=20, temperature=0.0, repetition_penalty=9.0).texts
    assert penalised != greedy


def test_a_prompt_of_any_length_is_read(taught, tmp_path):
    (tmp_path / "long.txt").write_text(TEXT)
    (text,) = taught.continue_(file=tmp_path / "long.txt", max_tokens=14, temperature=0.0).texts
    assert len(TEXT) > 2 * 1024 and text == TEXT + "the cat sat on"
    whole = taught._read(SPEC.encode(TEXT))[0]
    with torch.no_grad():
        expected = taught.network(torch.tensor([SPEC.encode(TEXT)]), taught.network.empty(1))[0][:, -1]
    torch.testing.assert_close(whole, expected, rtol=1e-3, atol=1e-3)


def test_next_words_are_odds_at_each_temperature(taught):
    table = taught.next_words(prompt="the ca", k=SPEC.size, temperatures="0.5,1")
    assert table.rows[0][0] == "t" and table.values["t"]["0.5"] > table.values["t"]["1"] > 0.9
    assert sum(row[2] for row in table.rows) == pytest.approx(1.0, abs=1e-4)
    for wrong in ("0", "a", "", "1,,2"):
        with pytest.raises(UserError, match="temperatures"):
            taught.next_words(temperatures=wrong)


def test_a_known_text_scores_better_than_an_unknown_one(taught, tmp_path):
    known = taught.score(text="the cat sat on the mat and the dog")
    unknown = taught.score(text="eht tac tas no eht tam dna eht god")
    assert set(known.values) == {"nats_per_token", "tokens", "perplexity"} and known.values["tokens"] == 33
    assert known.values["nats_per_token"] < 1 < unknown.values["nats_per_token"]
    assert known.values["perplexity"] == pytest.approx(math.exp(known.values["nats_per_token"]))
    (tmp_path / "text.txt").write_text(TEXT)
    assert taught.score(file=tmp_path / "text.txt").values["tokens"] == len(TEXT) - 1
    with pytest.raises(UserError, match="cannot be scored"):
        taught.score(text="a")


def test_what_was_copied_is_marked_and_counted(taught):
    taught.trained_on = lambda: lanes().dataset
    (text,) = taught.copied(prompt="the cat ", n=1, max_tokens=60, temperature=0.0, words=4).texts
    assert text.startswith("100 %") and "[[sat on the mat" in text
    taught.trained_on = None
    with pytest.raises(UserError, match="training text"):
        taught.copied()


@pytest.mark.parametrize("what", ["keep", "let_in", "show", "memory"])
def test_gates_are_drawn(taught, what):
    pictures = taught.gates(prompt="the cat sat on the mat " * 5, layer=2, what=what, cells=9).pictures()
    assert len(pictures) == 1 and isinstance(pictures[0], Image.Image) and pictures[0].width > 60 * 26
    with pytest.raises(UserError, match="no layer 3"):
        taught.gates(layer=3)


def test_writing_goes_on_from_the_state_not_from_the_start(taught):
    """Tokens drawn one at a time are those of reading the whole text again at every step."""
    luck = fortunes(1, 5)
    ids = SPEC.encode("the mat")
    drawn = taught._drawn(ids, Taste(1.0), fortunes(1, 5), 1)
    with torch.no_grad():
        for _ in range(20):
            token = int(next(drawn))
            logits = taught.network(torch.tensor([ids]), taught.network.empty(1))[0][:, -1]
            odds = logits.double().softmax(-1).cumsum(-1)
            assert int(torch.searchsorted(odds[0], next(luck))) == token
            ids.append(token)


def test_a_state_can_be_copied_for_several_texts():
    made = system().network
    _, state = made(torch.randint(SPEC.size, (2, 5)), made.empty(2))
    assert torch.equal(state.rows(torch.tensor([1, 1, 0])).memory, state.memory[:, [1, 1, 0]])
    assert isinstance(state, State)
