"""Emoji in three styles, from packages that the test writes itself; the real ones are fetched under `network` alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from handmade.cli.main import main
from handmade.data.domains import Domains
from handmade.data.source import open_data, prepare
from handmade.data.sources import _emoji as pen
from handmade.data.sources import emoji as source
from handmade.data.sources.emoji import Emoji
from handmade.errors import Damaged, DataMissing, UserError

STYLES = ("noto", "twemoji", "fluent-emoji-flat")
INK = dict(zip(STYLES, ("#ff0000", "#00ff00", "#0000ff"), strict=True))
CHARS = {  # code points -> icon
    "1f98a": "fox", "1f408": "cat", "1f34e": "red-apple", "1f697": "automobile", "2764": "red-heart",
    **{f"1f44b{tone and '-' + tone}": f"waving-hand{tone and '-' + name + '-skin-tone'}"
       for tone, name in {"": "", **pen.TONES}.items()},
    **{f"{who}-200d-1f680": f"{word}-astronaut" for who, word in
       (("1f468", "man"), ("1f469", "woman"), ("1f9d1", "person"))},
    **{f"1f4{n:02x}": f"thing-{n}" for n in range(80, 140)},
    "1f448": "backhand-index-pointing-left", "1f449": "backhand-index-pointing-right",
}  # fmt: skip
CATEGORIES = {"Animals & Nature": ["fox", "cat"], "Food & Drink": ["red-apple"], "Travel & Places": ["automobile"],
              "Smileys & Emotion": ["red-heart"],
              "People & Body": [n for n in CHARS.values() if "hand" in n or "astronaut" in n],
              "Objects": [n for n in CHARS.values() if "thing" in n]}  # fmt: skip


def package(style: str, **changed: object) -> dict[str, bytes]:
    """The four files of one style: a square of its colour in the upper left, and an alias that mirrors it."""
    body = f'<path fill="{INK[style]}" d="M0 0h18v18h-18z"/>'
    named = {name: {"body": body} for name in CHARS.values() if name != "backhand-index-pointing-right"}
    icons = {
        "icons": named, "width": 36, "height": 36,
        "aliases": {"backhand-index-pointing-right": {"parent": "backhand-index-pointing-left", "hFlip": True}},
    }  # fmt: skip
    chars = dict(CHARS)
    if style == "fluent-emoji-flat":  # this one has fewer
        del chars["1f408"]
    parts = {"icons.json": icons, "chars.json": chars, "metadata.json": {"categories": CATEGORIES},
             "info.json": {"license": {"title": "a licence"}}, **changed}  # fmt: skip
    return {name: json.dumps(content).encode() for name, content in parts.items()}


def tarball(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {**files, "index.js": b"throw Error('a package must never be run')"}.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client called npm, first on the path, that gives out the archives of a folder."""
    folder, client = tmp_path / "shelf", tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(f"""#!/bin/sh
for last; do :; done
cp "{folder}/$(basename "$last").tgz" . || exit 1
""")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}{os.pathsep}{os.environ['PATH']}")
    packages = {style: package(style) for style in STYLES}
    for style, files in packages.items():
        tarball(folder / f"{style}@{source.PACKAGES[style].version}.tgz", files)
    hashes = {s: {name: hashlib.sha256(c).hexdigest() for name, c in files.items()} for s, files in packages.items()}
    monkeypatch.setattr(source, "FILES", hashes)
    return folder


@pytest.fixture
def here(shelf: Path) -> None:
    prepare("emoji")


def emoji(split: str = "train", **options) -> Emoji:
    dataset, spec = open_data({"source": "emoji", "size": 16, **options}, split)  # type: ignore[arg-type]
    assert isinstance(dataset, Emoji)
    assert dataset.spec == spec
    return dataset


def test_nothing_is_fetched_before_it_is_asked_for(shelf: Path):
    with pytest.raises(DataMissing, match="type handmade data prepare emoji$"):
        emoji()


