"""The text_to_video room: what it is asked for in training, its network over space and time, and its asks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from handmade.core import Dice
from handmade.data.source import open_data
from handmade.data.specs import VideoBatch, VideoSpec
from handmade.errors import UserError
from handmade.systems.text_to_video.network import Thought, lend
from handmade.systems.text_to_video.system import Config, TextToVideo

SPEC = VideoSpec(3, 8, {}, 4, 8.0, ("a", "red", "blue", "dot", "moves", "left"), 6)
SMALL = Config(fold=2, together=2, width=16, words=8, late=8.0)


def room(config: Config = SMALL, spec: VideoSpec = SPEC) -> TextToVideo:
    torch.manual_seed(0)
    return TextToVideo(config, spec)


def awake(config: Config = SMALL, spec: VideoSpec = SPEC) -> TextToVideo:
    """With layers that are no longer zero."""
    system = room(config, spec)
    with torch.no_grad():
        for value in system.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.2)
    return system.eval()


def guess(system: TextToVideo, x: Tensor, t: Tensor, *prompts: str) -> Tensor:
    with torch.no_grad():
        return system.painter(x, t, system.heard(system.data.tokens_of(prompts)))


def test_the_loss_is_the_weighted_error_of_the_clip_for_an_untrained_painter():
    system = room()
    x, tokens = torch.rand(6, 4, 3, 8, 8) * 2 - 1, SPEC.tokens_of(["a red dot"] * 6)
    system.dice = Dice(3)
    (turn,) = system.objective(VideoBatch(x, tokens, torch.zeros(6, 0, dtype=torch.int64)))
    late = 8 * Dice(3).spread(6)
    t = late / (1 + late * 7 / 8)
    error = x.square().mean((1, 2, 3, 4))  # its guess is zero: the last layer starts there
    weight = (1 / t.square()).clamp(max=10)
    slopes = [(weight * x.diff(dim=axis).square().mean((1, 2, 3, 4))).mean() for axis in (-1, -2)]
    assert turn.player == "painter"
    assert torch.allclose(turn.loss, (weight * error).mean() + 2 * sum(slopes))
    assert torch.allclose(turn.log["error"], error.mean())


def test_most_times_are_among_much_noise_and_both_ends_are_where_they_were():
    at = room().law(torch.tensor([0.0, 1 / 9, 0.5, 1.0]))
    assert at.s.tolist() == pytest.approx([0, 0.5, 8 / 9, 1], abs=1e-4)
    assert torch.allclose(at.a + at.s, torch.ones(4))
    plain = room(Config(fold=2, width=16, words=8, late=1.0)).law(torch.tensor([0.25]))
    assert plain.s.tolist() == pytest.approx([0.25])


def test_frames_words_and_time_all_reach_the_guess():
    system, x, t = awake(), torch.randn(2, 4, 3, 8, 8), torch.tensor([0.3, 0.7])
    out = guess(system, x, t, "a red dot", "a blue dot")
    assert out.shape == x.shape
    assert torch.allclose(guess(system, x[1:], t[1:], "a blue dot"), out[1:], atol=1e-4), "a clip is guessed by itself"
    for other in (guess(system, x, t + 0.2, "a red dot", "a blue dot"), guess(system, x, t, "a blue dot", "a red dot")):
        assert not torch.allclose(other, out, atol=1e-4)
    moved = x.clone()
    moved[:, 0, :, 0, 0] += 1
    assert ((guess(system, moved, t, "a red dot", "a blue dot") - out).abs() > 1e-7).flatten(2).any(2).all(), (
        "all frames"
    )


def test_the_order_of_frames_counts():
    system, x, t = awake(), torch.randn(1, 4, 3, 8, 8), torch.tensor([0.5])
    turned = x.flip(1)
    assert not torch.allclose(
        guess(system, turned, t, "a red dot").flip(1), guess(system, x, t, "a red dot"), atol=1e-3
    )


def test_a_moment_is_lent_half_of_the_channels_of_each_neighbour_and_none_of_another_clip():
    x = torch.arange(1.0, 25.0).view(6, 4, 1, 1)  # two clips of three moments, four channels
    clip, before, after = lend(x, 3).flatten(1).split([4, 2, 2], 1)
    assert torch.equal(clip, x.flatten(1))
    none = [0.0, 0.0]
    assert before.tolist() == [none, [1, 2], [5, 6], none, [13, 14], [17, 18]]
    assert after.tolist() == [[7, 8], [11, 12], none, [19, 20], [23, 24], none]


def test_an_outline_that_is_missed_costs_more_than_a_clip_that_is_too_bright():
    system, tokens = room(), SPEC.tokens_of(["a red dot"] * 6)
    even = torch.full((6, 4, 3, 8, 8), 0.5)
    sharp = even * (1 - 2 * (torch.arange(8) % 2))  # the same squares, in stripes
    losses = []
    for x in (even, sharp):
        system.dice = Dice(3)
        (turn,) = system.objective(VideoBatch(x, tokens, torch.zeros(6, 0, dtype=torch.int64)))
        losses.append(turn.loss.item())
    assert losses[1] == pytest.approx(losses[0] * (1 + 2 * 4), rel=1e-4), (
        "a slope is twice the stripe, its square 4 times"
    )


def test_a_thought_is_of_one_place_alone_and_what_is_told_moves_it():
    torch.manual_seed(0)
    think, x, told = Thought(16, 8), torch.randn(2, 16, 3, 3), torch.randn(2, 8)
    assert torch.equal(think(x, told), x), "silent at first"
    for layer in (think.say, think.hear):
        torch.nn.init.normal_(layer.weight, std=0.2)
    think.norm = torch.nn.Identity()  # which looks at all places
    moved = x.clone()
    moved[:, :, 1, 2] += 1
    changed = (think(moved, told) != think(x, told)).any(1)
    assert changed[:, 1, 2].all() and changed.sum() == 2
    assert not torch.allclose(think(x, told + 1), think(x, told))


def test_the_painters_convolutions_move_by_muon_and_the_reader_does_not():
    system = room()
    muon, rest = system.optimizers()["painter"].param_groups
    assert any(parameter.ndim == 4 for parameter in muon["params"])
    assert not {*muon["params"]} & {*system.reader.parameters()}
    assert len(muon["params"]) + len(rest["params"]) == len(list(system.parameters()))


def test_what_is_not_said_is_zero_and_the_empty_prompt_is_what_guidance_leads_away_from():
    system = awake()
    told = system.heard(SPEC.tokens_of(["", "a red dot"]))
    assert not told[0].any() and told[1].any()
    assert not told[1, 4:].any(), "places without a word say nothing"
    with torch.no_grad():
        one = system.generate(prompt="", n=2, steps=2, guidance=1.0).clips
        two = system.generate(prompt="", n=2, steps=2, guidance=5.0).clips
    assert torch.equal(one, two)


def test_clips_of_a_seed_do_not_depend_on_the_crowd_and_a_negative_prompt_counts():
    system = awake()
    crowd, alone = (system.generate(prompt="a red dot", n=n, seed=7, steps=3).clips for n in (4, 1))
    assert crowd.shape == (4, 4, 3, 8, 8) and torch.allclose(crowd[:1], alone, atol=1e-3)
    assert not torch.allclose(system.generate(prompt="a red dot", n=1, seed=7, steps=3, negative="left").clips, alone)


def test_between_begins_and_ends_with_its_prompts():
    system = awake()
    way = system.between(prompt="a red dot", to="a blue dot moves left", n=3, seed=2, steps=3).clips
    for place, prompt in ((0, "a red dot"), (2, "a blue dot moves left")):
        assert torch.allclose(way[place], system.generate(prompt=prompt, n=1, seed=2, steps=3).clips[0], atol=1e-3)
    assert not torch.allclose(way[1], way[0]) and not torch.allclose(way[1], way[2])


def test_a_storyboard_shows_frames_of_the_same_clip():
    system = awake()
    board = system.storyboard(prompt="a red dot", seed=1, stops=2, steps=3)
    clip = system.generate(prompt="a red dot", n=1, seed=1, steps=3).clips[0]
    assert torch.equal(board.pixels, clip[[0, 3]]) and board.titles == ("0.00 s", "0.38 s")
    assert len(system.storyboard(prompt="a red dot", stops=60, steps=1).pixels) == 4


def test_words_that_were_not_understood_are_said_and_none_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch):
    system, heard = awake(), []
    monkeypatch.setattr(TextToVideo, "tell", lambda self, text: heard.append(text))
    system.generate(prompt="a rad dot", n=1, steps=1)
    assert 'not understood, since no caption had it: "rad" (did you mean "red"?)' in heard[0]
    with pytest.raises(UserError, match='negative="zebra": no word of it'):
        system.generate(prompt="a red dot", negative="zebra", n=1, steps=1)


@pytest.mark.parametrize(
    ("config", "spec", "says"),
    [
        (
            Config(),
            VideoSpec(3, 18, {}, 4, 8.0, ("a",), 6),
            "18 px cannot be folded by 2 and halved: use a multiple of 4",
        ),
        (Config(), VideoSpec(3, 16, {}, 6, 8.0, ("a",), 6), "6 frames cannot be taken 4 at a time"),
        (Config(late=0), VideoSpec(3, 16, {}, 4, 8.0, ("a",), 6), "late must be more than 0, not 0"),
    ],
)
def test_what_cannot_be_folded_is_refused(config: Config, spec: VideoSpec, says: str):
    with pytest.raises(UserError, match=says):
        room(config, spec)


def held_out(**options: Any) -> tuple[VideoBatch, Any]:
    dataset, spec = open_data({"source": "clips", "size": 16, "frames": 4, "n": 60, **options}, "test")
    return dataset.batch(torch.arange(6), torch.Generator()), spec


def test_shapes_are_scored_by_rule_and_the_error_comes_first():
    batch, spec = held_out()
    with torch.no_grad():
        scores = room(Config(width=16, words=8), spec).evaluate(batch)
    assert list(scores) == ["error", "agreement", "object", "colour", "direction"]
    assert (
        scores["agreement"].value == 0 and scores["agreement"].better == "higher" and scores["error"].better == "lower"
    )


class Eyes:
    """A judge that says of every picture that it is blond and happy."""

    def __init__(self) -> None:
        hair = ("black", "blond", "brown", "red", "blue", "pink", "green", "purple", "silver")
        self.labels = {"hair": hair, "expression": ("happy", "sad")}

    def odds(self, pixels: Tensor) -> dict[str, Tensor]:
        assert pixels.ndim == 4
        return {
            name: torch.eye(len(values))[[len(values) // 9]].expand(len(pixels), -1)
            for name, values in self.labels.items()
        }


def test_faces_are_scored_by_a_judge_before_the_change_and_after_it():
    batch, spec = held_out(of="faces", n=300, held_out=6)
    with torch.no_grad():
        system = room(Config(width=16, words=8), spec)
        scores = system.evaluate(batch, Eyes())  # type: ignore[arg-type]
        assert list(system.evaluate(batch)) == ["error"]
    assert list(scores) == [
        "error",
        *(f"agreement_{name}_{when}" for when in ("after", "before") for name in ("hair", "expression")),
    ]
    happy = (batch.labels[:, list(spec.labels).index("expression_after")] == 0).float().mean()
    assert scores["agreement_expression_after"].value == pytest.approx(float(happy))
