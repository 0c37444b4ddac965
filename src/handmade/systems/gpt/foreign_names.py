"""What others call GPT-2's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """One way to name the tensors of GPT-2."""

    title: str
    tokens: str  # the embedding
    positions: str
    blocks: str  # of a tensor in a block, with places for its number and its part
    parts: Mapping[str, str]  # our name of a part -> theirs
    ends: tuple[str, str]  # of a matrix and its bias
    norm_ends: tuple[str, str]  # of a norm's weight and bias
    last: str  # the norm behind the last block
    turned: bool  # whether matrices lie as (inputs, outputs)
    values: tuple[str, ...]  # where its plain values are looked for
    activation: str  # where the values do not say
    prefix: str = r"^"  # taken off every name
    ignored: str = r"^$"  # what is no weight
    head: str = "lm_head.weight"  # the embedding once more, where it is saved twice

    def of(self, index: int, part: str) -> tuple[str, str]:
        """Their names of the weight and the bias of a part of block `index`."""
        ends = self.norm_ends if part.startswith("norm") else self.ends
        name = self.blocks.format(index, self.parts[part])
        return name + ends[0], name + ends[1]

    @property
    def layer(self) -> str:
        """A pattern of the names inside blocks, its first group the block's number."""
        return "^" + self.blocks.split("{}")[0] + r"(\d+)[./]"

    @property
    def last_weight(self) -> str:
        """The weight of the last norm."""
        return self.last + self.norm_ends[0]

    @property
    def last_bias(self) -> str:
        """The bias of the last norm."""
        return self.last + self.norm_ends[1]


_parts = {"norm1": "ln_1", "norm2": "ln_2", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj",
          "feed.up": "mlp.c_fc", "feed.down": "mlp.c_proj"}  # fmt: skip

HF = Names(
    "a Hugging Face folder", "wte.weight", "wpe.weight", "h.{}.{}", _parts, (".weight", ".bias"), (".weight", ".bias"), "ln_f",
    True, ("config.json",), "gelu_new", r"^transformer\.", r"\.attn\.(masked_)?bias$",
)  # fmt: skip
NANO = Names(
    "nanoGPT", "wte.weight", "wpe.weight", "h.{}.{}", _parts, (".weight", ".bias"), (".weight", ".bias"), "ln_f",
    False, ("model_args",), "gelu", r"^(_orig_mod\.)?(module\.)?(transformer\.)?", r"\.attn\.bias$",
)  # fmt: skip
TF = Names(
    "OpenAI's TensorFlow files", "wte", "wpe", "h{}/{}", {ours: part.replace(".", "/") for ours, part in _parts.items()},
    ("/w", "/b"), ("/g", "/b"), "ln_f", True, ("hparams.json",), "gelu_new", r"^model/", r"(Adam|beta\d_power|global_step)",
)  # fmt: skip
