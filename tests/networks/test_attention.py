"""Our causal attention and lean functions against torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from handmade.networks import attention
from handmade.networks.attention import causal_attention
from handmade.networks.lean import normalise, rotate


def both(tokens: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Outputs and gradients of torch's kernel and of ours."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, tokens, 8, requires_grad=True) for _ in range(3))
    g = torch.randn(3, 2, tokens, 8)
    found = []
    for out in (scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3), causal_attention(q, k, v, 0.3)):
        found.append([out, *torch.autograd.grad(out, (q, k, v), g)])
    return found[0], found[1]


@pytest.mark.parametrize("tokens", [1, 5, 64, 65, 200])
def test_causal_attention_and_its_gradients_are_those_of_torchs_kernel(tokens):
    for theirs, ours in zip(*both(tokens), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_pieces_of_any_size_give_the_same(monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 7)
    monkeypatch.setattr(attention, "IN_CACHE", 1000)
    for theirs, ours in zip(*both(50), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_token_sees_nothing_of_the_future():
    q, k, v = (torch.randn(1, 1, 100, 4, requires_grad=True) for _ in range(3))
    out = causal_attention(q, k, v, 0.5)
    (slope,) = torch.autograd.grad(out[:, :, 70].sum(), v)
    assert (slope[:, :, :71] != 0).all() and (slope[:, :, 71:] == 0).all()


def test_under_autocast_it_computes_in_bf16_and_gradients_come_back_in_float32():
    q, k, v = (torch.randn(2, 2, 90, 8, requires_grad=True) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        out = causal_attention(q, k, v, 0.3)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert q.grad is not None and q.grad.dtype == torch.float32
    torch.testing.assert_close(out.float(), causal_attention(q, k, v, 0.3), atol=0.03, rtol=0.03)


def test_the_lean_norm_and_its_gradient_are_those_of_torch():
    torch.manual_seed(0)
    x, g = torch.randn(4, 5, 8, requires_grad=True), torch.randn(4, 5, 8)
    assert torch.autograd.gradcheck(normalise, (x.double().detach()[:1, :2].requires_grad_(),), atol=1e-4)
    torch.testing.assert_close(normalise(x), rms_norm(x, (8,), eps=1e-12))
    found = [torch.autograd.grad(out, x, g)[0] for out in (normalise(x), rms_norm(x, (8,), eps=1e-12))]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert (normalise(torch.zeros(2, 3)) == 0).all()


@pytest.mark.parametrize("width", [6, 7])
def test_turning_pairs_keeps_lengths_and_its_gradient_turns_back(width):
    torch.manual_seed(0)
    x, angles = torch.randn(2, 3, 5, width, dtype=torch.float64, requires_grad=True), torch.randn(5, 3).double()
    turns = torch.cat([angles.cos(), angles.sin()], 1)
    out = rotate(x, turns)
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1))
    pairs = torch.view_as_complex(torch.stack([x[..., :3], x[..., 3:6]], -1).contiguous())
    expected = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles))
    torch.testing.assert_close(out[..., :6], torch.cat([expected[..., 0], expected[..., 1]], -1))
    assert torch.autograd.gradcheck(lambda x: rotate(x, turns), (x.detach()[:1, :1].requires_grad_(),))
    torch.testing.assert_close(rotate(x.detach().bfloat16(), turns).double(), out.detach(), atol=0.03, rtol=0.03)


def test_under_autocast_a_norm_comes_in_bf16_and_its_gradient_in_float32():
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = normalise(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), normalise(x), atol=0.02, rtol=0.02)
    out.float().square().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32
