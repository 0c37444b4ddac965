"""The field's words in plain English, shown where a reader points at them."""

from __future__ import annotations

import html

from handmade.artifacts.plot import label

TERMS = {
    "step": "One round of learning: the network sees a handful of examples and is changed a little.",
    "loss": "How wrong a network is at this moment, by the rule it is trained with. When two networks play against "
    "each other, a loss that stays level is a good sign: neither wins.",
    "generator": "The network that makes things, out of random numbers.",
    "discriminator": "The network that judges: real, or made by the generator?",
    "critic": "A judge that gives marks instead of a yes or a no.",
    "held-out": "Measured on real examples that the model has never seen while it learned.",
    "floor": "The same number for real examples against other real examples. No model can honestly do better.",
    "95 % interval": "The range that holds the true value in about 95 of 100 measurements like this one.",
    "kid": "Kernel distance: how far apart the made and the real pictures are as two crowds, seen through the features "
    "of a trained network. 0 means that the crowds cannot be told apart; by chance it may fall slightly below.",
    "frechet": "Frechet distance between the made and the real pictures, as two clouds of features. Compare it only "
    "at equal numbers of pictures.",
    "precision": "The share of made pictures that would pass as real.",
    "recall": "The share of real pictures that the model is able to come near: low means it makes only a few kinds.",
    "duplicates": "The share of made pictures that nearly repeat another one.",
    "coverage": "The share of the whole range in which the model makes something.",
    "entropy": "How evenly the model uses all it may use: 1 is perfectly even, 0 is always the same.",
    "bits per byte": "How surprised the model is by each letter of a text it has never seen, in bits: 8 for a monkey at a "
    "keyboard of 256 keys, about 2 for a good small model of English. As it counts letters, models that read letters and "
    "models that read pieces of words can be compared.",
    "nats": "How surprised the model is by each piece of text that it reads, in natural units of 1.44 bits.",
    "counting": "What a model reaches that learns nothing and only counts which piece of text followed which.",
    "accuracy": "The share of right answers.",
    "bf16": "Numbers kept in 16 bits instead of 32: faster on some processors, and precise enough here.",
    "float32": "Numbers kept in 32 bits, the usual precision.",
}


def number(value: float | None) -> str:
    """Write a number shortly, with a true minus sign; nothing for none."""
    return "" if value is None else label(value).replace("-", "\u2212")


def term(word: str, key: str | None = None) -> str:
    """Write a word as HTML, with its explanation on hover and focus where there is one."""
    key = (key or word).lower().replace("_", " ")
    if key not in TERMS:
        return html.escape(word)
    return (
        f'<span class="term" tabindex="0" aria-describedby="{_name(key)}">{html.escape(word)}'
        f'<span class="tip" aria-hidden="true">{html.escape(TERMS[key])}</span></span>'
    )


def glossary(page: str) -> str:
    """List the explanations of all terms that `page` uses, for those who cannot point, and for paper."""
    used = [key for key in TERMS if f'aria-describedby="{_name(key)}"' in page]
    rows = "".join(
        f'<div><dt>{html.escape(key)}</dt><dd id="{_name(key)}">{html.escape(TERMS[key])}</dd></div>' for key in used
    )
    return (
        f'<details class="glossary"><summary>The words on this page</summary><dl>{rows}</dl></details>' if used else ""
    )


def _name(key: str) -> str:
    return "word-" + "".join(letter if letter.isalnum() else "-" for letter in key)
