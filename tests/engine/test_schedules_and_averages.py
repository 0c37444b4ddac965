"""Learning rates and moving averages, against values worked out by hand."""

import pytest
import torch
from torch import nn

from handmade.core import System
from handmade.engine.ema import Averages
from handmade.engine.schedules import SHAPES, with_warmup
from handmade.engine.turns import Player
from handmade.errors import UserError


@pytest.mark.parametrize(
    ("name", "values"), [("constant", (1, 1, 1)), ("linear", (1, 0.5, 0)), ("cosine", (1, 0.5, 0))]
)
def test_a_schedule_starts_at_one_and_ends_where_it_says(name, values):
    assert [SHAPES[name](progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(list(values))


def test_cosine_is_above_the_line_first_and_below_it_later():
    assert SHAPES["cosine"](0.25) == pytest.approx(0.853553, abs=1e-6)
    assert SHAPES["cosine"](0.75) == pytest.approx(0.146447, abs=1e-6)


def test_warmup_rises_from_zero_and_the_shape_follows_over_the_rest():
    rate = with_warmup(SHAPES["linear"], 0.2)
    assert [rate(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_a_player_takes_its_rate_from_the_progress_of_the_run_and_never_below_the_end():
    weight = nn.Parameter(torch.zeros(1))
    player = Player("p", torch.optim.SGD([weight], 0.2), SHAPES["linear"])
    for progress, rate in ((0.0, 0.2), (0.25, 0.15), (1.0, 0.0), (1.7, 0.0)):
        player.set_progress(progress)
        assert player.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


class Tiny(System):
    def __init__(self):
        super().__init__(None, None)
        self.net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
        self.other = nn.Linear(1, 1)
        nn.init.constant_(self.net[0].weight, 1.0)


def test_an_average_moves_by_the_warmed_up_decay():
    tiny = Tiny()
    averages = Averages(tiny, {"net": 0.9})
    expected = 1.0
    for step, value in enumerate((2.0, 5.0, -1.0), start=1):
        nn.init.constant_(tiny.net[0].weight, value)
        averages.update(step)
        decay = min(0.9, (1 + step) / (10 + step))  # 2/11, 3/12, 4/13
        expected = decay * expected + (1 - decay) * value
        assert averages.state()["net.0.weight"].item() == pytest.approx(expected, rel=1e-6)


def test_a_long_run_uses_the_recipes_decay():
    tiny = Tiny()
    averages = Averages(tiny, {"net": 0.9})
    nn.init.constant_(tiny.net[0].weight, 2.0)
    averages.update(1000)
    assert averages.state()["net.0.weight"].item() == pytest.approx(1.1)


def test_batch_statistics_are_averaged_and_counts_are_copied():
    tiny = Tiny()
    averages = Averages(tiny, {"net": 0.5})
    tiny.net[1].running_mean.fill_(4.0)
    tiny.net[1].num_batches_tracked.fill_(7)
    averages.update(1000)
    assert averages.state()["net.1.running_mean"].item() == pytest.approx(2.0)
    assert averages.state()["net.1.num_batches_tracked"].item() == 7


def test_averages_are_lent_and_the_live_weights_come_back():
    tiny = Tiny()
    averages = Averages(tiny, {"net": 0.5})
    nn.init.constant_(tiny.net[0].weight, 3.0)
    averages.update(1000)
    with averages.applied():
        assert tiny.net[0].weight.item() == pytest.approx(2.0)
    assert tiny.net[0].weight.item() == 3.0 and averages.state()["net.0.weight"].item() == pytest.approx(2.0)


def test_an_average_of_nothing_is_named():
    with pytest.raises(UserError, match='no network "nett"; did you mean "net"'):
        Averages(Tiny(), {"nett": 0.5})
