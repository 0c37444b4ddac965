"""Weights in fewer bits: close to the matrix they stand for, in every way they are multiplied."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from handmade.errors import UserError
from handmade.networks import quantised
from handmade.networks.low_rank import LowRank, adapt, merge
from handmade.networks.quantised import Kept, Table, kept_as, layout, quantise, shrink, unpacked

torch.set_num_threads(1)
PRECISIONS = ("bf16", "int8", "int4")
STEP = {"bf16": 2**-7, "int8": 1 / 127, "int4": 1 / 15}  # of the largest number, or of the range


def kept(weight: torch.Tensor, precision: str, bias: torch.Tensor | None = None) -> Kept:
    layer = Kept(weight.shape[1], weight.shape[0], bias is not None, precision)
    for name, tensor in quantise(weight, layer.precision).items():
        setattr(layer, name, tensor)
    if layer.bias is not None and bias is not None:
        layer.bias.data.copy_(bias)
    return layer


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_tensors_are_those_of_the_layout_and_near_the_matrix(precision):
    weight = drawn(48, 64)
    tensors = quantise(weight, precision)
    assert {n: (tuple(t.shape), t.dtype) for n, t in tensors.items()} == layout(precision, 64, 48)
    step = STEP[precision] * (weight.abs().amax(1, keepdim=True) if precision != "int4" else 2 * weight.abs().max())
    assert (
        (unpacked(precision, kept(weight, precision)) - weight).abs() <= 0.51 * step + 0.02 * (precision == "int4")
    ).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (1, 1, 64)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_product_is_that_of_the_matrix_it_stands_for(precision, shape, biased):
    weight, bias, x = drawn(48, 64), drawn(48, seed=1) if biased else None, drawn(*shape, seed=2)
    layer = kept(weight, precision, bias)
    expected = linear(x, unpacked(precision, layer), bias)
    found = layer(x)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()
    assert layer.packed is None or layer.weight is None  # one copy


def test_each_token_has_a_scale_of_its_own():
    """The first token of GPT-2 holds numbers hundreds of times as large as the others."""
    x = drawn(9, 64)
    x[0] *= 500
    layer = kept(drawn(48, 64, seed=3), "int8")
    together = layer(x)
    alone = torch.cat([layer(row[None]) for row in x])
    assert torch.allclose(together[1:], alone[1:], atol=0.03 * float(alone[1:].abs().max()))


def test_a_large_matrix_is_packed_in_pieces_with_the_same_result(monkeypatch):
    weight, x = drawn(200, 64), drawn(3, 64, seed=1)
    for precision in PRECISIONS:
        precision = kept_as(precision, 64, 200)
        whole = kept(weight, precision)(x)
        monkeypatch.setattr(quantised, "AT_ONCE", 64 * 64)
        cut = kept(weight, precision)
        assert torch.allclose(cut(x), whole, atol=1e-5) and (cut.packed is None or len(cut.packed) == 4)
        monkeypatch.undo()


def test_rows_of_zeros_and_odd_sizes_work():
    for precision in PRECISIONS:
        weight = torch.zeros(5, 7)
        weight[1] = 1.0
        layer = kept(weight, kept_as(precision, 7, 5))
        assert torch.allclose(layer(torch.zeros(2, 7)), torch.zeros(2, 5))
        assert torch.allclose(layer(torch.ones(1, 7)), torch.tensor([[0.0, 7, 0, 0, 0]]), atol=0.1)
    assert kept_as("int4", 7, 5) == "int8" and kept_as("int4", 64, 48) == "int4"
    with pytest.raises(UserError, match="int3"):
        kept_as("int3", 64, 48)


def test_an_embedding_gives_its_rows():
    weight = drawn(20, 16)
    for precision in ("bf16", "int8", "int4"):
        table = Table(20, 16, precision)
        for name, tensor in quantise(weight, table.precision).items():
            setattr(table, name, tensor)
        rows = torch.tensor([[3, 0], [19, 3]])
        assert (table(rows) - weight[rows]).abs().max() < 0.02 * weight.abs().max()


class Small(nn.Module):
    """A network of the form that is kept: an embedding that may be the head too, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(32, 64), None
        self.blocks = nn.ModuleList(nn.Linear(64, 64) for _ in range(2))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens)
        for block in self.blocks:
            x = x + block(x).tanh()
        return linear(x, self.tokens.weight) if self.head is None else self.head(x)


def test_a_network_is_kept_whole_its_shared_head_included():
    tokens = torch.arange(12).view(2, 6)
    for precision in PRECISIONS:
        torch.manual_seed(0)
        network = Small().eval()
        with torch.no_grad():
            expected = network(tokens)
            shrink(network, precision)
            found = network(tokens)
        kinds = {type(module) for module in network.modules() if not list(module.children())}
        assert kinds == {Kept, Table} and not any(p.requires_grad for p in network.parameters())
        assert (found - expected).abs().max() < {"bf16": 0.02, "int8": 0.03, "int4": 0.2}[
            precision
        ] * expected.abs().max()


def test_a_low_rank_product_starts_at_nothing_and_merges_into_the_weight():
    torch.manual_seed(0)
    network, tokens = Small(), torch.arange(12).view(2, 6)
    expected = network(tokens)
    adapt(network, 4, 8.0)
    assert torch.equal(network(tokens), expected)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        f"blocks.{n}.{part}" for n in (0, 1) for part in "ab"}  # fmt: skip
    for block in network.blocks:
        assert isinstance(block, LowRank)
        nn.init.normal_(block.b)
    changed = network(tokens)
    assert not torch.allclose(changed, expected)
    merge(network)
    assert torch.allclose(network(tokens), changed, atol=1e-5)
    assert not any(isinstance(module, LowRank) for module in network.modules())
