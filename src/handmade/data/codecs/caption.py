"""The words of captions: one id per word, capitals and marks aside; what training never saw is named, not guessed.

Ids 0 and 1 are no words: 0 fills up a row and says nothing, 1 stands for a word that is not known. A network is never told the
latter: where every word of training is known it would meet it in a prompt first, and hear noise.

    "A smiling face, with glasses."   ->   a smiling face with glasses
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from handmade.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NOTHING, UNKNOWN = 0, 1
FIRST = 2  # id of the first word
PIECE = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, in small letters."""
    return PIECE.findall(text.casefold())


class CaptionWords:
    """A vocabulary of words, each its own id."""

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self._ids = {word: FIRST + number for number, word in enumerate(self.words)}

    @classmethod
    def train(cls, captions: Iterable[str], most: int) -> CaptionWords:
        """The most frequent words of captions, `most` of them at the most."""
        counts = Counter(word for caption in captions for word in words_of(caption))
        return cls([word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]])

    @property
    def size(self) -> int:
        """How many ids there are."""
        return FIRST + len(self.words)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words."""
        return [self._ids.get(word, UNKNOWN) for word in words_of(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of ids."""
        return " ".join("?" if number == UNKNOWN else self.words[number - FIRST] for number in ids if number != NOTHING)

    def unknown(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks, each once."""
        return list(dict.fromkeys(word for word in words_of(text) if word not in self._ids))


class Prompted:
    """What specs share whose examples have captions: prompts become ids, and a user hears what was not understood."""

    vocabulary: tuple[str, ...]
    longest: int  # words of a caption that are heard

    @cached_property
    def words(self) -> CaptionWords:
        """The codec of the captions."""
        return CaptionWords(self.vocabulary)

    def tokens_of(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> the ids of the words that are known, (n, longest) int64, filled up with 0; an empty one says nothing."""
        import torch

        known = ([number for number in self.words.encode(prompt) if number != UNKNOWN] for prompt in prompts)
        rows = [ids[: self.longest] for ids in known]
        return torch.tensor([row + [NOTHING] * (self.longest - len(row)) for row in rows], dtype=torch.int64)

    def not_understood(self, prompt: str, named: str = "prompt") -> str:
        """Say what of a prompt was not understood, or "" where all was; UserError where no word of it was.

        named: what the user knows the text as
        """
        said, unknown = words_of(prompt), self.words.unknown(prompt)
        if prompt.strip() and set(said) == set(unknown):
            known = ", ".join(
                sorted(self.vocabulary, key=lambda word: (len(word) < 4, self.vocabulary.index(word)))[:12]
            )
            raise UserError(
                f'{named}="{prompt}": no word of it was in any caption; this run knows words such as {known}'
            )
        notes = []
        if unknown:
            near = {word: get_close_matches(word, self.vocabulary, 1, 0.6) for word in unknown}
            told = [f'"{word}" (did you mean "{found[0]}"?)' if found else f'"{word}"' for word, found in near.items()]
            notes.append(f"{named}: not understood, since no caption had it: {', '.join(told)}")
        heard = len([word for word in said if word not in unknown])
        if heard > self.longest:
            notes.append(f"{named}: only the first {self.longest} of its {heard} words were heard")
        return "; ".join(notes)
