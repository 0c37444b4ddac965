"""The music_transformer room: distances, the cache, what is given stays given, and scores that mean what they say."""

from __future__ import annotations

import math
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch

from handmade.data.codecs.midi_events import Events
from handmade.data.codecs.pianoroll import roll_of_piece
from handmade.data.loader import Loader
from handmade.data.source import open_data
from handmade.data.specs import MusicBatch, MusicSpec
from handmade.engine.devices import World
from handmade.engine.turns import Table, players_of
from handmade.errors import UserError
from handmade.midi import Note, Piece, midi_bytes, read_midi
from handmade.samplers.tokens import Taste, fortunes
from handmade.systems.music_transformer.network import Cache, chords
from handmade.systems.music_transformer.scores import pieces, score_surprise, surprises
from handmade.systems.music_transformer.system import Config, MusicTransformer
from handmade.systems.music_transformer.writing import written

GRID = MusicSpec({"kind": "grid", "voices": 4, "low": 40, "high": 80}, 32, 120.0)
EVENTS = MusicSpec(Events().to_values(), 48)


def system(spec: MusicSpec = GRID, **config: Any) -> MusicTransformer:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = MusicTransformer(Config(**{"layers": 2, "width": 24, "heads": 2, "dropout": 0.0, **config}), spec)
    with torch.no_grad():
        for parameter in made.parameters():  # untrained heads say next to nothing
            parameter.mul_(8.0)
    return made.eval()


def window(spec: MusicSpec, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randint(spec.size - 1, (2, length)), torch.arange(length)[None].expand(2, -1) % spec.clocks


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("spec", [GRID, EVENTS])
def test_token_by_token_gives_what_all_at_once_gives(spec, relative):
    made = system(spec, relative=relative).transformer
    tokens, clock = window(spec, 20)
    with torch.no_grad():
        whole, cache = made(tokens, clock), Cache(made.form, 20)
        chord = chords(tokens, (clock - 1) % spec.voices, made.form)
        parts = [made(tokens[:, :7], clock[:, :7], chord[:, :7], cache)]
        parts += [made(tokens[:, t : t + 1], clock[:, t : t + 1], chord[:, t : t + 1], cache) for t in range(7, 20)]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)


@pytest.mark.parametrize("relative", [True, False])
def test_no_token_sees_what_comes_after_it(relative):
    made = system(relative=relative).transformer
    tokens, clock = window(GRID, 20)
    changed = tokens.clone()
    changed[:, 12] += 1
    with torch.no_grad():
        before, after = made(tokens, clock), made(changed, clock)
    assert torch.equal(before[:, :12], after[:, :12]) and not torch.equal(before[:, 12], after[:, 12])


def test_the_chord_is_what_every_voice_sounds_by_now():
    made, coder = system().transformer, GRID.coder
    tokens = torch.tensor([coder.encode("_ G4 _ C4 E5 _ . _ <end> _ D4")])
    clock = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]])  # of the tokens after these
    told = chords(tokens, (clock - 1) % 4, made.form)[0]
    words = [" ".join(coder.name(token) for token in row) for row in told.tolist()]
    assert words[:8] == [
        "_ _ _ _", "_ G4 _ _", "_ G4 _ _", "_ G4 _ C4", "E5 G4 _ C4", "E5 G4 _ C4", "E5 G4 . C4", "E5 G4 . C4",
    ]  # fmt: skip
    assert words[8:] == ["<end> <end> <end> <end>", "<end> <end> <end> <end>", "<end> D4 <end> <end>"]


def test_without_relative_attention_every_place_has_its_vector():
    assert system(relative=False).transformer.positions is not None and system().transformer.positions is None
    assert {name.rsplit(".")[-1] for name, _ in system().named_parameters()} == {"weight", "distances"}


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("spec", [GRID, EVENTS])
def test_what_is_written_is_the_same_with_and_without_the_cache(spec, relative):
    made, end, texts = system(spec, relative=relative), spec.coder.end, []
    for cached in (True, False):
        text = written(made.transformer, [end, 3, 4, 5], [], [end], Taste(), fortunes(3, 0), 3, 25, cached)
        texts.append(torch.stack(list(text), 1))
    assert torch.equal(*texts)


@pytest.mark.parametrize("relative", [True, False])
def test_a_piece_outgrows_the_context_and_never_ends_by_itself(relative):
    made, end = system(relative=relative), GRID.coder.end  # type: ignore[attr-defined]
    long = list(written(made.transformer, [end], [], [end], Taste(), fortunes(2, 0), 2, 3 * GRID.context))
    assert len(long) == 3 * GRID.context and not any((token == end).any() for token in long)


