"""The flow_matching room: what it is asked for in training, and its Transformer."""

from __future__ import annotations

import pytest
import torch

from handmade.core import Dice
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.systems.flow_matching.network import DiT
from handmade.systems.flow_matching.system import Config, FlowMatching

SPEC = ImageSpec(1, 8, {"glasses": ("no", "yes"), "hair": ("black", "blond", "red")})
SMALL = Config(patch=2, width=12, layers=2, heads=3)


def room(config: Config = SMALL, spec: ImageSpec = SPEC) -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(config, spec)


def awake(network: DiT) -> DiT:
    """With gates and a last layer that are no longer zero."""
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.2)
    return network


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_the_loss_is_the_mean_square_of_the_whole_way_for_an_untrained_network(margin):
    system = room(Config(patch=2, width=12, layers=2, heads=3, margin=margin))
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    x[:, :, 0] = 1
    system.dice = Dice(3)
    (turn,) = system.objective(ImageBatch(x, torch.zeros(6, 2, dtype=torch.int64)))
    dice = Dice(3)  # the same draws again
    dice.normal(6)
    e = dice.normal(6, 1, 8, 8)
    x[:, :, 0] = 1 + margin  # white lies a little beyond its value
    assert turn.player == "flow" and system.walker.margin == margin
    assert torch.allclose(turn.loss, (e - x).square().mean())  # its guess is zero: the last layer starts there


def test_matrices_move_by_muon_and_queries_keys_and_values_are_three_of_them():
    system = room(Config(patch=2, width=16, layers=2, heads=2))
    muon, rest = system.optimizers()["flow"].param_groups
    parts = dict(zip(muon["params"], muon["parts"], strict=True))
    assert [parts[layer.ask.weight] for layer in system.flow.layers] == [3, 3]
    assert parts[system.flow.layers[0].widen.weight] == 1
    assert len(muon["params"]) + len(rest["params"]) == len(list(system.parameters()))


def test_patches_are_put_back_where_they_were_cut():
    """A network whose layers do nothing and whose last one repeats the first returns the picture."""
    network = DiT(1, 8, {}, 2, 4, 1, 1)
    with torch.no_grad():
        network.cut.weight.copy_(torch.eye(4).view(4, 1, 2, 2))
        for value in (network.cut.bias, network.place, network.last.weight, network.last.bias):
            value.zero_()
        network.draw.weight.copy_(torch.eye(4))
    x = torch.randn(2, 1, 8, 8)
    drawn = network(x, torch.zeros(2), torch.zeros(2, 0, dtype=torch.int64))
    tiles = x.unfold(2, 2, 2).unfold(3, 2, 2)  # each patch has mean square 1 in what is drawn
    length = tiles.square().mean((-1, -2)).sqrt()
    wanted = x / length.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(drawn, wanted, atol=1e-4)


def test_time_labels_and_far_patches_reach_every_pixel():
    network, x = awake(DiT(1, 8, SPEC.labels, 2, 12, 2, 3)), torch.randn(2, 1, 8, 8)
    t, told = torch.tensor([0.3, 0.7]), torch.tensor([[1, 0], [2, 3]])
    out = network(x, t, told)
    assert torch.allclose(network(x[1:], t[1:], told[1:]), out[1:], atol=1e-4)
    assert not torch.allclose(network(x, t + 0.2, told), out, atol=1e-4)
    assert not torch.allclose(network(x, t, told.flip(0)), out, atol=1e-4)
    moved = x.clone()
    moved[:, :, 0, 0] += 1
    assert ((network(moved, t, told) - out).abs() > 1e-6).all()


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(UserError, match="9 px cannot be cut into patches of 2"):
        room(spec=ImageSpec(1, 9))


def test_pictures_of_a_seed_do_not_depend_on_the_crowd():
    system = room()
    awake(system.flow)
    system.eval()
    crowd, alone = (system.generate(n=n, seed=7, steps=3, label="hair=red").pixels for n in (4, 1))
    assert torch.allclose(crowd[:1], alone, atol=1e-5)
