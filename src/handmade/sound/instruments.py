"""Seven instruments, each a recipe for sines: which partials sound together, how loud, and how fast each dies away.

A tone is sum_k a_k exp(-d_k t) sin(2 pi f_k t + p_k), additive synthesis (Moorer 1977). What makes it a string or a pipe is in
the partials: a struck string is stiff, so its partials are sharp (Fletcher 1964), and its high ones die first; a pipe holds
its own; many players are the same partials a little out of tune; a vowel is a spectrum with three hills (Peterson & Barney
1952). Everything is a number of the instrument: no recording is needed, and none is played.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray

VOWEL = ((660.0, 90.0, 1.0), (1080.0, 110.0, 0.55), (2450.0, 160.0, 0.25))  # "ah": hertz, half width, height
DRAWBARS = ((0.5, 0.35), (1, 1.0), (2, 0.7), (3, 0.3), (4, 0.4), (6, 0.12), (8, 0.16))  # of an organ: multiple, height
GOLDEN = 0.6180339887498949  # phases at its multiples never agree, so no partials add up to a spike


class Partials(NamedTuple):
    """The sines of one tone, K of them."""

    frequency: ndarray  # (K,) hertz
    amplitude: ndarray  # (K,) relative to each other
    decay: ndarray  # (K,) how fast each dies away, 1 / seconds; 0: held


@dataclass(frozen=True)
class Instrument:
    """A spectrum of hertz and loudness (0..1), and how a tone begins and ends."""

    spectrum: Callable[[float, float], Partials]
    attack: float  # seconds from silence to the full tone
    release: float  # seconds from the end of a note to silence


def hertz(pitch: float) -> float:
    """Frequency of a MIDI pitch, equally tempered: 69 is A4, 440 Hz, and each octave of 12 semitones doubles it."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def _piano(f: float, loud: float) -> Partials:
    k = np.arange(1.0, 33.0)
    stiff = 2.5e-4 * (f / 262) ** 1.3
    frequency = f * k * np.sqrt((1 + stiff * k**2) / (1 + stiff))
    hammer = np.abs(np.sin(np.pi * k / 7.6)) + 0.08  # strikes at an eighth: partials with a node there stay weak
    amplitude = hammer / k**0.7 * np.exp(-frequency / (500 + 2600 * loud))
    decay = 0.45 + frequency / 900
    # Two strings that couple: together they die fast, and what is left of their difference sings on (Weinreich 1977).
    return _joined(
        Partials(frequency, 0.78 * amplitude, 2.6 * decay), Partials(1.0003 * frequency, 0.22 * amplitude, 0.6 * decay)
    )


def _organ(f: float, loud: float) -> Partials:
    multiple, height = np.array(DRAWBARS).T
    stopped = Partials(f * multiple, height, np.zeros(len(multiple)))
    return _joined(stopped, Partials(1.0007 * f * multiple, 0.5 * height, np.zeros(len(multiple))))


def _strings(f: float, loud: float) -> Partials:
    k = np.arange(1.0, 25.0)
    amplitude = 1 / k * np.exp(-f * k / (1800 + 2600 * loud))  # a bow pulls a saw out of a string
    return _many(f * k, amplitude, cents=(0.0, -5.0, 6.0))


def _choir(f: float, loud: float) -> Partials:
    k = np.arange(1.0, 25.0)
    hills = sum(height / (1 + ((f * k - at) / wide) ** 2) for at, wide, height in VOWEL) + 0.04
    return _many(f * k, hills / k**0.6 * np.exp(-f * k / (3000 + 3000 * loud)), cents=(0.0, -8.0, -3.0, 6.0))


def _flute(f: float, loud: float) -> Partials:
    height = np.array([1.0, 0.25 + 0.3 * loud, 0.08 + 0.16 * loud, 0.05 * loud, 0.03 * loud])
    frequency, none = f * np.arange(1.0, 6.0), np.zeros(5)
    sway = [
        Partials(frequency + shift, 0.06 * height, none) for shift in (-5.2, 5.2)
    ]  # a slow tremor, as two sidebands
    return _joined(Partials(frequency, height, none), *sway)


def _plucked(f: float, loud: float) -> Partials:
    k = np.arange(1.0, 25.0)
    amplitude = np.abs(np.sin(np.pi * k * 0.23)) / k**1.1 * np.exp(-f * k / (1500 + 3000 * loud))  # pulled at a quarter
    return Partials(f * k, amplitude, 0.9 + f * k / 420)


def _bass(f: float, loud: float) -> Partials:
    k = np.arange(1.0, 13.0)
    return Partials(f * k, k**-1.4 * np.exp(-f * k / (500 + 900 * loud)), 0.5 + f * k / 260)


def _many(frequency: ndarray, amplitude: ndarray, cents: tuple[float, ...]) -> Partials:
    """The same held partials by several players, each some hundredths of a semitone out of tune, the first the loudest."""
    heights = [1.0, *[0.55] * (len(cents) - 1)]  # as loud as each other they would swell and fade too much
    return _joined(
        *(
            Partials(frequency * 2 ** (off / 1200), height * amplitude, np.zeros(len(frequency)))
            for off, height in zip(cents, heights, strict=True)
        )
    )


def _joined(*parts: Partials) -> Partials:
    return Partials(*(np.concatenate(column) for column in zip(*parts, strict=True)))


INSTRUMENTS: Mapping[str, Instrument] = {
    "piano": Instrument(_piano, 0.003, 0.14),
    "organ": Instrument(_organ, 0.018, 0.09),
    "strings": Instrument(_strings, 0.05, 0.16),
    "flute": Instrument(_flute, 0.03, 0.08),
    "plucked": Instrument(_plucked, 0.002, 0.10),
    "bass": Instrument(_bass, 0.006, 0.09),
    "choir": Instrument(_choir, 0.06, 0.20),
}
