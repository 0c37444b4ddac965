"""Say louder what was asked for: classifier-free guidance. Ho & Salimans 2022 (arXiv 2207.12598), equation 6."""

from __future__ import annotations

from torch import Tensor


def guided(asked: Tensor, unasked: Tensor, strength: float) -> Tensor:
    """unasked + strength (asked - unasked), (B, ...): two guesses of one network, with what was asked for and without.

    strength: 0 forgets what was asked for, 1 takes it as it was learnt, more exaggerates it
    """
    return unasked + strength * (asked - unasked)
