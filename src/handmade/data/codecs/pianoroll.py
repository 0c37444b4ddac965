"""Music on a grid: which note each voice holds at each sixteenth. MIDI -> roll -> MIDI is exact for what lies on the grid.

    cells[step, voice]    a pitch: a note begins    HOLD: it sounds on    REST: nothing sounds
The axes are always (step, voice), in this order: the book's code cuts them apart in another, and four constant voices come
out as four copies of one that jumps. A note struck again is a pitch again, and so is kept apart from one that is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from handmade.errors import UserError
from handmade.midi import Note, Piece

if TYPE_CHECKING:
    import numpy as np

REST, HOLD = -1, -2
QUARTER = 4  # steps of a quarter note: a step is a sixteenth
BAR = 16  # steps of a bar, where nothing else is known
MOST_STEPS = 200_000  # of one piece: three hours and more
VOICES = ("soprano", "alto", "tenor", "bass")


@dataclass(frozen=True, eq=False)
class Roll:
    """Voices on a grid of sixteenths."""

    cells: np.ndarray  # (step, voice) int16: a pitch, HOLD or REST
    places: np.ndarray  # (step,) int16: the place of each step in its bar, 0 .. BAR - 1

    @property
    def pitches(self) -> np.ndarray:
        """The pitches that begin somewhere, (N,)."""
        return self.cells[self.cells >= 0]

    @property
    def sounding(self) -> np.ndarray:
        """(step, voice): the pitch that sounds, begun or held, or REST."""
        return sounding(self.cells)


def roll_from(cells: Sequence[Sequence[int]] | np.ndarray, first: int = 0) -> Roll:
    """A roll of (step, voice) cells in bars of sixteen; first: the place of the first step in its bar."""
    import numpy as np

    cells = np.asarray(cells, np.int16)
    return Roll(cells, ((np.arange(len(cells)) + first) % BAR).astype(np.int16))


def sounding(cells: np.ndarray) -> np.ndarray:
    """(step, voice) cells -> the pitch that sounds there, or REST; a hold of nothing is a rest."""
    import numpy as np

    now, out = np.full(cells.shape[1], REST, np.int16), np.empty_like(cells)
    for step, row in enumerate(cells):
        now = np.where(row == HOLD, now, row)
        out[step] = now
    return out


def piece_of_roll(cells: np.ndarray, tempo: float, tracks: Sequence[str] = (), velocity: int = 80) -> Piece:
    """(step, voice) cells -> a piece with a track for each voice.

    tempo: quarter notes a minute; tracks: names, by default those of a choir
    """
    width, notes = 60 / tempo / QUARTER, []
    for voice, column in enumerate(cells.T.tolist()):
        start, pitch = 0, REST
        for step, cell in enumerate([*column, REST]):
            if cell == HOLD:
                continue
            if pitch >= 0:
                notes.append(Note(start * width, (step - start) * width, pitch, velocity, voice))
            start, pitch = step, cell
    names = tuple(tracks) or (VOICES if cells.shape[1] == 4 else tuple(f"voice {v + 1}" for v in range(cells.shape[1])))
    return Piece(tuple(sorted(notes)), names, tempo)


def roll_of_piece(piece: Piece, voices: int = 4) -> tuple[Roll, int]:
    """A piece whose times are quarter notes -> its roll, and how many notes found no voice.

    As many tracks as voices, each with one note at a time, are the voices, as they stand. Anything else is dealt out: of
    the notes that begin together the highest goes to the first free voice, the lowest to the last. Drums are left out.
    """
    import numpy as np

    notes = [(start, max(start + 1, round((note.start + note.length) * QUARTER)), note.pitch, note.track)
             for note in piece.pitched if (start := round(note.start * QUARTER)) >= 0]  # fmt: skip
    if (steps := max((end for _, end, *_ in notes), default=0)) > MOST_STEPS:
        raise UserError(f"this piece has {steps:,} sixteenths, and at most {MOST_STEPS:,} are put on a grid")
    cells = np.full((steps, voices), REST, np.int16)
    tracks = sorted({track for *_, track in notes})
    if len(tracks) == voices and all(_single([n for n in notes if n[3] == track]) for track in tracks):
        dealt, lost = [(*note[:3], tracks.index(note[3])) for note in notes], 0
    else:
        dealt, lost = _dealt(notes, voices)
    for start, end, pitch, voice in dealt:
        cells[start, voice] = pitch
        cells[start + 1 : end, voice] = HOLD
    return roll_from(cells), lost


def detached(piece: Piece) -> Piece:
    """A piece in quarter notes, without the overlaps of notes that are played legato: a note then ends where the next begins.

    In each track a note that begins takes the place of one that ends there; else it ends the first to end of those that have
    less than half of them left and do not outlast it. A bass that is held under a melody stays.
    """
    ends = [max(round(n.start * QUARTER) + 1, round((n.start + n.length) * QUARTER)) for n in piece.notes]
    for track in {note.track for note in piece.notes}:
        mine = [place for place, note in enumerate(piece.notes) if note.track == track]
        starts = {place: round(piece.notes[place].start * QUARTER) for place in mine}
        held: list[int] = []
        for now, begun in groupby(sorted(mine, key=lambda place: starts[place]), key=lambda place: starts[place]):
            new = list(begun)
            more = len(new) - sum(ends[place] == now for place in held)
            held = sorted((place for place in held if ends[place] > now), key=lambda place: ends[place])
            last = max(ends[place] for place in new)
            over = [p for p in held if ends[p] < last and starts[p] < 2 * now - ends[p]]
            for place in over[: max(0, more)]:
                ends[place] = now
            held = [place for place in held if ends[place] > now] + new
    notes = [note._replace(length=min(note.length, max(0.0, end / QUARTER - note.start)))
             if round((note.start + note.length) * QUARTER) > end else note
             for note, end in zip(piece.notes, ends, strict=True)]  # fmt: skip
    return replace(piece, notes=tuple(sorted(notes)))


def _single(notes: list[tuple[int, int, int, int]]) -> bool:
    """Whether no two notes sound together."""
    notes = sorted(notes)
    return all(left[1] <= right[0] for left, right in pairwise(notes))


def _dealt(notes: list[tuple[int, int, int, int]], voices: int) -> tuple[list[tuple[int, int, int, int]], int]:
    """Notes (start, end, pitch, track) -> (start, end, pitch, voice), and how many were too many at once."""
    until, dealt, lost = [0] * voices, [], 0
    for start in sorted({note[0] for note in notes}):
        longest: dict[int, int] = {}  # pitch -> end: one key doubled in two tracks is one note
        for _, end, pitch, _ in (note for note in notes if note[0] == start):
            longest[pitch] = max(end, longest.get(pitch, 0))
        free = [voice for voice in range(voices) if until[voice] <= start]
        chord = sorted(longest, reverse=True)
        if len(chord) > len(free):  # the outer notes are heard most
            lost += len(chord) - len(free)
            chord = [*chord[: len(free) - 1], chord[-1]] if len(free) > 1 else chord[: len(free)]
        places = free[: len(chord)] if len(chord) < 2 else [*free[: len(chord) - 1], free[-1]]
        for pitch, voice in zip(chord, places, strict=True):
            until[voice] = longest[pitch]
            dealt.append((start, longest[pitch], pitch, voice))
    return dealt, lost
