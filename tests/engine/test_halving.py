"""Convolutions that halve or double with fewer multiplications: the library's results and gradients, from other products."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from handmade.engine import halving, winograd
from handmade.engine.calibrate import Choice, apply
from handmade.engine.devices import World
from handmade.engine.turns import Player
from handmade.engine.winograd import KEPT
from layers import relative, rounded_as_bf16_is, same_as_the_librarys

PLAIN = {"halves": nn.Conv2d(5, 4, 4, 2, 1), "doubles": nn.ConvTranspose2d(5, 4, 4, 2, 1, bias=False)}
SIZES = [(8, 8), (4, 12), (6, 10), (9, 7), (2, 3)]  # also those that do not fill their last tile, or have odd sides


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Every such convolution counts as wide, and few tiles go into one product."""
    monkeypatch.setattr(halving, "NARROWEST", 1)
    monkeypatch.setattr(winograd, "TILES", 5)


def two(layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A layer as the library computes it, and as we do."""
    ours = copy.deepcopy(layer)
    halving.use_halving(ours)
    return layer, ours


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", PLAIN)
def test_results_and_gradients_are_the_librarys(kind, size, layout):
    torch.manual_seed(0)
    plain, ours = two(copy.deepcopy(PLAIN[kind]).double().to(memory_format=layout))  # pyright: ignore[reportCallIssue]
    x = torch.randn(3, 5, *size, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    same_as_the_librarys(plain, ours, x)


@pytest.mark.parametrize("kind", PLAIN)
def test_in_bf16_the_error_is_of_the_size_of_rounding(kind):
    torch.manual_seed(0)
    plain, ours = two({"halves": nn.Conv2d, "doubles": nn.ConvTranspose2d}[kind](64, 64, 4, 2, 1))
    rounded_as_bf16_is(plain, ours, torch.randn(2, 64, 16, 16, requires_grad=True))


@pytest.mark.parametrize("kind", PLAIN)
def test_a_gradient_of_the_gradient_is_the_librarys(kind):
    """As a gradient penalty takes it, on top of an ordinary loss."""
    torch.manual_seed(0)
    found = []
    for layer in two(copy.deepcopy(PLAIN[kind]).double()):
        x = torch.linspace(-1, 1, 2 * 5 * 36, dtype=torch.double).view(2, 5, 6, 6).requires_grad_()
        y = layer(x).square().sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(torch.autograd.grad(y + slope.square().sum(), layer.weight)[0])
    assert torch.allclose(found[0], found[1], rtol=1e-9)


def test_a_pass_that_is_not_after_the_weight_computes_nothing_for_it(monkeypatch):
    _, ours = two(PLAIN["halves"])
    asked = []
    really = halving.weight_gradient
    monkeypatch.setattr(halving, "weight_gradient", lambda *sides: asked.append(0) or really(*sides))
    x = torch.randn(2, 5, 6, 6, requires_grad=True)
    y = ours(x).sum()
    y.backward(inputs=[x], retain_graph=True)
    assert not asked and x.grad is not None
    y.backward(inputs=[ours.weight])
    assert asked and ours.weight.grad is not None


def test_kernels_follow_the_weight_and_are_kept_while_it_stays():
    torch.manual_seed(0)
    plain, ours = two(nn.Conv2d(16, 16, 4, 2, 1))
    x = torch.randn(2, 16, 6, 6)
    for layer in (plain, ours):
        layer(x).square().mean().backward()
        Player("one", torch.optim.Adam(layer.parameters(), 0.1, fused=True)).move()
    assert relative(ours(x), plain(x)) < 1e-4
    kept = KEPT[ours.weight][1]
    other = nn.Linear(2, 2)
    Player("another", torch.optim.Adam(other.parameters(), 0.1)).move()  # another's move is not this weight's
    ours(x)
    assert KEPT[ours.weight][1] is kept


def test_without_gradients_the_library_computes():
    torch.manual_seed(0)
    plain, ours = two(nn.Conv2d(16, 16, 4, 2, 1))
    x = torch.randn(2, 16, 6, 6)
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))
    assert not torch.equal(ours(x), plain(x))


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (nn.Conv2d(128, 160, 4, 2, 1), True),
        (nn.ConvTranspose2d(160, 128, 4, 2, 1), True),
        (nn.Conv2d(128, 64, 4, 2, 1), False),
        (nn.Conv2d(128, 128, 4, 2), False),
        (nn.Conv2d(128, 128, 4, 1, 1), False),
        (nn.Conv2d(128, 128, 3, 2, 1), False),
        (nn.Conv2d(128, 128, 4, 2, 1, groups=2), False),
        (nn.Conv2d(128, 128, 4, 2, 1, dilation=2), False),
        (nn.Conv2d(128, 128, 4, 2, 1, padding_mode="reflect"), False),
        (nn.Conv2d(128, 128, 4, padding="same"), False),
        (nn.ConvTranspose2d(128, 128, 4, 2, 1, output_padding=1), False),
    ],
)
def test_wide_4_x_4_convolutions_that_stride_fit(layer, fits, monkeypatch):
    monkeypatch.setattr(halving, "NARROWEST", 128)
    assert halving.any_halves(nn.Sequential(layer)) is fits


@pytest.mark.parametrize("patches", [False, True])
def test_the_choice_is_applied_also_where_patches_were_chosen(patches):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(256, 256, 4, 2, 1)

    wide = Wide()
    apply(Choice(halving=True, patches=patches), wide, World())
    assert wide.layer.forward.func is halving._forward
