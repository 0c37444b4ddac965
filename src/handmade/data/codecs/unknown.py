"""Characters that a codec never saw: it reads all of them as one and the same sign, and whoever hands them in is told so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from handmade.data.codecs.chars import UNKNOWN, visible

if TYPE_CHECKING:
    from handmade.data.codecs import Codec

SHOWN = 5  # of the unknown characters, the most frequent


def unknown_letters(codec: Codec, text: str) -> str:
    """How much of a text a codec does not know, in words; empty where it knows all."""
    strange = {sign for sign in set(text) if sign != UNKNOWN and codec.decode(codec.encode(sign)) == UNKNOWN}
    if not strange:
        return ""
    counts = Counter(sign for sign in text if sign in strange)
    few = " ".join(
        visible(sign) if sign.isprintable() else f"U+{ord(sign):04X}" for sign, _ in counts.most_common(SHOWN)
    )
    share = f"{counts.total():,} of {len(text):,} characters ({counts.total() / len(text):.1%})"
    return f"{share} are unknown to the codec, such as {few}: all of them are read as one sign"


def unknown_share(codec: Codec, tokens: Sequence[int]) -> str:
    """What a score must say of tokens that stand for unknown characters; empty where there are none."""
    count = sum(token == 0 for token in tokens) if codec.name(0) == "<unk>" else 0
    return f", {count / len(tokens):.1%} of them unknown characters, all read as one sign" if count else ""
