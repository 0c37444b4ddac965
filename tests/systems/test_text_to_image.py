"""The room that draws from sentences: what it is told in training, and what can be asked of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from handmade.core import Dice, System
from handmade.data.specs import CaptionBatch, CaptionSpec
from handmade.errors import UserError
from handmade.objectives.denoising import noisy, straight
from handmade.samplers.noise import Noise
from handmade.systems.text_to_image.system import LOUD, STRENGTHS, Config, TextToImage

WORDS = ("red", "green", "blue", "square", "a", "with", "dots")
SPEC = CaptionSpec(3, 8, {}, WORDS, 6)
SMALL = Config(fold=2, width=8, multiples=(1, 2), words=16, layers=1)


def room(config: Config = SMALL) -> TextToImage:
    torch.manual_seed(0)
    return TextToImage(config, SPEC)


def awake(system: TextToImage) -> TextToImage:
    """With last layers that are no longer zero."""
    with torch.no_grad():
        for value in system.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.1)
    return system.eval()


def batch(n: int = 5) -> CaptionBatch:
    return CaptionBatch(torch.rand(n, 3, 8, 8) * 2 - 1, SPEC.tokens_of(["a red square"] * n), torch.zeros(n, 0))


class Magnifier(System):
    """Stands in for a refiner: four times as large, and brighter by a tenth."""

    def enlarge(self, pixels, seed=0):
        return pixels.repeat_interleave(4, 2).repeat_interleave(4, 3) + 0.1


class Grainy(System):
    """Stands in for a refiner whose noise goes by the place of a picture, as that of super_resolution."""

    def enlarge(self, pixels, seed=0):
        return pixels + 0.1 * Noise(seed, range(len(pixels))).draw(*pixels.shape[1:])


def lent(system: TextToImage, refiner: System | None = None) -> TextToImage:
    object.__setattr__(system, "borrowed", {"refiner": refiner or Magnifier(None, None)})
    return system


def test_the_loss_is_the_mean_square_of_the_way_that_an_untrained_painter_leaves_out():
    system, given = room(), batch()
    system.dice = Dice(3)
    (turn,) = system.objective(given)
    dice = Dice(3)  # the same draws again
    dice.normal(5)
    e = dice.normal(5, 3, 8, 8)
    assert turn.player == "painter"
    assert torch.allclose(turn.loss, (e - given.pixels).square().mean())


def test_errors_of_slopes_weigh_as_much_as_the_recipe_says_and_white_lies_further_out():
    given = batch()
    given.pixels[:, :, :4] = 1.0
    losses = {}
    for weight in (0.0, 2.0):
        system = room(dataclasses.replace(SMALL, edges=weight, margin=0.2))
        system.dice = Dice(3)
        (turn,) = system.objective(given)
        losses[weight] = turn.loss.item()
    dice = Dice(3)
    dice.normal(5)
    way = dice.normal(5, 3, 8, 8) - torch.where(given.pixels == 1, 1.2, given.pixels)  # all of it is error at first
    assert losses[0.0] == pytest.approx(float(way.square().mean()), rel=1e-5)
    slopes = way.diff(dim=2).square().mean() + way.diff(dim=3).square().mean()
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * float(slopes), rel=1e-4)
    assert room(dataclasses.replace(SMALL, margin=0.2)).walker.margin == 0.2


def test_some_captions_are_hidden_and_of_some_a_stretch_is_told_from_its_start():
    system = room(Config(fold=2, width=8, words=16, layers=1, hidden=0.2, partly=0.5))
    whole = torch.tensor([[2, 3, 4, 5, 0, 0]]).expand(20_000, -1)
    told = system.partly(whole)
    silent, same = (told == 0).all(1).float().mean().item(), (told == whole).all(1).float().mean().item()
    assert silent == pytest.approx(0.2, abs=0.05) and 0.3 <= same <= 0.4
    stretches = {tuple(row[:a].tolist()) for row in told.unique(dim=0) if (a := int((row != 0).sum()))}
    assert stretches == {tuple(range(a, b)) for a in range(2, 6) for b in range(a + 1, 7) if b <= 6}


def test_the_words_of_a_prompt_reach_the_picture_and_their_order_too():
    system = awake(room())
    drawn = {
        prompt: system.generate(prompt=prompt, n=1, steps=3).levels[0].float()
        for prompt in ("", "a red square", "a green square", "square red a")
    }
    assert all((drawn[a] - drawn[b]).abs().max() > 0 for a in drawn for b in drawn if a != b)


def test_guidance_one_takes_the_prompt_and_zero_forgets_it():
    system = awake(room())
    told = SPEC.tokens_of(["a red square"] * 2)
    draw = system.walker.draw
    loud, plain, forgotten, silent = (
        draw(told, 0, 5.0, 3, "ddim"), draw(told, 0, 1.0, 3, "ddim"), draw(told, 0, 0.0, 3, "ddim"),
        draw(torch.zeros_like(told), 0, 1.0, 3, "ddim"),
    )  # fmt: skip
    assert torch.allclose(forgotten, silent, atol=1e-5)
    assert (loud - silent).abs().mean() > (plain - silent).abs().mean() > 0


def test_a_negative_prompt_leads_away_from_what_it_says():
    system = awake(room())
    draw, t = system.walker.draw, torch.full((1,), 0.5)
    red, green = SPEC.tokens_of(["a red square"]), SPEC.tokens_of(["a green square"])
    assert not torch.allclose(draw(red, 0, 3.0, 3, "ddim"), draw(red, 0, 3.0, 3, "ddim", against=green), atol=1e-4)
    assert torch.allclose(draw(red, 0, 3.0, 3, "ddim", against=red), draw(red, 0, 1.0, 3, "ddim"), atol=1e-5)
    x = torch.randn(1, 3, 8, 8)
    believed = system.walker.believe(red, 2.0, green)(x, t[0])
    wanted = x - 0.5 * (2 * system.paint(x, t, red) - system.paint(x, t, green))
    assert torch.allclose(believed, wanted.clamp(-1, 1), atol=1e-5)


def test_both_stages_are_saved_the_refined_one_under_the_plain_name(tmp_path):
    system = lent(awake(room()))
    files = [path.relative_to(tmp_path).as_posix() for path in system.generate(n=10, steps=2).save(tmp_path)]
    assert set(files) == {f"{f}{i:06d}.png" for f in ("", "coarse-") for i in range(10)} | {"sheet.png"}
    album = system.generate(n=1, steps=2)
    assert [levels.shape[-1] for levels in album.levels] == [32, 8]
    assert [levels.shape[-1] for levels in system.generate(n=1, steps=2, size=16).levels] == [16, 8]
    assert [levels.shape[-1] for levels in system.generate(n=1, steps=2, refine=False).levels] == [8]


def test_a_picture_of_a_seed_is_the_same_alone_and_in_a_crowd():
    system = awake(room())
    crowd, alone = system.generate(n=4, seed=5, steps=3), system.generate(n=1, seed=5, steps=3)
    assert (crowd.levels[0].int() - alone.levels[0].int()).abs().max() <= 1


def test_between_two_prompts_the_ends_are_the_prompts_themselves():
    system = awake(room())
    reel = system.between(prompt="a red square", to="a green square", n=3, seed=2, steps=3)
    for place, prompt in ((0, "a red square"), (2, "a green square")):
        alone = system.walker.draw(SPEC.tokens_of([prompt]), 2, LOUD, 3, "dpm++")
        assert torch.allclose(reel.pixels[place], alone[0], atol=1e-4)
    assert (reel.pixels[1] - reel.pixels[0]).abs().max() > 1e-4 < (reel.pixels[1] - reel.pixels[2]).abs().max()


def test_prompts_stand_side_by_side_over_their_words():
    sheet = awake(room()).prompts(prompts="a red square | a green square", n=2, steps=2)
    assert sheet.columns == 2 and sheet.titles == ("", "", "a red square", "a green square")
    assert not torch.allclose(sheet.pixels[0], sheet.pixels[2], atol=1e-3)  # other noise


@pytest.mark.parametrize("refine", [False, True])
def test_prompts_draw_every_sentence_from_the_same_noise(refine):
    system = lent(awake(room()), Grainy(None, None))
    sheet = system.prompts(prompts="a red square|a red square|a green square", n=2, seed=5, steps=2, refine=refine)
    for row in sheet.pixels.unflatten(0, (2, 3)):
        assert torch.allclose(row[0], row[1], atol=1e-5)
        assert not torch.allclose(row[0], row[2], atol=1e-3)
    alone = system.prompts(prompts="a green square", n=2, seed=5, steps=2, refine=refine)
    assert torch.allclose(sheet.pixels[2::3], alone.pixels, atol=1e-5)


def test_guide_shows_every_strength_and_film_every_stop():
    system = awake(room())
    sheet = system.guide(prompt="a red square", n=2, steps=2)
    assert len(sheet.pixels) == 2 * len(STRENGTHS) and sheet.titles[2] == "x1"
    assert system.film(prompt="a red square", stops=3, steps=4).pixels.shape == (3, 3, 16, 8)


def test_words_that_were_never_in_a_caption_are_said():
    system, heard = awake(room()), []
    system.tell = heard.append
    system.generate(prompt="a rad square", n=1, steps=1)
    assert '"rad" (did you mean "red"?)' in "".join(heard)
    with pytest.raises(UserError, match='negative="zebra"'):
        system.generate(prompt="a red square", negative="zebra", n=1, steps=1)


@pytest.mark.parametrize(("flag", "value"), [("guidance", 21.0), ("steps", 0), ("n", 0), ("size", 5000)])
def test_what_is_out_of_range_is_refused(flag, value):
    with pytest.raises(UserError, match=f"{flag} must lie between"):
        room().generate(**{flag: value})


def test_sizes_that_cannot_be_cut_are_refused():
    with pytest.raises(UserError, match="use a multiple of 8"):
        TextToImage(Config(fold=4, multiples=(1, 2)), CaptionSpec(3, 20, {}, WORDS, 6))


class Pointer(System):
    """Stands in for a clip that knows fewer words, with other ids: it points along the sum of the ids."""

    def hear(self, tokens):
        return tokens.float().sum(1, keepdim=True) * torch.ones(5)


def test_a_borrowed_clip_is_told_the_same_words_by_its_own_ids():
    config = Config(fold=2, width=8, multiples=(1, 2), words=16, layers=1, direction=5)
    system = room(config)
    with pytest.raises(UserError, match="no clip is lent"):
        system.paint(torch.zeros(1, 3, 8, 8), torch.zeros(1), SPEC.tokens_of(["red"]))
    clip = Pointer(None, CaptionSpec(3, 8, {}, ("square", "red"), 4))
    object.__setattr__(system, "borrowed", {"clip": clip})
    assert system.pointed(SPEC.tokens_of(["red square dots", ""]))[:, 0].tolist() == [3 + 2, 0], "it knows no dots"
    before = system.generate(prompt="a red square", n=1, steps=2).levels[0]
    plain = room()
    plain.load_state_dict({k: v for k, v in system.state_dict().items() if "direction" not in k})
    assert torch.equal(
        before, plain.generate(prompt="a red square", n=1, steps=2).levels[0]
    )  # it starts by saying nothing
    reel = awake(system).between(prompt="a red square", to="a green square", n=3, seed=2, steps=3)
    alone = system.walker.draw(SPEC.tokens_of(["a green square"]), 2, LOUD, 3, "dpm++")
    assert torch.allclose(reel.pixels[2], alone[0], atol=1e-4)


def test_what_is_borrowed_moves_along_and_is_neither_trained_nor_saved():
    system = lent(room())
    refiner = system.borrowed["refiner"]
    refiner.weight = torch.nn.Parameter(torch.ones(2))
    system.double()
    assert refiner.weight.dtype == torch.float64
    assert not any(value is refiner.weight for value in system.parameters())
    assert not any("refiner" in name for name in system.state_dict())


def test_the_held_out_error_is_that_of_the_objective():
    system, given = room().eval(), batch(40)
    with torch.no_grad():
        scores = system.evaluate(given)
    t = (torch.arange(40) + 0.5) / 40
    assert noisy(given.pixels, torch.zeros_like(given.pixels), straight(t)).shape == given.pixels.shape
    assert scores["error"].value == pytest.approx(1 + given.pixels.square().mean().item(), rel=0.1)
