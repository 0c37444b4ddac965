from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import hand
from handmade.data.loader import Loader
from handmade.data.own_text import read_texts
from handmade.data.source import Wanted, check_data, for_path, kind_of, open_data, prepare
from handmade.data.sources.austen import objects, strings
from handmade.data.sources.moby import SLICE, tidy
from handmade.data.sources.plays import script
from handmade.data.specs import TextBatch, TextSpec
from handmade.data.texts import Text, Windows, open_text, plain, reflowed, split
from handmade.errors import Damaged, DataMissing, UserError

GENERATOR = torch.Generator()
OPTIONS: dict[str, Any] = {"codec": "chars", "vocabulary": 300, "context": 8, "order": "whole", "held_out": 0.1}


def windows(n: int = 1001, context: int = 10, order: str = "random") -> Windows:
    return Windows(torch.arange(n, dtype=torch.int32), context, order, "count")  # type: ignore[arg-type]


def take(loader: Loader, count: int) -> list[TextBatch]:
    return list(itertools.islice(loader, count))


# windows and the loader


def test_whole_windows_cover_the_text_once_and_targets_are_the_next_tokens():
    data = windows(order="whole")
    batch = data.batch(torch.arange(len(data)), GENERATOR)
    assert batch.tokens.shape == (100, 11)
    assert batch.tokens.dtype == torch.int64
    assert batch.tokens[:, :-1].flatten().tolist() == list(range(1000))
    assert batch.tokens[:, 1:].flatten().tolist() == list(range(1, 1001))
    assert batch.fresh.all()


def test_random_windows_start_anywhere_even_at_the_very_end():
    data = windows(205, 10)
    starts = {int(row[0]) for batch in take(Loader(data, 20), 200) for row in batch.tokens}
    assert starts == set(range(195))
    for row in take(Loader(data, 20), 3)[-1].tokens:
        assert row.tolist() == list(range(int(row[0]), int(row[0]) + 11))


def test_in_lanes_every_row_goes_on_from_the_same_row_of_the_batch_before():
    batches = take(Loader(windows(1000, 10, "lanes"), 4), 50)  # 99 windows: 24 to a lane
    for number, (before, after) in enumerate(itertools.pairwise(batches), start=1):
        fresh = number % 24 == 0
        assert after.fresh.tolist() == [fresh] * 4
        assert torch.equal(before.tokens[:, -1], after.tokens[:, 0]) != fresh
    assert batches[0].fresh.all()
    seen = torch.cat([batch.tokens[:, 0] for batch in batches[:24]])
    assert sorted(seen.tolist()) == [10 * index for index in range(96)]


@pytest.mark.parametrize("order", ["random", "whole", "lanes"])
@pytest.mark.parametrize("at", [0, 7, 30])
def test_a_loader_goes_on_exactly_from_the_middle_of_an_epoch(order: str, at: int):
    straight = Loader(windows(order=order), 8, seed=3)
    take(straight, at)
    state, rest = straight.state_dict(), take(straight, 20)
    again = Loader(windows(order=order), 8, seed=3)
    take(again, 2)
    again.load_state_dict(state)
    for left, right in zip(rest, take(again, 20), strict=True):
        assert torch.equal(left.tokens, right.tokens)
        assert torch.equal(left.fresh, right.fresh)


@pytest.mark.parametrize("order", ["random", "lanes"])
@pytest.mark.parametrize("parts", [2, 4])
def test_processes_see_slices_of_the_batch_that_one_would_see(order: str, parts: int):
    whole = take(Loader(windows(order=order), 8, seed=5), 30)
    cuts = [take(Loader(windows(order=order), 8, seed=5, part=part, parts=parts), 30) for part in range(parts)]
    for index, batch in enumerate(whole):
        assert torch.equal(batch.tokens, torch.cat([part[index].tokens for part in cuts]))
        assert torch.equal(batch.fresh, torch.cat([part[index].fresh for part in cuts]))


def test_fewer_windows_than_lanes_is_the_users_mistake():
    with pytest.raises(UserError, match=r"9 windows, fewer than the 10 lanes.*--train.batch 9"):
        Loader(windows(100, 10, "lanes"), 10)


# splitting and encoding


