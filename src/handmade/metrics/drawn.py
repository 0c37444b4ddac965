"""Score drawn pictures against held-out ones: what every system that makes pictures reports, floors included."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from handmade.core import Score
from handmade.metrics.image import duplicates, frechet, kid, precision_recall

THUMBNAIL = 8  # pixels a side of what is compared where there is no judge


def score_drawn(
    real: Tensor, drawn: Tensor, judge: Callable[[Tensor], Tensor] | None = None, paired: bool = False
) -> dict[str, Score]:
    """Compare as many drawn as held-out pictures (N, C, H, W) in [-1, 1]; KID, the yardstick, comes first.

    judge: pictures -> features (N, D); without one, what is left of the pictures at 8 x 8 px is compared. Few pictures
        give wide intervals or fewer scores, not errors: a score during training must not end it
    paired: drawn picture i was told what is said of real picture i. All that is compared is then one half of the drawn and
        the other of the real: with the same kinds in the same numbers they would be nearer than chance lets real ones be

    Floors are one half of the real against the other. What depends on the number is taken between halves throughout.
    """
    see, eyes = (judge, "the judge's features") if judge else (thumbnails, f"{THUMBNAIL} x {THUMBNAIL} px thumbnails")
    if len(real) < 3:
        apart = float((drawn.float().mean(0) - real.float().mean(0)).square().mean().sqrt())
        few = f"{len(real)} held-out: more pictures give better scores"
        return {"apart": Score(apart, f"root mean square from the average drawn picture to that of {few}")}
    a, b = see(real), see(drawn)
    half = len(real) // 2
    ours, others, like = b[:half], a[half : 2 * half], a[:half]
    value, low, high = kid(others, ours, small=True) if paired and half >= 3 else kid(a, b, small=True)
    floor = kid(others, like, small=True).value if half >= 3 else None
    n = f"{half if paired else len(drawn)} drawn and as many held-out pictures, by {eyes}"
    scores = {"kid": Score(value, f"kernel distance of {n}", "lower", floor, low, high)}
    if half >= 8:  # fewer have no neighbours to speak of
        inside, best = precision_recall(others, ours, small=True), precision_recall(others, like, small=True)
        distance, least = frechet(others, ours, small=True), frechet(others, like, small=True)
        n = f"{half} drawn and {half} held-out pictures, by {eyes}"
        scores["frechet"] = Score(distance, f"Frechet distance of {n}", "lower", least)
        scores["precision"] = Score(inside.precision, f"share that looks real, of {n}", "higher", best.precision)
        scores["recall"] = Score(inside.recall, f"share of the real that is reached, of {n}", "higher", best.recall)
    copies = Score(
        duplicates(drawn), f"share of {len(drawn)} drawn pictures that nearly repeat another", "lower", duplicates(real)
    )
    return {**scores, "duplicates": copies}


def thumbnails(pixels: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C * 64), what is left of pictures at 8 x 8 px."""
    return adaptive_avg_pool2d(pixels.float(), THUMBNAIL).flatten(1)
