"""Notes, pieces, and standard MIDI files: what codecs, the synthesizer and the musical artifacts speak.

A `Piece` is a list of notes in seconds. `read_midi` makes one of any file of type 0 or 1: tempo changes and SMPTE time
become seconds, running status is read, a note under the sustain pedal lasts until the pedal is lifted or the key is struck
again, and of two overlapping notes on one key the first to begin is the first to end. Files from outside are read through
mido; what it cannot read is `Damaged`, with the file's name. `midi_bytes` writes the same bytes for the same piece.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from handmade.errors import Damaged, UserError

MOST_BYTES = 2_000_000
MOST_EVENTS = 100_000
MOST_SECONDS = 4 * 3600.0
TICKS = 480  # of a quarter note in the files that we write
BEAT = 500_000  # microseconds of a quarter note where a file names no tempo: 120 a minute
DRUMS = 9  # the channel of the drums, counted from 0
LONGEST_PLAYED = 20 * 60  # seconds of a piece that is played: its sound takes 700 kB a second while it is made
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


class Note(NamedTuple):
    """One note of a piece."""

    start: float  # seconds
    length: float  # seconds
    pitch: int  # 0 to 127, 60 is the middle C
    velocity: int = 80  # 1 to 127, how hard it is struck
    track: int = 0


@dataclass(frozen=True)
class Piece:
    """Notes in the order of time, and the names of their tracks."""

    notes: tuple[Note, ...]
    tracks: tuple[str, ...] = ()  # names; a track beyond them has none
    tempo: float = 120.0  # quarter notes a minute, of the notation: times are in seconds whatever it is

    @property
    def seconds(self) -> float:
        """When the last note ends."""
        return max((note.start + note.length for note in self.notes), default=0.0)

    @property
    def drums(self) -> set[int]:
        """The tracks of drums, by their names: `read_midi` gives one to those of the drums' channel."""
        return {track for track, name in enumerate(self.tracks) if "drum" in name.lower()}

    @property
    def pitched(self) -> tuple[Note, ...]:
        """The notes without those of drums, whose numbers are no pitches; UserError where there are drums alone."""
        drums = self.drums
        notes = tuple(note for note in self.notes if note.track not in drums)
        if self.notes and not notes:
            raise UserError("this piece has drums alone, which have no pitches: give one that an instrument plays")
        return notes


