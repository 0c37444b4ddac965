"""Piano rolls: MIDI to roll to MIDI is exact, rests are rests, and a note struck again is no held note."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handmade.data.codecs import codec_from_values
from handmade.data.codecs.grid import Grid
from handmade.data.codecs.pianoroll import HOLD, REST, detached, piece_of_roll, roll_from, roll_of_piece, sounding
from handmade.data.specs import RollSpec
from handmade.errors import UserError
from handmade.midi import Note, Piece, midi_bytes, read_midi


def legal(cells: np.ndarray) -> np.ndarray:
    """Cells in which nothing is held that has not begun, and the last step sounds."""
    cells = cells.copy()
    for step in range(len(cells)):
        before = cells[step - 1] if step else np.full(cells.shape[1], REST)
        cells[step] = np.where((cells[step] == HOLD) & (before == REST), REST, cells[step])
    cells[-1] = np.where(cells[-1] == REST, 60, cells[-1])
    cells[0] = np.where(cells[0] == REST, 60, cells[0])  # else a silent voice is no track
    return cells


cell = st.sampled_from([HOLD, HOLD, HOLD, REST, 48, 55, 60, 60, 67])
rolls = st.lists(st.tuples(cell, cell, cell, cell), min_size=1, max_size=40).map(lambda r: legal(np.array(r, np.int16)))


@given(rolls, st.sampled_from([60.0, 84.0, 97.3, 120.0]))
@settings(max_examples=80, deadline=None)
def test_roll_to_midi_to_roll_is_exact(cells, tempo):
    read = read_midi(midi_bytes(piece_of_roll(cells, tempo)), unit="quarters")
    back, lost = roll_of_piece(read, 4)
    assert lost == 0 and np.array_equal(back.cells, cells)


def test_four_constant_voices_stay_four_constant_voices():
    cells = np.full((16, 4), HOLD, np.int16)
    cells[0] = [72, 67, 60, 48]
    piece = piece_of_roll(cells, 60)
    assert [(n.pitch, n.track, n.start, n.length) for n in piece.notes] == [
        (48, 3, 0.0, 4.0), (60, 2, 0.0, 4.0), (67, 1, 0.0, 4.0), (72, 0, 0.0, 4.0),
    ]  # fmt: skip
    assert piece.tracks == ("soprano", "alto", "tenor", "bass")


def test_a_note_struck_again_is_kept_apart_and_a_hold_of_nothing_is_a_rest():
    cells = np.array([[60], [60], [HOLD], [REST], [HOLD], [62]], np.int16)
    assert [(n.start, n.length) for n in piece_of_roll(cells, 15).notes] == [(0.0, 1.0), (1.0, 2.0), (5.0, 1.0)]
    assert sounding(cells)[:, 0].tolist() == [60, 60, 60, REST, REST, 62]


def test_other_music_is_dealt_out_from_the_outer_voices_and_what_is_too_much_is_counted():
    chord = Piece((*(Note(0.0, 1.0, pitch) for pitch in (48, 55, 60, 64, 67)), Note(1.0, 1.0, 72)))
    roll, lost = roll_of_piece(chord, 4)
    assert lost == 1
    assert roll.cells[0].tolist() == [67, 64, 60, 48] and roll.cells[4].tolist() == [72, REST, REST, REST]


def test_a_melody_alone_is_the_first_voice():
    roll, lost = roll_of_piece(Piece((Note(0.0, 1.0, 60), Note(1.0, 0.5, 62))), 4)
    assert lost == 0 and roll.cells[:, 0].tolist() == [60, HOLD, HOLD, HOLD, 62, HOLD]
    assert (roll.cells[:, 1:] == REST).all()
    assert len(roll_of_piece(Piece(()), 4)[0].cells) == 0


MELODY = (67, 69, 71, 74, 72, 71, 69, 67)
LEGATO = tuple(Note(float(beat), 1.3, pitch) for beat, pitch in enumerate(MELODY))


def begun(piece: Piece, voice: int) -> list[int]:
    cells = roll_of_piece(piece, 4)[0].cells[:, voice]
    return cells[cells >= 0].tolist()


def test_a_melody_that_is_played_legato_stays_in_its_voice():
    assert begun(Piece(LEGATO), 0) != [*MELODY]  # training pieces are read as they stand
    assert begun(detached(Piece(LEGATO)), 0) == [*MELODY]
    assert [note.length for note in detached(Piece(LEGATO)).notes] == [1.0] * 7 + [1.3]


def test_a_bass_that_is_held_under_a_melody_stays_and_the_melody_keeps_its_notes():
    held = Piece(tuple(sorted([*LEGATO, Note(0.0, 4.0, 48), Note(4.0, 4.0, 43)])))
    assert begun(detached(held), 0) == [*MELODY] and begun(detached(held), 3) == [48, 43]
    assert [note.length for note in detached(held).notes if note.pitch < 60] == [4.0, 4.0]


@given(rolls)
@settings(max_examples=40, deadline=None)
def test_notes_that_do_not_hang_over_stay_as_they_are(cells):
    piece = read_midi(midi_bytes(piece_of_roll(cells, 60.0)), unit="quarters")
    assert detached(piece) == piece


def test_a_suspension_in_one_track_stays_where_another_voice_moves_on():
    alto, soprano = Note(0.0, 3.0, 65), (Note(0.0, 2.0, 72), Note(2.0, 2.0, 74))
    piece = Piece(tuple(sorted([alto, *soprano])))
    assert detached(piece) == piece


def test_drums_are_no_voice():
    beats = [Note(float(beat), 0.5, 36, 90, 1) for beat in range(8)]
    piece = Piece(tuple(sorted([*(note._replace(length=1.0) for note in LEGATO), *beats])), ("flute", "kit drums"))
    read = read_midi(midi_bytes(piece), unit="quarters")
    assert begun(read, 0) == [*MELODY] and 36 not in roll_of_piece(read, 4)[0].pitches
    with pytest.raises(UserError, match="drums alone"):
        roll_of_piece(Piece(tuple(beats), ("", "drums")), 4)


@given(rolls)
@settings(max_examples=40, deadline=None)
def test_a_grid_of_tokens_is_exact(cells):
    codec = Grid(4, 40, 80)
    tokens = codec.tokens(cells.tolist())
    assert np.array_equal(codec.cells(tokens), cells) and np.array_equal(codec.cells([*tokens, codec.end, 3]), cells)
    assert codec.encode(codec.decode(tokens)) == tokens
    assert codec_from_values(codec.to_values()).size == codec.size == 41 + 3


def test_a_grid_of_tokens_goes_voice_by_voice_and_refuses_what_lies_outside():
    codec = Grid(2, 60, 72)
    assert codec.decode(codec.tokens([[72, 60], [HOLD, REST]])) == "C5 C4 _ . "
    assert codec.cells(codec.encode("C5 . _")) == [[72, REST], [HOLD, HOLD]]
    with pytest.raises(UserError, match="C3 lies outside C4 to C5"):
        codec.tokens([[48, 60]])
    with pytest.raises(UserError, match="no token"):
        codec.encode("C9")


def test_one_hot_bars_are_exact():
    spec = RollSpec(4, 2, 16, 40, 80)
    cells = torch.from_numpy(np.random.default_rng(0).choice([HOLD, REST, 40, 57, 80], (3, 32, 4)))
    states = spec.states_of(cells)
    assert states.shape == (3, 4, 2, 16) and spec.encode(states).shape == (3, 4, 2, 16, 43)
    assert torch.equal(spec.cells(spec.decode(spec.encode(states))), cells)


def test_a_piece_of_endless_quarters_is_refused():
    with pytest.raises(UserError, match="sixteenths"):
        roll_of_piece(Piece((Note(0.0, 1e9, 60),)))


def test_places_count_through_bars_of_sixteen():
    assert roll_from([[60]] * 20, first=12).places.tolist() == [*range(12, 16), *range(16)]
