"""Muon: steps whose directions all count alike, for linear layers and for convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from handmade.networks.muon import MuonAdamW, matrices_of, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 24), (2, 16, 64)])
def test_an_orthogonal_step_has_equal_singular_values_and_the_same_directions(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    g = left @ torch.diag(torch.logspace(-1, 1, 16)) @ right
    out = orthogonal(g)
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.6 and values.max() < 1.3
    inner = left.mT @ out @ right.mT
    assert (inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2))).abs().max() < 1e-3
    assert (orthogonal(torch.zeros(shape)) == 0).all()


def test_muon_moves_queries_keys_and_values_as_three_matrices():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(48, 16))
    weight.grad = torch.cat([torch.randn(16, 16), 100 * torch.randn(16, 16), 0.01 * torch.randn(16, 16)])
    MuonAdamW({weight: 3}, [], lr=1.0).step()
    norms = [part.norm().item() for part in weight.chunk(3)]
    assert max(norms) < 1.2 * min(norms)


@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (256, 24, 1, 1), (48, 16, 3)])
def test_a_convolution_moves_as_the_matrix_of_its_filters(shape):
    torch.manual_seed(0)
    gradient = torch.randn(shape)
    flat, filters = nn.Parameter(torch.zeros(shape).flatten(1)), nn.Parameter(torch.zeros(shape))
    if len(shape) == 4:
        filters = nn.Parameter(torch.zeros(shape).to(memory_format=torch.channels_last))
    flat.grad, filters.grad = gradient.flatten(1), gradient.clone()
    for parameter in (flat, filters):
        MuonAdamW({parameter: 1}, [], lr=1.0).step()
    assert filters.detach().abs().sum() > 0
    torch.testing.assert_close(filters.detach().flatten(1), flat.detach())


def test_matrices_are_the_weights_of_large_layers_and_no_embeddings():
    large = nn.Linear(32, 16), nn.Conv2d(3, 64, 3)
    network = nn.Sequential(nn.Embedding(99, 32), *large, nn.Conv2d(64, 15, 3), nn.LayerNorm(32))
    assert list(matrices_of(network)) == [layer.weight for layer in large]


def test_matrices_among_the_rest_are_left_out():
    network = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16))
    muon, rest = MuonAdamW(matrices_of(network), network.parameters()).param_groups
    assert muon["params"] == [network[0].weight]
    assert {*rest["params"]} == {network[0].bias, network[1].weight, network[1].bias}


def test_what_is_loaded_lies_where_its_parameters_lie():
    """Counts of steps too: torch leaves those on the CPU, and a GPU's kernel does not look there."""
    layer = nn.Linear(20, 20)
    made = MuonAdamW(matrices_of(layer), layer.parameters())
    layer(torch.ones(1, 20)).sum().backward()
    made.step()
    saved, layer = made.state_dict(), nn.Linear(20, 20, device="meta")  # a device that is not the CPU
    made = MuonAdamW(matrices_of(layer), layer.parameters())
    made.load_state_dict(saved)
    held = [tensor for moments in made.state.values() for tensor in moments.values()]
    assert len(held) == 4 and {tensor.device.type for tensor in held} == {"meta"}
