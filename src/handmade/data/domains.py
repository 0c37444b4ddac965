"""Two kinds of pictures in memory, unpaired: each batch takes the first in turn and draws the second at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handmade.data.pictures import Report, check_attribute
from handmade.data.specs import DomainsBatch, DomainsSpec, value_code
from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Domains:
    """A dataset of two kinds of square pictures."""

    a: Tensor  # (N, C, H, W) uint8
    b: Tensor  # (M, C, H, W) uint8
    spec: DomainsSpec
    fingerprint: str
    flip: bool = False  # mirror half of the pictures of each kind, drawn anew for every batch
    drawn: bool = True  # pictures of the second kind are drawn at random; else they too are taken in turn
    a_as_b: Tensor | None = None  # (N, C, H, W) uint8, what each of `a` is in the other kind, where that is known
    b_as_a: Tensor | None = None  # (M, C, H, W) uint8
    names: tuple[Sequence[str], Sequence[str]] = ((), ())  # file names, or what else the pictures are called
    report: Report = field(default_factory=lambda: Report("", 0))

    def __len__(self) -> int:
        """How many pictures the larger kind has."""
        return max(len(self.a), len(self.b))

    def batch(self, indices: Tensor, generator: torch.Generator) -> DomainsBatch:
        """Pictures (B,) int64 -> two unrelated batches (B, C, H, W) float32 in [-1, 1], with partners where known.

        The smaller kind starts over where it ends. With `drawn`, which two meet is new in every epoch.
        """
        import torch

        first, second = indices % len(self.a), indices % len(self.b)
        if self.drawn:
            second = torch.randint(len(self.b), indices.shape, generator=generator)
        return DomainsBatch(
            self._pictures(self.a, first, generator),
            self._pictures(self.b, second, generator),
            None if self.a_as_b is None else self.spec.encode(self.a_as_b.index_select(0, first)),
            None if self.b_as_a is None else self.spec.encode(self.b_as_a.index_select(0, second)),
        )

    def _pictures(self, pixels: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """These rows (B,) as (B, C, H, W) float32 in [-1, 1], half of them mirrored where that is wanted."""
        import torch

        raw = pixels.index_select(0, rows)
        if self.flip:
            mirrored = torch.rand(len(raw), generator=generator) < 0.5
            raw = torch.where(mirrored[:, None, None, None], raw.flip(-1), raw)
        return self.spec.encode(raw)


def two_values(attribute: str, labels: Mapping[str, Sequence[str]], where: str = "attribute") -> tuple[str, str, str]:
    """Read "hair=blond|black" -> ("hair", "blond", "black"); UserError for anything that is not two known values."""
    name, equals, rest = (part.strip() for part in attribute.partition("="))
    where = f'{where}="{attribute}"'
    check_attribute(name, labels, where)
    words = [word.strip() for word in rest.split("|")]
    known = labels[name]
    if not equals or len(words) != 2 or "" in words:
        raise UserError(f"{where}: two kinds are two values of {name} with a | between{did_you_mean('', known)}")
    first, second = (known[value_code(word, known, where)] for word in words)
    if first == second:
        raise UserError(f"{where}: the two kinds are the same")
    return name, first, second