def test_a_row_is_the_same_however_many_are_written_beside_it():
    made = system()
    few, many = (made.generate(n=n, seconds=3, seed=5).pieces for n in (1, 4))
    assert few[0] == many[0] and many[0] != many[1]


def test_training_on_the_clock_and_tokens_lowers_the_surprise():
    data, spec = open_data({"source": "performances", "form": "grid", "n": 8, "unseen": 3, "context": 32})
    torch.manual_seed(0)
    made = MusicTransformer(Config(layers=1, width=32, heads=2, dropout=0.0), spec)  # type: ignore[arg-type]
    table, loader, losses = Table(made, players_of(made), World()), Loader(data, 8), []
    for step in range(40):
        losses += [turn.loss.item() for turn in table.play([next(loader)], seed=step)]
    assert losses[0] == pytest.approx(math.log(spec.size), abs=0.1) and losses[-1] < 0.6 * losses[0]  # type: ignore[union-attr]


# scores


def test_surprises_cover_every_token_once_and_agree_with_one_window():
    made = system()
    tokens, _ = window(GRID, 32 * 4 + 1)
    clock = torch.arange(tokens.shape[1]) % GRID.clocks
    held = MusicBatch(tokens[0].unfold(0, 33, 32), torch.ones(4, dtype=torch.bool), clock.unfold(0, 33, 32))
    with torch.no_grad():
        nats = surprises(made.transformer, held)
        logits = made.transformer(tokens[:1, :32], clock[None, 1:33])
        first = torch.nn.functional.cross_entropy(logits.mT, tokens[:1, 1:33], reduction="none")[0]
        last = made.transformer(tokens[:1, 96:128], clock[None, 97:129])
    assert nats.shape == (128,) and torch.allclose(nats[:32], first, atol=1e-5)
    right = torch.nn.functional.cross_entropy(last.mT, tokens[:1, 97:129], reduction="none")[0, 16:]
    assert torch.allclose(nats[-16:], right, atol=1e-5)


def test_units_of_surprise_follow_from_one_another():
    made = system()
    data, _ = open_data({"source": "performances", "form": "grid", "n": 4, "unseen": 3, "context": 32}, "test")
    batch = data.batch(torch.arange(len(data)), torch.Generator())
    batch = batch._replace(tokens=batch.tokens.clamp_max(GRID.size - 1))
    with torch.no_grad():
        scores = score_surprise(made.transformer, batch, GRID)
    assert scores["nats_per_step"].value == pytest.approx(4 * scores["nats"].value)
    notes = int(scores["nats_per_note"].about.split("(")[1].rstrip(")").replace(",", ""))
    count = batch.tokens.shape[0] * 32
    assert scores["nats_per_note"].value * notes == pytest.approx(scores["nats"].value * count, rel=0.02)


def test_pieces_begin_with_their_first_whole_bar():
    coder: Any = GRID.coder
    voices = [[60, 55, 50, 45]] * 40
    tokens = torch.tensor([*coder.tokens(voices), coder.end, *coder.tokens(voices[:5])])
    clock = torch.cat([(torch.arange(161) + 48) % 64, torch.arange(20)])
    found = pieces(tokens, clock, GRID)
    assert [len(piece) for piece in found] == [36, 5] and found[0][0].tolist() == [60, 55, 50, 45]


# asks


@pytest.fixture
def song(tmp_path: Path) -> Path:
    notes = [
        Note(0.5 * beat, 0.5, pitch - beat % 3, 90, voice)
        for beat in range(8)
        for voice, pitch in enumerate((72, 67, 60, 48))
    ]
    (tmp_path / "song.mid").write_bytes(midi_bytes(Piece(tuple(sorted(notes)), ("s", "a", "t", "b"), 120.0)))
    return tmp_path / "song.mid"


@pytest.mark.parametrize("spec", [GRID, EVENTS])
def test_a_continuation_begins_with_what_was_given_and_adds_so_many_seconds(spec, song):
    given = read_midi(song)
    made = system(spec)._go_on(system(spec)._given(song, ""), 2, 3.0, Taste(), 0)
    for piece in made:
        begun = [(round(note.start, 2), note.pitch) for note in piece.notes if note.start < 3.9]
        assert begun == sorted((round(note.start, 2), note.pitch) for note in given.notes if note.start < 3.9)
        assert 6.5 <= piece.seconds <= 7.6
    assert made[0] != made[1]


def test_generate_fills_the_time_that_was_asked_for():
    music = system().generate(n=2, seconds=4.0)
    assert len(music.pieces) == 2
    for piece in music.pieces:
        assert piece.seconds <= 4.0 + 1e-6 and piece.tempo == 120.0 and piece.tracks[0] == "soprano"


