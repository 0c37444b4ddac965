"""Your own text: one .txt file, or a folder of them at any depth, in UTF-8.

A file that is no text, or text in another encoding, is refused with the byte and the place, never half read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import TextSpec
from handmade.data.texts import Text, open_text
from handmade.data.tree import Tree, open_tree
from handmade.data.utf8 import text_of
from handmade.errors import Damaged, UserError

MOST_BYTES = 1 << 30  # of all files together
RIGHTS = "make sure you may use this text: one in copyright may be learnt by heart, and a model can repeat it"


def open_own_text(
    wanted: Wanted,
    path: str = ".",
    codec: Literal["chars", "words", "bpe", "gpt2", "run"] = "bpe",
    vocabulary: Annotated[int, Range(64, 100_000)] = 2048,
    context: Annotated[int, Range(1, 65_536)] = 128,
    order: Literal["random", "whole", "lanes"] = "random",
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.1,
) -> tuple[Dataset, TextSpec]:
    """Read a .txt file or a folder of them; `dataset.report` says what was found.

    path: where the text is
    codec: tokens are characters, words, byte pairs learnt from the text, or GPT-2's byte pairs
    vocabulary: tokens to learn, for words and bpe
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    held_out: the share at the end of every text that is never trained on
    """
    place = Path(path).expanduser()
    texts = read_texts(place)
    return open_text(
        wanted, str(path), texts, codec=codec, vocabulary=vocabulary, context=context, order=order, held_out=held_out,
        notes=(RIGHTS,),
    )  # fmt: skip


def read_texts(path: Path) -> list[Text]:
    """The texts of a file, or of every .txt file below a folder, by name.

    Raises UserError, in one line with the first bad file, where there is none, or one is empty, too large or no UTF-8.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: give a .txt file, or a folder of them")
    tree = open_tree(path)
    names = tree.named(".txt") if path.is_dir() or tree.packed else [path.name]
    if not names:
        raise UserError(f"no .txt file among the {len(tree.entries):,} files in {path}: save your texts as .txt")
    total = sum(tree.sizes[name] for name in names)
    if total > MOST_BYTES:
        raise UserError(f"{path} holds {total / 1e9:,.1f} GB of text, more than the {MOST_BYTES / 1e9:,.1f} GB allowed")
    texts = [Text(name, content) for name in names if (content := _read(tree, name)).strip()]
    if not texts:
        raise UserError(f"{path} is empty: it holds no text to learn from")
    return texts


def _read(tree: Tree, name: str) -> str:
    """One file as text, its line ends made \\n; an unreadable one is the user's to change."""
    where = name if tree.packed else str(tree.root / name)
    try:
        return text_of(tree.read(name, MOST_BYTES), where)
    except Damaged as error:
        raise UserError(f"{where}: {error}") from None


OWN_TEXT = DataSource(
    name="path",
    title="Your own text",
    licence="yours",
    homepage="",
    note="",
    kind="text",
    build=open_own_text,
)
