"""Notes become sound: every tone is a sum of sines that die away, and a sum of sines is a product of two small matrices.

With z_k = exp((2 pi i f_k - d_k) / rate), the turn and the fall of partial k in one sample, sample n of a tone is
    tone[n] = Re sum_k c_k z_k^n        and for n = 256 a + b        = Re sum_k (c_k z_k^(256 a)) (z_k^b)
so that a tone of N samples costs 256 + N / 256 powers a partial and one matrix product, not N sines. Tones are made once for
a pitch and a loudness. The products are taken in float64: the same piece is the same bytes on every machine, but for a last
bit in some thousand million. No partial at or above Nyquist's frequency is ever sounded, so nothing can alias.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy import ndarray

from handmade.errors import UserError, did_you_mean
from handmade.midi import LONGEST_PLAYED, Note, Piece
from handmade.sound.instruments import GOLDEN, INSTRUMENTS, Instrument, hertz

RATE = 44_100  # samples a second
BLOCK = 256
HEARD = 0.45  # share of the rate below which a partial is sounded; Nyquist's limit is a half
LEVEL = 0.16  # root mean square of the loudest note as it begins, of 1
SHADES = 8  # loudnesses at which an instrument sounds different
WIDTH = 0.4  # how far left and right of the middle the outer voices stand, of 1
PEAK = 0.98  # a louder piece is turned down as a whole
ECHO, WET = 1.3, 0.16  # seconds until the room's echo has fallen by 60 dB; its share of the sound


def render(piece: Piece, instruments: str | Sequence[str] = "piano", rate: int = RATE, echo: bool = True) -> ndarray:
    """Play a piece -> (samples, 2) float32, left and right, at most 1 in size.

    instruments: one for all tracks, or one for each
    rate: samples a second
    echo: in a small room, whose sound dies away after the last note; else nothing follows the last release
    """
    chosen = _chosen(instruments, piece)
    if not 8_000 <= rate <= 96_000:
        raise UserError(f"rate={rate} is no rate of sound: use 8000 to 96000 samples a second")
    end = max((note.start + note.length for note in piece.notes), default=0.0)
    if end > LONGEST_PLAYED:
        raise UserError(f"a piece of {end:,.0f} s is too long to be played: at most {LONGEST_PLAYED:,} s, cut it first")
    tail = max((instrument.release for instrument in chosen.values()), default=0.0)
    samples = round(end * rate) + round(tail * rate) + 1
    sound = np.zeros((2, samples + (round(ECHO * rate) if echo else 0)), np.float32)
    for place, (track, instrument) in zip(_places(len(chosen)), chosen.items(), strict=True):
        voice = _play([note for note in piece.notes if note.track == track], instrument, samples, rate)
        for side, gain in zip(sound, _gains(place), strict=True):
            side[:samples] += np.float32(gain) * voice
    if echo:
        sound += _echo(sound[:, :samples].sum(0), rate, sound.shape[1])
    loudest = float(np.abs(sound).max())
    return np.ascontiguousarray(sound.T if loudest <= PEAK else (sound * np.float32(PEAK / loudest)).T)


def tone(instrument: Instrument, pitch: float, loud: float, samples: int, rate: int) -> ndarray:
    """One held tone (samples,) float32, of root mean square 1 as it begins, after its attack.

    loud: 0..1, how hard it is struck: what it sounds like, not how loud it is
    """
    frequency, amplitude, decay = instrument.spectrum(hertz(pitch), loud)
    heard = frequency < HEARD * rate
    if not heard.any():
        return np.zeros(samples, np.float32)
    frequency, amplitude, decay = frequency[heard], amplitude[heard], decay[heard]
    start = amplitude * np.sqrt(2 / np.square(amplitude).sum()) * np.exp(2j * np.pi * GOLDEN * np.arange(len(decay)))
    z = (2j * np.pi * frequency - decay) / rate  # the logarithm of a partial's turn and fall in one sample
    coarse: ndarray = start * np.exp(BLOCK * np.arange(-(-samples // BLOCK))[:, None] * z)  # (N / 256, K)
    fine: ndarray = np.exp(np.arange(BLOCK) * z[:, None])  # (K, 256)
    wave = (np.real(coarse) @ np.real(fine) - np.imag(coarse) @ np.imag(fine)).ravel()[:samples].astype(np.float32)
    rise = min(samples, max(1, round(instrument.attack * rate)))
    wave[:rise] *= np.square(np.sin(np.pi / 2 * np.arange(rise) / rise)).astype(np.float32)
    return wave


def _play(notes: Sequence[Note], instrument: Instrument, samples: int, rate: int) -> ndarray:
    """The notes of one track, (samples,) float32: each is the beginning of its tone, faded out where it ends."""
    voice = np.zeros(samples, np.float32)
    release = round(instrument.release * rate)
    fade = (0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)).astype(np.float32)  # down to 0
    alike: dict[tuple[int, int], list[Note]] = defaultdict(list)
    for note in notes:
        alike[note.pitch, round(note.velocity / 127 * SHADES)].append(note)
    for (pitch, shade), same in alike.items():
        longest = round(max(note.length for note in same) * rate) + release
        wave = tone(instrument, pitch, shade / SHADES, longest, rate)
        for note in same:
            start, held = round(note.start * rate), round(note.length * rate)
            gain = np.float32(LEVEL * (note.velocity / 127) ** 2)  # 40 dB for tenfold velocity, as General MIDI has it
            voice[start : start + held] += gain * wave[:held]
            voice[start + held : start + held + release] += gain * wave[held : held + release] * fade
    return voice


def _echo(dry: ndarray, rate: int, samples: int) -> ndarray:
    """What a small room adds to a sound (N,) -> (2, samples): noise that dies away, another on each side.

    The convolution is made in blocks, each in one Fourier transform, and their overlapping ends are added.
    """
    room = _room(rate)  # (2, M)
    size = 1 << (2 * room.shape[1]).bit_length()
    spectrum, stride = np.fft.rfft(room, size), size - room.shape[1]
    wet = np.zeros((2, samples + size), np.float32)
    for start in range(0, len(dry), stride):
        block = np.fft.rfft(dry[start : start + stride], size)
        wet[:, start : start + size] += np.fft.irfft(block * spectrum, size)
    return wet[:, :samples]


def _room(rate: int) -> ndarray:
    """The echo of one clap on either side, (2, M) float32: dull noise after 15 ms that falls by 60 dB in `ECHO` seconds."""
    time = np.arange(round(0.8 * ECHO * rate)) / rate
    noise = np.random.RandomState(1685).standard_normal((2, len(time)))  # of all generators this one never changes
    dull = np.cumsum(noise, 1)
    dull[:, 8:] = dull[:, 8:] - dull[:, :-8]  # a mean over eight samples
    dull *= 10 ** (-3 * time / ECHO) * (time > 0.015)
    return (WET * dull / np.sqrt(np.square(dull).sum(1, keepdims=True))).astype(np.float32)


def _chosen(instruments: str | Sequence[str], piece: Piece) -> dict[int, Instrument]:
    """The instrument of every track that has notes, by the track's number; drums are left out, we have none."""
    tracks = sorted({note.track for note in piece.notes} - piece.drums)
    names = [instruments] * (max(tracks, default=0) + 1) if isinstance(instruments, str) else list(instruments)
    if tracks and tracks[-1] >= len(names):
        raise UserError(f"{len(names)} instruments cannot play track {tracks[-1] + 1}: name one, or one for each track")
    return {track: instrument for track, instrument in enumerate(_known(names)) if track in tracks}


def _known(names: Iterable[str]) -> list[Instrument]:
    for name in (names := list(names)):
        if name not in INSTRUMENTS:
            raise UserError(f'no instrument "{name}"{did_you_mean(name, INSTRUMENTS)}')
    return [INSTRUMENTS[name] for name in names]


def _places(n: int) -> Sequence[float]:
    """Where n voices stand, from left to right in -1..1; one stands in the middle."""
    return np.linspace(-WIDTH, WIDTH, n).tolist() if n > 1 else [0.0] * n


def _gains(place: float) -> tuple[float, float]:
    """How loud a voice at `place` is on the left and on the right: the sum of their squares is always 1."""
    angle = np.pi / 4 * (1 + place)
    return float(np.cos(angle)), float(np.sin(angle))
