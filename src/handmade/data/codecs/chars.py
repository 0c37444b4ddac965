"""One token per character: nothing to learn, long sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from handmade.errors import UserError

UNKNOWN = "\ufffd"  # what a character that training never saw decodes to


class Chars:
    """Every character of the training text, in the order of Unicode; id 0 stands for all others.

    With `others=False` there is no such id, as in networks that were trained elsewhere; an unknown character is an error.
    """

    kind = "chars"

    def __init__(self, characters: str, others: bool = True):
        self.characters, self.others = characters, others
        self._ids = {character: number for number, character in enumerate(characters, start=int(others))}
        self._tokens = [*([UNKNOWN] if others else []), *characters]

    @classmethod
    def train(cls, texts: Iterable[str]) -> Chars:
        """The characters that occur in the texts."""
        return cls("".join(sorted(set().union(*map(set, texts)))))

    @property
    def size(self) -> int:
        """Known characters and one for the unknown."""
        return len(self._tokens)

    def encode(self, text: str) -> list[int]:
        """One id per character."""
        get = self._ids.get
        if not self.others and (strange := next((c for c in text if c not in self._ids), None)):
            raise UserError(f"this network knows {self.size} characters, and {strange!r} is none of them: leave it out")
        return [get(character, 0) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """One character per id."""
        tokens = self._tokens
        return "".join([tokens[token] for token in ids])

    def name(self, token: int) -> str:
        """The character, made visible where it is a space or a line break."""
        return visible(self._tokens[token]) if token or not self.others else "<unk>"

    def show_work(self, text: str) -> list[str]:
        """Each character beside its id."""
        return [f"{visible(character)} -> {token}" for character, token in zip(text, self.encode(text), strict=True)]

    def to_values(self) -> dict[str, Any]:
        """The characters."""
        return {"kind": self.kind, "characters": self.characters, **({} if self.others else {"others": False})}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Chars:
        """The codec of these characters."""
        return cls(values["characters"], values.get("others", True))


def visible(text: str) -> str:
    """Text with its spaces and line breaks drawn as signs."""
    return text.replace(" ", "\u00b7").replace("\n", "\u21b5").replace("\t", "\u21e5")
