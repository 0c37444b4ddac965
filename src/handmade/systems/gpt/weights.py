"""GPT-2's published weights, by Hugging Face's names, OpenAI's TensorFlow names, or nanoGPT's; the way out is in leaving.py.

OpenAI and Hugging Face keep matrices as (inputs, outputs), nanoGPT as torch does, (outputs, inputs). In float32 a turned
matrix stays as it lies: one row of numbers times a matrix that lies by inputs is 1.4 times as fast here, head included.
Sizes: Radford et al. 2019, table 2. The masks that some files hold are not weights and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handmade.data.codecs.chars import Chars
from handmade.data.codecs.gpt2 import GPT2
from handmade.data.specs import TextSpec
from handmade.errors import DataMissing, UserError
from handmade.networks.quantised import kept_as, layout, quantise
from handmade.systems.gpt.foreign_names import HF, NANO, TF, Names
from handmade.systems.gpt.leaving import leave
from handmade.weights import Brought, Foreign, Stored

SIZES = {(12, 768): "124M", (24, 1024): "355M", (36, 1280): "774M", (48, 1600): "1558M"}
PADDED = 128  # a vocabulary is padded by less than this, to a multiple of half of it
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
FIXED = {  # what a config.json may not say otherwise, since the network would be another one
    "layer_norm_epsilon": 1e-5, "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False, "tie_word_embeddings": True,
}  # fmt: skip


def bring(foreign: Foreign, precision: str = "float32") -> Brought:
    """Say what of ours a foreign GPT-2 is.

    precision: how the weights are to be kept, one of handmade.weights.PRECISIONS
    Raises UserError where tensors are missing or do not fit each other, the config, or the vocabulary.
    """
    names, tensors = _recognised(foreign)
    sizes = _sizes(foreign, names, tensors)
    codec = _codec(foreign, sizes["vocabulary"])
    found = dict(_named(foreign, names, tensors, sizes, codec.size))
    config = {"layers": sizes["layers"], "width": sizes["width"], "heads": sizes["heads"], "style": "gpt2",
              "bias": sizes["bias"], "activation": sizes["activation"], "kept": precision}  # fmt: skip
    kept = found if precision == "float32" else dict(_kept(found, precision))
    size = SIZES.get((sizes["layers"], sizes["width"]), f"{sum(t.size for t in found.values()) / 1e6:.1f}M")
    about = f"GPT-2 {size} from {names.title}"
    context = sizes["context"]
    recipe = {
        "about": f"{about}, kept in {precision}",
        "data": {"source": "moby", "codec": "run", "context": min(context, 256)},
        "config": config,
        "train": {"batch": 4, "score_items": 32},
        "preview": {"ask": "continue", "prompt": "The ", "max_tokens": 40},
    }
    cache = 2 * 4 * sizes["layers"] * context * sizes["width"]
    return Brought(recipe, size, TextSpec(codec.to_values(), context), kept, about, 300_000_000 + cache)


def _recognised(foreign: Foreign) -> tuple[Names, dict[str, Stored]]:
    """Whose names these are, and the tensors without the prefixes that wrappers leave."""
    for names in (TF, NANO, HF):
        found = {re.sub(names.prefix, "", name): tensor for name, tensor in foreign.tensors.items()}
        if names.tokens in found and (names is not NANO or _lies_as_in_nano(foreign, found)):
            return names, {name: tensor for name, tensor in found.items() if not re.search(names.ignored, name)}
    first = ", ".join(list(foreign.tensors)[:3]) or "none"
    raise UserError(
        f"{foreign.path} holds no GPT-2: no tensor is named like its embedding, wte (there are: {first} ...)"
    )


def _lies_as_in_nano(foreign: Foreign, found: Mapping[str, Stored]) -> bool:
    """nanoGPT and Hugging Face share their names; the first matrix of a block says which way it lies."""
    up = found.get("h.0.mlp.c_fc.weight")
    return "model_args" in foreign.values or (up is not None and len(up.shape) == 2 and up.shape[0] > up.shape[1])


def _sizes(foreign: Foreign, names: Names, tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """Sizes by the tensors' shapes; heads and activation, which shapes do not show, by the values beside them."""
    if names.positions not in tensors or any(len(tensors[n].shape) != 2 for n in (names.tokens, names.positions)):
        raise UserError(f"{foreign.path} lacks {names.positions}, the table of positions")
    (vocabulary, width), context = tensors[names.tokens].shape, tensors[names.positions].shape[0]
    numbers = {int(found[1]) for name in tensors if (found := re.match(names.layer, name))}
    told = next((foreign.values[key] for key in names.values if key in foreign.values), {})
    for key, value in FIXED.items():
        if told.get(key, value) != value:
            raise UserError(f"{foreign.path} is no plain GPT-2: its {key} is {told[key]!r}, not {value!r}")
    for key, value in {"n_layer": len(numbers), "n_embd": width, "n_inner": 4 * width}.items():
        if told.get(key) is not None and told[key] != value:
            raise UserError(f"{foreign.path}: its {key} is said to be {told[key]!r}, but its tensors say {value}")
    heads = told.get("n_head") or (width // 64 if width % 64 == 0 else None)
    if not isinstance(heads, int) or heads < 1 or width % heads:
        beside = "a config.json beside it must give n_head"
        raise UserError(
            f"{foreign.path}: {heads or 'an unknown number of'} heads do not divide a width of {width}; {beside}"
        )
    activation = told.get("activation_function", names.activation)
    if activation not in ACTIVATIONS:
        raise UserError(
            f"{foreign.path}: its activation is {activation!r}, which GPT-2's is not ({', '.join(ACTIVATIONS)})"
        )
    bias = names.last_bias in tensors
    return {"vocabulary": vocabulary, "width": width, "context": context, "layers": len(numbers), "heads": heads,
            "activation": ACTIVATIONS[activation], "bias": bias}  # fmt: skip


def _codec(foreign: Foreign, vocabulary: int) -> Any:
    """The codec of the folder's own files, or OpenAI's; UserError where its tokens are not those of the weights."""
    codec: Any
    try:
        if (letters := foreign.values.get("meta.pkl", {}).get("itos")) is not None:
            codec, whose = _letters(letters, foreign.folder), f"the meta.pkl in {foreign.folder}"
        else:
            codec, whose = GPT2.from_folder(foreign.folder), f"the vocabulary in {foreign.folder}"
    except DataMissing:
        codec, whose = GPT2.published(), "GPT-2's vocabulary"
    spare = vocabulary - codec.size
    if spare < 0 or spare >= PADDED or (spare and vocabulary % (PADDED // 2)):
        raise UserError(
            f"the weights know {vocabulary:,} tokens, and {whose} has {codec.size:,}: put the files that belong to the weights "
            f"beside them (encoder.json and vocab.bpe, vocab.json and merges.txt, or nanoGPT's meta.pkl)"
        )
    return codec


def _letters(letters: Any, folder: Path) -> Chars:
    """nanoGPT's characters by number, as it saves them beside the data it was trained on."""
    known: list[Any] = [letters.get(number) for number in range(len(letters))] if isinstance(letters, dict) else []
    if not known or not all(isinstance(letter, str) and len(letter) == 1 for letter in known):
        raise UserError(f"{folder / 'meta.pkl'} does not number single characters from 0")
    return Chars("".join(known), others=False)


def _named(
    foreign: Foreign, names: Names, tensors: dict[str, Stored], sizes: Mapping[str, Any], vocabulary: int
) -> Iterator[tuple[str, Stored]]:
    """Our names, and the tensors turned, cut and made float32 where they need it; every shape checked."""
    for ours, theirs, shape in _expected(names, sizes):
        if theirs not in tensors:
            raise UserError(f"{foreign.path} does not fit GPT-2: {theirs} is missing")
        tensor, matrix = tensors.pop(theirs), "blocks" in ours and len(shape) == 2
        turned = matrix and names.turned
        lies = tuple(
            n for n in tensor.shape if n != 1 or len(tensor.shape) == len(shape)
        )  # TensorFlow's have a 1 in front
        if lies != (shape[::-1] if turned else shape):
            raise UserError(f"{foreign.path} does not fit GPT-2: {theirs} is {tensor.shape}, not {shape}")
        kept = (vocabulary, *shape[1:]) if ours == "network.tokens.weight" else shape
        by_inputs = len(shape) == 2 and shape[0] > shape[1] and ours != "network.positions.weight"
        yield ours, Stored(kept, torch.float32, _reader(tensor, lies, turned, kept[0]), by_inputs)
    head = tensors.pop(names.head, None)
    table = next(t for n, t in foreign.tensors.items() if re.sub(names.prefix, "", n) == names.tokens)
    if head is not None and (head.shape != table.shape or not torch.equal(head.read(), table.read())):
        raise UserError(f"{foreign.path} is no plain GPT-2: its {names.head} is not its embedding")
    if tensors:
        raise UserError(f"{foreign.path} holds what GPT-2 does not: {', '.join(list(tensors)[:3])}")


def _expected(names: Names, sizes: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Our name, their name and our shape of every weight."""
    width = sizes["width"]
    yield "network.tokens.weight", names.tokens, (sizes["vocabulary"], width)
    yield "network.positions.weight", names.positions, (sizes["context"], width)
    shapes = {"norm1": (width,), "norm2": (width,), "attention.qkv": (3 * width, width), "attention.out": (width, width),
              "feed.up": (4 * width, width), "feed.down": (width, 4 * width)}  # fmt: skip
    for index in range(sizes["layers"]):
        for ours, shape in shapes.items():
            weight, bias = names.of(index, ours)
            yield f"network.blocks.{index}.{ours}.weight", weight, shape
            if sizes["bias"]:
                yield f"network.blocks.{index}.{ours}.bias", bias, shape[:1]
    yield "network.norm.weight", names.last_weight, (width,)
    if sizes["bias"]:
        yield "network.norm.bias", names.last_bias, (width,)


def _reader(tensor: Stored, lies: tuple[int, ...], turned: bool, rows: int) -> Callable[[], Tensor]:
    def read() -> Tensor:
        value = tensor.read().view(lies)
        return (value.t() if turned else value)[:rows].float()

    return read


def _kept(found: Mapping[str, Stored], precision: str) -> Iterator[tuple[str, Stored]]:
    """The same weights in fewer bits: every matrix of a block, the embedding, and a head of its own."""
    recent: list[tuple[str, dict[str, Tensor]]] = []  # the parts of one matrix, made once

    def part_of(name: str, tensor: Stored, small: str, part: str) -> Tensor:
        if not recent or recent[0][0] != name:
            recent[:] = [(name, quantise(tensor.read(), small))]
        return recent[0][1][part]

    for name, tensor in found.items():
        if len(tensor.shape) != 2 or name == "network.positions.weight":
            yield name, tensor
            continue
        small = precision if "blocks" in name or precision == "bf16" else "int8"
        copies = [name, "network.head.weight"] if name == "network.tokens.weight" else [name]
        small = kept_as(small, tensor.shape[1], tensor.shape[0])
        for copy in copies:
            for part, (shape, dtype) in layout(small, tensor.shape[1], tensor.shape[0]).items():
                read = partial(part_of, name, tensor, small, part)
                yield f"{copy.rpartition('.')[0]}.{part}", Stored(shape, dtype, read)


__all__ = ["SIZES", "bring", "leave"]
