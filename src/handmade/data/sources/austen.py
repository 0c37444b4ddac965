"""Jane Austen's six novels, out of an R package's data file, which is read here without R."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.mirrors import Mirror, locate
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import TextSpec
from handmade.data.texts import Text, chosen_texts, open_text, reflowed
from handmade.errors import Damaged

FILES = {"Rdata.rdb": "8fb5198960d0da724b1562f96e4221e5c1b41ff455000280b02c55980c3d8f21"}
BOOKS: tuple[str, ...] = (  # in the order in which the file holds them
    "emma", "mansfield-park", "northanger-abbey", "persuasion", "pride-and-prejudice", "sense-and-sensibility",
)  # fmt: skip
STRING, STRINGS = 9, 16  # R's types of one text and of a vector of them
LARGEST = 20_000_000  # bytes of one unpacked object
MISSING = -1  # the length of R's NA


def austen(
    wanted: Wanted,
    books: str = "all",
    codec: Literal["chars", "words", "bpe", "gpt2", "run"] = "bpe",
    vocabulary: Annotated[int, Range(64, 100_000)] = 2048,
    context: Annotated[int, Range(1, 65_536)] = 128,
    order: Literal["random", "whole", "lanes"] = "random",
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.1,
) -> tuple[Dataset, TextSpec]:
    """Read the novels, one line per paragraph; the end of every novel is held out.

    books: which, such as emma,persuasion; all six by default
    codec: tokens are characters, words, byte pairs learnt from the text, or GPT-2's byte pairs
    vocabulary: tokens to learn, for words and bpe
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    held_out: the share at the end of every novel that is never trained on
    """
    titles = chosen_texts("books", books, BOOKS)
    novels = dict(zip(BOOKS, objects(locate(SOURCE.name, FILES, SOURCE.mirrors)["Rdata.rdb"]), strict=True))
    texts = [Text(title, reflowed("\n".join(novels[title]))) for title in titles]
    return open_text(
        wanted, "austen", texts, codec=codec, vocabulary=vocabulary, context=context, order=order, held_out=held_out
    )


def objects(content: bytes) -> Iterator[list[str]]:
    """Every vector of texts in an R lazy-load file: each object has its unpacked length, then a zlib stream."""
    place = 0
    while place < len(content):
        opened = zlib.decompressobj()
        try:
            (size,) = struct.unpack_from(">I", content, place)
            unpacked = opened.decompress(content[place + 4 :], LARGEST)
        except (struct.error, zlib.error) as error:
            raise Damaged(f"an R data file that is broken at byte {place:,}: {error}") from None
        if len(unpacked) != size or not opened.eof:
            raise Damaged(f"an R data file whose object at byte {place:,} has not the length it should have")
        yield strings(unpacked)
        place = len(content) - len(opened.unused_data)


def strings(content: bytes) -> list[str]:
    """One serialised vector of texts (R's binary format, version 3): a header, a count, then length and bytes of each.

    Raises Damaged where it is anything else.
    """
    try:
        magic, version, _, _, named = struct.unpack_from(">2s4I", content)
        place = 18 + named  # the header ends with the name of the encoding
        kind, count = struct.unpack_from(">2I", content, place)
        if magic != b"X\n" or version != 3 or kind & 0xFF != STRINGS:
            raise Damaged("an R data file that holds something else than texts")
        place, texts = place + 8, []
        for _ in range(count):
            kind, size = struct.unpack_from(">Ii", content, place)
            if kind & 0xFF != STRING or size > len(content) - place - 8:
                raise Damaged(f"an R data file with no text at byte {place:,} of an object")
            texts.append("" if size == MISSING else content[place + 8 : place + 8 + size].decode("utf-8"))
            place += 8 + max(size, 0)
    except (struct.error, UnicodeDecodeError) as error:
        raise Damaged(f"an R data file that ends too early or is no UTF-8: {error}") from None
    return texts


SOURCE = DataSource(
    name="austen",
    title="Jane Austen's six novels",
    licence="novels in the public domain; MIT (J. Silge) for the R package janeaustenr",
    homepage="https://github.com/juliasilge/janeaustenr",
    note="4.0 million characters: 2 MB to fetch, 2 MB in the cache",
    kind="text",
    build=austen,
    files=FILES,
    mirrors=(
        Mirror("folder", "/usr/lib/R/site-library/janeaustenr/data"),  # where Debian's package puts it
        Mirror("deb", "r-cran-janeaustenr"),
    ),
)
