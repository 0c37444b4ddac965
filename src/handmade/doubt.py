"""Which labels of your own pictures are doubtful: cross-validation with a probe that is solved, not trained.

The pictures are dealt into five folds. For each, a probe learns from the other four and is asked about this one, so every
label is judged by a probe that never saw its picture (Brodley and Friedl, 1999, arXiv:1106.0219):
    doubt = 1 - (what the probe gives to the label, of 1 in all)
A picture is described, without looking at any label, by how well small patches of these pictures fit where in it (random
patches as filters: Coates and Ng, ICML 2011); a probe is the ridge regression from there to the labels, in closed form:
    weights = (F'F + RIDGE N)^-1 F'Y
Measured on 2,000 faces with 5 % of their glasses flipped: 99 of the 100 most doubted labels are wrong ones, where five
small convolutional networks, trained for ten times as long, find 79 (docs/how-to/mend-labels.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, one_hot

from handmade.artifacts.images import as_picture, contact_sheet
from handmade.data.doubts import Doubt, write_doubts
from handmade.data.folder import read_pictures
from handmade.data.pictures import Pictures, check_attribute, chosen
from handmade.errors import UserError

Progress = Callable[[int, int, str], None]

SIZE = 48  # pixels of the pictures that are judged
PATCH = 6  # pixels of a patch
DRAWN = 4000  # patches that tell what is usual
FILTERS = 48  # patches that become filters, each with both signs
STRIDE = 2
THRESHOLD = 0.5  # how well a patch must fit before it counts
GRID = 6  # fits are averaged in so many places, down and across
RIDGE = 0.3
FOLDS = 5
LEAST, MOST = 50, 200_000  # pictures: from fewer nothing can be learnt, more do not fit memory
SHEET = 200  # pictures on the sheet


@dataclass(frozen=True)
class Doubts:
    """What was found: the doubted labels, the most doubted first, and how far labels and probes agree."""

    attribute: str
    values: tuple[str, ...]
    judged: int  # pictures
    agreed: int  # pictures whose label the probe names too
    doubted: tuple[Doubt, ...]
    pixels: Tensor  # (N, 3, SIZE, SIZE) uint8, the doubted pictures in their order

    def save(self, table: Path) -> Path | None:
        """Write the table and, beside it, a sheet of the pictures in its order; return the sheet's path."""
        write_doubts(table, self.doubted)
        if not self.doubted:
            return None
        sheet, shown = table.with_suffix(".png"), self.doubted[:SHEET]
        titles = [f"{doubt.label}: {doubt.believed}?" for doubt in shown]
        contact_sheet([as_picture(item) for item in self.pixels[: len(shown)]], titles=titles).save(sheet)
        return sheet


def find_doubts(
    path: str, attribute: str, most: int = 200, where: str = "", corrections: str = "",
    progress: Progress = lambda done, total, what: None,
) -> Doubts:  # fmt: skip
    """Rank the labels that the probes disbelieve, at most so many.

    where: judge only some pictures, such as Eyeglasses=0
    corrections: a table of labels mended so far
    Raises UserError for an attribute that these pictures do not have, and for too few or too many pictures.
    """
    everything, _ = read_pictures(path, SIZE, 3, progress, corrections)
    check_attribute(attribute, everything.spec.labels, "attribute", everything.report.unfit)
    pictures = chosen(everything, where)
    codes = pictures.codes[:, list(pictures.spec.labels).index(attribute)]
    if not LEAST <= len(codes) <= MOST or len(codes.unique()) < 2:
        raise UserError(
            f"{path} has {len(codes):,} pictures with {len(codes.unique())} kinds of {attribute}: "
            f"a probe needs {LEAST} to {MOST:,} pictures and two kinds or more (--where chooses some)"
        )
    scores = cross_validated(described(pictures.pixels, progress), codes, progress)
    return _ranked(pictures, attribute, codes, scores, most)


def _ranked(pictures: Pictures, attribute: str, codes: Tensor, scores: Tensor, most: int) -> Doubts:
    """The labels that are not what the probe believes, by how little it believes them."""
    values, believed = pictures.spec.labels[attribute], scores.argmax(1)
    mine = scores.gather(1, codes[:, None]).squeeze(1)
    order: list[int] = [row for row in mine.argsort(stable=True).tolist() if believed[row] != codes[row]]
    doubts = [
        Doubt(
            pictures.names[row], attribute, values[int(codes[row])], values[int(believed[row])],
            1 - min(max(float(mine[row]), 0.0), 1.0),
        )
        for row in order[:most]
    ]  # fmt: skip
    pixels = pictures.pixels.index_select(0, torch.tensor(order[:most], dtype=torch.int64))
    return Doubts(attribute, values, len(codes), int((believed == codes).sum()), tuple(doubts), pixels)


