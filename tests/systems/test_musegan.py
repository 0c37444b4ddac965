"""Four voices out of noise: what the critic reads, what each noise reaches, and what the asks hold and vary."""

from __future__ import annotations

import pytest
import torch

from handmade.core import Dice
from handmade.data.specs import RollSpec
from handmade.errors import UserError
from handmade.systems.musegan.network import Critic, Generator
from handmade.systems.musegan.rolls import cells_of, choose, rolls_of
from handmade.systems.musegan.system import KINDS, Config, MuseGAN

SPEC = RollSpec(voices=4, bars=2, steps=16, low=40, high=60, tempo=84.0)


@pytest.fixture
def system() -> MuseGAN:
    torch.manual_seed(0)
    made = MuseGAN(Config(latent=8, width=12, critic_width=12), SPEC)
    for voice in made.generator.voices:  # untrained voices say little: let the noise be heard
        torch.nn.init.normal_(voice.end.weight, 0.0, 2.0)
    return made


def some_cells(n: int = 3) -> torch.Tensor:
    """Random music as it may be: what is held has begun, and a rest is never held."""
    generator = torch.Generator().manual_seed(1)
    cells = torch.randint(SPEC.low, SPEC.high + 1, (n, 32, 4), generator=generator)
    luck = torch.rand(n, 32, 4, generator=generator)
    cells = torch.where(luck < 0.3, -1, cells)
    for step in range(1, 32):
        hold = (luck[:, step] > 0.6) & (cells[:, step - 1] != -1)
        cells[:, step] = torch.where(hold, -2, cells[:, step])
    return cells


def states_of(cells: torch.Tensor) -> torch.Tensor:
    return SPEC.encode(SPEC.states_of(cells))


def test_real_music_survives_the_way_into_a_roll_and_back():
    cells = some_cells()
    assert torch.equal(cells_of(rolls_of(states_of(cells), SPEC), SPEC), cells)


def test_a_rolls_axes_are_voice_then_time_and_each_voice_keeps_its_own_note():
    """The book's code cuts them in another order, and four constant voices come out as four equal ones."""
    cells = torch.tensor([[60, 55, 50, 45]] + [[-2] * 4] * 31).unsqueeze(0)
    rolls = rolls_of(states_of(cells), SPEC)
    assert rolls.shape == (1, 4, 32, 23)
    for voice, pitch in enumerate((60, 55, 50, 45)):
        assert (rolls[0, voice, :, pitch - SPEC.low] == 1).all(), "the pitch that sounds is told at every step"
        assert rolls[0, voice, :, -1].tolist() == [1.0] + [0.0] * 31, "and struck once"


def test_choices_are_music_whatever_the_logits_are():
    logits = torch.randn(5, 4, 2, 16, 23, generator=torch.Generator().manual_seed(0)) * 3
    rolls = choose(logits)
    assert ((rolls == 0) | (rolls == 1)).all() and (rolls[..., :-1].sum(-1) == 1).all()
    cells = cells_of(rolls, SPEC)
    assert torch.equal(rolls_of(states_of(cells), SPEC), rolls), "what is read is what will be played"


def two_notes() -> torch.Tensor:
    """Logits that strike at the first step and the ninth, and nowhere else."""
    logits = torch.randn(1, 1, 1, 16, 23, generator=torch.Generator().manual_seed(2))
    logits[..., -1] = -2.0
    logits[..., 8, -1] = 2.0
    return logits


def test_a_note_goes_on_until_the_next_stroke():
    logits = two_notes()
    first, second = logits[0, 0, 0, 0, :-1].argmax(), logits[0, 0, 0, 8, :-1].argmax()
    roll = choose(logits)[0, 0]
    assert roll[:, :-1].argmax(-1).tolist() == [first] * 8 + [second] * 8
    assert roll[:, -1].nonzero().flatten().tolist() == [0, 8]


def test_a_pitch_learns_from_all_steps_of_its_note_and_from_no_others():
    logits = two_notes().requires_grad_()
    weight = torch.randn(16, 22)
    (choose(logits)[0, 0, :, :-1] * weight).sum().backward()
    odds = logits[0, 0, 0, :, :-1].softmax(-1)
    (wanted,) = torch.autograd.grad((odds[0] * weight[:8].sum(0) + odds[8] * weight[8:].sum(0)).sum(), logits)
    assert torch.allclose(logits.grad[..., :-1], wanted[..., :-1], atol=1e-6)


def test_a_stroke_learns_from_what_it_changes():
    """Against the slope by hand: what the roll gains where one step is struck a little more."""
    logits = two_notes().requires_grad_()
    weight = torch.randn(16, 22)
    (choose(logits)[0, 0, :, :-1] * weight).sum().backward()
    chance = torch.sigmoid(torch.tensor(-2.0))
    roll, new = choose(logits)[0, 0, :, :-1], logits[0, 0, 0, 3, :-1].argmax()
    gain = sum(weight[step, new] - weight[step] @ roll[step] for step in range(3, 8))  # until the next stroke
    assert float(logits.grad[0, 0, 0, 3, -1]) == pytest.approx(float(gain.detach() * chance * (1 - chance)), rel=1e-4)


