"""Scores for voices in MusicXML (packed: .mxl) -> piano rolls on a grid of sixteenths; or why not.

Only what a chorale needs is read: parts of one note at a time, durations, ties, upbeats. Written repeats are played once.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from handmade.data.codecs.pianoroll import BAR, HOLD, QUARTER, REST, Roll
from handmade.errors import Damaged

MOST_BYTES = 20_000_000  # of one unpacked score
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Unfit(Exception):
    """Why a score is not for voices on a grid."""


class Voice(NamedTuple):
    """One part."""

    cells: list[int]  # by step
    bars: list[int]  # steps of each bar, as they were filled


def read_mxl(content: bytes, voices: int = 4) -> Roll:
    """Read a packed score; Unfit says why it has not so many voices on the grid, Damaged that it is no score."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            name = next(
                n for n in packed.namelist() if n.endswith((".xml", ".musicxml")) and not n.startswith("META-INF")
            )
            with packed.open(name) as file:
                text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES or b"<!ENTITY" in text[:10_000]:
            raise Damaged("a score that is too large, or names entities of its own")
        score = ElementTree.fromstring(text)
    except (StopIteration, zipfile.BadZipFile, zlib.error, OSError, ElementTree.ParseError, RuntimeError) as error:
        raise Damaged(f"it cannot be read as a packed score: {error}") from None
    return roll_of_score(score, voices)


def roll_of_score(score: ElementTree.Element, voices: int) -> Roll:
    """The voices of a score that sound, from the first part to the last, on one grid."""
    parts = [part for part in map(_voice, score.iter("part")) if any(cell >= 0 for cell in part.cells)]
    if len(parts) != voices:
        raise Unfit(f"{len(parts)} voices")
    if len({len(part.cells) for part in parts}) > 1:
        raise Unfit("voices of different lengths")
    cells = np.array([part.cells for part in parts], np.int16).T  # (step, voice)
    cells = cells[: int(np.flatnonzero((cells != REST).any(1))[-1]) + 1]  # no silence behind the last note
    beats = score.find(".//time/beats"), score.find(".//time/beat-type")
    whole = BAR if None in beats else int(4 * QUARTER * Fraction(_number(beats[0]), _number(beats[1])))
    return Roll(cells, np.array(list(_places(parts[0].bars, whole)), np.int16)[: len(cells)])


def _voice(part: ElementTree.Element) -> Voice:
    """Read a part note by note; Unfit where two notes sound together or a note begins beside the grid."""
    begun: list[tuple[Fraction, Fraction, int, bool]] = []  # start, end, pitch, tied to the note before
    bars, now, end, unit, shift = [], Fraction(0), Fraction(0), 1, 0
    for measure in part.iter("measure"):
        before = end
        for item in measure:
            if item.tag == "attributes":
                unit = _number(item.find("divisions"), unit)
                shift = _number(item.find("transpose/chromatic"), shift)
            elif item.tag in ("backup", "forward", "note") and item.find("grace") is None:
                if item.find("chord") is not None:
                    raise Unfit("chords in a part")
                long = Fraction(_number(item.find("duration")) * QUARTER, unit) * (-1 if item.tag == "backup" else 1)
                if item.tag == "note" and item.find("rest") is None:
                    tied = any(tie.get("type") == "stop" for tie in item.findall("tie"))
                    begun.append((now, now + long, _pitch(item, shift), tied))
                now += long
                end = max(end, now)
        now = end  # a second voice may be shorter than the bar
        bars.append(end - before)
    cells = [REST] * int(end)
    for start, stop, pitch, tied in begun:
        if start.denominator * stop.denominator != 1:
            raise Unfit("notes beside the grid of sixteenths")
        if any(taken != REST for taken in cells[int(start) : int(stop)]):
            raise Unfit("two notes at once in a part")
        first = HOLD if tied and start > 0 and cells[int(start) - 1] != REST else pitch
        cells[int(start) : int(stop)] = [first, *[HOLD] * (int(stop - start) - 1)][: int(stop - start)]
    return Voice(cells, [int(size) for size in bars])


def _pitch(note: ElementTree.Element, shift: int) -> int:
    """The pitch of a note."""
    pitch = note.find("pitch")
    if pitch is None:
        raise Unfit("notes without a pitch")
    step = STEPS[pitch.findtext("step", "C")]
    return step + round(float(pitch.findtext("alter", "0"))) + 12 * (_number(pitch.find("octave")) + 1) + shift


def _number(element: ElementTree.Element | None, default: int = 0) -> int:
    return default if element is None or not element.text else int(float(element.text))


def _places(bars: list[int], whole: int) -> Iterator[int]:
    """The place of each step in its bar: an upbeat stands at the end of one, a bar in two pieces is counted through."""
    place = -bars[0] % whole if bars else 0
    for size in bars:
        place = 0 if size >= whole else place
        for _ in range(size):
            yield place % whole % BAR
            place += 1
