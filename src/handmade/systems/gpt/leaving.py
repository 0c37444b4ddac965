"""A trained GPT-2 for other engines: a folder that Hugging Face's transformers loads, or the folder of a LoRA adapter.

Only GPT-2's own architecture has a counterpart there. What was kept in fewer bits leaves as float32, a low-rank product is
added to its weight (`hf`) or leaves alone (`peft`, the adapter that the library of that name loads).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from handmade.data.codecs.bpe import printable
from handmade.data.specs import TextSpec
from handmade.errors import UserError, did_you_mean
from handmade.networks.quantised import kept_as, unpacked
from handmade.systems.gpt.foreign_names import HF
from handmade.systems.gpt.system import form_of
from handmade.weights import Leaving, Stored

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu"}
TEMPLATE = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "attn_pdrop": 0.0, "embd_pdrop": 0.0,
            "resid_pdrop": 0.0, "initializer_range": 0.02, "layer_norm_epsilon": 1e-5, "n_inner": None,
            "scale_attn_weights": True, "tie_word_embeddings": True, "dtype": "float32"}  # fmt: skip


def leave(to: str, config: Any, spec: TextSpec, tensors: Mapping[str, Stored]) -> Leaving:
    """The files of a run in another format.

    to: "hf" or "peft"
    tensors: the run's weights by the names of its state
    Raises UserError for a format that is not known, and for a network that is not GPT-2's.
    """
    formats = {"hf": _hugging_face, "peft": _adapter}
    if to not in formats:
        raise UserError(f'a gpt cannot leave as "{to}"{did_you_mean(to, formats)}')
    if config.style != "gpt2":
        raise UserError(
            f'this network has style "{config.style}", which {to} has no name for: only runs with config.style "gpt2" leave; '
            "train one with --config.style gpt2"
        )
    return formats[to](config, spec, tensors)


def _hugging_face(config: Any, spec: TextSpec, tensors: Mapping[str, Stored]) -> Leaving:
    """config.json, model.safetensors, and the tokenizer's files where the codec joins bytes as GPT-2's does."""
    ours = _Weights(config, tensors)
    weights = {
        "transformer." + HF.tokens: ours("network.tokens"),
        "transformer." + HF.positions: ours("network.positions"),
    }
    for index in range(config.layers):
        for part in HF.parts:
            weight, bias = (f"transformer.{name}" for name in HF.of(index, part))
            matrix = ours(f"network.blocks.{index}.{part}")
            turned = len(matrix.shape) == 2
            weights[weight] = _turned(matrix) if turned else matrix
            weights[bias] = ours.bias(f"network.blocks.{index}.{part}", matrix.shape[0])
    weights["transformer." + HF.last_weight] = ours("network.norm")
    weights["transformer." + HF.last_bias] = ours.bias("network.norm", config.width)
    texts, without = _tokenizer(spec)
    end, heads = getattr(spec.coder, "end", None), form_of(config, spec).heads
    about = {**TEMPLATE, "n_layer": config.layers, "n_head": heads, "n_embd": config.width, "vocab_size": spec.size,
             "n_positions": weights["transformer." + HF.positions].shape[0], "bos_token_id": end, "eos_token_id": end,
             "activation_function": ACTIVATIONS[config.activation]}  # fmt: skip
    texts = {"config.json": json.dumps(about, indent=1) + "\n", **texts}
    return Leaving(texts, {"model.safetensors": weights}, without)


def _tokenizer(spec: TextSpec) -> tuple[dict[str, str], str]:
    """The tokenizer's files, and what to say where there are none."""
    codec: Any = spec.coder
    if codec.kind not in ("gpt2", "bpe"):
        values = json.dumps(dict(spec.codec), ensure_ascii=False)
        return {
            "codec.json": values
        }, f"its codec ({codec.kind}) has no counterpart there: codec.json holds it as plain values"
    numbers = {printable(token): number for token, number in codec.ids.items()} | codec.special
    merges = [f"{printable(left)} {printable(right)}" for left, right in codec.merges]
    end = next(iter(codec.special), None)
    about = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": spec.context, "add_prefix_space": False,
             "bos_token": end, "eos_token": end, "unk_token": end}  # fmt: skip
    return {
        "vocab.json": json.dumps(dict(sorted(numbers.items(), key=lambda pair: pair[1])), ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        "tokenizer_config.json": json.dumps(about, indent=1) + "\n",
    }, ""


def _adapter(config: Any, spec: TextSpec, tensors: Mapping[str, Stored]) -> Leaving:
    """adapter_config.json and adapter_model.safetensors: the low-rank products alone."""
    if not config.rank:
        raise UserError("this run learnt no low-rank product (config.rank is 0): leave with --to hf")
    weights: dict[str, Stored] = {}
    for index in range(config.layers):
        for part in HF.parts:
            for mine, theirs in (("a", "lora_A"), ("b", "lora_B")):
                name = f"network.blocks.{index}.{part}.{mine}"
                if name in tensors:
                    foreign = HF.of(index, part)[0].removesuffix(".weight")
                    weights[f"base_model.model.transformer.{foreign}.{theirs}.weight"] = tensors[name]
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": config.rank, "lora_alpha": config.alpha, "bias": "none",
             "fan_in_fan_out": True, "lora_dropout": 0.0, "inference_mode": True, "base_model_name_or_path": None,
             "target_modules": sorted({part for name, part in HF.parts.items() if "norm" not in name})}  # fmt: skip
    files = {"adapter_config.json": json.dumps(about, indent=1) + "\n"}
    return Leaving(files, {"adapter_model.safetensors": weights}, "")


class _Weights:
    """Our weights as plain float32 matrices, whatever they are kept in."""

    def __init__(self, config: Any, tensors: Mapping[str, Stored]):
        self.config, self.tensors = config, tensors

    def __call__(self, layer: str) -> Stored:
        """The weight of a layer."""
        weight = self.tensors[f"{layer}.weight"]
        if f"{layer}.a" in self.tensors:
            return Stored(weight.shape, torch.float32, self._merged(layer))
        if weight.dtype == torch.float32:
            return Stored(weight.shape, weight.dtype, weight.read)
        parts = {part: self.tensors.get(f"{layer}.{part}") for part in ("weight", "scale", "grid")}
        inputs = weight.shape[1] * (2 if weight.dtype == torch.uint8 else 1)
        kind = {torch.bfloat16: "bf16", torch.int8: "int8", torch.uint8: "int4"}[weight.dtype]

        def read() -> Tensor:
            held = SimpleNamespace(**{name: part.read() for name, part in parts.items() if part is not None})
            return unpacked(kept_as(kind, inputs, weight.shape[0]), held).float()

        return Stored((weight.shape[0], inputs), torch.float32, read)

    def bias(self, layer: str, outputs: int) -> Stored:
        """The bias of a layer; zeros where it has none."""
        found = self.tensors.get(f"{layer}.bias")
        return found or Stored((outputs,), torch.float32, lambda: torch.zeros(outputs))

    def _merged(self, layer: str) -> Callable[[], Tensor]:
        factor = self.config.alpha / self.config.rank

        def read() -> Tensor:
            weight, a, b = (self.tensors[f"{layer}.{part}"].read() for part in ("weight", "a", "b"))
            return weight + factor * b @ a

        return read


def _turned(matrix: Stored) -> Stored:
    return Stored(matrix.shape[::-1], matrix.dtype, lambda: matrix.read().t())
