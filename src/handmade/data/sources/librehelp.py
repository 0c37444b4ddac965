"""English and French sentences from the help of LibreOffice, paired through the paragraph numbers that both languages share.

Two Debian packages of 5 MB hold 2,561 pages in each language; every paragraph carries the same id in both. A paragraph is
cut into sentences where both sides cut alike. Held out are whole pages, so that no sentence is tested on its own page's
words, and what a held-out page shares word for word with a training page is left out of the test.
"""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, store
from handmade.data.codecs.sentences import sentences
from handmade.data.mirrors import Mirror, Unreachable, fetch_package, members
from handmade.data.pairs import Pair, PairDataset, dividing, open_pairs
from handmade.data.source import DataSource, Progress, Wanted
from handmade.data.specs import PairSpec
from handmade.errors import Damaged, DataMissing

PACKAGES = {"en": "libreoffice-help-en-us", "fr": "libreoffice-help-fr"}
INSTALLED = {"en": Path("/usr/share/libreoffice/help/en-US"), "fr": Path("/usr/share/libreoffice/help/fr")}
ELSEWHERE = (
    "train on pairs of your own with --data FILE, or take pairs.tsv from the cache of a machine that has apt-get"
)
PAGE = re.compile(r"/help/[^/]+/(text/.+)\.html$")
PARAGRAPH = re.compile(r'<(p|h[1-6])\b[^>]*\bid="((?:par|hd)_[^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
HIDDEN = re.compile(
    r'<span hidden="true"[^>]*class="[A-Z]+"[^>]*>'
)  # what other systems or programs call the same thing
SPAN = re.compile(r"<(/?)span\b[^>]*>")
TAG = re.compile(r"<[^>]*>")
PLACEHOLDER = re.compile(r"[%$#][\w\[{(]|[{}\\|<>]|\]\]|\[\[|~|_{2}")  # of a program, not of a language
LETTERS = re.compile(r"[^\W\d_]{2}")


def librehelp(
    wanted: Wanted,
    direction: Literal["en-fr", "fr-en"] = "en-fr",
    longest: Annotated[int, Range(2, 60)] = 14,
    longest_scored: Annotated[int, Range(2, 60)] = 14,
    vocabulary: Annotated[int, Range(300, 50_000)] = 4000,
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.05,
) -> tuple[PairDataset, PairSpec]:
    """Read sentence pairs; a batch is source (B, S) and target (B, T) int64, padded.

    direction: from which language into which
    longest: words of the longest English sentence that is trained on
    longest_scored: words of the longest English sentence that is held out
    vocabulary: tokens of the codec that both languages share
    held_out: share of the pages that are held out
    """
    train, test = divided(_rows(), held_out)
    turned = (lambda pair: pair) if direction == "en-fr" else (lambda pair: Pair(pair.target, pair.source))
    train = [turned(pair) for pair in train if words(pair.source) <= longest]
    test = [turned(pair) for pair in test if words(pair.source) <= longest_scored]
    return open_pairs(wanted, train, test, direction.split("-"), vocabulary)


def divided(rows: Iterable[tuple[str, str, str]], held_out: float) -> tuple[list[Pair], list[Pair]]:
    """Rows of (page, English, French) -> training and held-out pairs, no page and no sentence in both."""
    train: dict[Pair, None] = {}
    test: dict[Pair, None] = {}
    for page, english, french in rows:
        luck = int.from_bytes(blake2b(page.encode(), digest_size=6).digest()) / 256**6
        (test if luck < held_out else train)[Pair(english, french)] = None
    return dividing(train, test)


def words(text: str) -> int:
    """How many words a sentence has."""
    return len(text.split())


def aligned(english: Mapping[str, str], french: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Paragraphs of one page by id, as HTML, in both languages -> pairs of sentences that are worth learning from."""
    for name in english.keys() & french.keys():
        left, right = sentences(plain(english[name])), sentences(plain(french[name]))
        if len(left) == len(right):
            yield from (pair for pair in zip(left, right, strict=True) if translates(*pair))


def translates(english: str, french: str) -> bool:
    """Whether a pair looks like a sentence and its translation, and not like code, a name or two different things."""
    if english == french or PLACEHOLDER.search(english) or PLACEHOLDER.search(french):
        return False
    if not LETTERS.search(english) or not LETTERS.search(french):
        return False
    return 2 <= words(english) <= 60 and 0.4 <= words(french) / words(english) <= 2.8


def plain(markup: str) -> str:
    """A paragraph's words: no tags, no variants for other systems, plain spaces and apostrophes."""
    while found := HIDDEN.search(markup):
        end, depth = found.end(), 1
        while depth and (tag := SPAN.search(markup, end)):
            end, depth = tag.end(), depth + (-1 if tag[1] else 1)
        markup = markup[: found.start()] + markup[end if not depth else len(markup) :]
    text = html.unescape(TAG.sub(" " if "<br" in markup else "", markup))
    return " ".join(text.replace("’", "'").split())


def paragraphs(page: str) -> dict[str, str]:
    """The paragraphs and headings of an HTML page by their ids."""
    return {found[2]: found[3] for found in PARAGRAPH.finditer(page)}


def gather(progress: Progress) -> Path:
    """Read the pages of both languages, installed or out of their packages, and keep their pairs in the cache."""
    target = cache_folder() / "files" / "librehelp"
    if (target / "pairs.tsv").is_file():
        return target
    pages: dict[str, dict[str, dict[str, str]]] = {}
    for count, language in enumerate(PACKAGES):
        progress(count, len(PACKAGES), f"reading librehelp ({PACKAGES[language]})")
        pages[language] = {name: paragraphs(text) for name, text in _pages(language)}
    shared = sorted(pages["en"].keys() & pages["fr"].keys())
    lines = [f"{page}\t{left}\t{right}\n" for page in shared
             for left, right in sorted(set(aligned(pages["en"][page], pages["fr"][page])))]  # fmt: skip
    if not lines:
        raise Damaged("the help packages of LibreOffice hold no paragraphs with ids: they are not laid out as in 7.4")

    def write(folder: Path) -> None:
        (folder / "pairs.tsv").write_bytes("".join(lines).encode())

    if not store(target, write):
        raise DataMissing(f"librehelp cannot be kept in {target}: set HANDMADE_CACHE to a folder you may write")
    progress(len(PACKAGES), len(PACKAGES), f"{len(lines):,} pairs")
    return target


def _pages(language: str) -> Iterator[tuple[str, str]]:
    """Name and HTML of every page of a language."""
    if (INSTALLED[language] / "text").is_dir():
        for path in sorted((INSTALLED[language] / "text").rglob("*.html")):
            yield path.relative_to(INSTALLED[language]).as_posix().removesuffix(".html"), path.read_text("utf-8")
        return
    with tempfile.TemporaryDirectory(prefix="handmade-") as folder:
        try:
            archive = fetch_package(Mirror("deb", PACKAGES[language]), Path(folder))
        except Unreachable as error:
            raise DataMissing(
                f"librehelp could not be fetched (deb {PACKAGES[language]}: {error}); {ELSEWHERE}"
            ) from None
        for name, read in members(archive):
            if found := PAGE.search(name):
                yield found[1], read().decode("utf-8", "replace")


def _rows() -> Iterator[tuple[str, str, str]]:
    """What `gather` has kept."""
    place = cache_folder() / "files" / "librehelp" / "pairs.tsv"
    if not place.is_file():
        raise DataMissing("librehelp is not on this machine: type handmade data prepare librehelp")
    for number, line in enumerate(place.read_text("utf-8").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 3:
            raise Damaged(f"{place}, line {number}: {len(cells)} columns, not 3; delete the file and prepare it again")
        yield cells[0], cells[1], cells[2]


SOURCE = DataSource(
    name="librehelp",
    title="Sentences of LibreOffice's help, English and French",
    licence="MPL-2.0 (LibreOffice contributors)",
    homepage="https://help.libreoffice.org",
    note="39,000 pairs of sentences: 5 MB to fetch (Debian packages), 6 MB in the cache",
    kind="pairs",
    build=librehelp,
    gather=gather,
)
