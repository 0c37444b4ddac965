"""A piano roll as tokens: step by step, and in each step the voices from the highest to the lowest, one token each.

A token is a pitch that begins, `_` for a note that sounds on, or `.` for a rest; one more parts pieces from each other.
The soprano's token stands before those of the other voices at its step, so a network that learnt to go on can be handed a
melody and asked for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handmade.data.codecs.midi_events import word_ids
from handmade.data.codecs.pianoroll import HOLD, REST
from handmade.errors import UserError
from handmade.midi import pitch_name


class Grid:
    """Pitches low .. high, then hold, rest, and the end of a piece."""

    kind = "grid"

    def __init__(self, voices: int, low: int, high: int):
        if voices < 1 or not 0 <= low <= high <= 127:
            raise ValueError(f"{voices} voices from {low} to {high}")
        self.voices, self.low, self.high = voices, low, high
        self.hold, self.rest, self.end = range(high - low + 1, high - low + 4)
        self.words = [*(pitch_name(pitch) for pitch in range(low, high + 1)), "_", ".", "<end>"]
        self._ids = {word: number for number, word in enumerate(self.words)}

    @property
    def size(self) -> int:
        """Pitches, hold, rest, end."""
        return len(self.words)

    @property
    def pitched(self) -> list[bool]:
        """Which tokens move when the music is transposed; a semitone moves their number by one."""
        return [token < self.hold for token in range(self.size)]

    def tokens(self, cells: Iterable[Sequence[int]]) -> list[int]:
        """(step, voice) cells -> tokens; UserError for a pitch outside the range."""
        return [self.token(cell) for row in cells for cell in row]

    def token(self, cell: int) -> int:
        """The token of one cell."""
        if cell < 0:
            return self.hold if cell == HOLD else self.rest
        if not self.low <= cell <= self.high:
            low, high = pitch_name(self.low), pitch_name(self.high)
            raise UserError(
                f"the note {pitch_name(cell)} lies outside {low} to {high}, which is all that is known here"
            )
        return cell - self.low

    def cells(self, tokens: Sequence[int]) -> list[list[int]]:
        """Tokens -> (step, voice) cells, up to the first end; a last step that is not whole is filled with holds."""
        tokens = list(tokens)
        tokens = tokens[: tokens.index(self.end)] if self.end in tokens else tokens
        tokens += [self.hold] * (-len(tokens) % self.voices)
        flat = [token + self.low if token < self.hold else HOLD if token == self.hold else REST for token in tokens]
        return [flat[start : start + self.voices] for start in range(0, len(flat), self.voices)]

    def encode(self, text: str) -> list[int]:
        """The tokens of words such as "C5 G4 E4 C3 _ _ _ _"; UserError naming the nearest for a word that is none."""
        return word_ids(text, self._ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Tokens as words."""
        return "".join(f"{self.words[token]} " for token in ids)

    def name(self, token: int) -> str:
        """The word of one token."""
        return self.words[token]

    def show_work(self, text: str) -> list[str]:
        """Each word beside its token."""
        return [f"{self.words[token]} -> {token}" for token in self.encode(text)]

    def to_values(self) -> dict[str, Any]:
        """Voices and range."""
        return {"kind": self.kind, "voices": self.voices, "low": self.low, "high": self.high}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Grid:
        """The codec of these voices and this range."""
        return cls(values["voices"], values["low"], values["high"])
