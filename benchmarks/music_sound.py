"""The synthesizer's speed, and what MuseGAN's shipped voices have in common with Bach's.

Sound: four dense voices for a minute, every instrument, and the built-in one against a soundfont where one is at hand.
MuseGAN: the zoo run's scores on held-out chorales, as the issue words them, with the chorales' own figure beside each.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.record import figure, record

RUN = "zoo:musegan/chorales"
SECONDS, ROUNDS = 60, 3
FASTER = 50  # than real time
BOOK = (4, 2, 16)  # voices, bars, steps of the book's arrays


def main() -> None:
    """Measure one after the other, on one thread."""
    import torch

    torch.set_num_threads(1)
    figures, rows = _sound()
    more, scores = _music()
    record("music_sound", [*rows, *scores], **figures, **more)


def _sound() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Seconds of processor time for a minute of four voices that strike eight notes a second each."""
    from handmade.midi import Note, Piece
    from handmade.sound import INSTRUMENTS, render, sound_bytes, wav_bytes

    notes = tuple(
        Note(i / 8, 0.2, low + (7 * i + 3 * low) % 22, 50 + i % 6 * 12, voice)
        for i in range(8 * SECONDS)
        for voice, low in enumerate((57, 53, 48, 36))
    )
    piece, rows = Piece(notes), []
    for name in INSTRUMENTS:
        times = [_timed(lambda name=name: render(piece, name)) for _ in range(ROUNDS)]
        rows.append({"instrument": name, "times real time": round(SECONDS / statistics.median(times), 1)})
    slowest = min(row["times real time"] for row in rows)
    sound = render(piece, "piano")
    wav = _timed(lambda: wav_bytes(sound, 44_100))
    rows += [{"file": kind, "seconds": round(_timed(lambda kind=kind: sound_bytes(sound, 44_100, kind)), 2)}
             for kind in ("flac", "mp3", "ogg")]  # fmt: skip
    rows.append({"file": "wav", "seconds": round(wav, 2)})
    about = f"times real time, the slowest of {len(INSTRUMENTS)} instruments playing four voices, {len(notes)} notes a minute"
    return {"synthesizer": figure(slowest, f"at least {FASTER}", slowest >= FASTER, about)}, rows


def _music() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The scores of the shipped run, and the book's fault on the same scale."""
    from handmade import api
    from handmade.errors import HandmadeError

    try:
        scores = api.evaluate(RUN)
    except HandmadeError as error:
        return {}, [{"musegan": f"not measured: {error}"}]
    goals = {
        "equality": (0.05, "under 0.05", "share of the steps at which two of MuseGAN's voices sound the same"),
        "density": (0.20, "under 0.2", "notes a beat: how far MuseGAN is off, as a share of the chorales'"),
        "polyphony": (0.20, "under 0.2", "voices that sound: how far MuseGAN is off, as a share of the chorales'"),
        "inside": (0.99, "at least 0.99", "share of MuseGAN's notes inside the range of their voice"),
        "pitches": (0.90, "at least 0.9", "overlap of MuseGAN's pitch classes with the held-out chorales'"),
    }
    figures = {}
    for name, (goal, words, about) in goals.items():
        score = scores[name]
        holds = score.value >= goal if score.better == "higher" else score.value < goal
        figures[name] = figure(score.value, words, holds, about, real=score.floor)
    rows = [{"score": name, "value": score.value, "real": score.floor} for name, score in scores.items()]
    return figures, [*rows, {"score": "equality, the book's reshape", "value": _book()}]


def _book() -> float:
    """Equality of four voices with a different constant note each, after the book's reshape of voice into time."""
    import torch

    from handmade.metrics.music import equality

    voices = torch.tensor([72, 67, 60, 48])[:, None].expand(4, 32)  # (V, T)
    return equality(voices.reshape(BOOK).reshape(32, 4))


def _timed(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
