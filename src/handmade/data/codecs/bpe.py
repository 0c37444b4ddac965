"""Byte-level byte pair encoding, trained here (Sennrich et al., 2016, arXiv:1508.07909; on bytes: Radford et al., 2019).

A text is cut into words by GPT-2's pattern, each word starts as its UTF-8 bytes, and the pairs of neighbours that were
most frequent in training are joined, in the order in which training learnt them. Every text has an encoding, since every
byte is a token, and decoding gives the same text back.

    low, lower, lowest:   l o w | l o w e r | l o w e s t   ->   lo w | lo w e r | ...   ->   low | low e r | low e s t
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from handmade.data.codecs.chars import visible
from handmade.errors import UserError

Pair = tuple[int, int]
MOST_CACHED = 500_000  # words whose encoding is remembered


@cache
def pattern() -> Any:
    """GPT-2's way to cut text into words: contractions, letters, digits, other signs, each with one space before it."""
    import regex

    return regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


class BPE:
    """Special tokens (ids 0 .. n - 1), the 256 bytes, then one token per merge that made a new one."""

    kind = "bpe"

    def __init__(self, merges: Sequence[tuple[bytes, bytes]], special: Sequence[str] = ()):
        self._build([bytes([b]) for b in range(256)], merges, special, first=len(special))

    def _build(self, alphabet: Sequence[bytes], merges: Sequence[tuple[bytes, bytes]], special: Sequence[str],
               first: int) -> None:  # fmt: skip
        """Number the tokens: bytes and merges from `first` on, special tokens before or after them."""
        self.merges, self._cache = tuple(merges), {}
        ids = {token: number for number, token in enumerate(alphabet, start=first)}
        self.joined: dict[Pair, tuple[int, int]] = {}  # pair of ids -> its rank, the id they become
        for rank, (left, right) in enumerate(merges):
            ids.setdefault(left + right, first + len(ids))
            self.joined[ids[left], ids[right]] = (rank, ids[left + right])
        self.ids: dict[bytes, int] = ids
        self.special = {name: number for number, name in enumerate(special, start=0 if first else len(ids))}
        named = {number: name.encode() for name, number in self.special.items()}
        named.update({number: token for token, number in ids.items()})
        self.tokens: list[bytes] = [named[number] for number in range(len(named))]
        self._bytes = [ids[bytes([b])] for b in range(256)]

    @classmethod
    def train(cls, texts: Iterable[str], size: int, special: Sequence[str] = ()) -> BPE:
        """Learn merges until the vocabulary has `size` tokens, or no pair occurs twice.

        Raises UserError where `size` leaves no room for the bytes.
        """
        if size < 256 + len(special):
            raise UserError(f"a vocabulary of bytes needs at least {256 + len(special)} tokens, not {size}")
        words: Counter[str] = Counter()
        for text in texts:
            words.update(pattern().findall(text))
        return cls(learn({word.encode("utf-8", "surrogatepass"): n for word, n in words.items()},
                         size - 256 - len(special)), special)  # fmt: skip

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    pad = property(lambda self: self.special["<pad>"], doc="The id that fills a row up.")
    unk = property(lambda self: self.special["<unk>"], doc="The id of what cannot be written.")
    bos = property(lambda self: self.special["<bos>"], doc="The id that begins a sentence.")
    eos = property(lambda self: self.special["<eos>"], doc="The id that ends a sentence.")

    def encode(self, text: str) -> list[int]:
        """The ids of a text; special tokens written out in it are ordinary text."""
        if len(self._cache) > MOST_CACHED:
            self._cache.clear()
        known, ids = self._cache, []
        for word in pattern().findall(text):
            found = known.get(word)
            if found is None:
                found = known[word] = self._word(word)
            ids += found
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, special tokens vanish."""
        gone, tokens = set(self.special.values()), self.tokens
        return b"".join([tokens[token] for token in ids if token not in gone]).decode("utf-8", "replace")

    def name(self, token: int) -> str:
        """The token's text, its bytes where they are no text by themselves."""
        raw = self.tokens[token]
        try:
            return visible(raw.decode())
        except UnicodeDecodeError:
            return "".join(f"<{byte:02x}>" for byte in raw)

    def show_work(self, text: str) -> list[str]:
        """Every word with the merges that make its tokens, in their order."""
        lines = []
        for word in pattern().findall(text):
            steps: list[list[int]] = []
            self._word(word, steps)
            lines.append(f"word {visible(word)}")
            for number, step in enumerate(steps):
                lines.append(f"  {'bytes ' if number == 0 else f'join {number}'} {' | '.join(map(self.name, step))}")
            lines.append(f"  ids    {' '.join(map(str, steps[-1]))}")
        return lines

    def _word(self, word: str, steps: list[list[int]] | None = None) -> list[int]:
        """Join the pair of lowest rank, everywhere in the word, until no pair of neighbours is known."""
        ids = [self._bytes[byte] for byte in word.encode("utf-8", "surrogatepass")]
        none = (len(self.joined), -1)
        while True:
            if steps is not None:
                steps.append(ids)
            pairs = itertools.pairwise(ids)
            (rank, new), pair = min(((self.joined.get(pair, none), pair) for pair in pairs), default=(none, (0, 0)))
            if rank == none[0]:
                return ids
            ids = _replaced(ids, pair, new)

    def to_values(self) -> dict[str, Any]:
        """The merges in the form of OpenAI's vocab.bpe, one to a line, and the special tokens."""
        lines = "\n".join(f"{printable(left)} {printable(right)}" for left, right in self.merges)
        return {"kind": self.kind, "merges": lines, "special": tuple(self.special)}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> BPE:
        """The codec of these merges."""
        return cls(read_merges(values["merges"]), tuple(values["special"]))


