"""Short clips in memory, each with a sentence about it: one uint8 tensor, cut into batches of float32 when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handmade.data.pictures import Report
from handmade.data.specs import VideoBatch, VideoSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Videos:
    """A dataset of clips whose frames are all kept."""

    pixels: Tensor  # (N, F, C, H, W) uint8
    tokens: Tensor  # (N, T) int64
    codes: Tensor  # (N, A) int64, positions in spec.labels
    spec: VideoSpec
    fingerprint: str
    captions: Sequence[str]  # one per clip
    report: Report

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.pixels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> VideoBatch:
        """Clips (B,) int64 -> pixels (B, F, C, H, W) float32 in [-1, 1], tokens (B, T) and codes (B, A)."""
        pixels, tokens, codes = (part.index_select(0, indices) for part in (self.pixels, self.tokens, self.codes))
        return VideoBatch(self.spec.encode(pixels), tokens, codes)
