"""Pictures with a sentence about each, in memory: what models of words and pictures learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handmade.data.cache import digest
from handmade.data.codecs.caption import CaptionWords
from handmade.data.pictures import Pictures, Report
from handmade.data.specs import CaptionBatch, CaptionSpec
from handmade.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROOM = 4  # words by which a prompt may be longer than the longest caption


@dataclass(frozen=True)
class Captioned:
    """A dataset of pictures and their captions."""

    pictures: Pictures
    tokens: Tensor  # (N, longest) int64
    spec: CaptionSpec
    fingerprint: str

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.pictures)

    @property
    def report(self) -> Report:
        """What was found when they were read."""
        return self.pictures.report

    @property
    def captions(self) -> Sequence[str]:
        """The sentence about each picture."""
        return self.pictures.words

    def batch(self, indices: Tensor, generator: torch.Generator) -> CaptionBatch:
        """Pictures (B,) int64 -> their pixels (B, C, H, W), tokens (B, T) and labels (B, A)."""
        pixels, labels = self.pictures.batch(indices, generator)
        return CaptionBatch(pixels, self.tokens.index_select(0, indices), labels)


def captioned(pictures: Pictures, vocabulary: Sequence[str], longest: int) -> Captioned:
    """Pictures that have captions, in the words of a vocabulary."""
    plain = pictures.spec
    spec = CaptionSpec(plain.channels, plain.size, plain.labels, tuple(vocabulary), longest)
    name = digest("captions", pictures.fingerprint, list(pictures.words), list(vocabulary), longest)
    return Captioned(pictures, spec.tokens_of(pictures.words), spec, name)


def words_in(captions: Sequence[str], most: int) -> tuple[tuple[str, ...], int]:
    """The vocabulary of training captions, and how many words a prompt may have; UserError where there are no words."""
    codec = CaptionWords.train(captions, most)
    if not codec.words:
        raise UserError("the captions have no words: give every picture a sentence of letters or digits")
    return codec.words, max(len(codec.encode(caption)) for caption in captions) + ROOM
