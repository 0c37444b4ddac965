"""Simple English sentences and their French translations, made by a small grammar: nothing to fetch, learned in seconds.

French nouns have a gender, adjectives agree with them and mostly follow them, articles elide before a vowel, and verbs
agree with their subject: what a translator must get right, without a vocabulary to speak of.
"""

from __future__ import annotations

import random
from typing import Annotated, Literal, NamedTuple

from handmade.asks import Range
from handmade.data.pairs import Pair, PairDataset, divide, open_pairs
from handmade.data.source import DataSource, Wanted
from handmade.data.specs import PairSpec


class Noun(NamedTuple):
    """A thing: English, French, gender, plurals where they are not made with s."""

    english: str
    french: str
    gender: Literal["m", "f"]
    many_english: str = ""
    many_french: str = ""


class Adjective(NamedTuple):
    """A quality: English, then French for one man, one woman, several men, several women; `before` its noun or after."""

    english: str
    french: tuple[str, str, str, str]
    before: bool = False


ANIMALS = (
    Noun("cat", "chat", "m"), Noun("dog", "chien", "m"), Noun("cow", "vache", "f"),
    Noun("mouse", "souris", "f", "mice", "souris"),
    Noun("horse", "cheval", "m", "", "chevaux"), Noun("bird", "oiseau", "m", "", "oiseaux"),
    Noun("goat", "chèvre", "f"),
    Noun("pupil", "élève", "m"), Noun("girl", "fille", "f"), Noun("boy", "garçon", "m"), Noun("donkey", "âne", "m"),
)  # fmt: skip
THINGS = (
    Noun("car", "voiture", "f"), Noun("house", "maison", "f"), Noun("tree", "arbre", "m"), Noun("book", "livre", "m"),
    Noun("school", "école", "f"), Noun("apple", "pomme", "f"), Noun("boat", "bateau", "m", "", "bateaux"),
    Noun("hat", "chapeau", "m", "", "chapeaux"),
    Noun("key", "clé", "f"), Noun("star", "étoile", "f"), Noun("castle", "château", "m", "", "châteaux"),
    Noun("window", "fenêtre", "f"),
)  # fmt: skip
ADJECTIVES = (
    Adjective("red", ("rouge", "rouge", "rouges", "rouges")),
    Adjective("green", ("vert", "verte", "verts", "vertes")),
    Adjective("white", ("blanc", "blanche", "blancs", "blanches")),
    Adjective("black", ("noir", "noire", "noirs", "noires")),
    Adjective("tired", ("fatigué", "fatiguée", "fatigués", "fatiguées")),
    Adjective("light", ("léger", "légère", "légers", "légères")),
    Adjective("small", ("petit", "petite", "petits", "petites"), True),
    Adjective("big", ("grand", "grande", "grands", "grandes"), True),
)  # fmt: skip
VERBS = (  # one does, several do: English and French
    ("sees", "see", "voit", "voient"), ("likes", "like", "aime", "aiment"), ("draws", "draw", "dessine", "dessinent"),
    ("looks for", "look for", "cherche", "cherchent"), ("finds", "find", "trouve", "trouvent"),
    ("carries", "carry", "porte", "portent"),
)  # fmt: skip
NUMBERS = (
    ("two", "deux"),
    ("three", "trois"),
    ("four", "quatre"),
    ("five", "cinq"),
    ("ten", "dix"),
    ("twelve", "douze"),
)
PLACES = (
    ("in the garden", "dans le jardin"),
    ("near the lake", "près du lac"),
    ("at the market", "au marché"),
    ("today", "aujourd'hui"),
)
NAMES = (("Zoé", "f"), ("François", "m"), ("Anna", "f"), ("Noël", "m"))


