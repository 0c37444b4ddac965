"""Weights kept in fewer bits than they were trained in, and multiplied as they are: bf16, int8 and int4.

One token at a time, a matrix product is as fast as its weights come from memory, so half the bytes are half the time.
    bf16  the upper half of a float32; products in bf16, packed once in the order that oneDNN reads (x86 with AVX-512)
    int8  w = s q with one s per output, q in -127..127; the input becomes 8 bits too, with one scale per token, and the
          products are whole numbers: LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339), without its outlier columns
    int4  w = s (q - 8) + z with s and z for every 32 inputs of an output, q in 0..15; products in bf16
A token's own scale matters: with one scale for all, the few very large numbers of GPT-2's first token would leave the others
with a handful of steps. Embeddings and the head stay in int8 where the rest is int4. Nothing here can be trained.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from handmade.errors import UserError
from handmade.weights import PRECISIONS

GROUP = 32  # inputs that share a scale in int4
AT_ONCE = 12_000_000  # weights packed at once


class Kept(nn.Module):
    """A linear layer (..., K) -> (..., N) whose weight is kept in bf16, int8 or int4; float32 in, float32 out.

    The first product on a CPU packs the weight into the order that the processor likes, and lets go of it: one layer at a
    time, never two copies of a network. On other devices the weight is made float for each product.
    """

    weight: Any  # None once it is packed

    def __init__(self, inputs: int, outputs: int, bias: bool, precision: str):
        super().__init__()
        self.inputs, self.outputs, self.precision = inputs, outputs, kept_as(precision, inputs, outputs)
        for name, (shape, dtype) in layout(self.precision, inputs, outputs).items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False) if bias else None
        self.packed: Any = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        if self.packed is None:
            self.pack()
        if self.weight is None and x.device.type != "cpu":
            raise UserError(f"these weights were packed for the CPU: load the run anew for {x.device.type}")
        if self.packed is None:
            return linear(x, unpacked(self.precision, self).to(x.dtype), self.bias)
        product = PRODUCTS[self.precision]
        if len(self.packed) == 1:
            y = product(x, self, self.packed[0])
        else:
            y = torch.cat([product(x, self, piece) for piece in self.packed], -1)
        return y.float() if self.bias is None else self.bias + y

    def pack(self) -> None:
        """Bring the weight into the processor's order, piece by piece, so that no large matrix is there twice."""
        if self.weight.is_meta or self.weight.device.type != "cpu":
            return
        rows = max(64, AT_ONCE // self.inputs // 64 * 64)
        cuts = range(0, self.outputs, rows)
        pieces = [PACKERS[self.precision](self, slice(first, first + rows)) for first in cuts]
        if all(piece is not None for piece in pieces):
            self.packed = pieces
            self.weight = None  # the mapping of a file ends here


class Table(nn.Module):
    """An embedding (...) -> (..., D) whose rows are kept in bf16 or int8."""

    weight: Tensor
    scale: Tensor  # with int8 only

    def __init__(self, rows: int, width: int, precision: str):
        super().__init__()
        self.precision = "bf16" if precision == "bf16" else "int8"
        for name, (shape, dtype) in layout(self.precision, width, rows).items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def forward(self, rows: Tensor) -> Tensor:
        """(...) numbers of rows -> (..., D) float32."""
        found = self.weight[rows].float()
        return found if self.precision == "bf16" else found * self.scale[rows][..., None]


def keep(network: nn.Module, precision: str) -> None:
    """Replace every linear layer and the embedding `tokens` of a network; a head that shares the embedding becomes one."""
    tokens = network.get_submodule("tokens")
    if getattr(network, "head", None) is None and isinstance(tokens, nn.Embedding):
        network.head = nn.Linear(tokens.embedding_dim, tokens.num_embeddings, bias=False, device="meta")
    for name, child in list(network.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(child, nn.Linear):
            kind = "int8" if precision == "int4" and name == "head" else precision
            new: nn.Module = Kept(child.in_features, child.out_features, child.bias is not None, kind)
        elif child is tokens and isinstance(child, nn.Embedding):
            new = Table(child.num_embeddings, child.embedding_dim, precision)
        else:
            continue
        setattr(network.get_submodule(parent), last, new)
    network.requires_grad_(False)


@torch.no_grad()
def shrink(network: nn.Module, precision: str) -> None:
    """Keep a trained network's own weights in fewer bits, in place."""
    weights = network.state_dict()
    weights.setdefault("head.weight", weights["tokens.weight"])
    keep(network, precision)
    for name, module in network.named_modules():
        if isinstance(module, Kept | Table):
            for part, tensor in quantise(weights[f"{name}.weight"], module.precision).items():
                setattr(module, part, tensor)
            if isinstance(module, Kept) and module.bias is not None:
                module.bias.copy_(weights[f"{name}.bias"])


def kept_as(precision: str, inputs: int, outputs: int) -> str:
    """The precision a matrix can be kept in: int4 needs whole groups, else it is int8."""
    if precision not in PRECISIONS[1:]:
        raise UserError(f'weights cannot be kept in "{precision}" ({", ".join(PRECISIONS)})')
    return "int8" if precision == "int4" and (inputs % GROUP or outputs % 16) else precision


def layout(precision: str, inputs: int, outputs: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Names, shapes and kinds of the tensors that stand for an (outputs, inputs) matrix."""
    if precision == "bf16":
        return {"weight": ((outputs, inputs), torch.bfloat16)}
    if precision == "int8":
        return {"weight": ((outputs, inputs), torch.int8), "scale": ((outputs,), torch.float32)}
    grid = (inputs // GROUP, outputs, 2)
    return {"weight": ((outputs, inputs // 2), torch.uint8), "grid": (grid, torch.bfloat16)}


def quantise(weight: Tensor, precision: str) -> dict[str, Tensor]:
    """(N, K) float -> the tensors of `layout`."""
    weight = weight.float()
    if precision == "bf16":
        return {"weight": weight.bfloat16().contiguous()}
    if precision == "int8":
        scale = (weight.abs().amax(1) / 127).clamp_min(1e-12)  # (N,)
        return {"weight": (weight / scale[:, None]).round_().to(torch.int8).contiguous(), "scale": scale}
    groups = weight.unflatten(1, (-1, GROUP))  # (N, K / G, G)
    low, high = groups.amin(2), groups.amax(2)
    scale = ((high - low) / 15).clamp_min(1e-12).bfloat16()
    zero = (low + 8 * scale.float()).bfloat16()
    codes = ((groups - zero.float()[..., None]) / scale.float()[..., None] + 8).round_().clamp_(0, 15).byte().flatten(1)
    return {
        "weight": codes[:, ::2] | codes[:, 1::2] << 4,
        "grid": torch.stack([scale, zero], 2).transpose(0, 1).contiguous(),
    }


def unpacked(precision: str, kept: Any) -> Tensor:
    """The (N, K) matrix that `layout`'s tensors stand for, float."""
    if precision == "bf16":
        return kept.weight.float()
    if precision == "int8":
        return kept.weight * kept.scale[:, None]
    scale, zero = kept.grid.float().transpose(0, 1).unbind(2)  # (N, K / G)
    codes = _nibbles(kept.weight).unflatten(1, (-1, GROUP)).float()
    return ((codes - 8) * scale[..., None] + zero[..., None]).flatten(1)


def _nibbles(pairs: Tensor) -> Tensor:
    return torch.stack([pairs & 15, pairs >> 4], 2).flatten(1)  # (N, K) uint8


def _pack_bf16(layer: Any, rows: slice) -> Any:
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return None
    return torch.ops.mkldnn._reorder_linear_weight(layer.weight[rows], 1)


def _pack_int8(layer: Any, rows: slice) -> Any:
    make = getattr(torch, "_make_per_channel_quantized_tensor", None)
    if make is None or torch.backends.quantized.engine == "none":
        return None
    weight, scale = layer.weight[rows], layer.scale[rows].double()
    with warnings.catch_warnings():  # torch means to drop such tensors; its newer product took 1.5 times as long here
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        whole = make(weight, scale, torch.zeros(len(scale), dtype=torch.int64), 0)
        return torch.ops.quantized.linear_prepack(whole, None)


def _pack_int4(layer: Any, rows: slice) -> Any:
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(_nibbles(layer.weight[rows]).int(), 1)
    return packed, layer.grid[:, rows].contiguous()


def _in_bf16(x: Tensor, layer: Any, packed: Any) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.bfloat16(), packed, None, "none", [], "")


def _in_int8(x: Tensor, layer: Any, packed: Any) -> Tensor:
    narrow = not NO_SATURATION  # without VNNI, sums of two products overflow 16 bits unless inputs have 7
    if x.numel() == layer.inputs:
        return torch.ops.quantized.linear_dynamic(x, packed, narrow)
    largest = x.abs().amax(-1, keepdim=True).clamp_min_(1e-12)  # so that the one scale of the call is each token's own
    return torch.ops.quantized.linear_dynamic(x / largest, packed, narrow).mul_(largest)


def _in_int4(x: Tensor, layer: Any, packed: Any) -> Tensor:
    y = torch.ops.aten._weight_int4pack_mm_for_cpu(x.reshape(-1, layer.inputs).bfloat16(), packed[0], GROUP, packed[1])
    return y.view(*x.shape[:-1], -1)


NO_SATURATION = bool(getattr(torch.cpu, "_is_vnni_supported", lambda: False)())
PACKERS = {"bf16": _pack_bf16, "int8": _pack_int8, "int4": _pack_int4}
PRODUCTS = {"bf16": _in_bf16, "int8": _in_int8, "int4": _in_int4}
