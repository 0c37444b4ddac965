"""The user's own soundfont (`.sf2`), through tinysoundfont where it is installed: recorded instruments, played by our notes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy import ndarray

from handmade.errors import UserError
from handmade.midi import Piece

LARGEST = 512_000_000  # bytes of a soundfont
TAIL = 1.5  # seconds that sound on after the last note
INSTALL = "pip install --no-deps tinysoundfont"  # its PyAudio is for live playing, and needs headers to be built


def render_soundfont(piece: Piece, font: Path, rate: int = 44_100, program: int = 0) -> ndarray:
    """Play a piece with a soundfont -> (samples, 2) float32.

    program: number of the instrument in the soundfont, 0..127 as General MIDI orders them: 0 a piano, 19 an organ, 52 a choir
    """
    if importlib.util.find_spec("tinysoundfont") is None:
        raise UserError(f"a soundfont needs tinysoundfont: {INSTALL}; without one, leave soundfont out")
    if not font.is_file():
        raise UserError(f"no soundfont {font}: give a file that ends in .sf2 or .sf3")
    if font.stat().st_size > LARGEST:
        raise UserError(f"{font} is larger than {LARGEST // 1_000_000} MB: use a smaller soundfont")
    from tinysoundfont import SoundFontException, Synth  # type: ignore[import-not-found]

    synth = Synth(gain=-6.0, samplerate=rate)
    drums = {track % 16 for track in piece.drums}
    try:
        synth.sfload(str(font))
        for channel in range(16):
            synth.program_change(channel, program, channel in drums)
    except (SoundFontException, RuntimeError) as error:
        raise UserError(f"{font} cannot be played: {error}; it must be a soundfont with program {program}") from None
    moments = [(round(note.start * rate), 1, note) for note in piece.notes]
    moments += [(round((note.start + note.length) * rate), 0, note) for note in piece.notes]
    moments.sort(key=lambda moment: moment[:2])  # where a note ends and another begins, the first ends first
    parts, now = [], 0
    for at, begins, note in moments:
        if at > now:
            parts.append(_next(synth, at - now))
            now = at
        channel = note.track % 16
        if begins:
            synth.noteon(channel, note.pitch, note.velocity)
        else:
            synth.noteoff(channel, note.pitch)
    return np.clip(np.concatenate([*parts, _next(synth, round(TAIL * rate))]), -1, 1)


def _next(synth: object, samples: int) -> ndarray:
    made = synth.generate(samples)  # type: ignore[attr-defined]
    return np.frombuffer(bytes(made), np.float32).reshape(samples, 2)
