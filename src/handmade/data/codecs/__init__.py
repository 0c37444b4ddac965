"""Codecs between text and token ids, written by hand: characters, words, byte pairs of our own, and GPT-2's byte pairs.

A codec is made either by `train`, which reads texts, or by `from_values`, which takes back what `to_values` gave: plain
values that are saved with every run, so that a run never needs the text it learnt from. No module here loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from handmade.data.codecs.bpe import BPE
from handmade.data.codecs.chars import Chars
from handmade.data.codecs.gpt2 import GPT2
from handmade.data.codecs.grid import Grid
from handmade.data.codecs.midi_events import Events
from handmade.data.codecs.words import Words
from handmade.errors import Damaged, UserError, did_you_mean

__all__ = [
    "BPE",
    "GPT2",
    "Chars",
    "Codec",
    "Events",
    "Grid",
    "Kind",
    "Words",
    "codec_from_values",
    "show_work",
    "train_codec",
]

Kind = Literal["chars", "words", "bpe", "gpt2"]


class Codec(Protocol):
    """Text to token ids 0 .. size - 1, and back."""

    kind: str

    @property
    def size(self) -> int:
        """How many tokens the vocabulary has."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; what a token means never depends on those after it."""
        ...

    def name(self, token: int) -> str:
        """One token as a person can read it, its spaces and line breaks made visible."""
        ...

    def show_work(self, text: str) -> list[str]:
        """How a text becomes ids, step by step, one line each."""
        ...

    def to_values(self) -> dict[str, Any]:
        """Everything `from_values` needs, as strings, numbers and tuples."""
        ...


_kinds: dict[str, Any] = {cls.kind: cls for cls in (Chars, Words, BPE, GPT2)}
_music: dict[str, Any] = {cls.kind: cls for cls in (Events, Grid)}  # music, in tokens that can be written as words


def codec_from_values(values: Mapping[str, Any]) -> Codec:
    """Rebuild a codec from its plain values; Damaged where they describe none."""
    kind = {**_kinds, **_music}.get(str(values.get("kind", "")))
    if kind is None:
        raise Damaged(f"no codec of kind {values.get('kind')!r} is known ({', '.join(_kinds)})")
    try:
        return kind.from_values(values)
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"the values of a {values['kind']} codec are damaged: {error!r}") from None


def train_codec(kind: str, texts: Sequence[str], vocabulary: int) -> Codec:
    """Make a codec from texts; `vocabulary` is the number of tokens, where the kind leaves a choice (words, bpe).

    Raises UserError for an unknown kind, DataMissing where GPT-2's two files are not on this machine.
    """
    if kind == "chars":
        return Chars.train(texts)
    if kind == "words":
        return Words.train(texts, vocabulary)
    if kind == "bpe":
        return BPE.train(texts, vocabulary)
    if kind == "gpt2":
        return GPT2.published()
    raise UserError(f'no codec "{kind}"{did_you_mean(kind, _kinds)}')


def show_work(codec: Codec, text: str) -> list[str]:
    """How a codec turns a text into ids and back, step by step, one line each."""
    ids = codec.encode(text)
    share = f", {len(text.encode()) / len(ids):.2f} bytes each" if ids else ""
    same = codec.decode(ids) == text
    back = "decoded, they give the same text" if same else f"decoded, they give {codec.decode(ids)!r}"
    return [*codec.show_work(text), f"{len(ids)} tokens{share}: {' '.join(map(str, ids))}", back]
