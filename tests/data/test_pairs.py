"""Sentence pairs: read from any layout, divided without a leak, coded and batched as a pure function of the order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from handmade.cli.main import main
from handmade.data.codecs.sentences import pieces, sentences
from handmade.data.loader import Loader
from handmade.data.pairs import Pair, divide, dividing, simple
from handmade.data.source import find_source, for_path, open_data
from handmade.data.sources import librehelp
from handmade.data.specs import spec_from_json, spec_to_json
from handmade.errors import Damaged, DataMissing, UserError

PHRASES = {"source": "phrases", "n": 400, "vocabulary": 350}
ROWS = [(f"The cat number {n} sleeps.", f"Le chat numéro {n} dort, très âgé.") for n in ("one", "two", "three", "four")]
ROWS += [(f"A {word} house.", f"Une maison {word}.") for word in "abcdefghijklmnopqrstuvwxyz"]
OWN = {"vocabulary": 300, "held_out": 0.2, "kind": "pairs"}


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def tmx(rows: list[tuple[str, str]]) -> str:
    units = "".join(
        f'<tu><tuv xml:lang="en-GB"><seg>{left}</seg></tuv>'
        f'<tuv xml:lang="FR"><seg>{right[:3]}<bpt i="1"/>{right[3:]}</seg></tuv></tu>'
        for left, right in rows
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><tmx version="1.4"><header/><body>{units}</body></tmx>'


def columns(side: int) -> str:
    return "".join(f"{row[side]}\n" for row in ROWS)


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "csv of the book": lambda at: write(at / "en2fr.csv", "en,fr\n" + "".join(f'"{a}","{b}"\n' for a, b in ROWS)),
    "csv with more columns, turned": lambda at: write(
        at / "more.csv", "id;French;x;English\n" + "".join(f"{i};{b};;{a}\n" for i, (a, b) in enumerate(ROWS))
    ),
    "tsv with a header": lambda at: write(at / "t.tsv", "source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS)),
    "Anki": lambda at: write(at / "fra.txt", "".join(f"{a}\t{b}\tCC-BY 2.0 (someone)\n" for a, b in ROWS)),
    "Anki with a mark, Windows line ends": lambda at: write(
        at / "fra.txt", "\ufeff" + "".join(f"{a}\t{b}\tCC-BY\r\n" for a, b in ROWS)
    ),
    "Anki of today": lambda at: write(
        at / "fra.txt",
        "#separator:tab\r\n#html:true\r\n#guid column:1\r\n#tags column:4\r\n"
        + "".join(f'x#{i}\t{a}\t"{b}"\tverbs\r\n' for i, (a, b) in enumerate(ROWS)),
    ),
    "Anki, divided by semicolons": lambda at: write(
        at / "fra.txt", "#separator:Semicolon\n" + "".join(f"{a};{b}\n" for a, b in ROWS)
    ),
    "tabs, and line ends of other sorts inside": lambda at: write(
        at / "t.tsv", "".join(f"{a.replace(' ', chr(0x2028), 1)}\t{b.replace(' ', chr(0x85), 1)}\n" for a, b in ROWS)
    ),
    "two parallel files": lambda at: (write(at / "corpus.fr", columns(1)), write(at / "corpus.en", columns(0)))[1],
    "two parallel files, the other one named": lambda at: (
        write(at / "en.txt", columns(0)),
        write(at / "fr.txt", columns(1)),
    )[1],
    "a folder of parallel files": lambda at: (write(at / "x/c.en", columns(0)), write(at / "x/c.fr", columns(1)), at)[
        2
    ],
    "tmx": lambda at: write(at / "memory.tmx", tmx(ROWS)),
    "a folder of tables": lambda at: (
        write(at / "a.tsv", "".join(f"{a}\t{b}\n" for a, b in ROWS[:9])),
        write(at / "b.csv", "french,english\n" + "".join(f'"{b}","{a}"\n' for a, b in ROWS[9:])),
        at,
    )[2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pairs(layout, tmp_path):
    path = LAYOUTS[layout](tmp_path / "mine")
    parts = [open_data({"path": str(path), **OWN}, split)[0] for split in ("train", "test")]
    assert sorted(pair for part in parts for pair in part.pairs) == sorted(Pair(*row) for row in ROWS)
    assert f"{len(ROWS)} pairs" in parts[0].report.lines()[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "english,remarks\nhello,none\n", r"no column for fr \(columns: english, remarks\); .*--data.columns"),
        ("a.csv", "one,two\nhello,bonjour\n", "no column for en"),
        ("a.txt", "only English here\nand here\n", "has one column"),
        ("a.tsv", "en\tfr\nhello\n", r"row 2 has 1 columns"),
        ("a.tsv", "", "is empty"),
        ("a.txt", "#separator:tab\n#html:true\n", "no pairs below the lines that Anki writes"),
        (
            "a.csv",
            "en,fr\nA cat.,Un chat.\nHello, world.,Bonjour\n",
            "row 3 has 3 columns, and the header 2: put quotes",
        ),
        (
            "a.csv",
            'en,fr\nA cat.,Un chat.\n"The dog,le chien\n' + "a,b\n" * 50_000,
            "row 3 has a quote that is not closed",
        ),
        ("a.tsv", b"hello\tcaf\xe9\n", "not UTF-8: byte 0xe9 at position 9"),
        ("a.tmx", "<tmx><body><tu>", "no whole XML file"),
        ("a.tmx", tmx(ROWS).replace("FR", "de"), r"no pair of en and fr \(languages: de, en\)"),
        ("a.tmx", '<!DOCTYPE x [<!ENTITY a "aaaa">]><tmx/>', "entities"),
        ("a.docx", "PK", "one column|is not text"),
    ],
)
def test_a_file_without_pairs_is_one_clear_line(name, content, said, tmp_path):
    path = write(tmp_path / name, content)
    with pytest.raises((UserError, Damaged), match=said) as caught:
        open_data({"path": str(path), **OWN})
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_parallel_files_of_different_lengths_are_refused(tmp_path):
    write(tmp_path / "c.fr", columns(1) + "Encore.\n")
    with pytest.raises(UserError, match=r"c.en has 30 lines and c.fr has 31"):
        open_data({"path": str(write(tmp_path / "c.en", columns(0))), **OWN})


def test_columns_are_named_on_the_command_line_and_missing_ones_exit_with_2(tmp_path, capsys):
    path = write(tmp_path / "odd.csv", "left,right,other\n" + "".join(f'"{a}","{b}",x\n' for a, b in ROWS))
    assert main(["train", "translator/smoke", "--data", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "no column for en" in capsys.readouterr().err
    dataset, _ = open_data({"path": str(path), "columns": "left,right", **OWN})
    assert set(dataset.pairs) < {Pair(*row) for row in ROWS}


def test_data_of_your_own_keep_the_recipes_direction_and_vocabulary(tmp_path):
    place = for_path(
        {"source": "phrases", "direction": "fr-en", "vocabulary": 321}, write(tmp_path / "x.tsv", "a\tb\n")
    )
    assert place["kind"] == "pairs" and place["direction"] == "fr-en" and place["vocabulary"] == 321


# dividing


def test_no_sentence_is_on_both_sides_of_the_division():
    pairs = [Pair(f"Press key {n % 7} in room {n}.", f"Appuyez {n}") for n in range(100)]
    pairs += [Pair("Same source", f"version {n}") for n in "abc"] + [Pair(f"source {n}", "même cible") for n in "abc"]
    train, test = divide(pairs, 0.3)
    for side in Pair._fields:
        assert not {simple(getattr(pair, side)) for pair in train} & {simple(getattr(pair, side)) for pair in test}


def test_case_digits_and_marks_make_no_new_sentence():
    train = [Pair("Press F5 to start.", "Appuyez sur F5.")]
    test = [Pair("press F6 to start", "autre"), Pair("Other", "APPUYEZ SUR F5"), Pair("New one", "Nouveau")]
    assert dividing(train, test)[1] == [Pair("New one", "Nouveau")]


def test_held_out_pages_share_nothing_with_training():
    rows = [
        (
            f"page{n % 40}",
            f"sentence {chr(97 + n % 26)} of {chr(97 + n // 26)}",
            f"phrase {chr(97 + n % 26)} de {chr(97 + n // 26)}",
        )
        for n in range(300)
    ]
    rows += [(f"page{n}", "Shared heading", "Titre commun") for n in range(40)]
    train, test = librehelp.divided(rows, 0.3)
    pages = {(english, french): page for page, english, french in rows}
    of = [{pages[pair] for pair in part if pair.source != "Shared heading"} for part in (train, test)]
    assert of[1] and not of[0] & of[1]
    assert Pair("Shared heading", "Titre commun") in train and Pair("Shared heading", "Titre commun") not in test


# the help pages


def test_paragraphs_lose_tags_and_the_variants_of_other_systems():
    mac = '<span hidden="true" id="MAC1" class="MAC"><span class="k">Command</span></span>'
    default = '<span hidden="true" id="default1"><span class="k">Ctrl</span></span>'
    markup = f'Press <span id="s" class="switchinline">{mac}{default}</span>+A &amp; go\u00a0on, l\u2019été.'
    assert librehelp.plain(markup) == "Press Ctrl+A & go on, l'été."


def test_pages_are_aligned_by_paragraph_ids_and_sentences_where_both_split_alike():
    english = librehelp.paragraphs(
        '<h1 id="hd_1" dir="auto">The Title Page</h1><p id="par_2">Press Enter. Then wait.</p>'
        '<p id="par_3">One two. Three four.</p><p id="par_4">Same words</p><p>No id here</p>'
    )
    french = librehelp.paragraphs(
        '<h1 id="hd_1">La page de titre</h1><p class="x" id="par_2">Appuyez sur Entrée. Puis attendez.</p>'
        '<p id="par_3">Tout en une phrase.</p><p id="par_4">Same words</p>'
    )
    assert sorted(librehelp.aligned(english, french)) == [
        ("Press Enter.", "Appuyez sur Entrée."), ("The Title Page", "La page de titre"), ("Then wait.", "Puis attendez."),
    ]  # fmt: skip


ODD = [("Set %PRODUCTNAME now", "Réglez %PRODUCTNAME"), ("a = {1;2}", "b = {1;2}"), ("Same here", "Same here")]


@pytest.mark.parametrize("pair", [*ODD, ("Word", "Mot"), ("One two three", "Un"), ("12 34", "34 56")])
def test_code_names_and_unlike_lengths_are_no_pairs(pair):
    assert not librehelp.translates(*pair)


def test_without_its_files_the_help_names_the_line_to_type():
    with pytest.raises(DataMissing, match="handmade data prepare librehelp"):
        open_data({"source": "librehelp"})


def test_pairs_kept_in_the_cache_are_read_and_a_broken_line_is_named(own_cache):
    place = write(
        own_cache / "files" / "librehelp" / "pairs.tsv",
        "".join(f"text/p{n}\tWord {'x' * n} here\tMot {'y' * n} ici\n" for n in range(1, 40)),
    )
    dataset, spec = open_data({"source": "librehelp", "vocabulary": 300, "held_out": 0.3, "direction": "fr-en"})
    assert dataset.pairs[0].source.startswith("Mot") and (spec.source_language, spec.target_language) == ("fr", "en")
    place.write_text("text/p1\tonly one\n")
    with pytest.raises(Damaged, match="line 1: 2 columns"):
        open_data({"source": "librehelp", "vocabulary": 301})


# sentences


def test_sentences_end_where_a_capital_follows_an_end_mark():
    text = "Press F5. Then wait… Is it «done»? See e.g. the list, version 2.5 of it! 12 cells. État final."
    assert sentences(text) == [
        "Press F5.",
        "Then wait…",
        "Is it «done»?",
        "See e.g. the list, version 2.5 of it!",
        "12 cells.",
        "État final.",
    ]
    assert sentences("  ") == [] and sentences("no end") == ["no end"]


@pytest.mark.parametrize("text", ["a " * 100, "x" * 300, "one, two, three; four, five " * 8, "é"])
def test_a_long_sentence_is_cut_into_pieces_that_fit(text):
    cut = pieces(text.strip(), lambda part: len(part) <= 20)
    assert all(len(part) <= 20 for part in cut)
    assert re.sub(r"\s", "", "".join(cut)) == re.sub(r"\s", "", text)


# batches


def test_a_batch_is_padded_sorted_and_holds_the_asked_pairs():
    dataset, spec = open_data(PHRASES)
    batch = dataset.batch(torch.tensor([5, 3, 17, 3]), torch.Generator())
    texts = [
        Pair(spec.decode(left), spec.decode(right))
        for left, right in zip(batch.source.tolist(), batch.target.tolist(), strict=True)
    ]
    assert sorted(texts) == sorted(dataset.pairs[i] for i in (5, 3, 17, 3))
    lengths = (batch.target != 0).sum(1)
    assert lengths.tolist() == sorted(lengths.tolist()) and lengths.max() == batch.target.shape[1]
    assert (batch.target[:, 0] == 2).all() and all(row[row != 0][-1] == 3 for row in (*batch.source, *batch.target))
    assert batch.share.tolist() == [float((batch.target[:, 1:] != 0).sum()) / 4] * 4


def test_batches_are_a_pure_function_of_seed_and_position():
    dataset, _ = open_data(PHRASES)
    first, second = Loader(dataset, 16, seed=4), Loader(dataset, 16, seed=4)
    kept = [next(first) for _ in range(40)]
    second.load_state_dict({"position": 33})
    assert all(torch.equal(a, b) for a, b in zip(kept[33], next(second), strict=True))


def test_a_spec_comes_back_from_its_file_and_accents_and_capitals_survive(tmp_path):
    import json

    _, spec = open_data(PHRASES)
    again = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert again == spec and again.size == spec.size
    for text in ("Où est l'Élève ÂGÉ ?", "Œuvre, façade; naïve", "日本 🙂"):
        assert again.decode([2, *again.encode(text), 3, 0, 0]) == text


def test_the_grammar_agrees_and_elides():
    dataset, _ = open_data({"source": "phrases", "n": 3000, "vocabulary": 400})
    text = " ".join(pair.target for pair in dataset.pairs)
    assert not re.search(r"\b(le|la|ma|ce) [aeéèâêo]", text)
    assert (
        re.search(r"\bl'(école|étoile|arbre|oiseau|âne|élève)", text) and "vaches noires" in text and "chevaux" in text
    )
    assert not re.search(r"\b(voiture|maison|vache) (vert|noir|blanc|léger|fatigué)\b", text)


def test_every_pair_source_says_whose_it_is():
    for name in ("phrases", "librehelp"):
        source = find_source(name)
        assert source.kind == "pairs" and source.licence and source.note
