"""Music as windows of tokens, or as bars of a piano roll: what every musical source does with its pieces and options.

Whole pieces are held out, so that no held-out bar was ever trained on. While training every piece may be moved up or down
by some semitones, each within the range that its voices have anywhere in the data: the same music in another key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from handmade.data.cache import digest
from handmade.data.codecs.grid import Grid
from handmade.data.codecs.midi_events import END, Events
from handmade.data.codecs.pianoroll import BAR, HOLD, REST, Roll, sounding
from handmade.data.source import Wanted
from handmade.data.specs import MusicBatch, MusicSpec, RollSpec
from handmade.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Order = Literal["random", "whole", "lanes"]


class Song(NamedTuple):
    """One piece: a piano roll, or the events of a performance."""

    title: str
    content: Roll | np.ndarray  # (N,) events


class Parts(NamedTuple):
    """The pieces of both splits."""

    train: list[Song]
    test: list[Song]


@dataclass(frozen=True)
class MusicReport:
    """What was found when music was read, to be said before training starts."""

    songs: int
    notes: int
    split: str
    notices: tuple[str, ...] = ()  # what was left out, and why

    def lines(self, most: int = 5) -> list[str]:
        """The report in plain lines."""
        more = len(self.notices) - most
        said = [*self.notices[:most], *([f"and {more:,} more"] if more > 0 else [])]
        return [f"{self.songs:,} piece{'s' if self.songs != 1 else ''} in this part: {self.notes:,} notes", *said]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def divided(songs: Sequence[Song], held_out: float, tune: Callable[[Song], str] = lambda song: song.title) -> Parts:
    """Hold out whole pieces, those of one tune together; of fewer pieces than a share can be taken of, the end of each.

    tune: what pieces that must not be parted have in common
    """
    luck = {song.title: int.from_bytes(blake2b(tune(song).encode(), digest_size=6).digest()) / 256**6 for song in songs}
    if len(songs) * held_out < 1:
        cut = [_cut(song, held_out) for song in songs]
        return Parts([train for train, _ in cut], [test for _, test in cut])
    first = min(luck.values())  # at least one is held out
    chosen = {title for title, value in luck.items() if value < held_out or value == first}
    return Parts([s for s in songs if s.title not in chosen], [s for s in songs if s.title in chosen])


def _cut(song: Song, held_out: float) -> tuple[Song, Song]:
    """One piece in two, the end held out."""
    if isinstance(song.content, Roll):
        cells, places = song.content.cells, song.content.places
        at = round(len(cells) * (1 - held_out))
        late = begun(cells, at, len(cells))
        return Song(song.title, Roll(cells[:at], places[:at])), Song(song.title, Roll(late, places[at:]))
    at = round(len(song.content) * (1 - held_out))
    return Song(song.title, song.content[:at]), Song(song.title, song.content[at:])


def begun(cells: np.ndarray, start: int, end: int) -> np.ndarray:
    """A stretch of (step, voice) cells in which what sounds on from before is struck anew."""
    part = cells[start:end].copy()
    first = part[0] == HOLD
    part[0][first] = sounding(cells[: start + 1])[-1][first]
    return part


@dataclass(frozen=True)
class MusicWindows:
    """A dataset of windows over one run of tokens, piece after piece."""

    tokens: Tensor  # (N,) int32
    clock: Tensor  # (N,) int16, the place of each token in its bar
    songs: Tensor  # (N,) int32, which piece each token belongs to
    reach: Tensor  # (pieces, 2) int64, the lowest and highest shift in semitones of each piece
    pitched: Tensor  # (V,) bool, the tokens that a shift moves
    context: int
    order: Order
    fingerprint: str
    report: MusicReport | None = field(default=None, repr=False)

    @property
    def lanes(self) -> bool:
        """Whether row b of a batch goes on from row b of the batch before; the loader then keeps the lanes."""
        return self.order == "lanes"

    def __len__(self) -> int:
        """How many windows fit without overlap."""
        return (len(self.tokens) - 1) // self.context

    def batch(self, indices: Tensor, generator: torch.Generator) -> MusicBatch:
        """Windows (B,) int64 -> tokens and clock (B, T+1); in random order each starts later, and in a key, as drawn."""
        import torch

        starts = indices * self.context
        fresh = torch.ones(len(indices), dtype=torch.bool)
        if self.order == "random":
            later = torch.randint(self.context, (len(indices),), generator=generator)
            starts = torch.minimum(starts + later, torch.tensor(len(self.tokens) - 1 - self.context))
        elif self.lanes:
            fresh = indices % max(1, len(self) // len(indices)) == 0  # the loader's lanes begin at multiples
        places = starts[:, None] + torch.arange(self.context + 1)  # (B, T+1)
        tokens = self.tokens[places].long()
        if self.order == "random":
            tokens = self._moved(tokens, self.songs[places].long(), generator)
        return MusicBatch(tokens, fresh, self.clock[places].long())

    def _moved(self, tokens: Tensor, songs: Tensor, generator: torch.Generator) -> Tensor:
        """Move every piece of every row by a shift of its own within its reach."""
        import torch

        nth = songs - songs[:, :1]  # (B, T+1): the first piece of a row, the second, ...
        luck = torch.rand(len(tokens), self.context + 1, generator=generator)[:, : int(nth.max()) + 1]
        low, high = self.reach[songs].unbind(-1)
        shifts = low + (luck.gather(1, nth) * (high - low + 1)).floor().long()
        return torch.where(self.pitched[tokens], tokens + shifts, tokens)


def open_music(wanted: Wanted, name: str, parts: Parts, *, context: int, order: str, transpose: int, tempo: float,
               voices: int = 4, notices: Sequence[str] = ()) -> tuple[MusicWindows, MusicSpec]:  # fmt: skip
    """Make tokens of the pieces of one split, and the spec of both.

    Raises UserError where a split is too short for one window.
    """
    import numpy as np
    import torch

    songs = [*parts.train, *parts.test]
    coder = _coder(songs, voices)
    spec = MusicSpec(coder.to_values(), context, tempo)
    for split, part in zip(("training", "held-out"), parts, strict=True):
        count = sum(length(song) for song in part) + len(part)
        if count < context + 1:
            raise UserError(
                f"{name} is too short: its {split} part has {count:,} tokens, and a window takes {context + 1:,}; "
                f"give more music, or choose a shorter context (--data.context {max(1, count - 1)})"
            )
    mine, train = getattr(parts, wanted.split), wanted.split == "train"
    rows = [_row(song, coder) for song in mine]
    reach = _reach(mine, songs, transpose if train and order == "random" else 0)
    mark = digest("music", 1, name, wanted.split, context, order, transpose, tempo, coder.to_values(),
                  [[title, sha256(tokens.tobytes()).hexdigest()] for title, tokens, _ in rows])  # fmt: skip
    return MusicWindows(
        tokens=torch.from_numpy(np.concatenate([tokens for _, tokens, _ in rows])),
        clock=torch.from_numpy(np.concatenate([clock for *_, clock in rows])),
        songs=torch.from_numpy(np.repeat(np.arange(len(rows), dtype=np.int32), [len(tokens) for _, tokens, _ in rows])),
        reach=torch.tensor(reach),
        pitched=torch.tensor(coder.pitched),
        context=context,
        order=order if train else "whole",  # type: ignore[arg-type]
        fingerprint=mark,
        report=MusicReport(len(mine), sum(map(count_notes, mine)), wanted.split, tuple(notices)),
    ), spec


def _coder(songs: Sequence[Song], voices: int) -> Grid | Events:
    if not songs or not isinstance(songs[0].content, Roll):
        return Events()
    pitches = [song.content.pitches for song in songs if isinstance(song.content, Roll) and len(song.content.pitches)]
    if not pitches:
        raise UserError("there is no note in this music")
    return Grid(voices, int(min(p.min() for p in pitches)), int(max(p.max() for p in pitches)))


def length(song: Song) -> int:
    """Tokens of a piece, without the end mark."""
    return song.content.cells.size if isinstance(song.content, Roll) else len(song.content)


def count_notes(song: Song) -> int:
    """Notes that begin in a piece."""
    content = song.content
    return len(content.pitches) if isinstance(content, Roll) else int((content < 128).sum())


def _row(song: Song, coder: Grid | Events) -> tuple[str, np.ndarray, np.ndarray]:
    """The title, tokens and clock of a piece, the mark of its end with it."""
    import numpy as np

    if not isinstance(song.content, Roll):
        tokens = np.append(song.content, END).astype(np.int32)
        return song.title, tokens, np.zeros(len(tokens), np.int16)
    grid = cast("Grid", coder)  # a roll is only ever coded by a grid
    tokens = np.array([*grid.tokens(song.content.cells.tolist()), grid.end], np.int32)
    places = np.append(song.content.places, (song.content.places[-1] + 1) % BAR if len(song.content.places) else 0)
    clock = (places[:-1, None] * grid.voices + np.arange(grid.voices)).ravel()
    return song.title, tokens, np.append(clock, places[-1] * grid.voices).astype(np.int16)


def _reach(mine: Sequence[Song], songs: Sequence[Song], most: int) -> list[tuple[int, int]]:
    """How far each piece may be moved down and up: no voice leaves the range it has in some piece."""
    ranges = [_ranges(song) for song in songs]
    whole = [(min(low), max(high)) for low, high in (zip(*voice, strict=True) for voice in zip(*ranges, strict=True))]
    reach = []
    for song in mine:
        pairs = list(zip(_ranges(song), whole, strict=True))
        down = max([-most, *(limit[0] - own[0] for own, limit in pairs)])
        reach.append((min(0, down), max(0, min([most, *(limit[1] - own[1] for own, limit in pairs)]))))
    return reach


def _ranges(song: Song) -> list[tuple[int, int]]:
    """The lowest and highest pitch of each voice of a piece; (127, 0) where it has none."""
    if not isinstance(song.content, Roll):
        keys = song.content[song.content < 128]
        return [(int(keys.min()), int(keys.max())) if len(keys) else (127, 0)]
    columns = [column[column >= 0] for column in song.content.cells.T]
    return [(int(column.min()), int(column.max())) if len(column) else (127, 0) for column in columns]


@dataclass(frozen=True)
class Bars:
    """A dataset of stretches of a few bars, one-hot."""

    states: Tensor  # (N, voices, bars, steps) int64
    reach: Tensor  # (N, 2) int64, the lowest and highest shift in semitones of each
    spec: RollSpec
    fingerprint: str
    report: MusicReport | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """How many stretches there are."""
        return len(self.states)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) int64 -> (B, voices, bars, steps, states) float32 one-hot, each in a key as drawn."""
        import torch

        states, (low, high) = self.states[indices], self.reach[indices].unbind(1)
        shifts = low + (torch.rand(len(indices), generator=generator) * (high - low + 1)).floor().long()
        pitched = states < self.spec.states - 2
        return self.spec.encode(torch.where(pitched, states + shifts[:, None, None, None], states))