def test_the_packages_and_their_licences_lie_in_the_cache(here: None, own_cache: Path):
    for style in STYLES:
        assert json.loads((own_cache / "files" / f"emoji-{style}" / "info.json").read_bytes())["license"]
        assert not (own_cache / "files" / f"emoji-{style}" / "index.js").exists()


def test_a_package_with_other_bytes_is_refused(shelf: Path):
    tarball(shelf / f"noto@{source.PACKAGES['noto'].version}.tgz", package("noto", **{"chars.json": {"1f98a": "dog"}}))
    with pytest.raises(DataMissing, match="chars.json has SHA-256"):
        prepare("emoji")


def test_every_picture_has_its_style_its_category_its_tone_and_its_name(here: None):
    parts = emoji("train"), emoji("test")
    assert sum(map(len, parts)) == 3 * len(CHARS) - 1
    for part in parts:
        assert list(part.spec.labels) == ["style", "category", "tone"]
        for row, name in enumerate(part.names):
            style, point = name.split("/")
            code = part.codes[row].tolist()
            assert part.spec.labels["style"][code[0]] == style
            assert part.spec.labels["tone"][code[2]] == pen.tone_of(point)
            colour = part.pixels[row, :, 4, 12 if point == "1f449" else 4].tolist()
            assert "#" + "".join(f"{channel:02x}" for channel in colour) == INK[style]
            assert part.pixels[row, :, 12, 8].tolist() == [255, 255, 255]
    named = {name: part.captions(torch.tensor([row]))[0] for part in parts for row, name in enumerate(part.names)}
    assert named["noto/1f98a"] == "fox"
    assert named["twemoji/1f44b-1f3fd"] == "waving hand, medium skin tone"
    assert named["noto/1f468-200d-1f680"] == "man astronaut"


def test_an_alias_may_mirror_its_parent(here: None):
    pictures = {name: part.pixels[row] for split in ("train", "test") for part in [emoji(split, styles="noto")]
                for row, name in enumerate(part.names)}  # fmt: skip
    assert torch.equal(pictures["noto/1f449"], pictures["noto/1f448"].flip(-1))


def test_a_colour_may_lie_behind_them(here: None):
    assert emoji(background="#ffcc00").pixels[0, :, 12, 4].tolist() == [255, 204, 0]
    with pytest.raises(UserError, match='background="sunny" is no colour'):
        emoji(background="sunny")


def test_all_skin_tones_genders_and_styles_of_one_emoji_lie_on_the_same_side(here: None):
    sides = defaultdict(set)
    for split in ("train", "test"):
        for point in emoji(split, held_out=0.4).keys:
            sides[pen.base(point)].add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert set().union(*sides.values()) == {"train", "test"}


@pytest.mark.parametrize("points", [
    ("1f44b", "1f44b-1f3fb", "1f44b-1f3ff"),
    ("1f477", "1f477-1f3fc-200d-2642", "1f477-200d-2640"),
    ("1f9d1-200d-1f680", "1f468-1f3fd-200d-1f680", "1f469-200d-1f680"),
    ("1f6b6", "1f6b6-200d-2640-200d-27a1", "1f6b6-200d-27a1"),
    ("1f9d1", "1f468", "1f469-1f3fe", "1f9d1-200d-1f9b0"),
    ("1f48f", "1f469-1f3fb-200d-2764-200d-1f48b-200d-1f468-1f3fc"),
    ("1f491", "1f9d1-200d-2764-200d-1f9d1"),
    ("1f46d", "1f46b-1f3fb", "1f9d1-200d-1f91d-200d-1f9d1"),
    ("1f46a", "1f468-200d-1f469-200d-1f467-200d-1f466"),
    ("1f385", "1f936", "1f9d1-200d-1f384"),
    ("1f91d", "1faf1-1f3fb-200d-1faf2-1f3fc"),
])  # fmt: skip
def test_variants_of_one_emoji_have_one_base(points: tuple[str, ...]):
    assert len(set(map(pen.base, points))) == 1


def test_different_emoji_have_different_bases():
    points = ["1f98a", "1f408", "1f9d1", "1f9d2", "1f9d1-200d-1f680", "1f9d1-200d-1f3a8", "1f48f", "1f491", "1f46a"]
    assert len(set(map(pen.base, points))) == len(points)


