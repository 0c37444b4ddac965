from __future__ import annotations

import itertools
import json
import random
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handmade.data.cache import cache_folder
from handmade.data.codecs import BPE, GPT2, Chars, Words, codec_from_values, show_work, train_codec
from handmade.data.codecs.bpe import byte_signs, learn, read_merges
from handmade.data.codecs.gpt2 import FILES, MIRRORS, fetch_files
from handmade.data.mirrors import locate
from handmade.data.source import Wanted
from handmade.data.sources.moby import moby
from handmade.data.specs import TextSpec, spec_from_json, spec_to_json
from handmade.errors import Damaged, DataMissing, UserError

PROSE = """"I don't know," said Emma; "it's Mr. Knightley's--or so I think."

'Tis (perhaps) the dogs' 25 bones: $10.50, 3,000 miles, e.g. Xyzzy... "Why not?" he asked -- "Well!"
She wrote: "He said 'never' to me."   Three  spaces\tand a tab.
  “Curly,” she said, ‘isn’t it—so’ … naïve café.
"""


@pytest.fixture(scope="module")
def novel() -> str:
    """The chapters that come with the package."""
    dataset, spec = moby(Wanted("train"))
    assert isinstance(spec, TextSpec)
    return spec.decode(dataset.tokens.tolist())  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenAI's two files, from this machine or by our own mirrors."""
    folder = tmp_path_factory.mktemp("gpt2")
    try:
        found = locate("gpt2-codec", FILES, MIRRORS)
    except DataMissing:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HANDMADE_CACHE", str(folder / "cache"))
            try:
                found = {name: (fetch_files(lambda *_: None) / name).read_bytes() for name in FILES}
            except DataMissing as error:
                pytest.skip(f"GPT-2's two files cannot be had here: {error}")
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def gpt2(files: Path) -> GPT2:
    return GPT2.from_folder(files)


@pytest.fixture(scope="module")
def trained(novel: str) -> dict[str, object]:
    return {kind: train_codec(kind, [novel[:100_000]], 1500) for kind in ("chars", "words", "bpe")}


@pytest.mark.parametrize("kind", ["chars", "words", "bpe"])
def test_the_text_a_codec_was_trained_on_comes_back_exactly(kind: str, trained: dict, novel: str):
    ids = trained[kind].encode(novel[:100_000])
    assert trained[kind].decode(ids) == novel[:100_000]
    assert max(ids) < trained[kind].size
    assert min(ids) >= 0


@pytest.mark.parametrize("kind", ["chars", "words", "bpe"])
def test_a_codec_survives_being_saved_with_a_spec(kind: str, trained: dict, novel: str):
    spec = TextSpec(trained[kind].to_values(), 64)
    again = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert again == spec
    assert isinstance(again, TextSpec)
    assert again.size == trained[kind].size
    assert again.encode(novel[-5000:]) == trained[kind].encode(novel[-5000:])
    assert len(repr(spec)) < 100