def learn(words: Mapping[bytes, int], count: int) -> list[tuple[bytes, bytes]]:
    """Up to `count` merges that make new tokens, the most frequent pair first; of equals the one of lowest ids.

    Only the words that hold a pair are touched when it is joined, and counts are kept up to date by differences, so the
    cost follows the text that changes, not merges times text (a heap of counts, some out of date, names the next pair).
    """
    spelled, counts = [list(word) for word in words], list(words.values())
    tokens = {bytes([b]): b for b in range(256)}
    bytes_of = {number: token for token, number in tokens.items()}
    frequency: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)  # pair -> words that may hold it
    for place, word in enumerate(spelled):
        for pair in itertools.pairwise(word):
            frequency[pair] += counts[place]
            places[pair].add(place)
    heap = [(-n, pair) for pair, n in frequency.items()]
    heapq.heapify(heap)
    merges: list[tuple[bytes, bytes]] = []
    while heap and len(tokens) < 256 + count:
        below, pair = heapq.heappop(heap)
        if -below != frequency[pair]:
            continue  # out of date: the pair's right count is in the heap too
        if -below < 2:
            break
        left, right = bytes_of[pair[0]], bytes_of[pair[1]]
        new = tokens.setdefault(left + right, len(tokens))
        bytes_of[new] = left + right
        merges.append((left, right))
        changed: Counter[Pair] = Counter()
        for place in places.pop(pair):
            before, after = spelled[place], _replaced(spelled[place], pair, new)
            spelled[place] = after
            for old in itertools.pairwise(before):
                changed[old] -= counts[place]
            for fresh in itertools.pairwise(after):
                changed[fresh] += counts[place]
                places[fresh].add(place)
        for touched, difference in changed.items():
            if difference:
                frequency[touched] += difference
                heapq.heappush(heap, (-frequency[touched], touched))
    return merges


def _replaced(ids: list[int], pair: Pair, new: int) -> list[int]:
    """The ids with every occurrence of a pair, from the left, made one."""
    out, place, last = [], 0, len(ids) - 1
    while place <= last:
        if place < last and ids[place] == pair[0] and ids[place + 1] == pair[1]:
            out.append(new)
            place += 2
        else:
            out.append(ids[place])
            place += 1
    return out


@cache
def byte_signs() -> dict[int, str]:
    """Byte -> the printable character that stands for it in OpenAI's files (their own table, in their order).

    Bytes that print as themselves in Latin-1 do; the others take the characters from U+0100 on.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def printable(token: bytes) -> str:
    """A token as OpenAI's files write it."""
    signs = byte_signs()
    return "".join(signs[byte] for byte in token)


def read_merges(text: str) -> list[tuple[bytes, bytes]]:
    """Merges of a vocab.bpe or merges.txt, one pair to a line; ValueError names a line that is none."""
    back = {sign: byte for byte, sign in byte_signs().items()}
    merges, lines = [], text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair) or set(line) - back.keys() - {" "}:
            raise ValueError(f"line {number} is no pair of tokens: {line[:40]!r}")
        merges.append((bytes(back[sign] for sign in pair[0]), bytes(back[sign] for sign in pair[1])))
    return merges
