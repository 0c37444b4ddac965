"""A small composer: four voices from rules of harmony, and a player who plays them as people do. Nothing is fetched.

A key, then phrases of chords, each chosen by the one before it, the last a cadence; the soprano takes the nearest note of
each chord, the bass its root or third, the middle voices what is nearest to where they were. Passing notes fill thirds.
It is no Bach: enough order to be learnt within a minute.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from handmade.data.codecs.pianoroll import HOLD, QUARTER, sounding
from handmade.midi import Note, Piece

if TYPE_CHECKING:
    import numpy as np

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 11)}
NEXT = {
    0: (3, 4, 5, 1, 3, 4),
    1: (4, 4, 6),
    2: (5, 3),
    3: (4, 0, 1, 4),
    4: (0, 0, 5),
    5: (3, 1, 4),
    6: (0,),
}  # by degree
RANGES = ((60, 79), (55, 72), (48, 67), (40, 60))  # soprano, alto, tenor, bass
PHRASE = 8  # quarters


def compose(seed: int, number: int, phrases: int = 4) -> np.ndarray:
    """Piece `number` of a seed: (step, voice) cells of a piano roll."""
    import numpy as np

    luck = np.random.default_rng((seed, number))
    tonic, scale = int(luck.integers(12)), SCALES["minor" if luck.random() < 0.4 else "major"]
    chords = [degree for phrase in range(phrases) for degree in _phrase(luck, last=phrase == phrases - 1)]
    voices: list[list[float]] = []
    places = [69.0, 64.0, 57.0, 50.0]
    for degree in chords:
        tones = [(tonic + scale[(degree + third) % 7]) % 12 for third in (0, 2, 4)]
        for voice in range(4):
            places[voice] = _nearest(luck, voice, places, tones)
        voices.append([*places])
    cells = np.full((len(chords) * QUARTER, 4), HOLD, np.int16)
    cells[::QUARTER] = voices
    _ornament(luck, cells, {(tonic + step) % 12 for step in scale})
    return cells


def _phrase(luck: np.random.Generator, last: bool) -> list[int]:
    """Eight degrees, one a quarter, that end with a cadence; the end is held."""
    chords = [0]
    while len(chords) < PHRASE - 3:
        chords.append(int(luck.choice(NEXT[chords[-1]])))
    return [*chords, 4, 0, 0] if last or luck.random() < 0.6 else [*chords, 1, 4, 4]


def _nearest(luck: np.random.Generator, voice: int, places: list[float], tones: list[int]) -> float:
    """The pitch that a voice takes in the next chord."""
    low, high = RANGES[voice]
    allowed = tones[:1] * 3 + tones[1:2] if voice == 3 else tones
    middle = (low + high) / 2
    wish = places[voice] + luck.normal(0, 3 if voice == 0 else 1.5) + 0.1 * (middle - places[voice])
    high = min(high, int(places[voice - 1])) if voice else high  # voices do not cross
    pitches = [pitch for pitch in range(min(low, high - 11), high + 1) if pitch % 12 in allowed]
    return min(pitches, key=lambda pitch: abs(pitch - wish))


def _ornament(luck: np.random.Generator, cells: np.ndarray, scale: set[int]) -> None:
    """Hold notes that do not change, and fill thirds with a passing eighth."""
    beats = cells[::QUARTER].copy()
    for voice in range(4):
        for beat in range(1, len(beats)):
            now, before = int(beats[beat, voice]), int(beats[beat - 1, voice])
            if now == before and luck.random() < 0.5:
                cells[beat * QUARTER, voice] = HOLD
            between = [pitch for pitch in range(min(now, before) + 1, max(now, before)) if pitch % 12 in scale]
            if abs(now - before) in (3, 4) and between and luck.random() < 0.6:
                cells[beat * QUARTER - QUARTER // 2, voice] = between[0]


def perform(cells: np.ndarray, seed: int, number: int) -> Piece:
    """Play a roll as a pianist would: no two notes quite together, phrases that swell and slow down, notes that overlap."""
    import numpy as np

    luck = np.random.default_rng((seed, number, 1))
    tempo, whole = float(luck.uniform(60, 110)), len(cells)
    phase = np.arange(whole + 1) % (PHRASE * QUARTER) / (PHRASE * QUARTER)
    step = 60 / tempo / QUARTER * (1 + 0.25 * phase**4 + 0.04 * np.sin(2 * math.pi * phase))  # slower towards cadences
    times = np.concatenate([[0.0], step.cumsum()])
    heard, notes = sounding(cells), []
    for voice in range(cells.shape[1]):
        starts = [*np.flatnonzero(cells[:, voice] >= 0), whole]
        for start, end in pairwise(starts):
            swell = (
                12 * math.sin(math.pi * phase[start]) + (8 if voice == 0 else 0) + (4 if start % QUARTER == 0 else 0)
            )
            velocity = int(np.clip(58 + swell + luck.normal(0, 4), 1, 127))
            begin = max(0.0, times[start] + luck.normal(0, 0.012) + 0.02)
            length = max(0.05, (times[end] - times[start]) * luck.uniform(0.85, 1.05))
            notes.append(Note(float(begin), float(length), int(heard[start, voice]), velocity))
    return Piece(tuple(sorted(notes)), ("piano",), round(tempo, 3))