def test_the_end_of_every_text_is_held_out_and_the_codec_never_sees_it():
    texts = [Text("one", "ab" * 500 + "Z" * 200), Text("two", "cd" * 500 + "Y" * 200)]
    parts = {}
    for part in ("train", "test"):
        options = {**OPTIONS, "held_out": 0.2}
        data, spec = open_text(Wanted(part), "two texts", texts, **options)  # type: ignore[arg-type]
        parts[part] = spec.decode(data.tokens.tolist())
        assert data.order == "whole"
    assert "Z" not in spec.codec["characters"]
    assert set(parts["train"]) == set("abcd")
    assert "\ufffd" in parts["test"]
    assert len(parts["train"]) + len(parts["test"]) == sum(len(text.content) for text in texts)


def test_a_split_is_cut_at_a_line_end_where_one_is_near():
    train, test = split("word " * 100 + "\n" + "more " * 20, 0.2)
    assert train.endswith("word \n")
    assert test == "more " * 20
    assert [len(part) for part in split("x" * 1000, 0.1)] == [900, 100]


def test_tokens_are_made_once_and_made_again_where_the_cache_is_damaged(own_cache: Path):
    said: list[str] = []
    texts = [Text("one", "some words and more words\n" * 50)]

    def opened(split: Any = "train", **changed: Any) -> tuple[Windows, TextSpec]:
        wanted = Wanted(split, lambda done, total, what: said.append(what))
        return open_text(wanted, "one text", texts, **{**OPTIONS, "codec": "bpe", **changed})

    data, spec = opened()
    assert said
    said.clear()
    again, same = opened()
    held, _ = opened("test")
    assert not said
    assert (same, again.fingerprint) == (spec, data.fingerprint)
    assert torch.equal(again.tokens, data.tokens)
    assert held.fingerprint != data.fingerprint
    assert opened(vocabulary=301)[0].fingerprint != data.fingerprint
    said.clear()
    for file in own_cache.rglob("train.npy"):
        file.write_bytes(b"broken")
    assert torch.equal(opened()[0].tokens, data.tokens)
    assert said


def test_a_text_too_short_for_a_window_says_what_would_fit():
    with pytest.raises(UserError, match=r"held-out part has 10 tokens.*takes 65.*--data.context 9"):
        open_text(Wanted("train"), "short", [Text("short", "abcdefghij" * 10)], **{**OPTIONS, "context": 64})


# your own text