def pitch_name(pitch: int) -> str:
    """60 -> "C4", the middle C."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


SPELLED = re.compile(r"(?:([A-Ga-g])(##?|bb?|)(-?\d)|(r))(?::(\d+(?:\.\d+)?))?")


def typed_notes(text: str) -> tuple[Note, ...]:
    """Read a typed melody, times in quarter notes: "C4 E4 G4:2 r Bb4:0.5", r a rest, :2 a length other than 1.

    Notes joined by + sound together: "C4+E4+G4". UserError for what is no note.
    """
    notes, now = [], 0.0
    for word in text.replace(",", " ").split():
        found = [SPELLED.fullmatch(part) for part in word.split("+")]
        lengths = [float(part[5] or 1) for part in found if part]
        if len(lengths) < len(found) or not all(0 < length <= 64 for length in lengths):
            raise UserError(
                f'"{word}" is no note: write C4, F#3, Bb4, r for a rest, C4:2 for two beats, C4+E4 for both'
            )
        for part, length in zip(found, lengths, strict=True):
            if part and not part[4]:
                notes.append(Note(now, length, _typed_pitch(part[1], part[2], part[3], word)))
        now += max(lengths)
    if not notes:
        raise UserError('there is no note: write some, such as "C4 E4 G4"')
    return tuple(sorted(notes))


def _typed_pitch(letter: str, sign: str, octave: str, word: str) -> int:
    pitch = NAMES.index(letter.upper()) + sign.count("#") - sign.count("b") + 12 * (int(octave) + 1)
    if not 0 <= pitch <= 127:
        raise UserError(f'"{word}" lies outside the notes of MIDI: write notes from C-1 to G9')
    return pitch


class Event(NamedTuple):
    """What one message of a file says, at its tick."""

    tick: int
    kind: str  # on, off, pedal, silence, tempo, name
    track: int  # of the file
    channel: int = 0
    pitch: int = 0
    value: int = 0  # velocity; pedal down or up; microseconds of a quarter note
    name: str = ""


def read_midi(source: Path | bytes, name: str = "", unit: Literal["seconds", "quarters"] = "seconds") -> Piece:
    """Read a MIDI file, from its place or its bytes, into a piece.

    name: what messages call bytes
    unit: "quarters" counts times in quarter notes, as a score does; SMPTE files, which know none, then have 120 a minute
    Raises Damaged for a file that is none or is cut off, UserError for one that is too large.
    """
    content, name = _content(source, name)
    if content[:4] != b"MThd":
        raise Damaged(f'{name} is not a MIDI file: it begins with {content[:4]!r}, not b"MThd"')
    events, division, last = _events(content, name)
    if len(events) > MOST_EVENTS:
        raise UserError(f"{name} holds {len(events):,} events: give a file of at most {MOST_EVENTS:,}")
    clock = _clock(events, division, name)
    if clock(last) > MOST_SECONDS:
        raise UserError(
            f"{name} lasts {clock(last) / 3600:,.1f} hours: give a file of at most {MOST_SECONDS / 3600:.0f}"
        )
    if unit == "quarters":
        seconds = clock
        clock = (lambda tick: tick / division) if division > 0 else (lambda tick: 2 * seconds(tick))
    names = {event.track: event.name for event in events if event.kind == "name"}
    played = list(_notes(events, last))
    parts = sorted({key[:2] for key, *_ in played})  # a track of a piece is one channel in one track of the file
    channels = [sum(part[0] == track for part in parts) for track, _ in parts]
    notes = [
        Note(clock(on), clock(off) - clock(on), key[2], velocity, parts.index(key[:2]))
        for key, on, off, velocity in played
    ]
    titles = (_part_name(names.get(part[0], ""), part[1], many > 1) for part, many in zip(parts, channels, strict=True))
    beat = next((event.value for event in events if event.kind == "tempo" and event.value), BEAT)
    return Piece(tuple(sorted(notes)), tuple(titles), round(60e6 / beat, 3))


def _content(source: Path | bytes, name: str) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        content, name = source, name or "this MIDI"
    else:
        name = name or str(source)
        try:
            with Path(source).open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise UserError(f"cannot read {name}: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{name} has more than the {MOST_BYTES:,} bytes a MIDI file may have")
    return content, name


def _events(content: bytes, name: str) -> tuple[list[Event], int, int]:
    """The messages that matter, in the order of time; the header's division; the last tick of the file."""
    import mido

    try:
        file = mido.MidiFile(file=io.BytesIO(content))
    except EOFError:
        raise Damaged(f"{name} ends in the middle of a track: it was cut off, copy it again") from None
    except (OSError, ValueError, LookupError, TypeError, mido.KeySignatureError) as error:
        raise Damaged(f"{name} cannot be read as MIDI: {error}") from None
    if file.type not in (0, 1):
        raise UserError(
            f"{name} is a MIDI file of type {file.type}: types 0 and 1 can be read; export it again as type 1"
        )
    events: list[Event] = []
    last = 0
    for track, messages in enumerate(file.tracks):
        tick = 0
        for message in messages:
            tick += message.time
            if (event := _event(message, tick, track)) is not None:
                events.append(event)
        last = max(last, tick)
    events.sort(key=lambda event: event.tick)  # stable: what a track says at one tick keeps its order
    return list(_without_repeats(events)), file.ticks_per_beat, last


def _event(message, tick: int, track: int) -> Event | None:
    """One message of mido as an event, or None for what makes no sound here."""
    kind = message.type
    if kind == "note_on" and message.velocity:
        return Event(tick, "on", track, message.channel, message.note, message.velocity)
    if kind in ("note_on", "note_off"):
        return Event(tick, "off", track, message.channel, message.note)
    if kind == "control_change" and message.control == 64:
        return Event(tick, "pedal", track, message.channel, value=int(message.value >= 64))
    if kind == "control_change" and message.control == 121:  # reset all controllers
        return Event(tick, "pedal", track, message.channel)
    if kind == "control_change" and message.control in (120, 123):  # all sound off, all notes off
        return Event(tick, "silence", track, message.channel)
    if kind == "set_tempo":
        return Event(tick, "tempo", track, value=message.tempo)
    return Event(tick, "name", track, name=message.name.strip()) if kind == "track_name" else None


def _without_repeats(events: Iterable[Event]) -> Iterator[Event]:
    """Leave out what a half-pressed pedal says again and again: recorded pianos tell its place a hundred times a second."""
    down: dict[int, int] = {}
    for event in events:
        if event.kind == "pedal":
            if down.get(event.channel, 0) == event.value:
                continue
            down[event.channel] = event.value
        yield event


