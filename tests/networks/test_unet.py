"""The U-Net: what reaches what."""

from __future__ import annotations

import pytest
import torch

from handmade.networks.unet import Attention, UNet, waves


def net(**options) -> UNet:
    torch.manual_seed(0)
    made = UNet(3, 2, 8, (1, 2), 1, 16, **options)
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(torch.randn_like(value) * 0.2)
    return made


def test_it_starts_as_a_function_that_says_nothing():
    out = UNet(3, 2, 8, (1, 2), 2, 16)(torch.randn(2, 3, 8, 8), torch.randn(2, 16))
    assert out.shape == (2, 2, 8, 8) and not out.any()


@pytest.mark.parametrize("size", [4, 6, 10])
def test_any_size_that_can_be_halved_works(size):
    assert net()(torch.randn(1, 3, size, size), torch.randn(1, 16)).shape == (1, 2, size, size)


def test_the_condition_matters_and_items_do_not_meet():
    network, x, condition = net(), torch.randn(3, 3, 8, 8), torch.randn(3, 16)
    out = network(x, condition)
    assert torch.allclose(network(x[1:2], condition[1:2]), out[1:2], atol=1e-4)
    assert not torch.allclose(network(x, condition.roll(1, 0)), out, atol=1e-3)


def test_a_context_is_looked_at_token_by_token():
    network, x, condition = net(context=5), torch.randn(2, 3, 8, 8), torch.randn(2, 16)
    context = torch.randn(2, 4, 5)
    out = network(x, condition, context)
    assert torch.allclose(network(x, condition, context.flip(1)), out, atol=1e-4)  # a set, not a row
    assert not torch.allclose(network(x, condition, torch.zeros_like(context)), out, atol=1e-4)


def test_attention_equals_torchs_own():
    torch.manual_seed(0)
    ours = Attention(16, 4)
    with torch.no_grad():
        ours.say.weight.copy_(torch.eye(16)[:, :, None, None])
    x = torch.randn(2, 16, 3, 3)
    q, k, v = (part.unflatten(1, (4, 4)).transpose(-1, -2) for part in ours.ask(ours.norm(x)).flatten(2).chunk(3, 1))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v)  # (B, K, T, W)
    assert torch.allclose(ours(x) - x, theirs.transpose(-1, -2).flatten(1, 2).unflatten(-1, (3, 3)), atol=1e-5)


def test_folded_pictures_are_the_same_network_on_pixels_beside_each_other():
    folded = net(fold=2)
    plain = UNet(12, 8, 8, (1, 2), 1, 16)
    plain.load_state_dict(folded.state_dict())
    x, condition = torch.randn(2, 3, 8, 8), torch.randn(2, 16)
    beside = plain(torch.nn.functional.pixel_unshuffle(x, 2), condition)
    assert folded(x, condition).shape == (2, 2, 8, 8)
    assert torch.equal(folded(x, condition), torch.nn.functional.pixel_shuffle(beside, 2))


def test_waves_tell_times_apart():
    told = waves(torch.tensor([0.0, 1.0, 1000.0]), 8)
    assert told.shape == (3, 8)
    assert torch.allclose(told[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert torch.cdist(told, told).fill_diagonal_(1).min() > 0.5
    assert waves(torch.zeros(3), 13).shape == (3, 13)
