"""Small GPT-2 models as transformers saves them, with a small vocabulary of GPT-2's kind, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from handmade import api, exchange
from handmade.data.codecs.bpe import printable
from handmade.data.codecs.gpt2 import GPT2
from handmade.registry import find_room

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"i", b"n"), (b"a", b"n"), (b"an", b"d"), (b" ", b"and")]
CODEC = GPT2(MERGES)
SHAPES = {  # name: layers, width, heads, context; as published: heads of 64, four times as wide inside
    "one head": (2, 64, 1, 64), "two heads": (3, 128, 2, 48), "narrow heads": (4, 96, 6, 32),
    "as wide as XL": (1, 1600, 25, 16),
}  # fmt: skip


def write_vocabulary(folder: Path, codec: GPT2 = CODEC) -> None:
    merges = [f"{printable(left)} {printable(right)}" for left, right in codec.merges]
    (folder / "vocab.json").write_text(json.dumps(codec.numbers()), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")


def small_gpt2(layers: int = 2, width: int = 64, heads: int = 2, context: int = 32, vocabulary: int = CODEC.size,
               **settings: Any) -> Any:  # fmt: skip
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(layers + width)
    config = GPT2Config(vocab_size=vocabulary, n_positions=context, n_embd=width, n_layer=layers, n_head=heads,
                        bos_token_id=0, eos_token_id=vocabulary - 1, initializer_range=0.1, **settings)  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # as after training: no bias is zero, no norm is plain
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def saved(model: Any, folder: Path, **how: Any) -> Path:
    model.save_pretrained(folder, **how)
    write_vocabulary(folder)
    return folder


def brought(path: Path, out: Path, precision: str = "float32") -> Any:
    """The system of an imported run."""
    return api.load(exchange.bring(find_room("gpt"), path, None, out, None, precision, lambda line: None))


def close(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, in parts of the largest number."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