def phrases(
    wanted: Wanted,
    direction: Literal["en-fr", "fr-en"] = "en-fr",
    n: Annotated[int, Range(4, 100_000)] = 4000,
    vocabulary: Annotated[int, Range(300, 5000)] = 500,
    held_out: Annotated[float, Range(0.01, 0.5)] = 0.1,
    seed: int = 0,
) -> tuple[PairDataset, PairSpec]:
    """Make sentence pairs; a batch is source (B, S) and target (B, T) int64, padded.

    direction: from which language into which
    n: sentences made, some of them twice
    vocabulary: tokens of the codec that both languages share
    held_out: share of the sentences that are held out
    seed: which sentences are made
    """
    luck = random.Random(f"phrases/{seed}")
    made = [sentence(luck) for _ in range(n)]
    pairs = made if direction == "en-fr" else [Pair(pair.target, pair.source) for pair in made]
    return open_pairs(wanted, *divide(pairs, held_out), direction.split("-"), vocabulary)


def sentence(luck: random.Random) -> Pair:
    """One sentence and its translation."""
    kind = luck.choice(("does", "does", "does", "is", "where"))
    if kind == "where":
        english, french, many, _ = group(luck, luck.choice(ANIMALS + THINGS))
        return Pair(f"Where {'are' if many else 'is'} {english}?", f"Où {'sont' if many else 'est'} {french} ?")
    if luck.random() < 0.2:
        name, gender = luck.choice(NAMES)
        english, french, many, female = name, name, False, gender == "f"
    else:
        english, french, many, female = group(luck, luck.choice(ANIMALS), luck.random() < 0.4)
    if kind == "is":
        quality = luck.choice(ADJECTIVES)
        right = quality.french[2 * many + female]
        return Pair(
            _said(f"{english} {'are' if many else 'is'} {quality.english}."),
            _said(f"{french} {'sont' if many else 'est'} {right}."),
        )
    verb, (seen, vu, _, _) = luck.choice(VERBS), group(luck, luck.choice(THINGS))
    where = luck.choice(PLACES) if luck.random() < 0.3 else ("", "")
    return Pair(_said(f"{english} {verb[many]} {seen} {where[0]}"), _said(f"{french} {verb[2 + many]} {vu} {where[1]}"))


def group(luck: random.Random, noun: Noun, described: bool = True) -> tuple[str, str, bool, bool]:
    """An article or number, a noun and perhaps a quality: English, French, whether several, whether feminine."""
    many, female = luck.random() < 0.4, noun.gender == "f"
    english, french = noun.english, noun.french
    if many:
        english, french = noun.many_english or f"{english}s", noun.many_french or f"{french}s"
    if described and luck.random() < 0.6:
        quality = luck.choice(ADJECTIVES)
        right = quality.french[2 * many + female]
        english, french = f"{quality.english} {english}", f"{right} {french}" if quality.before else f"{french} {right}"
    if many:
        before = luck.choice((*NUMBERS, ("the", "les"), ("my", "mes")))
        return f"{before[0]} {english}", f"{before[1]} {french}", True, female
    vowel = french[0] in "aeiouyhéèêâô"
    kind = luck.choice(("the", "a", "my", "this"))
    if kind == "a" and english[0] in "aeiou":
        kind = "an"
    right = {"the": "l'" if vowel else ("le ", "la ")[female], "a": ("un ", "une ")[female], "an": ("un ", "une ")[female],
             "my": "mon " if vowel else ("mon ", "ma ")[female],
             "this": ("cet " if vowel else "ce ", "cette ")[female]}[kind]  # fmt: skip
    return f"{kind} {english}", f"{right}{french}", False, female


def _said(text: str) -> str:
    """A sentence as it is written: a capital first, a full stop at the end."""
    text = text.strip().removesuffix(".")
    return f"{text[0].upper()}{text[1:]}."


SOURCE = DataSource(
    name="phrases",
    title="Simple sentences of a small grammar, English and French",
    licence="none needed: computed",
    homepage="",
    note="4,000 pairs, computed in a moment",
    kind="pairs",
    build=phrases,
)
