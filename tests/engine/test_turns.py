"""One step of the game: who moves, on which gradient, with which random numbers."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from handmade.core import Dice, System, Turn
from handmade.engine.devices import World, cut
from handmade.engine.turns import Table, players_of
from handmade.errors import Diverged


class Game(System):
    """Two linear players, plain SGD, so that every move can be worked out by hand."""

    def __init__(self, rate: float = 0.1):
        super().__init__(None, None)
        self.rate = rate
        self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.a.weight, 2.0)
        nn.init.constant_(self.b.weight, 3.0)

    def optimizers(self):
        return {n: torch.optim.SGD(getattr(self, n).parameters(), self.rate) for n in ("a", "b")}

    def objective(self, x):
        y = self.b(self.a(x))
        yield Turn("a", y.mean(), {"y": y.mean()})
        yield Turn("b", self.b(self.a(x).detach()).mean())


def play(system, *batches, clip=None, seed=0):
    return list(Table(system, players_of(system), World(), clip).play(batches, seed))


def test_a_turn_moves_its_player_by_its_own_gradient_and_the_next_turn_sees_the_move():
    game = Game()
    first, second = play(game, torch.ones(4, 1))
    assert first.loss.item() == 6.0 and second.player == "b"
    assert game.a.weight.item() == pytest.approx(2.0 - 0.1 * 3.0)  # d(b a)/da = b
    assert second.loss.item() == pytest.approx(3.0 * 1.7)  # judged with the a that has just moved
    assert game.b.weight.item() == pytest.approx(3.0 - 0.1 * 1.7)


def test_a_turn_leaves_no_gradient_on_anybody():
    game = Game()
    play(game, torch.ones(4, 1))
    assert all(p.grad is None for p in game.parameters())


def test_a_turn_that_reaches_both_networks_moves_only_its_player():
    game = Game()

    def only_a(x):
        yield Turn("a", game.b(game.a(x)).square().mean())

    game.objective = only_a
    play(game, torch.ones(2, 1))
    assert game.a.weight.item() != 2.0 and game.b.weight.item() == 3.0


def test_accumulated_parts_give_the_move_of_the_whole_batch():
    whole, parts, batch = Game(), Game(), torch.arange(8.0)[:, None]
    one, four = play(whole, batch), play(parts, *[cut(batch, k, 4) for k in range(4)])
    assert torch.allclose(whole.a.weight, parts.a.weight) and torch.allclose(whole.b.weight, parts.b.weight)
    for left, right in zip(one, four, strict=True):
        assert torch.allclose(left.loss, right.loss)
    assert torch.allclose(one[0].log["y"], four[0].log["y"])


class AtOnce(Game):
    """The same players, who both move on what they see before either has moved."""

    def objective(self, x):
        y = self.b(self.a(x))
        yield Turn("a", y.mean(), {"y": y.mean()}), Turn("b", y.square().mean())


def test_players_who_move_at_once_do_not_see_each_others_move():
    game = AtOnce()
    first, second = play(game, torch.ones(4, 1))
    assert (first.player, second.player) == ("a", "b")
    assert game.a.weight.item() == pytest.approx(2.0 - 0.1 * 3.0)  # d(b a)/da = b
    assert game.b.weight.item() == pytest.approx(3.0 - 0.1 * 2 * 6.0 * 2.0)  # d(b a)^2/db = 2 b a a, with the old a
    assert all(p.grad is None for p in game.parameters())


def test_players_who_move_at_once_move_alike_in_parts():
    whole, parts, batch = AtOnce(), AtOnce(), torch.arange(8.0)[:, None]
    one, four = play(whole, batch), play(parts, *[cut(batch, k, 4) for k in range(4)])
    assert torch.allclose(whole.a.weight, parts.a.weight) and torch.allclose(whole.b.weight, parts.b.weight)
    assert [turn.player for turn in four] == ["a", "b"]
    assert all(torch.allclose(left.loss, right.loss) for left, right in zip(one, four, strict=True))


def test_of_players_who_move_at_once_none_moves_when_a_loss_is_lost():
    game = AtOnce()

    def sick(x):
        yield Turn("a", game.a(x).mean()), Turn("b", game.b(x).mean() * float("nan"))

    game.objective = sick
    with pytest.raises(Diverged, match="the b's loss became nan"):
        play(game, torch.ones(1, 1))
    assert game.a.weight.item() == 2.0 and game.b.weight.item() == 3.0


def test_a_player_cannot_move_twice_at_once():
    game = AtOnce()

    def greedy(x):
        yield Turn("a", game.a(x).mean()), Turn("a", game.a(x).square().mean())

    game.objective = greedy
    with pytest.raises(RuntimeError, match="cannot move twice"):
        play(game, torch.ones(1, 1))


def test_clipping_bounds_the_length_of_a_players_gradient():
    game = Game(rate=1.0)
    play(game, torch.ones(1, 1), clip=0.5)
    assert game.a.weight.item() == pytest.approx(1.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_lost_is_named_before_it_can_touch_the_weights(value):
    game = Game()

    def sick(x):
        yield Turn("b", game.b(x).mean() * value)

    game.objective = sick
    with pytest.raises(Diverged, match=f"the b's loss became {value} at step 1"):
        play(game, torch.ones(1, 1))
    assert game.b.weight.item() == 3.0


def test_a_turn_of_nobody_is_a_fault_of_the_room():
    game = Game()

    def nobody(x):
        yield Turn("c", game.b(x).mean())

    game.objective = nobody
    with pytest.raises(RuntimeError, match="names a player without an optimizer: c"):
        play(game, torch.ones(1, 1))


def test_parts_of_a_step_must_agree_on_whose_turn_it_is():
    game = Game()

    def moody(x):
        yield Turn("a" if x.sum() > 1 else "b", game.b(game.a(x)).mean())

    game.objective = moody
    with pytest.raises(RuntimeError, match="disagree"):
        play(game, torch.ones(2, 1), torch.zeros(2, 1))


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize(
    "draw",
    [
        lambda d, n: d.normal(n, 3),
        lambda d, n: d.uniform(n),
        lambda d, n: d.integers(9, n, 2),
        lambda d, n: d.spread(n),
    ],
)
def test_parts_of_dice_are_the_whole_throw_cut(draw, parts):
    dice = [Dice(5, part, parts) for part in range(parts)]
    whole = Dice(5)
    for _ in range(2):  # the second throw too
        assert torch.equal(torch.cat([draw(one, 8 // parts) for one in dice]), draw(whole, 8))


def test_spread_numbers_fall_into_equal_stretches():
    numbers = Dice(3).spread(64)
    assert ((numbers * 64).floor() == torch.arange(64)).all()
    assert not torch.equal(numbers, Dice(4).spread(64))


def test_dice_are_thrown_anew_in_every_step():
    assert not torch.equal(Dice(1).normal(4), Dice(2).normal(4))


def test_a_step_does_not_load_the_compiler():
    code = """
import sys, torch
from torch import nn
from handmade.core import System, Turn
from handmade.engine.devices import World
from handmade.engine.turns import Table, players_of

class Fit(System):
    def __init__(self):
        super().__init__(None, None)
        self.net = nn.Linear(1, 1)
    def optimizers(self):
        return {"net": torch.optim.AdamW(self.net.parameters())}
    def objective(self, x):
        yield Turn("net", self.net(x).square().mean())

system = Fit()
before = system.net.weight.item()
list(Table(system, players_of(system), World()).play([torch.ones(2, 1)], seed=0))
assert system.net.weight.item() != before
print("torch._dynamo" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "False", "loading it takes a second, which every run would wait for its first step"