@settings(deadline=None, max_examples=200)
@given(text=st.text(st.sampled_from("ab 'Z9.\"—\n") | st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text_comes_back_from_bytes_and_from_words_that_know_its_characters(text: str):
    bpe = BPE.train(["low lower lowest, the newest and the widest"], 280)
    assert bpe.decode(bpe.encode(text)) == text
    words = Words.train([text, PROSE], 2000)
    assert words.decode(words.encode(text)) == text


# characters


def test_an_unknown_character_is_one_token_that_says_so():
    codec = Chars.train(["abc"])
    assert codec.encode("aéb") == [1, 0, 2]
    assert codec.decode([1, 0, 2]) == "a\ufffdb"
    assert codec.size == 4


# words


def test_prose_with_quotes_contractions_and_line_breaks_comes_back_with_its_spaces():
    codec = Words.train([PROSE], 400)
    assert codec.decode(codec.encode(PROSE)) == PROSE


def test_words_are_cased_contractions_have_their_own_tokens_and_punctuation_stands_alone():
    codec = Words.train(["Emma emma don't don't said said , \" Emma emma"], 60)
    ids = codec.encode('"Emma don\'t," emma said')
    assert [codec.tokens[token] for token in ids] == ['"', "Emma", "don", "'t", ",", '"', "emma", "said"]


def test_ordinary_prose_needs_almost_no_signs_for_its_spaces(novel: str):
    codec = Words.train([novel], 8000)
    ids = codec.encode(novel)
    assert sum(token < 3 for token in ids) / len(ids) < 0.01
    assert sum(codec.tokens[token].startswith("+") for token in ids) / len(ids) < 0.4  # words seen once are spelled


def test_a_word_that_training_never_saw_is_spelled_and_comes_back():
    codec = Words.train([PROSE], 400)
    ids = codec.encode("Emma knew Zyxtob.")
    assert codec.decode(ids).startswith("Emma ")
    known = Words.train([PROSE + "bcdefghijklmnopqrstuvwxyzZ"], 400)
    assert known.decode(known.encode("Emma knew Zyxtob.")) == "Emma knew Zyxtob."
    assert Words.train(["ab"], 60).decode(Words.train(["ab"], 60).encode("aéb")) == "a\ufffdb"


def test_what_a_token_means_never_depends_on_those_after_it(trained: dict):
    for codec in trained.values():
        ids = codec.encode(PROSE)
        whole = codec.decode(ids)
        for end in range(len(ids)):
            assert whole.startswith(codec.decode(ids[:end]).rstrip("\ufffd"))


def test_words_with_too_small_a_vocabulary_say_how_many_the_characters_need():
    with pytest.raises(UserError, match="characters of this text alone need 13 tokens"):
        Words.train(["abcde"], 10)


# byte pairs of our own


def test_merges_are_the_most_frequent_pairs_first():
    assert learn({b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}, 4) == [
        (b"e", b"s"), (b"es", b"t"), (b"l", b"o"), (b"lo", b"w"),
    ]  # fmt: skip


def test_counts_kept_by_differences_equal_counts_made_anew(novel: str):
    """The same merges as a trainer that counts all pairs again after each one."""
    words: dict[bytes, int] = {}
    for word in novel[:20_000].split():
        words[word.encode()] = words.get(word.encode(), 0) + 1
    assert learn(words, 60) == _slow(words, 60)


def _slow(words: dict[bytes, int], count: int) -> list[tuple[bytes, bytes]]:
    ids = {bytes([b]): b for b in range(256)}
    spelled = {word: [bytes([b]) for b in word] for word in words}
    merges = []
    while len(ids) < 256 + count:
        pairs: dict[tuple[bytes, bytes], int] = {}
        for word, tokens in spelled.items():
            for pair in itertools.pairwise(tokens):
                pairs[pair] = pairs.get(pair, 0) + words[word]
        left, right = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        merges.append((left, right))
        ids.setdefault(left + right, len(ids))
        for tokens in spelled.values():
            place = 0
            while place < len(tokens) - 1:
                if (tokens[place], tokens[place + 1]) == (left, right):
                    tokens[place : place + 2] = [left + right]
                place += 1
    return merges


def test_every_token_is_different_even_where_two_merges_make_the_same_text():
    codec = BPE.train(["aaaa aaa aa aaaaaaa abab aab baa baab " * 20], 290)
    assert len(set(codec.tokens)) == codec.size
    assert codec.decode(range(codec.size)).encode("utf-8", "replace")


def test_special_tokens_come_first_and_are_never_made_from_text():
    codec = BPE.train(["one two one two"], 270, ("<pad>", "<unk>", "<bos>", "<eos>"))
    assert (codec.pad, codec.unk, codec.bos, codec.eos) == (0, 1, 2, 3)
    assert min(codec.encode("<pad> one")) > 3
    assert codec.decode([2, *codec.encode("one two"), 3, 0, 0]) == "one two"
    again = codec_from_values(json.loads(json.dumps(codec.to_values())))
    assert isinstance(again, BPE)
    assert (again.tokens, again.special) == (codec.tokens, codec.special)


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(UserError, match="at least 260 tokens, not 259"):
        BPE.train(["text"], 259, ("a", "b", "c", "d"))


def test_learning_and_encoding_take_seconds(novel: str):
    started = time.process_time()
    codec = BPE.train([novel], 2048)
    assert codec.size == 2048
    assert time.process_time() - started < 8  # 1.0 s measured; 4 M characters take about 5 s
    started = time.process_time()
    codec.encode(novel)
    assert time.process_time() - started < 4  # 0.25 s measured


def test_the_work_is_shown_step_by_step():
    codec = BPE.train(["low low low lower lower newest newest widest"], 262)
    lines = show_work(codec, "low new")
    assert lines[0] == "word low"
    assert lines[1].split("|") == ["  bytes  l ", " o ", " w"]
    assert lines[2].startswith("  join 1 ")
    assert "low" in lines[3]
    assert lines[-1] == "decoded, they give the same text"
    assert str(codec.encode("low new")[0]) in lines[-2]
    for kind in (Chars.train(["low new"]), Words.train(["low low new new"], 60)):
        assert any("low" in line or line.startswith("l ->") for line in show_work(kind, "low new"))


def test_values_that_are_no_codec_are_damage():
    for values in ({}, {"kind": "morse"}, {"kind": "chars"}, {"kind": "bpe", "merges": "a b c", "special": ()},
                   {"kind": "bpe", "merges": "xy z", "special": ()}):  # fmt: skip
        with pytest.raises(Damaged):
            codec_from_values(values)


# GPT-2's byte pairs


def test_gpt2_has_its_numbers(gpt2: GPT2, files: Path):
    assert gpt2.size == 50_257
    assert gpt2.end == 50_256
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.numbers() == json.loads((files / "encoder.json").read_text("utf-8"))


def _odd(rng: random.Random, length: int) -> str:
    """Random Unicode: any plane, and the places where patterns and bytes are easily got wrong."""
    pools = [
        lambda: chr(rng.randrange(32, 127)), lambda: chr(rng.choice([9, 10, 13, 32, 160, 0x2003, 0x3000, 0x85, 0x1C])),
        lambda: chr(rng.randrange(0x80, 0x2000)), lambda: rng.choice(["'s", "'T", "'ll", " '", "’s", "  ", "\n\n ", "\r\n"]),
        lambda: chr(rng.randrange(0x1F300, 0x1FAFF)), lambda: chr(rng.randrange(0x0300, 0x0370)),
        lambda: chr(rng.randrange(0x4E00, 0x9FFF)), lambda: chr(rng.choice([0, 0x7F, 0xFEFF, 0xFFFD, 0x10FFFF, 0x200D])),
        lambda: rng.choice("²½Ⅷ٣१") , lambda: "<|endoftext|>", lambda: chr(rng.randrange(0x2000, 0xD800)),
    ]  # fmt: skip
    return "".join(rng.choice(pools)() for _ in range(length))


def test_gpt2_equals_tiktoken_on_random_unicode(gpt2: GPT2, files: Path, novel: str, monkeypatch: pytest.MonkeyPatch):
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext import openai_public

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # read the two files where they are
    ranks = data_gym_to_mergeable_bpe_ranks(str(files / "vocab.bpe"), str(files / "encoder.json"))
    judge = tiktoken.Encoding("gpt2", explicit_n_vocab=50_257, pat_str=openai_public.r50k_pat_str, mergeable_ranks=ranks,
                              special_tokens={"<|endoftext|>": 50_256})  # fmt: skip
    rng = random.Random(0)
    texts = [_odd(rng, rng.randrange(1, 80)) for _ in range(2000)] + [novel[:50_000], PROSE, "", " ", "\n \n"]
    for text in texts:
        ids = gpt2.encode(text)
        assert ids == judge.encode_ordinary(text), [unicodedata.name(c, hex(ord(c))) for c in text]
        assert gpt2.decode(ids) == text


def test_gpt2_survives_being_saved_and_both_names_of_its_files_are_read(gpt2: GPT2, files: Path, tmp_path: Path):
    again = codec_from_values(json.loads(json.dumps(gpt2.to_values())))
    assert isinstance(again, GPT2)
    assert again.tokens == gpt2.tokens
    (tmp_path / "vocab.json").write_bytes((files / "encoder.json").read_bytes())
    (tmp_path / "merges.txt").write_bytes((files / "vocab.bpe").read_bytes())
    assert GPT2.from_folder(tmp_path).tokens == gpt2.tokens


def test_a_codec_of_another_size_with_more_special_tokens_is_read(tmp_path: Path):
    merges = "#version: 0.2\nl o\nlo w\n"
    signs = [*byte_signs().values(), "lo", "low", "<|endoftext|>", "<|user|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({sign: n for n, sign in enumerate(signs)}))
    (tmp_path / "merges.txt").write_text(merges)
    codec = GPT2.from_folder(tmp_path)
    assert codec.size == 260
    assert codec.encode("low") == [257]
    assert codec.special == {"<|endoftext|>": 258, "<|user|>": 259}


def test_vocabulary_files_that_are_broken_or_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(DataMissing, match=r"encoder\.json and vocab\.bpe"):
        GPT2.from_folder(tmp_path)
    good = {sign: n for n, sign in enumerate([*byte_signs().values(), "lo", "<|endoftext|>"])}
    for numbers, merges, kind, message in [
        ("{", "l o", Damaged, "cannot be read"),
        ("[1]", "l o", Damaged, "no numbers"),
        (json.dumps(good), "l o w", Damaged, "line 1 is no pair"),
        (json.dumps(good), "l ow", Damaged, "cannot be read"),
        (json.dumps(good), "o l", UserError, "do not follow"),
    ]:
        (tmp_path / "vocab.json").write_text(numbers)
        (tmp_path / "merges.txt").write_text(merges)
        with pytest.raises(kind, match=message):
            GPT2.from_folder(tmp_path)


def test_gpt2_without_its_files_says_what_to_type():
    assert not (cache_folder() / "files").exists()
    with pytest.raises(DataMissing, match="type handmade data prepare gpt2-codec"):
        train_codec("gpt2", ["text"], 0)


def test_the_signs_of_bytes_are_a_table_of_256_and_merges_are_read_back():
    assert len(set(byte_signs().values())) == 256
    assert byte_signs()[ord(" ")] == "Ġ"
    assert read_merges("#version: 0.2\nĠ t\n") == [(b" ", b"t")]
