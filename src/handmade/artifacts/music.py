"""Music: for each piece a MIDI file, its sound, its piano roll and a listing of its notes; and a sheet of all the rolls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from handmade.artifacts.artifact import Artifact
from handmade.artifacts.provenance import midi_with_note, png_bytes, sidecar, to_json, wav_note
from handmade.artifacts.roll import draw_rolls
from handmade.artifacts.terminal import printable
from handmade.errors import UserError, did_you_mean
from handmade.midi import Note, Piece, midi_bytes, pitch_name

SHOWN = 30.0  # seconds of all pieces, one after the other, that a page plays and draws
MOST = 2000  # notes for a page
ROWS = 40  # of a listing in a terminal
GRID = 0.25  # beats to which the listing rounds
Instrument = Literal["choir", "organ", "strings", "piano", "flute", "plucked", "bass"]  # the built-in ones
Sound = Literal["wav", "flac", "mp3", "ogg"]  # the files of sound


@dataclass(frozen=True, eq=False)
class Music(Artifact):
    """Finished pieces, and what they are played with."""

    pieces: tuple[Piece, ...]
    instrument: str = "piano"  # of the built-in ones; several, separated by commas: one for each track
    beats: int = 4  # quarter notes of a bar: where the lines of the roll are; how long they last is the piece's tempo
    names: tuple[str, ...] = ()  # file names without their endings; none: 000000, 000001, ...
    titles: tuple[str, ...] = ()  # one for each piece, over its roll
    columns: int | None = None  # of the sheet; None: as many rolls side by side as a page is wide
    sound: str = "wav"  # or flac, mp3, ogg: the files of sound
    soundfont: Path | None = None  # the user's own .sf2, played instead of the built-in instruments

    def __post_init__(self) -> None:
        if not self.pieces:
            raise UserError("there is no music: at least one piece")
        for what, given in (("file names", self.names), ("titles", self.titles)):
            if given and len({*given} if what == "file names" else given) != len(self.pieces):
                raise UserError(f"{len(self.pieces)} pieces cannot have {len(given)} {what}: give one each, or none")
        if self.sound not in get_args(Sound):
            raise UserError(f'sound cannot be saved as "{self.sound}"{did_you_mean(self.sound, get_args(Sound))}')

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield for each piece `000000.mid`, its sound, its roll and its listing, the last with a sidecar."""
        for index, piece in enumerate(self.pieces):
            stem = self.names[index] if self.names else f"{index:06d}"
            yield from self._noted(f"{stem}.mid", midi_bytes(piece), index)
            yield from self._sounded(f"{stem}.{self.sound}", piece, index)
            roll = draw_rolls([piece], self.beats, self.titles[index : index + 1])
            yield f"{stem}.png", png_bytes(roll, self.note(f"{stem}.png", index))
            yield from self._noted(f"{stem}.txt", "\n".join([*self.listing(index), ""]).encode(), index)

    def _sounded(self, file: str, piece: Piece, index: int) -> Iterator[tuple[str, bytes]]:
        from handmade.sound import RATE, render, render_soundfont, sound_bytes, wav_bytes

        played = render_soundfont(piece, self.soundfont) if self.soundfont else render(piece, self._instruments(piece))
        if self.sound != "wav":
            yield from self._noted(file, sound_bytes(played, RATE, self.sound), index)
            return
        note = self.note(file, index)
        yield file, wav_bytes(played, RATE, b"" if note is None else wav_note(note))

    def _noted(self, file: str, data: bytes, index: int) -> Iterator[tuple[str, bytes]]:
        """The file with its origin inside where it is MIDI, or else beside it."""
        note = self.note(file, index)
        if note is not None and file.endswith(".mid"):
            data = midi_with_note(data, note)
        yield file, data
        if note is not None and not file.endswith(".mid"):
            yield sidecar(file), to_json(note).encode()

    def _instruments(self, piece: Piece) -> list[str]:
        """One name for each track; the last that is named plays what no other is named for."""
        names = [name.strip() for name in self.instrument.split(",")]
        tracks = max((note.track + 1 for note in piece.notes), default=1)
        return [names[min(track, len(names) - 1)] for track in range(tracks)]

    def sample(self) -> dict[str, Any]:
        """Return the notes of the first pieces, one after the other, so that a page can draw and play them."""
        beat = 60 / self.pieces[0].tempo
        row = in_a_row(self.pieces, beat)
        notes = [[*(round(value, 4) for value in note[:2]), *note[2:]] for note in row.notes if note.start < SHOWN]
        return {
            "kind": "music", "notes": notes[:MOST], "tracks": list(row.tracks), "bar": beat * self.beats,
            "instruments": self._instruments(row), "of": len(self.pieces),
        }  # fmt: skip

    def picture(self) -> Image.Image:
        """Draw all rolls on one sheet."""
        return draw_rolls(self.pieces, self.beats, self.titles, self.columns)

    def text(self, width: int = 80, colour: bool | None = None) -> str:
        """Show the listing of the first piece, as much of it as fits a terminal."""
        n, seconds = len(self.pieces), max(piece.seconds for piece in self.pieces)
        head = f"{n} piece{'s' if n > 1 else ''}, the longest of {seconds:.1f} s"
        lines = self.listing(0)
        more = [f"... {len(lines) - ROWS} more lines"] if len(lines) > ROWS else []
        return "\n".join([head, *(printable(line)[:width] for line in lines[:ROWS]), *more])

    def listing(self, index: int) -> list[str]:
        """One piece as a table: a line for each moment at which a note begins, a column for each track.

        `|` is a note that sounds on, `.` silence; moments are rounded to sixteenths, and counted in bars and beats from 1.
        """
        piece = self.pieces[index]
        beat = 60 / piece.tempo
        begun: dict[int, dict[int, list[Note]]] = defaultdict(lambda: defaultdict(list))  # moment -> track -> notes
        for note in piece.notes:
            begun[_step(note.start, beat)][note.track].append(note)
        tracks = max([len(piece.tracks), *(note.track + 1 for note in piece.notes), 1])
        until, rows, before = [0] * tracks, [], -1
        for moment in sorted(begun):
            bar, place = divmod(moment * GRID, self.beats)
            cells = []
            for track in range(tracks):
                notes = begun[moment].get(track, [])
                cells.append(" ".join(map(pitch_name, sorted({note.pitch for note in notes}))))
                cells[-1] = cells[-1] or ("|" if until[track] > moment else ".")
                until[track] = max([until[track], *(_step(note.start + note.length, beat) for note in notes)])
            rows.append([f"{int(bar) + 1}" if bar > before else "", f"{place + 1:g}", *cells])
            before = bar
        table = [["bar", "beat", *(_title(piece, track) for track in range(tracks))], *rows]
        widths = [max(len(row[column]) for row in table) for column in range(tracks + 2)]
        return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in table]


def in_a_row(pieces: Sequence[Piece], gap: float) -> Piece:
    """All pieces one after the other, `gap` seconds apart."""
    notes: list[Note] = []
    start = 0.0
    for piece in pieces:
        notes += [note._replace(start=note.start + start) for note in piece.notes]
        start += piece.seconds + gap
    return replace(pieces[0], notes=tuple(notes))


def _step(seconds: float, beat: float) -> int:
    return round(seconds / beat / GRID)


def _title(piece: Piece, track: int) -> str:
    named = piece.tracks[track] if track < len(piece.tracks) else ""
    return named or f"track {track + 1}"
