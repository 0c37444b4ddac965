"""The shipped runs on held-out data: what each recipe reaches, beside its goal.

`python -m benchmarks zoo_quality`, or some runs: `python -m benchmarks.zoo_quality translator/en-fr`.
"""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.record import Part, bounded, record_parts
from handmade import api
from handmade.registry import zoo

GOALS = {  # recipe -> score -> (goal in words, the least or the most it may be)
    "numbers_gan/fives": {"valid": ("at least", 0.99), "entropy": ("at least", 0.95)},
    "shapes_gan/exponential": {"error": ("at most", 0.15), "coverage": ("at least", 0.95)},
    "classifier/clothes": {"accuracy": ("at least", 0.882)},  # the book's
    "dcgan/faces": {"duplicates": ("at most", 0.01)},
    "translator/en-fr": {"bleu": ("at least", 25.0)},
}


def shipped(name: str) -> Part:
    """Evaluate a shipped run on 2,000 held-out items."""
    scores = api.evaluate(f"zoo:{name}", 2000)
    figures = {}
    for key, (word, bound) in GOALS.get(name, {}).items():
        figures[f"{name} {key}"] = bounded(scores[key].value, word, bound, f"`{name}`, {key}: {scores[key].about}")
    return [{"recipe": name, "scores": {key: score._asdict() for key, score in scores.items()}}], figures


def main(names: list[str] | None = None) -> None:
    """Evaluate the runs that are named, or all."""
    record_parts("zoo_quality", {name: partial(shipped, name) for name in zoo()}, names)


if __name__ == "__main__":
    main(sys.argv[1:])