def test_styles_and_where_choose(here: None):
    assert emoji(styles="twemoji").spec.labels["style"] == ("twemoji",)
    assert set(emoji(where="style=noto|twemoji, tone=none").codes[:, 0].tolist()) == {0, 1}
    for options, message in (({"styles": "notto"}, 'no style "notto"; did you mean "noto"'), ({"styles": ","}, "no style"),
                             ({"where": "category=foods"}, 'no value "foods"; did you mean "food"')):  # fmt: skip
        with pytest.raises(UserError, match=message):
            emoji(**options)


def test_captions_of_some_emoji_only(here: None):
    chosen, _ = open_data({"source": "captions", "of": "emoji", "size": 16, "where": "style=noto, tone=none"})
    assert len(chosen.captions) > 0 and all(text.endswith("noto style") for text in chosen.captions)  # type: ignore
    assert not any("skin tone" in text for text in chosen.captions)  # type: ignore
    with pytest.raises(UserError, match="where=tone=none chooses among emoji, and these are faces"):
        open_data({"source": "captions", "size": 16, "where": "tone=none"})


def test_they_are_drawn_once(here: None, own_cache: Path):
    said: list[str] = []
    open_data({"source": "emoji", "size": 16}, "train", lambda done, total, what: said.append(what))
    assert sorted(set(said)) == sorted(f"drawing emoji ({style})" for style in STYLES)
    first = emoji()
    drawn = {path: path.stat().st_mtime_ns for path in (own_cache / "emoji").glob("*.npz")}
    assert len(drawn) == 3
    assert torch.equal(emoji().pixels, first.pixels) and emoji().fingerprint == first.fingerprint
    assert all(path.stat().st_mtime_ns == time for path, time in drawn.items())
    assert (
        len({first.fingerprint, emoji(flip=True).fingerprint, emoji(size=17).fingerprint, emoji("test").fingerprint})
        == 4
    )


def test_two_styles_are_two_domains_and_held_out_ones_have_their_true_partners(here: None):
    table = {"source": "domains", "of": "emoji", "attribute": "style=twemoji|fluent-emoji-flat", "size": 16}
    train, test = (open_data(table, split)[0] for split in ("train", "test"))  # type: ignore[arg-type]
    assert isinstance(train, Domains) and isinstance(test, Domains)
    assert test.spec.names == ("twemoji", "fluent-emoji-flat") and test.spec.attribute == "style"
    assert train.a_as_b is None and len(train.a) > len(test.a) > 0
    assert torch.equal(test.a_as_b, test.b) and torch.equal(test.b_as_a, test.a)  # type: ignore[arg-type]
    few = open_data({**table, "n": 5, "held_out": 2, "where": "tone=none"}, "test")[0]
    assert len(few.a) == len(few.a_as_b) == 2  # type: ignore[attr-defined]


def test_a_package_that_is_laid_out_otherwise_is_damaged():
    with pytest.raises(Damaged, match="not laid out as it should be"):
        pen.drawings(package("noto", **{"icons.json": {"icons": {}}}))


def test_the_licence_of_every_style_is_told(capsys: pytest.CaptureFixture[str]):
    for words in (["list"], ["show", "emoji"]):
        assert main(["data", *words]) == 0
        out = capsys.readouterr().out
        assert "Apache-2.0" in out and "CC BY 4.0" in out and "MIT" in out


@pytest.mark.network
def test_the_real_packages_hold_what_is_said_of_them():
    done = subprocess.run([sys.executable, "-m", "handmade", "data", "prepare", "emoji"], capture_output=True)
    assert done.returncode == 0, done.stderr
    train, test = emoji("train"), emoji("test")
    assert len(train) + len(test) == 3729 + 3988 + 3139
    assert 0.04 < len(test) / len(train) < 0.2
    common = open_data({"source": "domains", "of": "emoji", "attribute": "style=noto|twemoji", "size": 16}, "test")[0]
    assert len(common.a_as_b) == len(common.a) > 100  # type: ignore[attr-defined]
