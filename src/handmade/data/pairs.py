"""Pairs of sentences, one the translation of the other: divided without a leak, coded with one joint vocabulary, batched.

The codec is trained on the training part only and shared by both languages. Everything is coded once and kept in the
cache. The rows of a batch are sorted by length, so that whoever reads it can work through slices with little padding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from handmade.data.cache import cache_folder, digest, load_arrays, store_arrays
from handmade.data.source import Wanted
from handmade.data.specs import PairBatch, PairSpec
from handmade.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")  # ids 0 to 3 of every joint codec
PAD, UNK, BOS, EOS = range(4)
VERSION = 1  # of what is kept in the cache


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class Report:
    """What was found when pairs were read, to be said before training starts."""

    layout: str = ""  # what the file was recognised as, in words
    count: int = 0  # pairs read
    left_out: int = 0  # of these, as they are empty on one side or too long
    longest: int = 0  # words
    first: tuple[str, str] = ("", "")

    def lines(self) -> list[str]:
        """The report in plain lines."""
        why = f" ({self.left_out:,} left out: empty, or longer than {self.longest} words)" if self.left_out else ""
        return [f"{self.layout}: {self.count:,} pairs{why}", f"the first: {self.first[0]} -> {self.first[1]}"]


@dataclass(frozen=True, eq=False)
class PairDataset:
    """Coded pairs; a batch is sorted by length and padded to its longest row."""

    sources: Sequence[Tensor]  # N of (S,) int64, each ends with EOS
    targets: Sequence[Tensor]  # N of (T,) int64, each from BOS to EOS
    fingerprint: str
    pairs: Sequence[Pair] = field(default=(), repr=False)  # the same as text
    report: Report = field(default_factory=Report)

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.sources)

    def batch(self, indices: Tensor, generator: torch.Generator) -> PairBatch:
        """Pairs (B,) int64 -> their batch, short rows first."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        rows = sorted(indices.tolist(), key=lambda row: (len(self.targets[row]), len(self.sources[row])))
        sources = pad_sequence([self.sources[row] for row in rows], batch_first=True, padding_value=PAD)
        targets = pad_sequence([self.targets[row] for row in rows], batch_first=True, padding_value=PAD)
        share = (targets[:, 1:] != PAD).sum() / len(rows)
        return PairBatch(sources, targets, torch.full((len(rows),), float(share)))


def open_pairs(
    wanted: Wanted, train: Sequence[Pair], test: Sequence[Pair], languages: Sequence[str], vocabulary: int
) -> tuple[PairDataset, PairSpec]:
    """Code divided pairs; UserError where one of the parts is empty."""
    for part, pairs in (("training", train), ("held-out", test)):
        if not pairs:
            raise UserError(f"no {part} pairs are left: give more pairs, a larger longest or another held_out")
    name = digest("pairs", VERSION, train, test, languages, vocabulary)
    place = cache_folder() / "pairs" / f"{name}.npz"
    if (kept := load_arrays(place)) is None:
        kept = _coded(wanted, train, test, vocabulary)
        store_arrays(place, kept)
    codec = json.loads(kept["codec"].tobytes())
    spec = PairSpec(
        codec, languages[0], languages[1], int(max(kept[f"train_{side}_sizes"].max() for side in Pair._fields))
    )
    pairs = train if wanted.split == "train" else test
    sources, targets = (
        _rows(kept[f"{wanted.split}_{side}"], kept[f"{wanted.split}_{side}_sizes"]) for side in Pair._fields
    )
    return PairDataset(sources, targets, digest(name, wanted.split), pairs), spec


def _coded(wanted: Wanted, train: Sequence[Pair], test: Sequence[Pair], vocabulary: int) -> dict[str, Any]:
    """Train the codec on the training part and code both parts, as flat arrays for the cache."""
    import numpy as np

    from handmade.data.codecs.bpe import BPE

    wanted.progress(0, 2, f"learning {vocabulary} tokens from {len(train):,} pairs")
    codec = BPE.train([text for pair in train for text in pair], vocabulary, SPECIAL)
    wanted.progress(1, 2, f"coding {len(train) + len(test):,} pairs")
    kept: dict[str, Any] = {"codec": np.frombuffer(json.dumps(codec.to_values()).encode(), np.uint8)}
    for split, pairs in (("train", train), ("test", test)):
        for side in Pair._fields:
            head = [BOS] if side == "target" else []
            rows = [[*head, *codec.encode(getattr(pair, side)), EOS] for pair in pairs]
            kept[f"{split}_{side}"] = np.array([token for row in rows for token in row], np.int32)
            kept[f"{split}_{side}_sizes"] = np.array([len(row) for row in rows], np.int32)
    wanted.progress(2, 2, "done")
    return kept


def _rows(tokens: Any, sizes: Any) -> Sequence[Tensor]:
    """Flat tokens -> one view per row."""
    import torch

    return torch.from_numpy(tokens.astype("int64")).split(sizes.tolist())


def dividing(train: Iterable[Pair], test: Iterable[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Leave out of the test every sentence that training has too, on either side and but for case, digits or end marks.

    One translation of a sentence is tested, and the test comes in an order that is as good as random.
    """
    train = list(train)
    seen = ({simple(pair.source) for pair in train}, {simple(pair.target) for pair in train})
    left = {
        pair.source: pair for pair in test if simple(pair.source) not in seen[0] and simple(pair.target) not in seen[1]
    }
    return train, sorted(left.values(), key=lambda pair: blake2b(pair.source.encode(), digest_size=8).digest())


def divide(pairs: Iterable[Pair], held_out: float) -> tuple[list[Pair], list[Pair]]:
    """Pairs without documents -> training and held-out pairs: chance, decided by the source sentence, takes a share.

    Of two different sentences or more at least one is held out, and one is not.
    """
    unique = list(dict.fromkeys(pairs))
    luck = {pair: blake2b(simple(pair.source).encode(), digest_size=6).digest() for pair in unique}
    order = sorted(set(luck.values()))
    most = max(1, min(len(order) - 1, round(held_out * len(order))))
    border = order[most] if len(order) > 1 else b""
    return dividing([pair for pair in unique if luck[pair] >= border], [pair for pair in unique if luck[pair] < border])


def simple(text: str) -> str:
    """A sentence without what makes no other sentence of it: case, digits and marks."""
    return " ".join(re.sub(r"[\W\d_]+", " ", text.casefold()).split())