def open_bars(wanted: Wanted, name: str, parts: Parts, *, bars: int, steps: int, hop: int, transpose: int, tempo: float,
              voices: int = 4, notices: Sequence[str] = ()) -> tuple[Bars, RollSpec]:  # fmt: skip
    """Cut the rolls of one split into stretches of `bars` bars that begin with a bar, one every `hop` bars."""
    import numpy as np
    import torch

    coder = cast("Grid", _coder([*parts.train, *parts.test], voices))  # bars are only ever cut from rolls
    spec = RollSpec(coder.voices, bars, steps, coder.low, coder.high, tempo)
    whole = [
        Song(song.title, part) for song in getattr(parts, wanted.split) for part in _stretches(song, bars, steps, hop)
    ]
    if not whole:
        raise UserError(
            f"no piece of {name} has {bars} whole bars of {steps} steps: give more music, or choose fewer bars"
        )
    cells = torch.from_numpy(np.stack([song.content.cells for song in whole if isinstance(song.content, Roll)])).long()
    reach = _reach(whole, [*parts.train, *parts.test], transpose if wanted.split == "train" else 0)
    mark = digest(
        "bars", 1, name, wanted.split, spec.__dict__, hop, transpose, sha256(cells.numpy().tobytes()).hexdigest()
    )
    report = MusicReport(len(whole), int((cells >= 0).sum()), wanted.split, tuple(notices))
    return Bars(spec.states_of(cells), torch.tensor(reach), spec, mark, report), spec


def _stretches(song: Song, bars: int, steps: int, hop: int) -> list[Roll]:
    """The stretches of one piece, without those in which a voice is silent throughout."""
    roll: Any = song.content
    first = next((step for step, place in enumerate(roll.places) if place == 0), 0)  # after an upbeat
    starts = range(first, len(roll.cells) - bars * steps + 1, hop * steps)
    parts = [Roll(begun(roll.cells, at, at + bars * steps), roll.places[at : at + bars * steps]) for at in starts]
    return [part for part in parts if (part.cells != REST).any(0).all()]