def test_harmonize_keeps_the_melody_and_writes_three_voices():
    music = system().harmonize(notes="G4 A4 r B4:0.5 C5:1.5", n=3)
    for piece in music.pieces:
        soprano = [(note.start, round(note.length, 3), note.pitch) for note in piece.notes if note.track == 0]
        assert soprano == [(0.0, 0.5, 67), (0.5, 0.5, 69), (1.5, 0.25, 71), (1.75, 0.75, 72)]
        assert {note.track for note in piece.notes} == {0, 1, 2, 3} and piece.seconds <= 2.5
    assert music.pieces[0] != music.pieces[1]


def test_a_melody_in_a_file_that_is_played_legato_is_harmonised_whole(tmp_path):
    pitches = [67, 69, 71, 74, 72, 71, 69, 67]
    notes = tuple(Note(0.5 * beat, 0.65, pitch) for beat, pitch in enumerate(pitches))
    (tmp_path / "legato.mid").write_bytes(midi_bytes(Piece(notes, ("flute",), 120.0)))
    music = system().harmonize(midi=tmp_path / "legato.mid")
    assert [note.pitch for note in music.pieces[0].notes if note.track == 0] == pitches


@pytest.mark.parametrize("spec", [GRID, EVENTS])
def test_what_would_be_too_long_to_be_played_is_refused_before_it_is_written(spec, tmp_path, monkeypatch):
    made = system(spec)
    monkeypatch.setattr(made, "_written", None, raising=False)
    monkeypatch.setattr(made, "_performed", None, raising=False)
    (tmp_path / "long.mid").write_bytes(midi_bytes(Piece((Note(0.0, 1.0, 60), Note(1190.0, 5.0, 60)), ("",), 120.0)))
    with pytest.raises(UserError, match="seconds=1200 is too long: at most 1,199 s"):
        made.generate(seconds=1200.0)
    with pytest.raises(UserError, match="what was given has 1,195"):
        made.continue_(midi=tmp_path / "long.mid", seconds=20.0)
    with pytest.raises(UserError, match="between 0.5 and 1200"):
        made.generate(seconds=3600.0)


def test_a_melody_is_moved_by_octaves_to_where_a_soprano_sings_and_that_is_told():
    made, told = system(), []
    made.tell = told.append  # type: ignore[method-assign]
    music = made.harmonize(notes="C3 E3 G3")
    assert [note.pitch for note in music.pieces[0].notes if note.track == 0] == [72, 76, 79]
    assert "moved by 24 semitones" in told[0]


def test_notes_outside_the_range_come_back_by_octaves():
    made = system()
    cells = made._folded(torch.tensor([[20, 39, 40, 80, 81, 127, -1, -2]]))
    assert cells.tolist() == [[44, 51, 40, 80, 69, 79, -1, -2]]


def test_a_typed_melody_is_harmonised_and_goes_on():
    music = system().continue_(notes="C5 E5 G5", seconds=2.0)
    roll, _ = roll_of_piece(read_midi(midi_bytes(music.pieces[0]), unit="quarters"))
    assert roll.cells[[0, 4, 8], 0].tolist() == [72, 76, 79] and len(roll.cells) == 12 + 16
    assert (roll.cells[:12, 1:] >= 0).any()
    events = system(EVENTS).continue_(notes="C4 E4+G4", seconds=1.0).pieces[0]
    assert [(n.start, n.pitch) for n in events.notes][:3] == [(0.0, 60), (0.5, 64), (0.5, 67)]


def test_what_cannot_be_asked_is_said_in_one_line(tmp_path, song):
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    for spec, ask, words, arguments in (
        (GRID, "continue", "not both", {"midi": song, "notes": "C4"}),
        (GRID, "continue", "cannot be used", {"midi": tmp_path / "broken.mid"}),
        (GRID, "continue", "is no note", {"notes": "Q7"}),
        (GRID, "harmonize", "no note", {"notes": "r r"}),
        (EVENTS, "harmonize", "no voices", {}),
    ):
        with pytest.raises(UserError, match=words):
            getattr(system(spec), ask)(**arguments)


def test_greedy_choice_needs_no_luck():
    made = system().transformer
    end = GRID.coder.end  # type: ignore[attr-defined]
    rows = [
        list(written(made, [end], [], [end], Taste(0.0), repeat(torch.tensor([luck])), 1, 9)) for luck in (0.1, 0.9)
    ]
    assert torch.equal(torch.stack(rows[0]), torch.stack(rows[1]))
