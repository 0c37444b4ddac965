"""What can be counted in music, and how far made music is from real music by these counts.

A piece is `cells` (T, V): a pitch where a note of voice v begins at step t, HOLD where it sounds on, REST where nothing sounds.
`sounding` (T, V) has the pitch at every step of its note instead. Both may have dimensions before: (N, T, V) are N pieces of
one length. Pitches and intervals are in semitones, times in steps, shares in 0..1; a beat is four steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from handmade.core import Score

REST, HOLD = -1, -2
BEAT = 4  # steps
FIFTH, OCTAVE = 7, 0  # semitones, octaves left out
LEAP = 12  # semitones: a larger step of a melody is counted as one of this size


def sounding(cells: Tensor) -> Tensor:
    """(..., T, V) cells -> (..., T, V), the pitch that sounds or REST; what is held before anything began is a rest."""
    steps = torch.arange(cells.shape[-2], device=cells.device).unsqueeze(-1)
    begun = torch.where(cells == HOLD, -1, steps).cummax(-2).values  # the latest step that is no hold
    return torch.where(begun < 0, REST, cells.gather(-2, begun.clamp_min(0)))


def pitch_classes(pitches: Tensor) -> Tensor:
    """Pitches of any shape, rests left out -> (12,) shares, C first; nothing at all is spread evenly."""
    return _shares(pitches[pitches >= 0] % 12, 12)


def overlap(a: Tensor, b: Tensor) -> float:
    """Share that two histograms (K,), each of sum 1, have in common: 1 where they agree, 0 where they never meet."""
    return float(torch.minimum(a, b).sum())


def density(cells: Tensor) -> float:
    """Notes that begin in a beat, of all voices together."""
    return float((cells >= 0).sum(-1).double().mean()) * BEAT


def polyphony(cells: Tensor) -> float:
    """Voices that sound together, a mean over the steps at which any does; 0 where none ever does."""
    voices = (sounding(cells) >= 0).sum(-1)
    return float(voices[voices > 0].double().mean()) if bool(voices.any()) else 0.0


def ranges(cells: Tensor) -> list[tuple[int, int]]:
    """Lowest and highest pitch of each voice; (0, 127) for one that never sounds."""
    voices = [voice[voice >= 0] for voice in cells.flatten(0, -2).unbind(-1)]
    return [(int(v.min()), int(v.max())) if len(v) else (0, 127) for v in voices]


def inside(cells: Tensor, limits: Sequence[tuple[int, int]]) -> float:
    """Share of the notes that lie within the limits of their voice; 1 where there are no notes."""
    low, high = cells.new_tensor(limits).unbind(1)  # (V,) each
    notes = cells >= 0
    return float(((cells >= low) & (cells <= high))[notes].double().mean()) if bool(notes.any()) else 1.0


def equality(cells: Tensor) -> float:
    """How often two voices sound the same pitch: a share of the steps, the mean of all pairs of voices."""
    pairs = [(a == b) & (a >= 0) for a, b in _pairs(sounding(cells))]
    return float(torch.stack(pairs).double().mean()) if pairs else 0.0


def parallels(cells: Tensor, interval: int) -> float:
    """Parallel fifths (interval=FIFTH) or octaves (OCTAVE): a share of the moments at which two voices move together.

    They are parallel where both move the same way and the interval between them, octaves left out, is the given one before
    and after. Counterpoint forbids both (Fux 1725), and Bach nearly always obeys.
    """
    moves, kept = 0, 0
    for a, b in _pairs(sounding(cells)):
        both = (a[..., 1:] != a[..., :-1]) & (b[..., 1:] != b[..., :-1])
        both &= (a[..., 1:] >= 0) & (a[..., :-1] >= 0) & (b[..., 1:] >= 0) & (b[..., :-1] >= 0)
        same_way = (a.diff() > 0) == (b.diff() > 0)
        apart = (a - b).abs() % 12
        moves += int(both.sum())
        kept += int((both & same_way & (apart[..., 1:] == interval) & (apart[..., :-1] == interval)).sum())
    return kept / moves if moves else 0.0


def repeated(cells: Tensor, steps: int) -> float:
    """How often a voice sounds what it sounded a bar of `steps` before: a share of all steps after the first bar."""
    sounds = sounding(cells)
    now, before = sounds[..., steps:, :], sounds[..., :-steps, :]
    return float(((now == before) & (now >= 0)).double().mean()) if now.numel() else 0.0


def repetition(symbols: Sequence[int], run: int = 4) -> float:
    """Share of the runs of `run` symbols (pitches, say) that have come before in the same sequence."""
    runs = [tuple(symbols[start : start + run]) for start in range(len(symbols) - run + 1)]
    return 1 - len({*runs}) / len(runs) if runs else 0.0


def melody(cells: Tensor) -> list[tuple[int, int]]:
    """One voice (T,) as its notes: (semitones up from the note before, steps since it), which no transposition changes."""
    at = (cells >= 0).nonzero().flatten()
    return list(zip(cells[at].diff().tolist(), at.diff().tolist(), strict=True))


def longest_shared(sequence: Sequence[tuple[int, int]], others: Sequence[Sequence[tuple[int, int]]]) -> int:
    """Notes of the longest run of a sequence that is also in one of the others: how much of it is copied.

    A run is found by the hash of its notes: for each length that bisection tries, all runs of the others at once.
    """
    known: dict[tuple[int, int], int] = {}
    own = np.array([known.setdefault(note, len(known) + 1) for note in sequence], np.uint64)
    parted = [known.get(note, 0) for part in others for note in (*part, (0, 0))]  # 0: the end, and what no run can hold
    there = np.array(parted, np.uint64)
    low, high = 0, min(len(own), len(there))
    while low < high:
        middle = (low + high + 1) // 2
        found = bool(np.isin(_hashes(own, middle), _hashes(there, middle)).any())
        low, high = (middle, high) if found else (low, middle - 1)
    return low


def copied(made: Tensor, old: Tensor) -> float:
    """Notes in a row that a made piece shares with an old one, both (N, T, V): its longest run in any voice, a mean."""
    known = [[melody(line) for line in voice] for voice in old.cpu().unbind(-1)]
    runs = [[longest_shared(melody(line), known[v]) for v, line in enumerate(piece.unbind(-1))] for piece in made.cpu()]
    return sum(map(max, runs)) / len(runs)


def _hashes(symbols: np.ndarray, run: int) -> np.ndarray:
    """One number for each run of `run` symbols of a sequence: a polynomial in an odd base, modulo 2^64."""
    powers = np.full(run, 0x9E3779B97F4A7C15, np.uint64).cumprod(dtype=np.uint64)
    mixed = (symbols * np.uint64(0xD6E8FEB86659FD93)) ^ (symbols << np.uint64(29))
    return (np.lib.stride_tricks.sliding_window_view(mixed, run) * powers).sum(1, dtype=np.uint64)


def histograms(cells: Tensor, steps: int) -> list[Tensor]:
    """(N, T, V) -> shares of what happens in each voice and between each two: pitches, melodic steps, rhythm, intervals.

    steps: of a bar
    """
    sounds, shares = sounding(cells), []
    place = torch.arange(cells.shape[1], device=cells.device) % steps
    for voice in range(cells.shape[2]):
        own, begins = sounds[..., voice], cells[..., voice] >= 0
        shares.append(_shares(own + 1, 129))  # 0: a rest
        moved = begins[:, 1:] & (own[:, :-1] >= 0)  # a note that follows a note
        shares.append(_shares((own.diff()[moved].clamp(-LEAP, LEAP) + LEAP), 2 * LEAP + 1))
        shares.append(_shares(place.expand_as(begins)[begins], steps))
    for a, b in _pairs(sounds):
        both = (a >= 0) & (b >= 0)
        shares.append(_shares((a - b)[both].clamp(-36, 36) + 36, 73))
    return shares


def distance(a: Tensor, b: Tensor, steps: int) -> float:
    """Total variation between two sets of pieces (N, T, V), 0..1: the mean over their histograms of what would have to move."""
    common = [overlap(x, y) for x, y in zip(histograms(a, steps), histograms(b, steps), strict=True)]
    return 1 - sum(common) / len(common)


def score_rolls(real: Tensor, made: Tensor, steps: int) -> dict[str, Score]:
    """Compare made pieces with held-out ones, both cells (N, T, V); the distance, the yardstick, comes first.

    Every number has the real music's own beside it: one half of the held-out pieces against the other where two sets are
    compared, or what the held-out pieces have themselves. steps: of a bar
    """
    half = max(1, len(real) // 2)
    first, second = real[:half], real[-half:]
    apart = f"mean share in which the histograms of {half} made and {half} held-out pieces differ"
    alike = f"share that the pitch classes of {len(made)} made and {len(real)} held-out pieces have in common"
    fit, own = inside(made, ranges(real)), inside(first, ranges(second))
    scores = {
        "distance": Score(distance(made[:half], second, steps), apart, "lower", distance(first, second, steps)),
        "pitches": Score(_common(made, real), alike, "higher", _common(first, second)),
    }
    for name, measure, what in (("density", density, "notes in a beat"), ("polyphony", polyphony, "voices that sound")):
        value, right = measure(made), measure(real)
        about = f"{what}: {value:.2f} made, {right:.2f} real, off by this share"
        scores[name] = Score(_off(value, right), about, "lower", _off(measure(first), measure(second)))
    scores["inside"] = Score(fit, "share of the notes inside the held-out range of their voice", "higher", own)
    for name, value, right, about in (
        ("equality", equality(made), equality(real), "share of the steps at which two voices sound the same"),
        ("repeated", repeated(made, steps), repeated(real, steps), "share of the steps that sound as a bar before"),
        ("fifths", parallels(made, FIFTH), parallels(real, FIFTH), "parallel, of the moves of two voices together"),
        ("octaves", parallels(made, OCTAVE), parallels(real, OCTAVE), "parallel, of the moves of two voices together"),
    ):
        scores[name] = Score(value, about, "lower", right)
    return scores


def _common(a: Tensor, b: Tensor) -> float:
    """Overlap of the pitch classes that sound in two sets of pieces."""
    return overlap(pitch_classes(sounding(a)), pitch_classes(sounding(b)))


def _off(value: float, right: float) -> float:
    """How far a value is off, as a share of what is right."""
    return abs(value / right - 1) if right else float(value > 0)


def _shares(values: Tensor, kinds: int) -> Tensor:
    """Whole numbers 0..kinds-1 of any shape -> (kinds,) float64 shares; no numbers at all are spread evenly."""
    counts = torch.bincount(values.flatten().long(), minlength=kinds).double()
    return counts / counts.sum() if len(values.flatten()) else torch.full_like(counts, 1 / kinds)


def _pairs(voices: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(..., T, V) -> every two voices, (..., T) each."""
    return list(combinations(voices.unbind(-1), 2))
