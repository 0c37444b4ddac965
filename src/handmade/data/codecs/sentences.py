"""Cut text into sentences, and a sentence that is too long at its weakest seams."""

from __future__ import annotations

import re
from collections.abc import Callable

# an end mark, then white space, then a capital, a digit or an opening mark
BORDER = re.compile(r"(?<=[.!?…])[\"»”')]*\s+(?=[\"«“'(¿¡]?\s?[^\W_a-zß-öø-ÿ])")
SEAMS = re.compile(r"(?<=[;:])\s+|(?<=,)\s+|\s+")


def sentences(text: str) -> list[str]:
    """Cut a paragraph into sentences: after an end mark that a capital or a digit follows."""
    found, first = [], 0
    for border in BORDER.finditer(text):
        found.append(text[first : border.end()].strip())
        first = border.end()
    return [sentence for sentence in (*found, text[first:].strip()) if sentence]


def pieces(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut a sentence that does not fit in two near its middle, best after ; or :, else after a comma, else at a space."""
    if fits(sentence):
        return [sentence]
    middle = len(sentence) / 2
    seams = [(found.start(), found.end()) for found in SEAMS.finditer(sentence)]
    for marks in (";:", ",", ""):
        near = [seam for seam in seams if not marks or sentence[seam[0] - 1] in marks]
        near = [seam for seam in near if len(sentence) / 5 < seam[0] < len(sentence) * 4 / 5]
        if near:
            first, second = min(near, key=lambda seam: abs(seam[0] - middle))
            return pieces(sentence[:first], fits) + pieces(sentence[second:], fits)
    half = max(1, int(middle))  # one long word
    return pieces(sentence[:half], fits) + pieces(sentence[half:], fits) if len(sentence) > 1 else [sentence]