def test_a_file_and_a_folder_of_files_at_any_depth_are_read(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_bytes("\ufeffwith a mark é\r\nand two lines".encode())
    (tmp_path / "deep" / "a.TXT").write_text("the other one", "utf-8")
    (tmp_path / "notes.md").write_text("not read")
    (tmp_path / "empty.txt").write_text("  \n")
    assert [text.content for text in read_texts(tmp_path)] == ["with a mark é\nand two lines", "the other one"]
    assert [text.content for text in read_texts(tmp_path / "b.txt")] == ["with a mark é\nand two lines"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"some text\x00\x01\x02 more", r"not text but binary: byte 0x00 at position 9"),
        ("a.txt", b"%PDF-1.4 and more", "not text but a PDF"),
        ("a.txt", b"PK\x03\x04....", r"not text but a \.zip, \.docx or \.epub"),
        ("a.txt", "one\ntwo café".encode("latin1"), r"byte 0xe9 at position 11 \(line 2\), .* latin1; .*iconv"),
        ("a.txt", "he said “no”".encode("cp1252"), r"byte 0x93 at position 8 \(line 1\), it looks like windows-1252"),
        ("a.txt", "Анна Каренина, роман".encode("cp1251"), "byte 0xc0 at position 0 .*looks like windows-1251"),
        ("a.txt", "wide".encode("utf-16"), "byte 0xff at position 0, it looks like utf-16;"),
        ("a.txt", "wide without a mark".encode("utf-16-le"), "looks like utf-16le"),
        ("a.txt", "é, cut off é".encode()[:-1], r"ends in the middle of a character: byte 0xc3 at position 12"),
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n", "is empty"),
        ("a.txt", b"too short", "too short: its held-out part has 1 token,"),
        ("a.md", b"", "no .txt file among the 1 files"),
    ],
)  # fmt: skip
def test_what_is_no_text_in_utf8_is_refused_in_one_line(name: str, content: bytes, message: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        open_data({"path": str(tmp_path), "kind": "text", "codec": "chars"})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_path_that_is_not_there_is_the_users_mistake(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist: give a .txt file"):
        open_data({"path": str(tmp_path / "no.txt"), "kind": "text"})


def test_a_users_text_takes_over_the_options_of_the_recipes_text(tmp_path: Path):
    table = for_path({"source": "austen", "vocabulary": 900, "context": 32, "books": "emma"}, tmp_path)
    assert table == {
        "path": str(tmp_path), "kind": "text", "codec": "bpe", "vocabulary": 900, "context": 32, "order": "random",
        "held_out": 0.1,
    }  # fmt: skip
    assert check_data(table) == table
    assert for_path(table, tmp_path / "other.txt") == {**table, "path": str(tmp_path / "other.txt")}
    for wrong, message in [
        ({"path": ".", "kind": "txt"}, 'did you mean "text"'),
        ({"source": "moby", "kind": "text"}, 'goes with a "path"'),
        ({"source": "moby", "codec": "bep"}, 'did you mean "bpe"'),
        ({"path": ".", "kind": "text", "books": "emma"}, 'no setting "books"'),
    ]:
        with pytest.raises(UserError, match=message):
            check_data(wrong)


def test_the_report_names_the_texts_and_reminds_of_rights(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("my own words, and some more of them. " * 100)
    dataset, _ = open_data({"path": str(tmp_path), "kind": "text", "context": 16, "vocabulary": 300})
    lines = dataset.report.lines()  # type: ignore[attr-defined]
    assert lines[0] == "1 text (mine.txt): 3,700 characters"
    assert any("make sure you may use this text" in line for line in lines)


def test_the_kind_of_a_users_files_is_seen_from_their_names(tmp_path: Path):
    (tmp_path / "a.txt").write_text("text")
    assert kind_of(tmp_path) == "text"
    (tmp_path / "a.png").write_bytes(b"")
    assert kind_of(tmp_path) == "images"
    (tmp_path / "b.tsv").write_text("one\tun")
    assert kind_of(tmp_path / "b.tsv") == "pairs"


# sources


def test_moby_dick_needs_nothing():
    dataset, spec = open_data({"source": "moby"})
    held, _ = open_data({"source": "moby"}, "test")
    assert len(dataset) > 4000
    assert len(held) > 400
    assert spec.decode(dataset.tokens[:37].tolist()) == "CHAPTER 1. Loomings.\n\nCall me Ishmael"  # type: ignore[union-attr,attr-defined]
    assert spec.size < 90  # type: ignore[union-attr]
    text = SLICE.read_text("utf-8")
    assert text == plain(reflowed(text))
    with pytest.raises(DataMissing, match="type handmade data prepare moby"):
        open_data({"source": "moby", "whole": True})


def test_pages_become_plain_paragraphs():
    assert tidy("One\nline—“so”…\n\n\n  two’s\nend\n\n") == 'One line--"so"...\n\ntwo\'s end\n'


def test_a_play_becomes_its_speeches():
    page = (
        "# Hamlet\n\n## ACT I\n\n_Enter two\nmen_\n\n**BERNARDO**  \nWho's there?  \nSay, _[Aside]_ man\\--quick  \n\n"
        "_Trumpets_\n\nand more\n\n**GHOST**  \n_rises_\n\n**First Clown**  \nHe.\n"
    )
    assert script(page) == "BERNARDO:\nWho's there?\nSay, man--quick\nand more\n\nFirst Clown:\nHe.\n"


def _vector(texts: list[str | None]) -> bytes:
    """A vector of texts as R serialises it, in a lazy-load file."""
    body = b"X\n" + struct.pack(">4I", 3, 0x40201, 0x30500, 5) + b"UTF-8" + struct.pack(">2I", 16, len(texts))
    for text in texts:
        raw = (text or "").encode()
        body += struct.pack(">Ii", 0x40009, -1 if text is None else len(raw)) + raw
    return struct.pack(">I", len(body)) + zlib.compress(body)


def test_texts_are_read_from_rs_own_format():
    content = _vector(["EMMA", "", "café"]) + _vector([None, "two"])
    assert list(objects(content)) == [["EMMA", "", "café"], ["", "two"]]


def test_a_broken_r_file_is_damage_wherever_it_breaks():
    good = _vector(["EMMA", "chapter one"])
    for cut in range(1, len(good)):
        with pytest.raises(Damaged):
            list(objects(good[:cut]))
    body = zlib.decompress(good[4:])
    for place in range(len(body)):
        for value in (0x00, 0xFF):
            with contextlib.suppress(Damaged):
                strings(body[:place] + bytes([value]) + body[place + 1 :])
    with pytest.raises(Damaged, match="something else than texts"):
        strings(b"X\n" + struct.pack(">4I", 3, 0, 0, 5) + b"UTF-8" + struct.pack(">2I", 13, 1))


def _prepared(name: str) -> None:
    try:
        prepare(name)
    except DataMissing as error:
        pytest.skip(f"{name} cannot be had here: {error}")


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "options", "length", "begins"),
    [
        ("plays", {}, 4_500_000, "THESEUS:\nNow, fair Hippolyta"),
        ("plays", {"plays": "hamlet, macbeth"}, 250_000, "BERNARDO:\nWho's there?\n\nFRANCISCO:\n"),
        ("austen", {"codec": "chars"}, 4_000_000, "EMMA\n\nBy Jane Austen\n\nVOLUME I\n\nCHAPTER I\n\nEmma Wood"),
        ("austen", {"books": "persuasion", "codec": "chars"}, 400_000, "Persuasion\n\n"),
        ("moby", {"whole": True}, 1_190_000, "CHAPTER 1. Loomings.\n\nCall me Ishmael."),
    ],
)  # fmt: skip
def test_texts_are_fetched_with_registries_alone(name: str, options: dict, length: int, begins: str):
    _prepared(name)
    parts = [open_data({"source": name, **options}, split) for split in ("train", "test")]
    tokens = [data.tokens.tolist() for data, _ in parts]  # type: ignore[attr-defined]
    assert sum(map(len, tokens)) > length
    assert 0.05 < len(tokens[1]) / sum(map(len, tokens)) < 0.15
    assert parts[0][1].decode(tokens[0][: len(begins)]) == begins  # type: ignore[union-attr]


def test_a_wrong_title_is_named_with_the_nearest():
    with pytest.raises(UserError, match='books cannot be "ema"; did you mean "emma"'):
        open_data({"source": "austen", "books": "ema"})


# the command line


def test_data_show_tells_how_a_text_becomes_tokens():
    done = hand("data", "show", "moby", "--codec", "bpe", "--text", "the whale")
    assert done.code == 0, done
    assert "word \u00b7whale" in done.out
    assert "join 1" in done.out
    assert done.out.rstrip().endswith("decoded, they give the same text")
    told = hand("data", "show", "moby", "--data.codec=words", "--text", "the whale", "--json").json()
    assert told["tokens"] == ["the", "whale"]


def test_data_show_tells_what_a_users_text_holds_and_refuses_a_bad_one_with_exit_code_2(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("my own words, and some more of them. " * 200)
    done = hand("data", "show", tmp_path)
    assert done.code == 0, done
    assert "1 text (mine.txt)" in done.out
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    done = hand("data", "show", tmp_path)
    assert done.code == 2
    assert "bad.txt is not UTF-8: byte 0xe9 at position 3" in done.complaint()


def test_data_show_of_a_source_shows_its_options_and_how_it_begins():
    done = hand("data", "show", "moby")
    assert "held_out" in done.out
    assert "Call me Ishmael" in done.out
    done = hand("data", "show", "austen")
    assert done.code == 0
    assert "type handmade data prepare austen" in done.out or "Emma" in done.out
    assert hand("data", "show", "moby", "--codecs", "bpe").code == 2
    assert hand("data", "show", "shapes", "--text", "a").code == 2
    assert hand("data", "list", "--text", "a").code == 2


def test_what_a_given_codec_does_not_know_is_said_each_time_and_looked_for_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path))
    spec = TextSpec({"kind": "chars", "characters": "\ufffdab\n"}, 8)
    texts = [Text("strange", "abba\n" * 40 + "c" * 8)]
    wanted = Wanted("train", like=spec)
    first, _ = open_text(wanted, "mine", texts, **{**OPTIONS, "codec": "run"})
    assert any(
        "8 of 208 characters (3.8%) are unknown to the codec, such as c" in line for line in first.report.lines()
    )
    monkeypatch.setattr("handmade.data.texts.unknown_letters", lambda *_: pytest.fail("the whole text was read again"))
    again, _ = open_text(wanted, "mine", texts, **{**OPTIONS, "codec": "run"})
    assert again.report.lines() == first.report.lines()
