"""Score drawn pictures against held-out ones: what every system that makes pictures reports, floors included."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from handmade.core import Score
from handmade.metrics.image import duplicates, frechet, kid, precision_recall

THUMBNAIL = 8  # pixels a side of what is compared where there is no judge


def score_drawn(real: Tensor, drawn: Tensor, judge: Callable[[Tensor], Tensor] | None = None) -> dict[str, Score]:
    """Compare as many drawn as held-out pictures (N, C, H, W) in [-1, 1]; KID, the yardstick, comes first.

    judge: pictures -> features (N, D); without one, what is left of the pictures at 8 x 8 px is compared. Few pictures
    give wide intervals or fewer scores, not errors: a score during training must not end it. Floors are one half of the
    real against the other; the Frechet distance depends on the number, so it is taken between halves throughout.
    """
    see, eyes = (judge, "the judge's features") if judge else (thumbnails, f"{THUMBNAIL} x {THUMBNAIL} px thumbnails")
    if len(real) < 3:
        apart = float((drawn.float().mean(0) - real.float().mean(0)).square().mean().sqrt())
        few = f"{len(real)} held-out: more pictures give better scores"
        return {"apart": Score(apart, f"root mean square from the average drawn picture to that of {few}")}
    a, b = see(real), see(drawn)
    half, n = len(real) // 2, f"{len(drawn)} drawn and {len(real)} held-out pictures, by {eyes}"
    value, low, high = kid(a, b, small=True)
    floor = kid(a[:half], a[half:], small=True).value if half >= 3 else None
    scores = {"kid": Score(value, f"kernel distance of {n}", "lower", floor, low, high)}
    if half >= 8:  # fewer have no neighbours to speak of
        inside = precision_recall(a, b, small=True)
        best = precision_recall(a[:half], a[half:], small=True)
        distance, least = frechet(a[:half], b[:half], small=True), frechet(a[:half], a[half : 2 * half], small=True)
        scores["frechet"] = Score(
            distance, f"Frechet distance of {half} drawn and {half} held-out, by {eyes}", "lower", least
        )
        scores["precision"] = Score(inside.precision, f"share that looks real, of {n}", "higher", best.precision)
        scores["recall"] = Score(inside.recall, f"share of the real that is reached, of {n}", "higher", best.recall)
    copies = Score(
        duplicates(drawn), f"share of {len(drawn)} drawn pictures that nearly repeat another", "lower", duplicates(real)
    )
    return {**scores, "duplicates": copies}


def thumbnails(pixels: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C * 64), what is left of pictures at 8 x 8 px."""
    return adaptive_avg_pool2d(pixels.float(), THUMBNAIL).flatten(1)
