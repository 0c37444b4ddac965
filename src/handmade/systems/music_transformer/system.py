"""A network that goes on with music: a Transformer with relative attention. Huang et al. 2018 (arXiv 1809.04281).

Objective, the mean surprise at each token, given those before it in the window:
    transformer minimises  E_t[-log p(x_t | x_1 ... x_(t-1))]
A token is an event of a performance (a key struck or let go, time that passes) or, on a grid, what one voice does in one
sixteenth: soprano, alto, tenor, bass, and the next sixteenth. What departs from the paper is what pays for networks of this
size: RMS norms, no biases, matrices that learn by Muon, and on a grid the place in the bar and the chord as inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from handmade.artifacts import Music
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.codecs.midi_events import events_of, piece_of, seconds_of
from handmade.data.codecs.pianoroll import QUARTER, REST, VOICES, detached, piece_of_roll, roll_of_piece
from handmade.data.specs import MusicBatch, MusicSpec
from handmade.errors import Damaged, UserError
from handmade.midi import LONGEST_PLAYED, Piece, read_midi, typed_notes
from handmade.networks.muon import MuonAdamW
from handmade.samplers.tokens import Taste, fortunes
from handmade.systems.music_transformer.network import Form, Transformer
from handmade.systems.music_transformer.scores import pieces, running, score_pieces, score_surprise
from handmade.systems.music_transformer.writing import written

JUDGED = 16  # pieces that are written for a score
BARS = 8  # of each
BUSIEST = 100  # events in a second that a performance is allowed
BEAT = 0.5  # seconds of a typed note in a performance
MIDDLE = 70  # of a soprano's range
Instrument = Literal["piano", "organ", "strings", "flute", "plucked", "choir"]


@dataclass(frozen=True)
class Config:
    """The settings of the network and of its optimizer."""

    layers: int = 4  # blocks
    width: int = 128  # length of the vector that stands for a token
    heads: int = 4  # heads of attention; where they do not divide the width, fewer
    relative: bool = True  # attention by distance; off: each place in the window has a vector of its own
    dropout: float = 0.1  # share of numbers set to zero in training
    lr: float = 0.02  # of the matrices (Muon)
    rest_lr: float = 3e-3  # of embeddings, distances and head (AdamW)
    momentum: float = 0.95  # Muon
    decay: float = 0.0  # weight decay of the matrices


class MusicTransformer(System):
    """A network that reads music and gives odds for what comes next."""

    def __init__(self, config: Config, data: MusicSpec):
        super().__init__(config, data)
        heads = next(k for k in range(max(1, min(config.heads, config.width)), 0, -1) if config.width % k == 0)
        coder: Any = data.coder
        voices, hold = (data.voices, coder.hold) if data.codec["kind"] == "grid" else (0, 0)
        self.transformer = Transformer(Form(
            data.size, data.clocks, voices, hold, coder.end, data.context, config.layers, config.width, heads,
            config.relative, config.dropout,
        ))  # fmt: skip

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player; its matrices move by Muon, all else by AdamW."""
        c, matrices, rest = self.config, {}, []
        for name, parameter in self.transformer.named_parameters():
            if name.startswith("blocks.") and parameter.ndim == 2:
                matrices[parameter] = 3 if "qkv" in name else 1
            else:
                rest.append(parameter)
        return {"transformer": MuonAdamW(matrices, rest, c.lr, c.rest_lr, c.momentum, decay=c.decay)}

    def objective(self, batch: MusicBatch) -> Iterator[Turn]:
        """Guess each token from those before it; the loss is the mean surprise at what came, in nats."""
        loss = self.transformer(batch.tokens[:, :-1], batch.clock[:, 1:], targets=batch.tokens[:, 1:])
        yield Turn("transformer", loss)

    def evaluate(self, held_out: MusicBatch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Surprise at held-out music; and, of voices on a grid, pieces of its own beside held-out ones."""
        scores, spec = score_surprise(self.transformer, held_out, self.data), self.data
        if not self._grid:
            return scores
        steps = BARS * spec.bar
        found = pieces(running(held_out.tokens).cpu(), running(held_out.clock).cpu(), spec)
        real = [cells[:steps] for cells in found if len(cells) >= steps][:JUDGED]
        if len(real) < 2:
            return scores
        pens = self._written([], [], steps * spec.voices, Taste(), fortunes(len(real), 0), len(real))
        made = [torch.tensor(self._coder.cells(pen)) for pen in pens.tolist()]
        old = None if self.trained_on is None else self.trained_on()
        known = [] if old is None else pieces(old.tokens.long(), old.clock.long(), spec)
        return {**scores, **score_pieces(real, made, spec.bar, known)}

    @ask
    def generate(
        self, n: Annotated[int, Range(1, 64)] = 4, seconds: Annotated[float, Range(0.5, LONGEST_PLAYED)] = 20.0,
        temperature: Annotated[float, Range(0, 10)] = 0.9, top_k: Annotated[int, Range(0, 1000)] = 0,
        top_p: Annotated[float, Range(0.001, 1)] = 1.0, instrument: Instrument = "piano", soundfont: Path = Path(),
        seed: int = 0,
    ) -> Music:  # fmt: skip
        """Write new pieces, with nothing given.

        n: how many pieces
        seconds: how long each is
        temperature: 0 always takes the likeliest token, 1 follows the odds, more is wilder
        top_k: choose among the k likeliest tokens; 0: among all
        top_p: choose among the likeliest that together have this probability; 1: among all
        instrument: what plays
        soundfont: your own .sf2, played instead
        seed: which pieces; a larger n adds to the same series
        """
        made = self._go_on(Piece((), tempo=self.data.tempo), n, seconds, Taste(temperature, top_k, top_p), seed)
        return self._music(made, instrument, soundfont)

    @ask
    def continue_(
        self, midi: Path = Path(), notes: str = "", n: Annotated[int, Range(1, 64)] = 1,
        seconds: Annotated[float, Range(0.5, LONGEST_PLAYED)] = 20.0, temperature: Annotated[float, Range(0, 10)] = 0.9,
        top_k: Annotated[int, Range(0, 1000)] = 0, top_p: Annotated[float, Range(0.001, 1)] = 1.0,
        instrument: Instrument = "piano", soundfont: Path = Path(), seed: int = 0,
    ) -> Music:  # fmt: skip
        """Go on with a piece; the answer begins with what was given. A melody alone is given its other voices first.

        midi: a MIDI file that the piece begins with
        notes: a typed beginning instead, such as "C4 E4 G4:2 r Bb4:0.5"; r is a rest, :2 two beats, C4+E4 both at once
        n: how many continuations
        seconds: how much is added
        temperature: 0 always takes the likeliest token, 1 follows the odds, more is wilder
        top_k: choose among the k likeliest tokens; 0: among all
        top_p: choose among the likeliest that together have this probability; 1: among all
        instrument: what plays
        soundfont: your own .sf2, played instead
        seed: which continuations; a larger n adds to the same series
        """
        made = self._go_on(self._given(midi, notes), n, seconds, Taste(temperature, top_k, top_p), seed)
        return self._music(made, instrument, soundfont)

    @ask
    def harmonize(
        self, notes: str = "G4 A4 B4 D5 C5 B4 A4:2 B4 C5 D5 B4 A4 A4 G4:2", midi: Path = Path(),
        n: Annotated[int, Range(1, 64)] = 1, temperature: Annotated[float, Range(0, 10)] = 0.7,
        top_k: Annotated[int, Range(0, 1000)] = 0, top_p: Annotated[float, Range(0.001, 1)] = 1.0,
        instrument: Instrument = "choir", soundfont: Path = Path(), seed: int = 0,
    ) -> Music:  # fmt: skip
        """Write the other voices to a soprano; only runs that were trained on a grid of voices can.

        notes: the melody, such as "C5 D5 E5:2 r G5:0.5"; r is a rest, :2 two beats
        midi: a MIDI file with the melody instead; of several voices the highest counts
        n: how many settings
        temperature: 0 always takes the likeliest token, 1 follows the odds, more is wilder
        top_k: choose among the k likeliest tokens; 0: among all
        top_p: choose among the likeliest that together have this probability; 1: among all
        instrument: what plays
        soundfont: your own .sf2, played instead
        seed: which settings; a larger n adds to the same series
        """
        if not self._grid:
            raise UserError("this run learnt performances, which have no voices: harmonize needs one trained on a grid")
        piece = self._given(midi, "" if midi != Path() else notes)
        self._check_length(piece, 0.0)
        cells = self._cells(piece)
        if (cells[:, 0] < 0).all():
            raise UserError("there is no melody in what was given: give notes such as C5 D5 E5")
        rows = self._under(cells, n, Taste(temperature, top_k, top_p), seed)
        return self._music(self._played(rows, piece.tempo), instrument, soundfont)

    # how the asks work

    @property
    def _grid(self) -> bool:
        return self.data.codec["kind"] == "grid"

    @property
    def _coder(self) -> Any:
        return self.data.coder

    def _given(self, midi: Path, notes: str) -> Piece:
        """What a piece begins with, in quarter notes for a grid, else in seconds; no notes where nothing was given."""
        if midi != Path():
            if notes:
                raise UserError(f"give notes or a MIDI file, not both ({midi})")
            try:
                piece = read_midi(midi, unit="quarters" if self._grid else "seconds")
            except Damaged as error:
                raise UserError(f"the music cannot be used: {error}") from None
            return replace(piece, tempo=min(max(piece.tempo, 20.0), 400.0))
        beat = 1.0 if self._grid else BEAT
        typed = typed_notes(notes) if notes.strip() else ()
        return Piece(
            tuple(n._replace(start=n.start * beat, length=n.length * beat) for n in typed), tempo=self.data.tempo
        )

    def _go_on(self, piece: Piece, n: int, seconds: float, taste: Taste, seed: int) -> list[Piece]:
        """Pieces that begin with one piece and last so much longer."""
        self._check_length(piece, seconds)
        if not self._grid:
            rows = self._performed(events_of(piece), n, seconds, taste, seed)
            return [replace(piece_of(row), tempo=piece.tempo) for row in rows]
        cells, steps = self._cells(piece), math.ceil(seconds * piece.tempo / 60 * QUARTER)
        given = self._coder.tokens(cells.tolist())
        if cells.numel() and (cells[:, 1:] == REST).all():  # a melody alone: its other voices come first
            rows = self._under(cells, n, taste, seed, steps)
        else:
            rows = self._written(given, [], steps * self.data.voices, taste, fortunes(n, seed), n)
            rows = torch.cat([torch.tensor([given] * n, dtype=torch.int64).view(n, -1), rows], 1)
        return self._played(rows, piece.tempo)

    def _check_length(self, piece: Piece, seconds: float) -> None:
        """UserError, before anything is written, where a piece and what is added would be too long to be played."""
        given = piece.seconds * (60 / piece.tempo if self._grid else 1)
        if given + seconds > LONGEST_PLAYED - 1:  # a last note may end a little later
            there = f", and what was given has {given:,.0f}" if given else ""
            raise UserError(f"seconds={seconds:g} is too long: at most {LONGEST_PLAYED - 1:,} s can be played{there}")

    def _under(self, cells: Tensor, n: int, taste: Taste, seed: int, more: int = 0) -> Tensor:
        """Write the other voices to the first of (steps, voices) cells, and `more` steps behind them: (n, tokens)."""
        soprano = cells[:, 0]
        octaves = 12 * round((MIDDLE - float(soprano[soprano >= 0].float().median())) / 12)
        if octaves and self.data.voices > 1:
            self.tell(f"(the melody is moved by {octaves} semitones, to where a soprano sings)\n")
            soprano = self._folded(torch.where(soprano >= 0, soprano + octaves, soprano))
        known = torch.full((len(cells), self.data.voices), -1)
        known[:, 0] = torch.tensor(self._coder.tokens([[cell] for cell in soprano.tolist()]))
        most = (len(cells) + more) * self.data.voices
        return self._written([], known.flatten().tolist(), most, taste, fortunes(n, seed), n)

    def _cells(self, piece: Piece) -> Tensor:
        """A piece in quarter notes -> its cells (steps, voices) within the range that is known here."""
        roll, lost = roll_of_piece(detached(piece), self.data.voices)
        if lost:
            self.tell(f"({lost:,} notes found no free voice among {self.data.voices} and are left out)\n")
        return self._folded(torch.from_numpy(roll.cells).long())

    def _folded(self, cells: Tensor) -> Tensor:
        """Move pitches that lie outside the known range into it by octaves."""
        low, high = self._coder.low, self._coder.high
        up = (low - cells + 11).div(12, rounding_mode="floor").clamp_min(0) * 12
        down = (cells - high + 11).div(12, rounding_mode="floor").clamp_min(0) * 12
        return torch.where(cells >= 0, (cells + up - down).clamp(low, high), cells)

    def _written(self, prompt: Sequence[int], given: Sequence[int], most: int, taste: Taste, luck: Iterator[Tensor],
                 n: int) -> Tensor:  # fmt: skip
        """What comes after a prompt, (n, most) tokens; a piece does not end before."""
        end = self._coder.end
        text = written(self.transformer, [end, *prompt], given, [end], taste, luck, n, most)
        return torch.stack(list(text), 1).cpu()

    def _performed(self, events: list[int], n: int, seconds: float, taste: Taste, seed: int) -> list[list[int]]:
        """Continue a performance until so much time has passed in every row."""
        end, passes = self._coder.end, torch.tensor([seconds_of(event) for event in range(self.data.size)])
        most = int(seconds * BUSIEST) + 1
        text = written(self.transformer, [end, *events], [], [end], taste, fortunes(n, seed), n, most)
        rows, passed = [list(events) for _ in range(n)], torch.zeros(n)
        for tokens in text:
            for row, token, time in zip(rows, tokens.tolist(), passed.tolist(), strict=True):
                if time < seconds:
                    row.append(token)
            passed += passes[tokens.cpu()]
            if (passed >= seconds).all():
                break
        return rows

    def _played(self, rows: Tensor, tempo: float) -> list[Piece]:
        """Tokens of a grid (n, tokens) -> pieces."""
        names = VOICES if self.data.voices == len(VOICES) else ()
        grids = (torch.tensor(self._coder.cells(row)).numpy() for row in rows.tolist())
        return [piece_of_roll(cells, tempo, names) for cells in grids]

    def _music(self, pieces: Sequence[Piece], instrument: str, soundfont: Path) -> Music:
        return Music(tuple(pieces), instrument, soundfont=None if soundfont == Path() else soundfont)
