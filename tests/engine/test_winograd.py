"""Convolutions with fewer multiplications: the library's results and gradients, from other products."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from handmade.engine import winograd
from handmade.engine.calibrate import Choice, apply
from handmade.engine.devices import World
from handmade.engine.turns import Player
from handmade.engine.winograd import KEPT
from handmade.networks.muon import MuonAdamW
from layers import relative, rounded_as_bf16_is, same_as_the_librarys


@pytest.fixture
def narrow(monkeypatch):
    """Every 3 x 3 convolution counts as wide, and few tiles go into one product."""
    monkeypatch.setattr(winograd, "NARROWEST", 1)
    monkeypatch.setattr(winograd, "TILES", 11)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("size", "padding"), [((8, 8), 1), ((9, 12), 0), ((5, 7), 2), ((3, 3), 0)])
def test_results_and_gradients_are_the_librarys(narrow, size, padding, layout):
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 4, 3, padding=padding).double().to(memory_format=layout)
    ours = copy.deepcopy(plain)
    winograd.use_winograd(ours)
    x = torch.randn(3, 5, *size, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    same_as_the_librarys(plain, ours, x)


def test_in_bf16_the_error_is_of_the_size_of_rounding(narrow):
    torch.manual_seed(0)
    plain = nn.Conv2d(64, 64, 3, padding=1)
    ours = copy.deepcopy(plain)
    winograd.use_winograd(ours)
    rounded_as_bf16_is(plain, ours, torch.randn(2, 64, 16, 16, requires_grad=True))


def test_a_gradient_of_the_gradient_is_the_librarys(narrow):
    """As a gradient penalty takes it."""
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 4, 3, padding=1).double()
    ours = copy.deepcopy(plain)
    winograd.use_winograd(ours)
    penalties = []
    for layer in (plain, ours):
        x = torch.linspace(-1, 1, 2 * 3 * 36, dtype=torch.double).view(2, 3, 6, 6).requires_grad_()
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        penalties.append(torch.autograd.grad(slope.square().sum(), layer.weight)[0])
    assert torch.allclose(penalties[0], penalties[1], rtol=1e-9)


def test_only_what_is_asked_for_is_computed(narrow):
    ours = nn.Conv2d(3, 4, 3)
    winograd.use_winograd(ours)
    x = torch.randn(2, 3, 6, 6)
    ours(x).sum().backward()
    assert ours.weight.grad is not None and x.grad is None
    ours.requires_grad_(False)
    ours(x.requires_grad_()).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("kind", ["adam", "muon", "copied"])
def test_kernels_follow_the_weight(narrow, kind):
    """They are kept while the weight stays, and never longer."""
    torch.manual_seed(0)
    plain = nn.Conv2d(16, 16, 3)
    ours = copy.deepcopy(plain)
    winograd.use_winograd(ours)
    x = torch.randn(2, 16, 6, 6)
    ways = {
        "adam": lambda p: torch.optim.Adam(p, 0.1, fused=True),
        "muon": lambda p: MuonAdamW({p[0]: 1}, p, 0.1, 0.1),
    }
    for layer in (plain, ours):
        layer(x).square().mean().backward()
        if kind in ways:
            Player("one", ways[kind](list(layer.parameters()))).move()
        else:
            with torch.no_grad():  # as averaged weights come and go
                layer.state_dict()["weight"].copy_(torch.ones(16, 16, 3, 3))
    assert relative(ours(x), plain(x)) < 1e-4
    kept = KEPT[ours.weight][1]
    other = nn.Linear(2, 2)
    Player("another", torch.optim.Adam(other.parameters(), 0.1)).move()  # another's move is not this weight's
    ours(x)
    assert KEPT[ours.weight][1] is kept


def test_without_gradients_the_library_computes(narrow):
    torch.manual_seed(0)
    plain = nn.Conv2d(16, 16, 3)
    ours = copy.deepcopy(plain)
    winograd.use_winograd(ours)
    x = torch.randn(2, 16, 6, 6)
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))
    assert not torch.equal(ours(x), plain(x))


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (nn.Conv2d(128, 160, 3, padding=1), True),
        (nn.Conv2d(128, 128, 3), True),
        (nn.Conv2d(128, 64, 3), False),
        (nn.Conv2d(128, 128, 3, stride=2), False),
        (nn.Conv2d(128, 128, 3, dilation=2), False),
        (nn.Conv2d(128, 128, 3, groups=2), False),
        (nn.Conv2d(128, 128, 3, padding="same"), False),
        (nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(128, 128, 4), False),
        (nn.ConvTranspose2d(128, 128, 3), False),
    ],
)
def test_wide_3_x_3_convolutions_fit(layer, fits):
    assert winograd.any_wide(nn.Sequential(layer)) is fits


def test_the_choice_is_applied_and_said(toy_wide):
    plain, ours = copy.deepcopy(toy_wide), copy.deepcopy(toy_wide)
    apply(Choice(), plain, World())
    apply(Choice(winograd=True), ours, World())
    assert "forward" in vars(ours.layer) and "forward" not in vars(plain.layer)
    assert str(Choice(winograd=True)).endswith("1 thread, winograd")
    assert plain.state_dict().keys() == ours.state_dict().keys()


@pytest.fixture
def toy_wide():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(128, 128, 3)

    return Wide()
