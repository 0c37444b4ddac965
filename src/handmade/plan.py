"""How to train: the `train` table of a recipe, checked. What to train is the recipe's business, not the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool

Count = Annotated[int, Field(ge=1, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Plan:
    """How to train. One step is one pass through the system's objective on one batch."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    steps: Count = 1000
    batch: Count = 64  # items per step, over all processes and micro-batches
    accumulate: Count = 1  # micro-batches per step: less memory, same result
    precision: Literal["auto", "float32", "bf16"] = "auto"
    channels_last: Literal["auto"] | StrictBool = "auto"
    threads: Literal["auto"] | Count = "auto"
    clip: Annotated[float, Field(gt=0)] | None = None  # largest gradient norm of a player
    ema: Mapping[str, Share] = field(default_factory=dict)  # network -> decay of its moving average
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # of the learning rate over the run
    warmup: Share = 0.0  # share of the run in which the learning rate rises from zero
    sample_every: Count = 250
    score_every: Count | None = None  # None: at the start and at the end
    score_items: Count = 512  # held-out items per score
    save_every: Count | None = None  # None: every two minutes, and at the end
    log_every: Count = 10
    stop_after: Count | None = None  # scores without improvement before the run stops; the best weights are then used
    keep: Annotated[int, Field(ge=2, strict=True)] = 2  # newest checkpoints kept, beside the best
    seed: Annotated[int, Field(ge=0, lt=2**62, strict=True)] = 0
    shard: StrictBool = False  # split one player's weights over the processes (FSDP2)
