"""Performances as 388 kinds of events, as in Oore et al. 2018 (arXiv 1808.03715): what a pianist does, one thing at a time.

    0 .. 127     a key is struck            256 .. 355   time passes: 10 ms, 20 ms, ... 1 s
    128 .. 255   a key is let go            356 .. 387   from here on keys are struck this hard: 32 steps of 4 in velocity
One more token, 388, parts pieces from each other. Every note comes back: its onset to the nearest 10 ms, its pitch, its
step of velocity. At one moment keys are let go before others are struck, and a note lasts at least one step of time, so a
note that ends as it begins, or is struck again at the instant it ends, is not lost. Where notes on one key overlap, the
first to begin is the first to end, as in `read_midi`; a note whose end never comes ends with the piece.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from handmade.errors import UserError, did_you_mean
from handmade.midi import Note, Piece, midi_bytes, pitch_name, read_midi

ON, OFF, SHIFT, VELOCITY, END = 0, 128, 256, 356, 388  # the first token of each kind
STEP = 0.01  # seconds of the shortest shift
LONGEST = 100  # steps of the longest shift
LOUDNESS = 4  # velocities of one step


def encode(path: Path | str) -> list[int]:
    """The events of a MIDI file, 0 to 387."""
    return events_of(read_midi(Path(path)))


def decode(events: Iterable[int], path: Path | str) -> None:
    """Write events as a MIDI file."""
    Path(path).write_bytes(midi_bytes(piece_of(events)))


def events_of(piece: Piece) -> list[int]:
    """The events of a piece; those of all its tracks but drums are one performer's."""
    keys: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # pitch -> steps of onset and end, velocity
    for note in piece.pitched:
        start = round(note.start / STEP)
        end = max(start + 1, round((note.start + note.length) / STEP))
        keys[note.pitch].append((start, end, note.velocity // LOUDNESS))
    moments: list[tuple[int, int, int, int, int]] = []  # step, 0 off or 1 on, pitch, step of the end, velocity
    for pitch, played in keys.items():
        ends = sorted(end for _, end, _ in played)  # an event that lets a key go ends the note that began first
        for (start, _, velocity), end in zip(sorted(played), ends, strict=True):
            moments += [(start, 1, pitch, end, velocity), (end, 0, pitch, 0, 0)]
    events, now, loudness = [], 0, -1
    for step, struck, pitch, _, velocity in sorted(moments):
        while now < step:
            shift = min(LONGEST, step - now)
            events.append(SHIFT + shift - 1)
            now += shift
        if struck and velocity != loudness:
            events.append(VELOCITY + velocity)
            loudness = velocity
        events.append((ON if struck else OFF) + pitch)
    return events


def piece_of(events: Iterable[int]) -> Piece:
    """The piece that events play, on one track; UserError for a number that is no event. What ends nothing is ignored."""
    notes: list[Note] = []
    held: dict[int, list[tuple[int, int]]] = defaultdict(list)  # pitch -> steps and velocities, oldest first
    now, velocity = 0, 20 * LOUDNESS
    for event in events:
        if event < OFF and event >= 0:
            held[event].append((now, velocity))
        elif OFF <= event < SHIFT:
            if held[event - OFF]:
                notes.append(_note(event - OFF, *held[event - OFF].pop(0), now))
        elif SHIFT <= event < VELOCITY:
            now += event - SHIFT + 1
        elif VELOCITY <= event < END:
            velocity = (event - VELOCITY) * LOUDNESS + LOUDNESS // 2
        elif event != END:
            raise UserError(f"{event} is no event: events are numbers from 0 to {END - 1}")
    for pitch, begun in held.items():
        notes += [_note(pitch, start, loud, now) for start, loud in begun]
    return Piece(tuple(sorted(notes)), ("piano",))


def _note(pitch: int, start: int, velocity: int, end: int) -> Note:
    return Note(round(start * STEP, 2), round((end - start) * STEP, 2), pitch, velocity)


def seconds_of(event: int) -> float:
    """How much time passes with an event."""
    return (event - SHIFT + 1) * STEP if SHIFT <= event < VELOCITY else 0.0


class Events:
    """The events as a vocabulary that language models can be trained on."""

    kind = "events"
    end = END
    voices = 1

    def __init__(self) -> None:
        keys = [pitch_name(pitch) for pitch in range(128)]
        shifts = [f"{10 * (step + 1)}ms" for step in range(LONGEST)]
        self.words = [*(f"+{key}" for key in keys), *(f"-{key}" for key in keys), *shifts,
                      *(f"v{step}" for step in range(32)), "<end>"]  # fmt: skip
        self._ids = {word: number for number, word in enumerate(self.words)}

    @property
    def size(self) -> int:
        """The 388 events and the end of a piece."""
        return len(self.words)

    @property
    def pitched(self) -> list[bool]:
        """Which tokens move when the music is transposed; a semitone moves their number by one."""
        return [token < SHIFT for token in range(self.size)]

    def encode(self, text: str) -> list[int]:
        """The tokens of words such as "v20 +C4 500ms -C4"; UserError naming the nearest for a word that is none."""
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
        """Its kind says all."""
        return {"kind": self.kind}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Events:
        """The codec; there is one."""
        return cls()


def word_ids(text: str, ids: Mapping[str, int]) -> list[int]:
    """The tokens of words parted by spaces; UserError naming the nearest for one that is not known."""
    for word in text.split():
        if word not in ids:
            near = did_you_mean(word, ids).split("(")[0].rstrip()
            raise UserError(f'"{word}" is no token of this music{near}')
    return [ids[word] for word in text.split()]
