"""Running text as windows of tokens: read, split, encoded once, cut when asked.

The last share of every text is held out, so no held-out sentence was ever trained on, and the codec is trained on the
training part alone. What was encoded is kept in the cache under a digest of everything it was made from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from handmade.data.cache import cache_folder, digest, store
from handmade.data.codecs import train_codec
from handmade.data.codecs.unknown import unknown_letters
from handmade.data.source import Wanted
from handmade.data.specs import TextBatch, TextSpec
from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

VERSION = 2  # of what is kept in the cache
NEAR = 400  # characters within which a split moves to the next line's end

Order = Literal["random", "whole", "lanes"]


@dataclass(frozen=True)
class TextReport:
    """What was found when texts were read, to be said before training starts."""

    titles: tuple[str, ...]
    characters: int
    tokens: int
    vocabulary: int
    codec: str
    notes: tuple[str, ...] = ()

    def lines(self, most: int = 5) -> list[str]:
        """The report in plain lines."""
        more = f" and {len(self.titles) - most:,} more" if len(self.titles) > most else ""
        count = f"{len(self.titles):,} text{'s' if len(self.titles) > 1 else ''}"
        return [
            f"{count} ({', '.join(self.titles[:most])}{more}): {self.characters:,} characters",
            f"{self.tokens:,} tokens in this part, from a vocabulary of {self.vocabulary:,} ({self.codec})",
            *self.notes,
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class Windows:
    """A dataset of windows over one run of tokens."""

    tokens: Tensor  # (N,) int32
    context: int
    order: Order
    fingerprint: str
    report: TextReport | None = field(default=None, repr=False)

    @property
    def lanes(self) -> bool:
        """Whether row b of a batch goes on from row b of the batch before; the loader then keeps the lanes."""
        return self.order == "lanes"

    def __len__(self) -> int:
        """How many windows fit without overlap."""
        return (len(self.tokens) - 1) // self.context

    def batch(self, indices: Tensor, generator: torch.Generator) -> TextBatch:
        """Windows (B,) int64 -> tokens (B, T+1); in random order each starts up to one window later, as drawn."""
        import torch

        starts = indices * self.context
        fresh = torch.ones(len(indices), dtype=torch.bool)
        if self.order == "random":
            later = torch.randint(self.context, (len(indices),), generator=generator)
            starts = torch.minimum(starts + later, torch.tensor(len(self.tokens) - 1 - self.context))
        elif self.lanes:
            fresh = indices % max(1, len(self) // len(indices)) == 0  # the loader's lanes begin at multiples
        rows = self.tokens.unfold(0, self.context + 1, 1)  # a view: (N-T, T+1)
        return TextBatch(rows.index_select(0, starts).long(), fresh)


class Text(NamedTuple):
    """One text with its title."""

    title: str
    content: str


PLAIN = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u2013": "-", "\u2026": "...",
    "\u00a0": " ",
})  # fmt: skip


def plain(text: str) -> str:
    """Text with the quotes, dashes and dots that a keyboard has, so that a typed prompt fits it."""
    return text.translate(PLAIN)


def reflowed(text: str) -> str:
    """Text wrapped at some column -> one line per paragraph, one blank line between; line ends are then worth learning."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def chosen_texts(option: str, wanted: str, known: Sequence[str]) -> list[str]:
    """The titles that an option names, `all` or some with commas between; UserError naming the nearest for a wrong one."""
    titles = [title.strip() for title in wanted.split(",") if title.strip()]
    if titles == ["all"]:
        return list(known)
    if wrong := [title for title in titles if title not in known]:
        raise UserError(f'{option} cannot be "{wrong[0]}"{did_you_mean(wrong[0], [*known, "all"])}')
    if not titles:
        raise UserError(f"{option} names none ({', '.join(['all', *known])})")
    return list(dict.fromkeys(titles))


