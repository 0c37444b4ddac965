"""Performances as events: every note comes back to within 10 ms, its pitch and step of velocity exactly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handmade.data.codecs import codec_from_values, show_work
from handmade.data.codecs.midi_events import END, Events, decode, encode, events_of, piece_of, seconds_of
from handmade.errors import UserError
from handmade.midi import Note, Piece, midi_bytes, read_midi

notes = st.builds(
    Note,
    start=st.floats(0, 30) | st.sampled_from([0.0, 0.004, 0.005, 0.5, 0.995]),
    length=st.floats(0, 4) | st.just(0.0),
    pitch=st.integers(0, 127) | st.sampled_from([60, 61]),
    velocity=st.integers(1, 127),
    track=st.integers(0, 2),
)
pieces = st.builds(lambda n: Piece(tuple(sorted(n))), st.lists(notes, max_size=40))


def heard(piece: Piece) -> list[tuple[int, int, int]]:
    """Pitch, step of velocity and onset in steps of 10 ms of each note."""
    return sorted((note.pitch, note.velocity // 4, round(note.start / 0.01)) for note in piece.notes)


@given(pieces)
@settings(max_examples=100, deadline=None)
def test_every_note_comes_back(piece):
    back = piece_of(events_of(piece))
    assert heard(back) == heard(piece)
    starts = [sorted(note.start for note in part.notes) for part in (piece, back)]
    assert all(abs(a - b) <= 0.0050001 for a, b in zip(*starts, strict=True))
    ends = [sorted(max(n.start + n.length, round(n.start, 2) + 0.01) for n in part.notes) for part in (piece, back)]
    assert all(abs(a - b) <= 0.011 for a, b in zip(*ends, strict=True))


@given(pieces)
@settings(max_examples=60, deadline=None)
def test_events_of_what_events_play_are_the_same_events(piece):
    events = events_of(piece)
    assert all(0 <= event < END for event in events)
    assert events_of(piece_of(events)) == events


@given(pieces)
@settings(max_examples=40, deadline=None)
def test_files_to_events_to_files_lose_nothing(tmp_path_factory, piece):
    folder = tmp_path_factory.mktemp("midi")
    (folder / "a.mid").write_bytes(midi_bytes(piece))
    events = encode(folder / "a.mid")
    decode(events, folder / "b.mid")
    assert heard(read_midi(folder / "b.mid")) == heard(read_midi(folder / "a.mid"))
    assert encode(folder / "b.mid") == events


def test_notes_that_overlap_on_one_key_say_the_same_events_again():
    """Two begin together and a third later; the one that would last longest ends when the second does."""
    piece = Piece((Note(0.0, 0.3, 60, 4), Note(0.0, 1.0, 60, 1), Note(0.29, 0.01, 60, 1)))
    events = events_of(piece)
    assert events_of(piece_of(events)) == events
    assert [round(note.start + note.length, 2) for note in piece_of(events).notes] == [0.3, 0.3, 1.0]


@given(st.lists(st.integers(0, END), max_size=200))
@settings(max_examples=60, deadline=None)
def test_whatever_a_network_writes_is_a_piece(events):
    piece = piece_of(events)
    assert len(piece.notes) == sum(event < 128 for event in events)
    assert piece.seconds <= sum(map(seconds_of, events)) + 1e-6
    assert midi_bytes(piece)


def test_time_and_velocity_are_said_only_where_they_change():
    piece = Piece(tuple(Note(k * 0.5, 0.25, 60, 80) for k in range(20)))
    events = events_of(piece)
    assert sum(event >= 356 for event in events) == 1
    assert len(events) == 1 + 20 * 2 + 20 + 19
    assert [seconds_of(event) for event in (255, 256, 355, 356)] == [0.0, 0.01, 1.0, 0.0]


def test_drums_are_no_keys():
    drums, tones = [Note(0.5 * k, 0.1, 38, 90, 1) for k in range(4)], [Note(0.5 * k, 0.4, 60, 80, 0) for k in range(4)]
    both = read_midi(midi_bytes(Piece(tuple(sorted(drums + tones)), ("piano", "drums"))))
    assert events_of(both) == events_of(Piece(tuple(tones)))
    with pytest.raises(UserError, match="drums alone"):
        events_of(Piece(tuple(drums), ("piano", "drums")))


def test_the_codec_speaks_in_words():
    codec = Events()
    assert codec.size == 389 and codec.end == END and codec_from_values(codec.to_values()).size == 389
    ids = codec.encode("v20 +C4 500ms -C4 <end>")
    assert ids == [376, 60, 305, 188, 388] and codec.encode(codec.decode(ids)) == ids
    assert [codec.pitched[token] for token in (0, 255, 256, 388)] == [True, True, False, False]
    assert show_work(codec, "+C4")[0] == "+C4 -> 60"
    with pytest.raises(UserError, match=r'did you mean "\+C4"'):
        codec.encode("+C44")


def test_what_is_no_event_is_refused():
    for wrong in (-1, 389, 1000):
        with pytest.raises(UserError, match="no event"):
            piece_of([60, wrong])
