"""One token per word, punctuation mark or line break; the spaces between them follow from rules, so none are spelled.

A rule says whether a space stands before a token, given the tokens before it. Where a text departs from the rule, a token
says so (`<glue>` takes the space away, `<space>` adds one), so ordinary prose needs almost none of them and yet every
text comes back as it was. A word that the vocabulary lacks is spelled letter by letter; only a character that training
never saw is lost.

    "I don't know," said Emma.   ->   " I don 't know , " said Emma .
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handmade.data.codecs.chars import UNKNOWN, visible
from handmade.errors import UserError

UNK, GLUE, SPACE = range(3)
SIGNS = ("<unk>", "<glue>", "<space>")
MORE = "+"  # before a letter that goes on a spelled word
PIECES = re.compile(r"(?<=[^\W\d_])['’][^\W\d_]+|[^\W\d_]+|[^\w\s]|[\d_]|\w|[^\S ]| +")  # every character is in one
LETTER = re.compile(r"[^\W\d_]")
CLOSING = set(".,;:!?)]}%…”")
OPENING = set("([{“‘$£€#@")
QUOTES = set("\"'_*`")  # the same sign opens and closes
JOINING = set("-–—/\\^~=+<>|&")


class Words:
    """Signs of our own, every character of the training text, and its most frequent words."""

    kind = "words"

    def __init__(self, tokens: Iterable[str]):
        self.tokens = [*SIGNS, *tokens]
        self._ids = {token: number for number, token in enumerate(self.tokens)}

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> Words:
        """Take all characters and the most frequent words, up to `size` tokens; UserError where it is too few.

        Words seen once are spelled all the same, so that the model learns how spelled words go.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(piece for piece in PIECES.findall(text) if piece[0] != " ")
        characters = sorted(set("".join(counts)))
        letters = [MORE + character for character in characters if LETTER.match(character)]
        basic = [*characters, *letters]
        room = size - len(SIGNS) - len(basic)
        if room < 0:
            raise UserError(f"the characters of this text alone need {size - room} tokens: choose a larger vocabulary")
        words = [(-n, word) for word, n in counts.items() if n > 1 and len(word) > 1]
        return cls([*basic, *(word for _, word in sorted(words)[:room])])

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = []
        rule, spaces = Rule(), 0
        for piece in PIECES.findall(text):
            if piece[0] == " ":
                spaces = len(piece)
                continue
            spelled = list(self._spelled(piece))
            expected = rule.space_before(self.tokens[spelled[0]] if spelled[0] else UNKNOWN)
            ids += [GLUE] if spaces < expected else [SPACE] * (spaces - expected)
            ids += spelled
            for token in spelled:
                if token != GLUE:
                    rule.saw(self.tokens[token] if token else UNKNOWN)
            spaces = 0
        return ids + [SPACE] * spaces

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, spaced as prose is."""
        rule, out, glued, extra = Rule(), [], False, 0
        for token in ids:
            if token == GLUE:
                glued = True
            elif token == SPACE:
                extra += 1
            else:
                text = self.tokens[token] if token else UNKNOWN
                spaces = extra + (0 if glued else rule.space_before(text))
                rule.saw(text)
                out.append(" " * spaces + (text[1:] if _goes_on(text) else text))
                glued, extra = False, 0
        return "".join(out) + " " * extra

    def _spelled(self, piece: str) -> Iterator[int]:
        """The id of a word, or of its letters."""
        if piece in self._ids:
            yield self._ids[piece]
            return
        yield self._ids.get(piece[0], UNK)
        for letter in piece[1:]:
            yield from [self._ids[MORE + letter]] if MORE + letter in self._ids else [GLUE, UNK]

    def name(self, token: int) -> str:
        """The token itself."""
        return visible(self.tokens[token])

    def show_work(self, text: str) -> list[str]:
        """Every token beside its id, with what it does where it is a sign of ours."""
        about = {UNK: "a character that training never saw", GLUE: "no space here, against the rule",
                 SPACE: "a space here, against the rule"}  # fmt: skip
        return [f"{self.name(token)} -> {token}{f'  ({about[token]})' if token in about else ''}"
                for token in self.encode(text)]  # fmt: skip

    def to_values(self) -> dict[str, Any]:
        """The vocabulary, without our own signs."""
        return {"kind": self.kind, "tokens": tuple(self.tokens[len(SIGNS) :])}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Words:
        """The codec of this vocabulary."""
        return cls(values["tokens"])


class Rule:
    """Whether a space stands before the next token, in English as it is printed."""

    def __init__(self) -> None:
        self._last = "\n"
        self._tight = True  # nothing after the last token
        self._open: set[str] = set()  # quotes that are open in this paragraph

    def space_before(self, token: str) -> int:
        """1 or 0 spaces before `token`."""
        if self._tight or token.isspace() or _goes_on(token) or token in CLOSING or token in JOINING:
            return 0
        if token[0] in "'’" and len(token) > 1:  # 's, 't, 'll
            return 0
        if token in QUOTES:
            return 0 if token in self._open else 1
        if token == "’":
            return 0
        return 0 if token.isdigit() and self._last.isdigit() else 1

    def saw(self, token: str) -> None:
        """Go on past `token`."""
        self._tight = token.isspace() or token in OPENING or token in JOINING
        if token in QUOTES:
            self._tight = token not in self._open
            self._open ^= {token}
        if token == "\n":
            self._open.clear()
        self._last = token


def _goes_on(token: str) -> bool:
    """Whether a token is a letter that goes on a spelled word."""
    return len(token) == 2 and token[0] == MORE
