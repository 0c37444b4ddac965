"""What the synthesizer plays, held against what it was told to play."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
import soundfile

from handmade.errors import UserError
from handmade.midi import Note, Piece
from handmade.sound import INSTRUMENTS, RATE, SOUNDS, hertz, render, render_soundfont, sound_bytes, wav_bytes

every_instrument = pytest.mark.parametrize("name", INSTRUMENTS)


def played(*notes: Note, name: str = "organ", rate: int = RATE, echo: bool = False) -> np.ndarray:
    return render(Piece(notes), name, rate, echo)


def spectrum(sound: np.ndarray, rate: int = RATE) -> tuple[np.ndarray, np.ndarray]:
    mono = sound.sum(1)
    size = 1 << 18
    return np.fft.rfftfreq(size, 1 / rate), np.abs(np.fft.rfft(mono * np.hanning(len(mono)), size))


def test_pitches_are_tempered_equally_around_a_of_440_hertz():
    assert hertz(69) == 440 and hertz(81) == 880
    assert hertz(60) == pytest.approx(261.6256, abs=1e-4)


@every_instrument
@pytest.mark.parametrize("pitch", [45, 69, 88])
def test_a_notes_partials_lie_on_multiples_of_its_frequency(name, pitch):
    frequencies, heights = spectrum(played(Note(0, 2, pitch), name=name))
    fundamental = hertz(pitch) * (0.5 if name == "organ" else 1)  # the organ has a rank an octave below
    near = np.abs(frequencies / fundamental - np.rint(frequencies / fundamental)) * fundamental
    sharp = 0.02 * frequencies if name == "piano" else 0.006 * frequencies  # a stiff string, or players out of tune
    inside = near < np.maximum(sharp, 12)
    assert (heights[inside] ** 2).sum() > 0.97 * (heights**2).sum()
    there = np.abs(frequencies - hertz(pitch)) < 6
    assert heights[there].max() > 0.03 * heights.max(), "the fundamental itself is heard"


@every_instrument
def test_nothing_is_sounded_near_nyquists_frequency_or_folded_back(name):
    for rate in (8_000, RATE):
        frequencies, heights = spectrum(played(Note(0, 1, 100, 127), name=name, rate=rate), rate)
        assert heights[frequencies > 0.47 * rate].max() < 1e-3 * heights.max()
        lowest = 0.4 * hertz(100)
        assert heights[frequencies < lowest].max() < 2e-2 * heights.max(), "nothing below the note"


@every_instrument
def test_notes_begin_on_their_sample_and_rests_are_silent(name):
    start, end = round(0.3 * RATE), round(0.8 * RATE)
    sound = played(Note(0.3, 0.5, 60), Note(1.5, 0.1, 60), name=name)
    heard = np.abs(sound).max(1)
    assert heard[: start + 1].max() == 0 and heard[start : start + 200].max() > 0, "within 5 ms"
    release = round(INSTRUMENTS[name].release * RATE)
    assert heard[end + release : round(1.5 * RATE)].max() == 0


@every_instrument
def test_there_are_no_clicks(name):
    """The steepest slope at the beginning and at the end of a note is that of its own partials."""
    sound = played(Note(0.1, 0.4, 50), Note(0.7, 0.4, 74), name=name).sum(1)
    slope = np.abs(np.diff(sound))
    inside = slope[round(0.12 * RATE) : round(0.49 * RATE)].max()
    edges = [slope[at - 40 : at + 40].max() for at in (round(0.1 * RATE), round(0.5 * RATE))]
    assert max(edges) <= 1.05 * inside
    last = round((1.1 + INSTRUMENTS[name].release) * RATE)
    assert abs(sound[last - 1]) < 1e-3


def test_the_root_mean_square_follows_the_square_of_the_velocity():
    def level(velocity: int) -> float:
        sound = played(Note(0, 1, 60, velocity), name="flute")
        return float(np.sqrt(np.square(sound[RATE // 4 : RATE // 2]).sum(1).mean()))

    for soft, loud in ((32, 64), (64, 127), (50, 100)):
        assert level(loud) / level(soft) == pytest.approx((loud / soft) ** 2, rel=0.02)
    assert level(127) == pytest.approx(0.16, rel=0.05)


def test_a_louder_stroke_is_brighter():
    def centre(velocity: int) -> float:
        frequencies, heights = spectrum(played(Note(0, 1, 60, velocity), name="piano"))
        return float((frequencies * heights**2).sum() / (heights**2).sum())

    assert centre(120) > 1.1 * centre(40)


def test_a_struck_tone_dies_away_and_a_held_one_does_not():
    early, late = slice(RATE // 10, RATE // 4), slice(2 * RATE, 2 * RATE + RATE // 4)
    for name, held in (("piano", False), ("plucked", False), ("organ", True), ("flute", True)):
        sound = played(Note(0, 3, 60), name=name)
        kept = np.sqrt(np.square(sound[late]).mean() / np.square(sound[early]).mean())
        assert kept > 0.5 if held else kept < 0.3


def test_a_piece_is_as_long_as_its_notes_and_what_rings_after_them():
    piece = Piece((Note(0, 0.5, 60), Note(1, 1, 64)))
    assert len(render(piece, "organ", echo=False)) == 2 * RATE + round(0.09 * RATE) + 1
    assert len(render(piece, "organ")) == 2 * RATE + round(0.09 * RATE) + 1 + round(1.3 * RATE)


def test_the_echo_dies_away():
    sound = played(Note(0, 0.5, 60, 127), echo=True)
    assert np.abs(sound[-RATE // 10 :]).max() < 1e-3 < np.abs(sound[round(0.7 * RATE) : round(0.8 * RATE)]).max()


def test_voices_stand_from_left_to_right_and_one_alone_in_the_middle():
    left_and_right = [
        np.square(played(Note(0, 1, 60, 80, track), Note(0, 1, 60, 1, 1 - track))).sum(0) for track in (0, 1)
    ]
    assert left_and_right[0][0] > 2 * left_and_right[0][1] and left_and_right[1][1] > 2 * left_and_right[1][0]
    alone = played(Note(0, 1, 60))
    assert np.allclose(alone[:, 0], alone[:, 1], atol=1e-6)


def test_a_piece_that_is_too_loud_is_turned_down_as_a_whole():
    one = played(Note(0, 1, 60, 127))
    many = played(*(Note(0, 1, 60, 127) for _ in range(40)))
    assert np.abs(many).max() == pytest.approx(0.98, abs=1e-3)
    ratio = np.abs(many).max() / np.abs(one).max()
    assert np.allclose(many, ratio * one, atol=1e-4)


def test_the_same_piece_is_the_same_sound():
    notes = tuple(Note(0.2 * i, 0.3, 50 + i, 60 + i, i % 3) for i in range(12))
    assert np.array_equal(played(*notes, name="piano", echo=True), played(*notes, name="piano", echo=True))


def test_each_track_can_have_an_instrument_of_its_own():
    notes = (Note(0, 1, 72, 80, 0), Note(0, 1, 40, 80, 1))
    both = render(Piece(notes), ["flute", "bass"], echo=False)
    assert np.isfinite(both).all()
    with pytest.raises(UserError, match="1 instruments cannot play track 2"):
        render(Piece(notes), ["flute"])
    with pytest.raises(UserError, match='no instrument "flut"; did you mean "flute"'):
        render(Piece(notes), "flut")


def test_drums_are_left_out_and_no_notes_are_silence():
    assert np.abs(render(Piece((Note(0, 1, 40),), ("drums",)))).max() == 0
    assert np.abs(render(Piece(()))).max() == 0


@pytest.mark.parametrize(("notes", "rate"), [((Note(0, 1300, 60),), RATE), ((Note(0, 1, 60),), 100)])
def test_what_cannot_be_played_is_refused(notes, rate):
    with pytest.raises(UserError, match="too long to be played|no rate of sound"):
        render(Piece(notes), rate=rate)


def test_four_voices_are_played_many_times_faster_than_they_last():
    notes = tuple(
        Note(0.25 * i, 0.25, 40 + (7 * i + 12 * v) % 40, 60 + i % 5 * 10, v) for i in range(120) for v in range(4)
    )
    tries = []
    for _ in range(
        3
    ):  # the goal of fifty is measured by benchmarks/music_sound.py; other work on the machine slows this one
        start = time.process_time()
        render(Piece(notes), "piano")
        tries.append(time.process_time() - start)
    assert min(tries) < 30 / 20


# files


def test_a_wav_file_is_what_other_programs_read():
    sound = played(Note(0, 0.5, 60))
    read, rate = soundfile.read(io.BytesIO(wav_bytes(sound, RATE)), dtype="float32")
    assert rate == RATE and read.shape == sound.shape
    assert np.abs(read * 32768 / 32767 - sound).max() <= 0.51 / 32767


@pytest.mark.parametrize("kind", SOUNDS)
def test_every_kind_of_file_sounds_the_same_and_is_the_same_bytes_again(kind):
    sound = played(Note(0, 1, 60), Note(1, 1, 67), name="piano", echo=True)
    data = sound_bytes(sound, RATE, kind)
    assert data == sound_bytes(sound, RATE, kind)
    read, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE and abs(len(read) - len(sound)) < 3000
    n = min(len(read), len(sound))
    assert np.corrcoef(read[:n, 0], sound[:n, 0])[0, 1] > 0.99


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(UserError, match='cannot be saved as "aiff"'):
        sound_bytes(np.zeros((10, 2), np.float32), RATE, "aiff")


def test_a_soundfont_without_its_player_or_its_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"pip install --no-deps tinysoundfont|no soundfont"):
        render_soundfont(Piece((Note(0, 1, 60),)), tmp_path / "none.sf2")