def open_text(
    wanted: Wanted,
    name: str,
    texts: Sequence[Text],
    *,
    codec: str,
    vocabulary: int,
    context: int,
    order: str,
    held_out: float,
    notes: Sequence[str] = (),
) -> tuple[Windows, TextSpec]:
    """Split and encode texts and open one split; what every text source does with its options.

    Raises UserError where a split is too short for one window.
    """
    import torch

    like = _followed(wanted.like, context) if codec == "run" else None
    kind = codec if like is None else digest(dict(like.codec))
    key = digest(VERSION, name, [[t.title, digest(t.content)] for t in texts], kind, vocabulary, held_out)
    made = _encoded(key, texts, codec, vocabulary, held_out, wanted, like)
    part, least = min(((name, len(tokens)) for name, tokens in made.tokens.items()), key=lambda pair: pair[1])
    if least < context + 1:
        which, count = "held-out" if part == "test" else "training", f"{least:,} token{'' if least == 1 else 's'}"
        shorter = f", or choose a shorter context (--data.context {least - 1})" if least > 1 else ""
        raise UserError(
            f"{name} is too short: its {which} part has {count}, and one window takes {context + 1:,}; "
            f"give more text{shorter}"
        )
    spec = like or TextSpec(made.codec, context)
    titles, length = tuple(t.title for t in texts), sum(len(t.content) for t in texts)
    tokens = made.tokens[wanted.split]
    if made.unknown:
        notes = (*notes, f"{made.unknown}; choose another codec, or a run that knows them")
    report = TextReport(titles, length, len(tokens), spec.size, codec, tuple(notes))
    mode: Any = order if wanted.split == "train" else "whole"
    mark = digest(key, wanted.split, context, mode)
    return Windows(torch.from_numpy(tokens), context, mode, mark, report), spec


class _Made(NamedTuple):
    """What is kept in the cache."""

    codec: dict[str, Any]
    tokens: dict[str, np.ndarray]  # split -> (N,) int32
    unknown: str  # what of the texts a codec that was given does not know, in words


def _followed(like: Any, context: int) -> TextSpec:
    """The spec of the run that training starts from; UserError where there is none, or it sees less than a window."""
    if not isinstance(like, TextSpec):
        raise UserError('codec "run" is that of a trained run: name it with --start RUN')
    if context > like.context:
        raise UserError(f"a window of {context:,} tokens is more than the {like.context:,} that the run it starts from sees: "
                        f"choose --data.context {like.context}")  # fmt: skip
    return like


def _encoded(key: str, texts: Sequence[Text], codec: str, vocabulary: int, held_out: float, wanted: Wanted,
             like: TextSpec | None) -> _Made:  # fmt: skip
    """Train the codec and encode both splits, or take them from the cache."""
    import numpy as np

    kept = cache_folder() / "texts" / key[:32]
    if (made := _load(kept)) is not None:
        return made
    parts = [split(text.content, held_out) for text in texts]
    wanted.progress(0, len(parts) + 1, "learning a vocabulary")
    coder = like.coder if like else train_codec(codec, [train for train, _ in parts], vocabulary)
    between = [coder.end] if hasattr(coder, "end") else []  # type: ignore[attr-defined]
    ids: dict[str, list[Any]] = {"train": [], "test": []}
    for done, (title, part) in enumerate(zip(texts, parts, strict=True), start=1):
        wanted.progress(done, len(parts) + 1, f"encoding {title.title}")
        for name, content in zip(ids, part, strict=True):
            ids[name].append(np.array(coder.encode(content) + (between if len(texts) > 1 else []), np.int32))
    tokens = {name: np.concatenate(arrays) for name, arrays in ids.items()}
    unknown = unknown_letters(coder, "".join(text.content for text in texts)) if like else ""
    made = _Made(coder.to_values(), tokens, unknown)
    store(kept, lambda folder: _save(folder, made))
    return made


def split(text: str, held_out: float) -> tuple[str, str]:
    """The first part of a text to train on and the last share of it to hold out, cut at a line's end where one is near."""
    cut = round(len(text) * (1 - held_out))
    near = text.find("\n", cut, cut + NEAR)
    cut = near + 1 if 0 <= near < len(text) - 1 else cut
    return text[:cut], text[cut:]


def _save(folder: Path, made: _Made) -> None:
    import numpy as np

    for name, tokens in made.tokens.items():
        np.save(folder / f"{name}.npy", tokens)
    (folder / "codec.json").write_text(json.dumps(made.codec), encoding="utf-8")
    (folder / "unknown.txt").write_text(made.unknown, encoding="utf-8")


def _load(folder: Path) -> _Made | None:
    """What `_save` kept; None where it is not there or is damaged."""
    import numpy as np

    try:
        values = json.loads((folder / "codec.json").read_text("utf-8"))
        unknown = (folder / "unknown.txt").read_text("utf-8")
        tokens = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("train", "test")}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    return _Made(values, tokens, unknown) if all(t.ndim == 1 and t.dtype == np.int32 for t in tokens.values()) else None