def _clock(events: list[Event], division: int, name: str) -> Callable[[int], float]:
    """A function from ticks to seconds, by the file's tempo changes or its SMPTE frames."""
    if division == 0:
        raise Damaged(f"{name} divides its beats into 0 ticks")
    if division < 0:  # SMPTE: frames a second, negative, in the high byte; ticks of a frame in the low one
        frames, ticks = -(division >> 8), division & 0xFF
        if not ticks:
            raise Damaged(f"{name} divides its frames into 0 ticks")
        rate = (30_000 / 1001 if frames == 29 else frames) * ticks
        return lambda tick: tick / rate
    ticks, seconds, pace = [0], [0.0], [BEAT / 1e6 / division]
    for event in events:
        if event.kind == "tempo":
            seconds.append(seconds[-1] + (event.tick - ticks[-1]) * pace[-1])
            ticks.append(event.tick)
            pace.append(event.value / 1e6 / division)

    def clock(tick: int) -> float:
        at = bisect_right(ticks, tick) - 1
        return seconds[at] + (tick - ticks[at]) * pace[at]

    return clock


def _notes(events: list[Event], last: int) -> Iterator[tuple[tuple[int, int, int], int, int, int]]:
    """Pair keys struck with keys let go: ((track, channel, pitch), tick on, tick off, velocity) of each note."""
    struck: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)  # held by a finger, oldest first
    ringing: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)  # held by the pedal alone
    down: set[int] = set()  # channels whose pedal is down

    def end(held, key, tick):
        yield from ((key, on, tick, velocity) for on, velocity in held.pop(key, ()))

    def end_channel(held, channel, tick):
        for key in [key for key in held if key[1] == channel]:
            yield from end(held, key, tick)

    for event in events:
        key = (event.track, event.channel, event.pitch)
        if event.kind == "on":
            yield from end(ringing, key, event.tick)  # a string that is struck again sounds anew
            struck[key].append((event.tick, event.value))
        elif event.kind == "off" and struck.get(key):
            on, velocity = struck[key].pop(0)
            if event.channel in down:
                ringing[key].append((on, velocity))
            else:
                yield key, on, event.tick, velocity
        elif event.kind == "pedal":
            if event.value:
                down.add(event.channel)
            else:
                down.discard(event.channel)
                yield from end_channel(ringing, event.channel, event.tick)
        elif event.kind == "silence":
            yield from end_channel(struck, event.channel, event.tick)
            yield from end_channel(ringing, event.channel, event.tick)
    for held in (struck, ringing):  # what nobody let go of ends with the file
        for key in list(held):
            yield from end(held, key, last)


def _part_name(name: str, channel: int, shared: bool) -> str:
    if channel == DRUMS and "drum" not in name.lower():
        return f"{name} drums".strip()
    return f"{name} {channel + 1}".strip() if shared else name


def midi_bytes(piece: Piece, tempo: float | None = None) -> bytes:
    """Write a piece as a MIDI file of type 1: its tempo, then one track and channel for each track of the piece.

    tempo: quarter notes a minute, in place of the piece's own; it changes the notation, not the sound
    """
    import mido

    tempo = piece.tempo if tempo is None else tempo

    if not 4 <= tempo <= 1000:
        raise UserError(f"a tempo lies between 4 and 1,000 beats a minute, not {tempo:g}")
    beat = round(60e6 / tempo)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=beat, time=0)]))
    count = max([len(piece.tracks), *(note.track + 1 for note in piece.notes)])
    channels = [channel for channel in range(16) if channel != DRUMS]
    for track in range(count):
        name = piece.tracks[track] if track < len(piece.tracks) else ""
        channel = DRUMS if "drum" in name.lower() else channels[track % 15]
        file.tracks.append(_track(mido, piece, track, name, channel, TICKS * 1e6 / beat))
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def _track(mido, piece: Piece, track: int, name: str, channel: int, rate: float):
    """One track of the file; at one tick keys are let go before keys are struck, but no note ends before it begins.

    Notes struck together on one key are written in the order in which they end, so that a reader pairs them as they are.
    """
    moments: list[tuple[int, int, int, int, int]] = []  # tick, rank, pitch, tick of the end, velocity
    for note in piece.notes:
        if note.track != track:
            continue
        if not (0 <= note.pitch <= 127 and 1 <= note.velocity <= 127 and note.start >= 0 and note.length >= 0):
            raise UserError(f"{note} is no note: pitches are 0 to 127, velocities 1 to 127, times 0 or more")
        on, off = round(note.start * rate), round((note.start + note.length) * rate)
        moments += [(on, 1, note.pitch, off, note.velocity), (off, 2 if off == on else 0, note.pitch, off, 0)]
    written, before = mido.MidiTrack(), 0
    if name:
        plain = name.encode("latin-1", "replace").decode("latin-1")
        written.append(mido.MetaMessage("track_name", name=plain, time=0))
    for tick, _, pitch, _, velocity in sorted(moments):
        written.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=tick - before))
        before = tick
    return written