def test_a_rest_is_not_struck():
    logits = torch.zeros(1, 1, 1, 16, 23)
    logits[..., 21] = 5.0
    logits[..., -1] = 5.0
    roll = choose(logits)
    assert (roll[..., 21] == 1).all() and (roll[..., -1] == 0).all()
    assert (cells_of(roll, SPEC) == -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_each_noise_reaches_what_it_is_named_for(system, kind):
    """Chords and style reach all voices; melody and groove of one voice reach that voice alone."""
    noise = list(system._noise(1, [0] * 4))
    before = system.generator(*noise)
    at = KINDS.index(kind)
    noise[at] = noise[at].clone()
    noise[at][:, 1] += 1.0  # of melody and groove: the second voice
    moved = (system.generator(*noise) - before).abs().amax((0, 2, 3, 4)) > 1e-6
    assert moved.tolist() == ([True] * 4 if kind in ("chords", "style") else [False, True, False, False])


def test_style_and_groove_alone_make_all_bars_alike():
    torch.manual_seed(0)
    generator = Generator(8, 12, 2, 3, 16, 23)
    for unfold in (generator.chords, *generator.melody):
        torch.nn.init.zeros_(unfold.layers[-1].weight)
        torch.nn.init.zeros_(unfold.layers[-1].bias)
    written = generator(torch.randn(1, 8), torch.randn(1, 8), torch.randn(1, 2, 8), torch.randn(1, 2, 8))
    assert torch.allclose(written[:, :, 0], written[:, :, 2], atol=1e-6)


@pytest.mark.parametrize(("voices", "bars", "steps"), [(1, 1, 8), (3, 3, 16), (5, 2, 12)])
def test_any_number_of_voices_and_bars(voices, bars, steps):
    spec = RollSpec(voices, bars, steps, 50, 60)
    made = MuseGAN(Config(latent=4, width=6, critic_width=6), spec)
    music = made.generate(n=2)
    assert len(music.pieces) == 2
    assert made.critic(torch.rand(3, voices, bars * steps, 13)).shape == (3,)


def test_bars_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match="bars of 7 steps"):
        MuseGAN(Config(), RollSpec(4, 2, 7, 40, 60))


def test_a_piece_is_scored_by_itself_alone():
    """The penalty is on the slope at each piece: no other piece of the batch may enter its score."""
    critic = Critic(12, 4, 32, 23)
    rolls = torch.rand(4, 4, 32, 23)
    assert torch.allclose(critic(rolls)[1:2], critic(rolls[1:2]), atol=1e-6)


def test_mixtures_lie_at_another_place_for_each_piece_and_move(system):
    """In the book one mixture is drawn for the whole training."""
    system.dice = Dice(3)
    first, second = (system.dice.uniform(6, 1, 1, 1).flatten() for _ in range(2))
    assert len({*first.tolist(), *second.tolist()}) == 12


def test_a_larger_n_continues_the_same_series_and_seeds_are_held_apart(system):
    few, many = system.generate(n=2, seed=3), system.generate(n=4, seed=3)
    assert few.pieces == many.pieces[:2]
    noise = torch.cat([z.flatten() for z in system._noise(2, [0] * 4)])
    assert len(noise.unique()) == len(noise), "no two kinds of noise share a number"
    assert system.generate(n=2, seed=3, style_seed=3).pieces == few.pieces
    assert system.generate(n=2, seed=3, style_seed=4).pieces != few.pieces


@pytest.mark.parametrize("kind", KINDS)
def test_vary_begins_with_the_piece_of_generate_and_changes_one_noise(system, kind):
    varied, made = system.vary(noise=kind, n=3, seed=5), system.generate(n=1, seed=5)
    assert varied.pieces[0] == made.pieces[0] and varied.pieces[1] != varied.pieces[0]


def test_join_writes_one_piece_of_stretches_that_share_what_is_held(system):
    joined = system.join(n=3, seed=2, hold="chords, style, melody, groove").pieces
    assert len(joined) == 1
    length = 32 * 60 / 84 / 4
    parts = [
        [(round(note.start - k * length, 6), note.pitch, note.track) for note in joined[0].notes
         if k * length - 1e-9 <= note.start < (k + 1) * length - 1e-9] for k in range(3)
    ]  # fmt: skip
    assert parts[0] == parts[1] == parts[2], "all is held: the same stretch three times"
    assert system.join(n=3, seed=2).pieces != joined
    walked = system.join(n=5, seed=2, walk=True).pieces[0]
    assert walked != system.join(n=5, seed=2).pieces[0]
    with pytest.raises(UserError, match='no noise "melodies"; did you mean "melody"'):
        system.join(hold="melodies")


def test_a_piece_that_is_too_long_to_be_played_is_refused_before_it_is_written(system, monkeypatch):
    monkeypatch.setattr(system, "_write", None, raising=False)
    with pytest.raises(UserError, match="n=1000 stretches are too long to be played: at most 209"):
        system.join(n=1000)


def test_seeds_of_any_size_that_may_be_given_make_music(system):
    assert system.generate(n=1, seed=2**63 - 1).pieces[0] == system.generate(n=2, seed=2**63 - 1).pieces[0]


def test_a_walk_begins_and_ends_where_it_should(system):
    from handmade.systems.musegan.system import _walked

    z = torch.randn(5, 4, 8)
    way = _walked(z)
    assert torch.allclose(way[0], z[0], atol=1e-5) and torch.allclose(way[-1], z[-1], atol=1e-5)
    assert _walked(z[:1]).shape == (1, 4, 8)


def test_scores_have_the_real_musics_own_figure_beside_them(system):
    scores = system.evaluate(states_of(some_cells(8)))
    assert next(iter(scores)) == "distance" and all(score.floor is not None for score in scores.values())
