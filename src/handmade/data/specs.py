"""What a network must know about its data, and the codec between raw form and tensors.

A spec is saved with every run (`spec.json`), so that generating never needs the data set. Each kind is a frozen
dataclass of plain values; `spec_to_json` and `spec_from_json` are exact inverses. Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from handmade.data.codecs.caption import Prompted
from handmade.errors import Damaged, UserError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from handmade.data.codecs import Codec


class ImageBatch(NamedTuple):
    """A training batch of pictures."""

    pixels: Tensor  # (B, C, H, W) float32 in [-1, 1]
    labels: Tensor  # (B, A) int64, one column per attribute of ImageSpec.labels; A may be 0


@dataclass(frozen=True)
class ImageSpec:
    """Square pictures with any number of labelled attributes."""

    channels: int  # 1 grey, 3 colour
    size: int  # height and width in pixels
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # attribute -> its values, in code order

    def codes(self, text: str, named: str = "label") -> dict[str, int]:
        """Read "glasses=yes, hair=black" -> {"glasses": 1, "hair": 0}; UserError for what is no label of these pictures.

        named: what the user knows the text as
        """
        found: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (word.strip() for word in part.partition("="))
            if name not in self.labels:
                raise UserError(f'{named}="{text}": no attribute "{name}"{did_you_mean(name, self.labels)}')
            if not equals or name in found:
                raise UserError(f'{named}="{text}": give {name} one value{did_you_mean("", self.labels[name])}')
            found[name] = value_code(value, self.labels[name], f'{named}="{text}"')
        return found

    def said(self, text: str, n: int) -> Tensor:
        """Read labels as `codes` does, for n pictures alike: (n, A) int64, 0 where nothing is said, else code + 1."""
        import torch

        if text and not self.labels:
            raise UserError(f'label="{text}": this run was trained without labels, so it cannot be asked for one')
        codes = self.codes(text)
        return torch.tensor([[codes.get(name, -1) + 1 for name in self.labels]], dtype=torch.int64).expand(n, -1)

    def encode(self, raw: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> float32 in [-1, 1]."""
        return raw.float().div_(127.5).sub_(1.0)

    def decode(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> uint8."""
        return pixels.float().add(1.0).mul(127.5).round().clamp(0, 255).byte()


YES, NO = {"yes", "true", "1", "1.0"}, {"no", "false", "0", "-1", "0.0", "-1.0"}


def value_code(word: str, values: Sequence[str], where: str) -> int:
    """The place among `values` of the one that a word means; 1, true and yes are one. UserError naming the nearest."""
    if word in values:
        return list(values).index(word)
    for same in (YES, NO):
        if word.lower() in same and (found := [i for i, value in enumerate(values) if value.lower() in same]):
            return found[0]
    raise UserError(f'{where}: no value "{word}"{did_you_mean(word, values)}')


class CaptionBatch(NamedTuple):
    """A training batch of pictures with a sentence about each."""

    pixels: Tensor  # (B, C, H, W) float32 in [-1, 1]
    tokens: Tensor  # (B, T) int64, the words of each caption, filled up with 0
    labels: Tensor  # (B, A) int64, what is known of each picture beside its caption; A may be 0


@dataclass(frozen=True, repr=False)
class CaptionSpec(Prompted, ImageSpec):
    """Square pictures with captions, made of the words of a vocabulary."""

    vocabulary: tuple[str, ...] = ()
    longest: int = 32  # words of a caption that are heard

    def __repr__(self) -> str:
        return f"CaptionSpec({self.channels} x {self.size} x {self.size}, {len(self.vocabulary):,} words)"


class VideoBatch(NamedTuple):
    """A training batch of clips with a sentence about each."""

    pixels: Tensor  # (B, F, C, H, W) float32 in [-1, 1]
    tokens: Tensor  # (B, T) int64, the words of each caption, filled up with 0
    labels: Tensor  # (B, A) int64, what is known of each clip beside its caption; A may be 0


@dataclass(frozen=True, repr=False)
class VideoSpec(Prompted, ImageSpec):
    """Short clips of square frames with captions, made of the words of a vocabulary."""

    frames: int = 16  # of one clip
    rate: float = 8.0  # frames a second when a clip is shown
    vocabulary: tuple[str, ...] = ()
    longest: int = 32  # words of a caption that are heard

    def __repr__(self) -> str:
        shape = f"{self.frames} x {self.channels} x {self.size} x {self.size}"
        return f"VideoSpec({shape}, {len(self.vocabulary):,} words)"


class DomainsBatch(NamedTuple):
    """Pictures of two kinds, unpaired; held-out ones may come with what they would be in the other kind."""

    a: Tensor  # (B, C, H, W) float32 in [-1, 1]
    b: Tensor  # (B, C, H, W) float32 in [-1, 1], unrelated to `a`
    a_as_b: Tensor | None = None  # (B, C, H, W), the true partners of `a`, where they are known
    b_as_a: Tensor | None = None  # (B, C, H, W), the true partners of `b`


@dataclass(frozen=True)
class DomainsSpec:
    """Two kinds of square pictures: horses and zebras, blond and black hair."""

    channels: int  # 1 grey, 3 colour
    size: int  # height and width in pixels of the training pictures
    names: tuple[str, str]  # of the two kinds, in words: ("blond", "black")
    attribute: str = ""  # of which they are two values, where they are; "hair"

    encode, decode = ImageSpec.encode, ImageSpec.decode


@dataclass(frozen=True)
class PointsSpec:
    """Points in the plane that lie on a curve y = f(x)."""

    formula: str  # of x, in the small language of data/formula.py
    low: tuple[float, float]  # smallest x and y
    high: tuple[float, float]  # largest x and y

    def encode(self, points: Tensor) -> Tensor:
        """(B, 2) in the curve's units -> (B, 2) in [-1, 1]."""
        low, high = points.new_tensor(self.low), points.new_tensor(self.high)
        return (points - low) / (high - low) * 2 - 1

    def decode(self, codes: Tensor) -> Tensor:
        """(B, 2) in [-1, 1] -> (B, 2) in the curve's units."""
        low, high = codes.new_tensor(self.low), codes.new_tensor(self.high)
        return (codes + 1) / 2 * (high - low) + low


@dataclass(frozen=True)
class NumbersSpec:
    """Sequences of whole numbers drawn from a set."""

    length: int  # numbers in one sequence
    depth: int  # numbers are 0 .. depth - 1
    members: tuple[int, ...]  # the set that the numbers are drawn from

    def encode(self, numbers: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, depth) float32 one-hot."""
        import torch

        return torch.nn.functional.one_hot(numbers, self.depth).float()

    def decode(self, scores: Tensor) -> Tensor:
        """(B, L, depth) scores or one-hot -> (B, L) int64, the highest score of each place."""
        return scores.argmax(-1)


class TextBatch(NamedTuple):
    """Windows of running text: inputs are `tokens[:, :-1]`, targets `tokens[:, 1:]`."""

    tokens: Tensor  # (B, T+1) int64
    fresh: Tensor  # (B,) bool: this row does not go on from the same row of the batch before


@dataclass(frozen=True, repr=False)
class TextSpec:
    """Running text, cut into windows of tokens."""

    codec: Mapping[str, Any]  # as plain values
    context: int  # tokens that one window predicts

    def __post_init__(self) -> None:
        object.__setattr__(self, "codec", _frozen(self.codec))  # so that a spec equals the one read back from its file

    @cached_property
    def coder(self) -> Codec:
        """The codec itself."""
        from handmade.data.codecs import codec_from_values

        return codec_from_values(self.codec)

    @property
    def size(self) -> int:
        """Tokens in the vocabulary."""
        return self.coder.size

    def encode(self, text: str) -> list[int]:
        """A text -> its tokens."""
        return self.coder.encode(text)

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens -> their text."""
        return self.coder.decode(tokens)

    def name(self, token: int) -> str:
        """One token as a person can read it."""
        return self.coder.name(token)

    def __repr__(self) -> str:
        return f"TextSpec({self.codec.get('kind')} codec of {self.size:,} tokens, context {self.context})"


class MusicBatch(NamedTuple):
    """Windows of music: inputs are `tokens[:, :-1]`, targets `tokens[:, 1:]`, each at its place in the bar."""

    tokens: Tensor  # (B, T+1) int64
    fresh: Tensor  # (B,) bool: this row does not go on from the same row of the batch before
    clock: Tensor  # (B, T+1) int64, 0 .. MusicSpec.clocks - 1: where in its bar, and in which voice, each token stands


@dataclass(frozen=True, repr=False)
class MusicSpec(TextSpec):
    """Music in tokens, of performances (`events`) or of voices on a grid (`grid`), cut into windows."""

    tempo: float = 90.0  # quarter notes a minute at which a grid is played
    bar = 16  # steps of a bar of a grid

    @property
    def voices(self) -> int:
        """Voices of a grid, which take turns token by token; 1 for performances."""
        return self.coder.voices  # type: ignore[attr-defined]

    @property
    def clocks(self) -> int:
        """Places that a token can have in a bar; 1 for performances, which know no bars."""
        return self.bar * self.voices if self.codec["kind"] == "grid" else 1

    def __repr__(self) -> str:
        return f"MusicSpec({self.codec['kind']} codec of {self.size:,} tokens, context {self.context})"


@dataclass(frozen=True)
class RollSpec:
    """Bars of music for several voices on a grid, one-hot: what each voice does at each step."""

    voices: int
    bars: int  # of one example
    steps: int  # of one bar
    low: int  # the lowest pitch
    high: int  # the highest pitch
    tempo: float = 90.0  # quarter notes a minute; a quarter note is four steps

    @property
    def states(self) -> int:
        """What a voice can do at a step: begin one of the pitches low .. high, hold (state -2), rest (state -1)."""
        return self.high - self.low + 3

    def encode(self, states: Tensor) -> Tensor:
        """(B, voices, bars, steps) int64 states -> (B, voices, bars, steps, states) float32 one-hot."""
        import torch

        return torch.nn.functional.one_hot(states, self.states).float()

    def decode(self, scores: Tensor) -> Tensor:
        """(B, voices, bars, steps, states) scores -> (B, voices, bars, steps) int64, the state of the highest score."""
        return scores.argmax(-1)

    def cells(self, states: Tensor) -> Tensor:
        """(B, voices, bars, steps) states -> (B, bars * steps, voices) int64 cells of piano rolls (codecs/pianoroll.py)."""
        rest, hold = self.states - 1, self.states - 2
        cells = (states + self.low).masked_fill(states == rest, -1).masked_fill(states == hold, -2)
        return cells.flatten(2).transpose(1, 2)

    def states_of(self, cells: Tensor) -> Tensor:
        """The inverse of `cells`."""
        states = (cells - self.low).masked_fill(cells == -1, self.states - 1).masked_fill(cells == -2, self.states - 2)
        return states.transpose(1, 2).unflatten(2, (self.bars, self.steps))


class PairBatch(NamedTuple):
    """A training batch of sentences and their translations, padded with id 0, short rows first."""

    source: Tensor  # (B, S) int64, each row ends with <eos>
    target: Tensor  # (B, T) int64, each row from <bos> to <eos>
    share: (
        Tensor  # (B,) float32, target tokens per row of the whole batch: what a sum over any part of it is divided by
    )


@dataclass(frozen=True)
class PairSpec:
    """Sentences and their translations, in the tokens of one joint codec: <pad> <unk> <bos> <eos> are ids 0 to 3."""

    codec: Mapping[str, Any]  # as plain values
    source_language: str  # such as en
    target_language: str
    longest: int  # tokens of the longest sentence, end marks counted

    def __post_init__(self) -> None:
        object.__setattr__(self, "codec", _frozen(self.codec))  # so that a spec equals the one read back from its file

    @cached_property
    def _coder(self) -> Codec:
        from handmade.data.codecs import codec_from_values

        return codec_from_values(self.codec)

    @property
    def size(self) -> int:
        """Tokens in the vocabulary."""
        return self._coder.size

    def encode(self, text: str) -> list[int]:
        """A sentence -> its tokens, without end marks."""
        return self._coder.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens -> a sentence; end marks and padding are left out."""
        return self._coder.decode([token for token in tokens if token > 3])

    def name(self, token: int) -> str:
        """One token as a person can read it."""
        return self._coder.name(token)


Pictures = ImageSpec | CaptionSpec | VideoSpec | DomainsSpec
Spec = Pictures | PointsSpec | NumbersSpec | TextSpec | PairSpec | MusicSpec | RollSpec
_kinds: dict[str, type[Any]] = {
    "images": ImageSpec, "captions": CaptionSpec, "videos": VideoSpec, "domains": DomainsSpec, "points": PointsSpec,
    "numbers": NumbersSpec, "text": TextSpec,
    "pairs": PairSpec, "music": MusicSpec, "rolls": RollSpec,
}  # fmt: skip


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Return the spec as plain values with its kind."""
    kind = next(name for name, cls in _kinds.items() if type(spec) is cls)
    return {"kind": kind, **asdict(spec)}


def spec_from_json(values: Mapping[str, Any]) -> Spec:
    """Rebuild a spec; raise Damaged where the file names an unknown kind or field."""
    values = dict(values)
    kind = _kinds.get(values.pop("kind", ""))
    if kind is None:
        raise Damaged("spec.json names no kind of data this version knows")
    try:
        return kind(**{name: _frozen(value) for name, value in values.items()})
    except TypeError as error:
        raise Damaged(f"spec.json does not describe {kind.__name__}: {error}") from None


def _frozen(value: Any) -> Any:
    """Lists from JSON back to the tuples that a frozen spec holds."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value
