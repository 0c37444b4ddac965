"""How good translations are, by sacrebleu (Post 2018, arXiv 1804.08771), and what a translator must beat: copying.

BLEU (Papineni et al. 2002) counts the words and phrases shared with the reference, chrF (Popovic 2015) its letters; both
run from 0 to 100, and only numbers with the same signature may be compared.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BUCKETS = 1 << 15  # for hashed pieces of words
RESAMPLED = 300  # times, for an interval


class Judged(NamedTuple):
    """A score with its 95 % interval over resampled sentences (Koehn 2004), and the signature that makes it comparable."""

    value: float
    low: float
    high: float
    signature: str


def bleu(written: Sequence[str], references: Sequence[str]) -> Judged:
    """BLEU of translations (N) against one reference each."""
    from sacrebleu.metrics.bleu import BLEU

    return _judged(BLEU(), written, references)


def chrf(written: Sequence[str], references: Sequence[str]) -> Judged:
    """ChrF2 of translations (N) against one reference each."""
    from sacrebleu.metrics.chrf import CHRF

    return _judged(CHRF(), written, references)


def chrf_each(written: Sequence[str], references: Sequence[str]) -> list[float]:
    """ChrF2 of every sentence by itself."""
    from sacrebleu.metrics.chrf import CHRF

    judge = CHRF()
    return [judge.sentence_score(mine, [right]).score for mine, right in zip(written, references, strict=True)]


def _judged(judge: object, written: Sequence[str], references: Sequence[str]) -> Judged:
    pairs = list(written), [list(references)]
    try:
        score = judge.corpus_score(*pairs, n_bootstrap=RESAMPLED)  # type: ignore[attr-defined]
        value, reach = float(score.score), float(score._ci)
    except TypeError:  # of few sentences a resample may match nothing: a plain 0.0, which sacrebleu 2.6 cannot average
        value, reach = float(judge.corpus_score(*pairs).score), 100.0  # type: ignore[attr-defined]
    signature = str(judge.get_signature())  # type: ignore[attr-defined]
    return Judged(value, max(0.0, value - reach), min(100.0, value + reach), signature)


def nearest(known: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """For each wanted sentence, which known one is most like it: cosine of the pieces of its words, rare ones weigh more.

    A translator that only looked sentences up would answer with the translation of that one.
    """
    table, weights = _pieces(known)
    asked, _ = _pieces(wanted, weights)
    found: list[int] = []
    for part in asked.to_dense().split(256):
        found += (table @ part.T.contiguous()).argmax(0).tolist()
    return found


def _pieces(texts: Sequence[str], weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sentences -> sparse (N, BUCKETS) rows of length 1 that count three-letter pieces, and the weight of each piece."""
    rows = [Counter(zlib.crc32(piece) % BUCKETS for piece in _cut(text)) for text in texts]
    if weights is None:
        often = torch.zeros(BUCKETS)
        for row in rows:
            often[list(row)] += 1
        weights = torch.log((1 + len(rows)) / (1 + often))
    starts = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    columns = torch.tensor([bucket for row in rows for bucket in row], dtype=torch.int64)
    counts = torch.tensor([count for row in rows for count in row.values()], dtype=torch.float32) * weights[columns]
    of = torch.arange(len(rows)).repeat_interleave(starts.diff())
    sizes = torch.zeros(len(rows)).index_add_(0, of, counts.square()).sqrt().clamp_min(1e-12)
    with torch.sparse.check_sparse_tensor_invariants(True):  # told of the tensor alone, torch 2.11 warns all the same
        made = torch.sparse_coo_tensor(torch.stack([of, columns]), counts / sizes[of], (len(rows), BUCKETS))
    return made, weights


def _cut(text: str) -> list[bytes]:
    """The three-letter pieces of every word, its borders marked."""
    words = [f" {word} ".encode() for word in text.casefold().split()]
    return [word[at : at + 3] for word in words for at in range(max(1, len(word) - 2))]
