"""Safetensors files read where they lie: opened at once, each tensor mapped into memory when asked for, and let go after.

`safetensors` itself maps a whole file until its last tensor is gone, so that a file of 6 GB that is packed into 1.6 GB of
whole numbers counts twice. Here each tensor is a mapping of its own, and writing takes one tensor at a time.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from handmade.errors import Damaged
from handmade.weights import Stored

MOST_TENSORS = 20_000  # a network has fewer; a file that claims more is refused before it is read
MOST_HEADER = 100_000_000  # bytes of names and shapes
KINDS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def mapped(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The part of a file that is this tensor; its pages are read when touched, and changes stay in memory."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    flat = torch.from_numpy(np.memmap(path, np.uint8, "c", offset, (size,)))
    return (flat if flat.data_ptr() % dtype.itemsize == 0 else flat.clone()).view(dtype).view(shape)


def open_tensors(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a safetensors file, not read yet, and its metadata.

    Raises Damaged where the header is not one, names too many tensors, or places one outside the file.
    """
    try:
        with open(path, "rb") as file:
            header, start = _header(file, path.stat().st_size)
        metadata = header.pop("__metadata__", {})
        turned = set(json.loads(metadata.get("turned", "[]")))
        room = path.stat().st_size - start
        return {name: _stored(path, entry, start, room, name in turned) for name, entry in header.items()}, metadata
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise Damaged(f"{path} is not a safetensors file: {error}") from None


def _header(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(MOST_HEADER, size - 8):
        raise ValueError(f"its header claims {length} bytes of a file of {size}")
    header = json.loads(file.read(length))
    if len(header) > MOST_TENSORS:
        raise ValueError(f"it holds {len(header)} tensors; at most {MOST_TENSORS} are read")
    return header, 8 + length


def _stored(path: Path, entry: Mapping[str, Any], start: int, room: int, turned: bool) -> Stored:
    shape, dtype = tuple(int(n) for n in entry["shape"]), KINDS[entry["dtype"]]
    first, last = entry["data_offsets"]
    if min(shape, default=0) < 0 or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{last - first} bytes are not a tensor of shape {shape}")
    if not 0 <= first <= last <= room:
        raise ValueError(f"it is cut short: a tensor ends at byte {start + last} of {start + room}")

    def read() -> Tensor:
        tensor = mapped(path, start + first, shape, dtype)
        return tensor.t() if turned else tensor

    return Stored(shape[::-1] if turned else shape, dtype, read, turned)


def write_tensors(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, one tensor in memory at a time; a turned one keeps its order of bytes."""
    names = {dtype: name for name, dtype in KINDS.items()}
    turned = sorted(name for name, tensor in tensors.items() if tensor.turned)
    about = {"format": "pt", **(metadata or {}), **({"turned": json.dumps(turned)} if turned else {})}
    header: dict[str, Any] = {"__metadata__": about}
    end = 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1] if tensor.turned else tensor.shape
        header[name] = {"dtype": names[tensor.dtype], "shape": shape, "data_offsets": [end, end + tensor.bytes]}
        end += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)  # so that tensors begin where processors like it
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors.items():
            value = tensor.read()
            if tuple(value.shape) != tensor.shape or value.dtype != tensor.dtype:
                raise ValueError(f"{name} became {value.dtype} {tuple(value.shape)}")
            plain = (value.t() if tensor.turned else value).detach().cpu().contiguous()
            file.write(plain.flatten().view(torch.uint8).numpy().data)
