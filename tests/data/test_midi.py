"""MIDI files: every note comes back, odd files are read or refused by name, and the same piece gives the same bytes."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handmade.errors import Damaged, HandmadeError, UserError
from handmade.midi import MOST_BYTES, Note, Piece, midi_bytes, pitch_name, read_midi, typed_notes

notes = st.builds(
    Note,
    start=st.floats(0, 60),
    length=st.floats(0, 5),
    pitch=st.integers(0, 127),
    velocity=st.integers(1, 127),
    track=st.integers(0, 3),
)
pieces = st.builds(lambda n: Piece(tuple(sorted(n)), ("a", "b", "c", "d")), st.lists(notes, max_size=40))


def var(number: int) -> bytes:
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(0x80 | number & 0x7F)
    return bytes(reversed(out))


def file(*tracks: bytes, kind: int = 1, division: int = 480) -> bytes:
    body = b"".join(b"MTrk" + struct.pack(">L", len(track)) + track for track in tracks)
    return b"MThd" + struct.pack(">LHHH", 6, kind, len(tracks), division & 0xFFFF) + body


END = b"\x00\xff\x2f\x00"
TEMPO_60 = b"\x00\xff\x51\x03\x0f\x42\x40"  # 60 quarter notes a minute


def on(delta: int, pitch: int, velocity: int = 80) -> bytes:
    return var(delta) + bytes((0x90, pitch, velocity))


def off(delta: int, pitch: int) -> bytes:
    return var(delta) + bytes((0x80, pitch, 0))


def pedal(delta: int, value: int) -> bytes:
    return var(delta) + bytes((0xB0, 64, value))


@given(pieces)
@settings(max_examples=60, deadline=None)
def test_every_note_that_is_written_is_read_again(piece):
    read = read_midi(midi_bytes(piece))
    tracks = sorted({note.track for note in piece.notes})
    wanted = sorted((tracks.index(n.track), n.pitch, n.velocity, round(n.start * 960)) for n in piece.notes)
    found = sorted((n.track, n.pitch, n.velocity, round(n.start * 960)) for n in read.notes)
    assert found == wanted
    ends = [sorted(round((n.start + n.length) * 960) for n in notes) for notes in (piece.notes, read.notes)]
    assert all(abs(a - b) <= 1 for a, b in zip(*ends, strict=True))
    assert midi_bytes(read) == midi_bytes(read_midi(midi_bytes(read))), "what was read once stays as it is"


def test_the_same_piece_gives_the_same_bytes_and_tempo_changes_no_sound():
    piece = Piece((Note(0.5, 0.25, 60, 90), Note(1.0, 0.0, 64)), ("piano",), 84.0)
    assert midi_bytes(piece) == midi_bytes(piece)
    slow, fast = read_midi(midi_bytes(piece, 50)), read_midi(midi_bytes(piece, 200))
    assert (slow.tempo, fast.tempo, read_midi(midi_bytes(piece)).tempo) == pytest.approx((50, 200, 84), abs=0.01)
    for read in (slow, fast):
        assert [n.start for n in read.notes] == pytest.approx([0.5, 1.0], abs=2e-3)


def test_times_follow_the_tempo_and_quarters_do_not():
    track = TEMPO_60 + on(0, 60) + off(480, 60) + b"\x00\xff\x51\x03\x07\xa1\x20" + on(0, 62) + off(480, 62) + END
    assert [(n.start, n.length) for n in read_midi(file(track)).notes] == [(0.0, 1.0), (1.0, 0.5)]
    assert [(n.start, n.length) for n in read_midi(file(track), unit="quarters").notes] == [(0.0, 1.0), (1.0, 1.0)]


def test_a_tempo_in_one_track_holds_for_all():
    read = read_midi(file(TEMPO_60 + END, on(0, 60) + off(480, 60) + END))
    assert read.notes == (Note(0.0, 1.0, 60),) and read.tempo == 60


def test_the_pedal_holds_notes_until_it_is_lifted_or_the_key_is_struck_again():
    track = TEMPO_60 + pedal(0, 127) + on(0, 60) + off(48, 60) + on(0, 62) + off(48, 62) + on(384, 60) + off(48, 60)
    read = read_midi(file(track + pedal(432, 0) + END))
    assert [(n.start, round(n.length, 3), n.pitch) for n in read.notes] == [
        (0.0, 1.0, 60),
        (0.1, 1.9, 62),
        (1.0, 1.0, 60),
    ]


def test_notes_after_the_last_pedal_and_a_pedal_never_lifted_lose_nothing():
    track = TEMPO_60 + pedal(0, 127) + on(0, 60) + off(48, 60) + pedal(48, 0)
    late = b"".join(on(0, 40 + k) + off(48, 40 + k) for k in range(20))
    assert len(read_midi(file(track + late + END)).notes) == 21
    held = read_midi(file(TEMPO_60 + pedal(0, 127) + on(0, 60) + off(48, 60) + b"\x8f\x10\xff\x2f\x00")).notes
    assert held[0].length == pytest.approx((48 + 0x790) / 480)


def test_a_pedal_that_says_the_same_again_and_again_is_no_load():
    many = b"".join(pedal(1, 64 + k % 60) for k in range(120_000))
    assert len(read_midi(file(on(0, 60) + many + off(0, 60) + END)).notes) == 1


def test_running_status_and_a_note_on_of_velocity_zero():
    track = (
        TEMPO_60 + on(0, 60) + var(240) + bytes((60, 0)) + var(0) + bytes((64, 70)) + var(240) + bytes((64, 0)) + END
    )
    assert read_midi(file(track)).notes == (Note(0.0, 0.5, 60, 80), Note(0.5, 0.5, 64, 70))


def test_overlapping_notes_on_one_key_end_in_the_order_in_which_they_began():
    track = TEMPO_60 + on(0, 60, 10) + on(240, 60, 20) + off(240, 60) + off(240, 60) + END
    assert read_midi(file(track)).notes == (Note(0.0, 1.0, 60, 10), Note(0.5, 1.0, 60, 20))


def test_a_note_without_an_end_lasts_as_long_as_the_file_and_one_of_no_length_stays():
    assert read_midi(file(TEMPO_60 + on(0, 60) + b"\x83\x60\xff\x2f\x00")).notes == (Note(0.0, 1.0, 60),)
    assert read_midi(file(TEMPO_60 + on(0, 60) + off(0, 60) + END)).notes == (Note(0.0, 0.0, 60),)


def test_type_0_files_are_parted_by_channel_and_drums_are_named():
    track = on(0, 60) + var(0) + bytes((0x99, 38, 90)) + off(480, 60) + var(0) + bytes((0x89, 38, 0)) + END
    read = read_midi(file(track, kind=0))
    assert read.tracks == ("1", "drums") and [n.track for n in read.notes] == [1, 0]
    assert read_midi(midi_bytes(read)).tracks == ("1", "drums")


def test_smpte_time():
    ticks = 25 * 40
    track = on(0, 60) + off(ticks, 60) + END
    assert read_midi(file(track, division=(0x100 - 25) << 8 | 40)).notes == (Note(0.0, 1.0, 60),)
    drop = read_midi(file(track, division=(0x100 - 29) << 8 | 40)).notes[0].length
    assert drop == pytest.approx(ticks / 40 / (30_000 / 1001))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a MIDI file"),
        (b"RIFF....", "not a MIDI file"),
        (file(on(0, 60) + END)[:-3], "cut off"),
        (file(b"\x00\x90\x3c")[:-1], "cut off"),
        (file(b"\x00\x3c\x40" + END), "cannot be read"),
        (file(on(0, 60) + END, kind=2), "type 2"),
        (file(on(0, 60) + END, division=0), "0 ticks"),
        (file(b"\xff\xff\xff\x7f\x90\x3c\x40" + END, division=1), "hours"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(content, words):
    with pytest.raises(HandmadeError, match=words) as error:
        read_midi(content, "song.mid")
    assert "song.mid" in str(error.value) and "\n" not in str(error.value)


def test_limits_are_kept(tmp_path):
    large = tmp_path / "large.mid"
    large.write_bytes(b"MThd" + bytes(MOST_BYTES))
    with pytest.raises(UserError, match="2,000,000 bytes"):
        read_midi(large)
    with pytest.raises(UserError, match="100,000"):
        read_midi(file(b"".join(on(1, 60) + off(1, 60) for _ in range(50_001)) + END))
    with pytest.raises(UserError, match="cannot read"):
        read_midi(tmp_path / "none.mid")


def test_broken_files_are_read_or_refused_never_anything_else():
    """Bytes changed, dropped and doubled in real files: 600 times."""
    luck = random.Random(0)
    piece = Piece(tuple(Note(k * 0.1, 0.3, 50 + k % 30, 1 + k, k % 2) for k in range(60)), ("one", "two"))
    good = midi_bytes(piece)
    for _ in range(600):
        broken = bytearray(good)
        for _ in range(luck.randrange(1, 6)):
            at = luck.randrange(len(broken))
            broken[at : at + luck.randrange(2)] = bytes(luck.randrange(256) for _ in range(luck.randrange(3)))
        try:
            read = read_midi(bytes(broken))
        except (Damaged, UserError):
            continue
        assert all(note.length >= 0 and 0 <= note.pitch <= 127 for note in read.notes)


def test_mido_hears_what_we_write():
    piece = Piece((Note(0.0, 0.5, 60, 100), Note(0.25, 0.5, 64, 90, 1)), ("left", "right"))
    read = mido.MidiFile(file=io.BytesIO(midi_bytes(piece)))
    assert read.type == 1 and [track.name for track in read.tracks] == ["", "left", "right"]
    assert read.length == pytest.approx(0.75)


def test_typed_notes():
    assert [(n.start, n.length, pitch_name(n.pitch)) for n in typed_notes("C4 r:2 f#3:0.5, Bb4+D5")] == [
        (0.0, 1.0, "C4"), (3.0, 0.5, "F#3"), (3.5, 1.0, "A#4"), (3.5, 1.0, "D5"),
    ]  # fmt: skip
    for wrong in ("H4", "C", "C4:0", "C12", "", "r", "C4 E4x"):
        with pytest.raises(UserError):
            typed_notes(wrong)


def test_a_path_and_bytes_read_alike(tmp_path: Path):
    content = midi_bytes(Piece((Note(0.0, 1.0, 60),)))
    (tmp_path / "a.mid").write_bytes(content)
    assert read_midi(tmp_path / "a.mid") == read_midi(content)