def described(pixels: Tensor, progress: Progress) -> Tensor:
    """(N, C, H, H) uint8 -> (N, D): how well some patches of these pictures, and their negatives, fit where; no label is used.

    Patches are compared after their mean is taken away, their contrast made equal and what all have in common removed.
    """
    dice = torch.Generator().manual_seed(0)
    filters, offset = _filters(_patches(pixels, dice), dice, pixels.shape[1])
    found = []
    for rows in torch.arange(len(pixels)).split(250):
        picture = _as_input(pixels[rows])
        fits = conv2d(picture, filters, stride=STRIDE) / _contrast(picture) - offset.view(1, -1, 1, 1)
        both = torch.cat([(fits - THRESHOLD).relu(), (-fits - THRESHOLD).relu()], 1)
        found.append(adaptive_avg_pool2d(both, GRID).flatten(1))
        progress(int(rows[-1]) + 1, len(pixels), "looking at pictures")
    features = torch.cat(found)
    features -= features.mean(0)
    return features.div_(features.std(0) + 0.05 * features.std() + 1e-6)  # what hardly ever fits stays small


def _patches(pixels: Tensor, dice: torch.Generator) -> Tensor:
    """DRAWN patches from random places, (DRAWN, C * PATCH * PATCH), of mean 0 and contrast 1."""
    rows = torch.randint(len(pixels), (DRAWN,), generator=dice)
    places = torch.randint(pixels.shape[-1] - PATCH + 1, (DRAWN, 2), generator=dice)
    cut = [pixels[row, :, y : y + PATCH, x : x + PATCH] for row, (y, x) in zip(rows, places.tolist(), strict=True)]
    patches = _as_input(torch.stack(cut)).flatten(1)
    patches = patches - patches.mean(1, keepdim=True)
    return patches / (patches.square().mean(1, keepdim=True) + 0.01).sqrt()


def _filters(patches: Tensor, dice: torch.Generator, channels: int) -> tuple[Tensor, Tensor]:
    """FILTERS whitened patches, (FILTERS, C, PATCH, PATCH), and what each gives to the mean patch."""
    mean = patches.mean(0)
    spread, axes = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    whiten = axes @ torch.diag((spread + 0.1).rsqrt()) @ axes.T
    some = (patches - mean)[torch.randperm(len(patches), generator=dice)[:FILTERS]] @ whiten
    filters = some / some.norm(dim=1, keepdim=True) @ whiten
    without_mean = filters - filters.mean(1, keepdim=True)  # so that the filter takes a patch's mean away by itself
    return without_mean.view(-1, channels, PATCH, PATCH), filters @ mean


def _contrast(picture: Tensor) -> Tensor:
    """(B, C, H, H) -> (B, 1, P, P), the standard deviation of every patch."""
    one = torch.ones(1, picture.shape[1], PATCH, PATCH) / (picture.shape[1] * PATCH * PATCH)
    mean, square = conv2d(picture, one, stride=STRIDE), conv2d(picture * picture, one, stride=STRIDE)
    return ((square - mean * mean).clamp_min(0) + 0.01).sqrt()


def _as_input(raw: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return raw.float().div_(127.5).sub_(1.0)


def cross_validated(features: Tensor, codes: Tensor, progress: Progress) -> Tensor:
    """(N, D) and (N,) int64 -> (N, V) scores, about 1 in each row, by a probe that never saw that row."""
    n, width = features.shape
    fold = torch.empty(n, dtype=torch.int64)
    fold[torch.randperm(n, generator=torch.Generator().manual_seed(0))] = torch.arange(n) % FOLDS
    wanted, everything = one_hot(codes).float(), features.T @ features
    scores = torch.empty_like(wanted)
    for number in range(FOLDS):
        unseen, seen = features[fold == number], fold != number
        mean = wanted[seen].mean(0)
        right = features.T @ torch.where(seen[:, None], wanted - mean, 0)
        seen_alone = everything - unseen.T @ unseen + RIDGE * n * torch.eye(width)
        weights = torch.cholesky_solve(right, torch.linalg.cholesky(seen_alone))
        scores[fold == number] = unseen @ weights + mean
        progress(number + 1, FOLDS, "judging labels")
    return scores
