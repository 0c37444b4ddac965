"""The shipped runs on held-out data: what each recipe reaches, beside its goal."""

from __future__ import annotations

from benchmarks.record import figure, record
from handmade import api
from handmade.registry import zoo

GOALS = {  # recipe -> score -> (goal in words, the least or the most it may be)
    "numbers_gan/fives": {"valid": ("at least", 0.99), "entropy": ("at least", 0.95)},
    "shapes_gan/exponential": {"error": ("at most", 0.15), "coverage": ("at least", 0.95)},
    "classifier/clothes": {"accuracy": ("at least", 0.882)},  # the book's
    "dcgan/faces": {"duplicates": ("at most", 0.01)},
    "translator/en-fr": {"bleu": ("at least", 25.0)},
}


def main() -> None:
    """Evaluate every shipped run on 2,000 held-out items."""
    rows, figures = [], {}
    for name in zoo():
        scores = api.evaluate(f"zoo:{name}", 2000)
        rows.append({"recipe": name, "scores": {key: score._asdict() for key, score in scores.items()}})
        for key, (word, bound) in GOALS.get(name, {}).items():
            value = scores[key].value
            holds = value >= bound if word == "at least" else value <= bound
            figures[f"{name} {key}"] = figure(
                value, f"{word} {bound:g}", holds, f"`{name}`, {key}: {scores[key].about}"
            )
    record("zoo_quality", rows, **figures)


if __name__ == "__main__":
    main()
