"""What keeps an unpaired translation honest: the way back, pictures that need no change, and changing little."""

from __future__ import annotations

from torch import Tensor


def cycle_consistency(picture: Tensor, returned: Tensor) -> Tensor:
    """E[|F(G(x)) - x|], a float32 scalar: there and back again is no change.

    Zhu et al. 2017 (arXiv 1703.10593), equation 2, for one of the two ways.
    """
    return (returned.float() - picture.float()).abs().mean()


def identity_mapping(picture: Tensor, kept: Tensor) -> Tensor:
    """E[|G(y) - y|] on pictures y of the kind that G makes: they need no change. Zhu et al. 2017, section 5.2."""
    return (kept.float() - picture.float()).abs().mean()


def blend(picture: Tensor, painted: Tensor, mask: Tensor) -> Tensor:
    """x + m (new - x): where the mask is 0 the picture stays as it is, to the bit.

    picture, painted: (B, C, H, W); mask: (B, 1, H, W) in 0..1. Pumarola et al. 2018 (arXiv 1807.09251), equation 1.
    """
    return picture + mask * (painted - picture)
