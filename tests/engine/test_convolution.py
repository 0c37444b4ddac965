"""Convolutions as matrix products: the same values and gradients, and no gradient that nobody asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from handmade.engine import convolution
from handmade.engine.convolution import any_fits, use_patches, use_rows


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def there_and_back() -> nn.Sequential:
    """A picture from a pixel, twice as large, and back again to a number: everything that can be a product."""
    grow = [nn.ConvTranspose2d(20, 256, 4, bias=False), nn.ReLU(), nn.ConvTranspose2d(256, 256, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*grow, nn.Conv2d(256, 256, 4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(256, 1, 4))


def learned(network: nn.Module, z: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What a network answers, and the gradients of its input and its weights."""
    z = z.clone().requires_grad_()
    out = network(z)
    return out, list(torch.autograd.grad(out.square().sum(), [z, *network.parameters()]))


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_values_and_gradients_are_those_of_the_librarys_convolutions(last: bool):
    plain = there_and_back()
    if last:
        for layer in plain:
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    products, z = copy.deepcopy(plain), torch.randn(5, 20, 1, 1)
    use_patches(products)
    (out, gradients), (same, others) = learned(plain, z), learned(products, z)
    assert out.shape == same.shape == (5, 1, 1, 1)
    torch.testing.assert_close(same, out)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))


@pytest.mark.parametrize(
    "narrow",
    [nn.Conv2d(20, 3, 7), nn.Conv2d(20, 4, (5, 3), padding=2, bias=False), nn.Conv2d(20, 1, 7, padding=(3, 0))],
    ids=["7 x 7", "5 x 3, padded", "padded above and below"],
)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_a_narrow_end_row_by_row_gives_the_same_values_and_gradients(narrow: nn.Conv2d, last: bool):
    plain = narrow.double().to(memory_format=torch.channels_last if last else torch.contiguous_format)
    ours, x = copy.deepcopy(plain), torch.randn(2, 20, 9, 10, dtype=torch.float64)
    use_rows(ours)
    assert "forward" in vars(ours)
    (out, gradients), (same, others) = learned(plain, x), learned(ours, x)
    torch.testing.assert_close(same, out)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, gradient)
    with torch.autocast("cpu", torch.bfloat16):
        near = ours(x.float())
    assert near.dtype == torch.bfloat16 and (near - out).abs().max() < 0.02 * out.abs().max()
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(20, 5, 7), nn.Conv2d(20, 3, 3), nn.Conv2d(20, 3, 7, 2), nn.Conv2d(20, 3, 7, groups=1, dilation=2)],
)
def test_what_is_not_narrow_large_and_unstrided_stays(layer: nn.Conv2d):
    use_rows(layer)
    assert "forward" not in vars(layer)


def test_in_bf16_weights_keep_gradients_of_their_own_type():
    network, z = there_and_back(), torch.randn(4, 20, 1, 1)
    exact = learned(network, z)[1]
    use_patches(network)
    with torch.autocast("cpu", torch.bfloat16):
        out, gradients = learned(network, z)
    assert out.dtype == torch.bfloat16
    for gradient, near in zip(gradients, exact, strict=True):
        assert gradient.dtype == torch.float32
        assert torch.cosine_similarity(gradient.flatten(), near.flatten(), dim=0) > 0.99


def test_a_backward_pass_to_the_input_alone_computes_no_weights_gradient(monkeypatch: pytest.MonkeyPatch):
    critic, called = nn.Conv2d(256, 256, 4, 2, 1), []
    use_patches(critic)
    product = convolution.weight_gradient
    monkeypatch.setattr(convolution, "weight_gradient", lambda *given: called.append(1) or product(*given))
    x = torch.randn(2, 256, 8, 8, requires_grad=True)
    loss = critic(x).square().sum()
    loss.backward(inputs=[x], retain_graph=True)
    assert x.grad is not None and not called
    loss.backward(inputs=list(critic.parameters()))
    assert critic.weight.grad is not None and len(called) == 1


def test_a_kernel_that_has_room_to_slide_slides():
    network, x = nn.Conv2d(3, 8, 5), torch.randn(2, 3, 9, 7)
    expected = network(x)
    assert any_fits(network)
    use_patches(network)
    assert network(x).shape == (2, 8, 5, 3)
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(256, 256, 3, 1, 1),
        nn.Conv2d(256, 128, 4, 2, 1),
        nn.Conv2d(256, 256, 4, 2, (2, 1)),
        nn.ConvTranspose2d(256, 256, 4, 2, (1, 0)),
        nn.Conv2d(256, 256, 4, 2, 1, groups=2),
        nn.Conv2d(256, 256, 4, 2, 1, padding_mode="reflect"),
        nn.Conv2d(256, 256, 4, 2, 1, dilation=2),
        nn.ConvTranspose2d(256, 256, 4, 2, 1, output_padding=1),
        nn.Linear(256, 256),
    ],
    ids=str,
)
def test_what_is_better_left_alone_is_left_alone(layer: nn.Module):
    assert not any_fits(layer)
