from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from gallery_runs import images_at, make_run, numbers_run, pictures_run, score, shapes_run
from handmade.artifacts import Images
from handmade.errors import UserError
from handmade.gallery import write_gallery
from handmade.gallery.stage import stage
from handmade.gallery.story import read_story

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """What a browser would build: elements with their attributes, and whether all are closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID and "/" not in (self.get_starttag_text() or "")[-2:]:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [shapes_run(folder / "shapes"), numbers_run(folder / "numbers"), pictures_run(folder / "faces")]


@pytest.fixture(scope="module")
def text(runs, tmp_path_factory) -> str:
    return write_gallery(runs, tmp_path_factory.mktemp("page") / "index.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def one(run: Path, out: Path) -> tuple[str, Page]:
    text = write_gallery([run], out / "page.html").read_text("utf-8")
    return text, Page(text)


def test_the_page_is_well_formed_and_has_a_section_per_run(page):
    assert page.open == []
    assert [a["id"] for a in page.all("section")] == ["m0", "m1", "m2"]
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_the_page_asks_nothing_of_the_network(text, page):
    places = [value or "" for _, a in page.elements for name, value in a.items() if name in ("src", "href", "srcset")]
    assert places
    assert all(place.startswith(("data:image/webp;base64,", "#")) for place in places)
    assert not page.all("link") + page.all("iframe") + page.all("object")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|import\(|sendBeacon", text)
    assert len(text) < 8_000_000


def test_no_script_may_run_but_the_pages_own(text, page):
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'")
    own = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(own) == 1
    assert base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode() in policy
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]


def test_every_run_tells_its_numbers_beside_their_floor(page):
    assert "0.00399" in page.words
    assert "The floor" in page.words
    assert "what real pictures score against other real pictures; lower is better" in page.words
    assert "0.00319 to 0.00479" in page.words
    assert "Before training it was 0.403" in page.words
    assert "Recall" not in page.words


def test_every_run_tells_its_cost_and_the_commands_to_make_it_and_to_go_on(page, runs):
    place = runs[2].as_posix()
    assert "handmade train dcgan/faces --minutes 3.1 --data.n 6000" in page.words
    assert f"handmade resume {place} --minutes 20" in page.words
    assert f"handmade ask {place} generate --n 16 --seed 1" in page.words
    for fact in ("3 min 5 s", "9,000 steps", "480 examples a second", "2 threads", "bf16"):
        assert fact in page.words
    assert "A processor with two cores" in page.words
    assert "4 min, all together" in page.words


def test_samples_over_training_can_be_moved_through_with_the_keyboard(page):
    ranges = [a for a in page.all("input") if a.get("type") == "range"]
    assert len(ranges) == 3
    assert all(a["aria-label"] and a["aria-valuetext"] for a in ranges)
    assert all(a.get("aria-label") for a in page.all("button") if a.get("class") == "play")


def test_pictures_are_frames_from_noise_to_the_last_one(page):
    frames = page.all("img")
    assert len(frames) == 6
    assert ["hidden" in a for a in frames] == [True] * 5 + [False]
    assert frames[-1]["alt"] == "what DCGAN made after 9,000 steps"
    assert all("alt" in a for a in frames)
    data = base64.b64decode((frames[-1]["src"] or "").split(",")[1])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
        assert picture.size == images_at(1.0).picture().size


def test_points_and_text_travel_as_values(text, page):
    values = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert [value["kind"] for value in values] == ["points", "text", "pictures"]
    assert len(values[0]["frames"]) == 4
    assert len(values[0]["frames"][0]) == 256
    assert text.count('<div class="lines"') == 4
    first, last = re.findall(r'<div class="lines".*?</div>', text)[::3]
    assert "<s>" in first
    assert "<s>" not in last


def test_curves_are_drawings_with_words_for_those_who_do_not_see_them(page):
    labels = [a["aria-label"] or "" for a in page.all("svg") if a.get("role") == "img"]
    assert any("discriminator goes from" in label and "generator goes from" in label for label in labels)
    assert any("the floor is 0.0004" in label for label in labels)


def test_words_of_the_field_are_explained(page):
    tips = {a["id"] for a in page.all("dd") if "id" in a}
    terms = [a["aria-describedby"] for a in page.all("span") if a.get("class") == "term"]
    assert set(terms) == tips
    assert "Kernel distance" in page.words


NASTY = """"><script>alert(1)</script><img src=x onerror=alert(1)>'</title></style>&lt;"""


def test_no_text_of_a_run_becomes_part_of_the_page(tmp_path):
    run = make_run(
        tmp_path / f"run {NASTY}".replace("/", "_"),
        NASTY,
        images_at,
        players={NASTY: (1, 0.5), "</script>": (2, 1)},
        scores=lambda share: {NASTY: score(1.0, 0.5, about=NASTY), "b" + NASTY: score(2.0, None, about=NASTY)},
        system={"title": NASTY, "story": NASTY, "paper": NASTY, "makes": NASTY},
        about=NASTY,
        demo={"data": {NASTY: NASTY}},
    )
    environment = {"name": NASTY, "torch": NASTY, "choice": {"precision": NASTY, "threads": NASTY}}
    (run / "environment.json").write_text(json.dumps(environment))
    text = write_gallery([run], tmp_path / "page.html", title=NASTY, intro=NASTY).read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert len([a for a in page.all("script") if a.get("type") != "application/json"]) == 1
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]
    assert all((a["src"] or "").startswith("data:image/webp;base64,") for a in page.all("img"))
    assert "alert(1)" in page.words  # it is shown, as words


@pytest.mark.parametrize("kind", ["points", "text"])
def test_no_sample_of_a_run_becomes_part_of_the_page(tmp_path, kind):
    run = (shapes_run if kind == "points" else numbers_run)(tmp_path / "run")
    for path in (run / "samples").rglob("sample.json"):
        value = json.loads(path.read_text())
        path.write_text(json.dumps({**value, "formula": NASTY, "lines": [NASTY, f"5 {NASTY}"]}))
    _, page = one(run, tmp_path)
    assert page.open == []
    assert len(page.all("script")) == 2
    assert not page.all("img")


def test_a_run_that_is_only_a_folder_is_shown(tmp_path):
    (tmp_path / "empty").mkdir()
    _, page = one(tmp_path / "empty", tmp_path)
    assert "empty" in page.words
    assert "no samples yet" in page.words
    assert "Not measured" in page.words


@pytest.mark.parametrize("missing", ["recipe.toml", "environment.json", "spec.json", "events.jsonl", "samples"])
def test_a_run_with_a_missing_part_is_shown_without_it(tmp_path, missing):
    run = numbers_run(tmp_path / "run")
    part = run / missing
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert one(run, tmp_path)[1].open == []


@pytest.mark.parametrize("broken", ["recipe.toml", "environment.json", "spec.json"])
def test_a_broken_part_is_named_on_the_page(tmp_path, broken):
    run = numbers_run(tmp_path / "run")
    (run / broken).write_bytes(b"\xff{[")
    assert f"{broken} could not be read" in one(run, tmp_path)[1].words


def test_a_broken_picture_is_named_and_the_others_are_shown(tmp_path):
    run = pictures_run(tmp_path / "run")
    (run / "samples" / "000000" / "sheet.png").write_bytes(b"no picture")
    _, page = one(run, tmp_path)
    assert "is not a readable PNG picture" in page.words
    assert len(page.all("img")) == 5


def test_samples_that_are_not_what_we_write_fall_back_to_the_sheet(tmp_path):
    run = shapes_run(tmp_path / "run")
    flat = {"kind": "points", "formula": "x", "low": [0, 0], "high": [0, 0], "points": [[1, 1]]}
    bad: list[object] = [{"kind": "points"}, [], flat, {"kind": "text", "lines": [1]}]
    for value in bad:
        next((run / "samples").rglob("sample.json")).write_text(json.dumps(value))
        assert one(run, tmp_path)[1].all("img")


def test_a_run_without_floor_or_interval_and_where_higher_is_better(tmp_path):
    run = make_run(
        tmp_path / "run",
        "classifier/clothes",
        images_at,
        players={"classifier": (2.3, 0.3)},
        scores=lambda share: {"accuracy": score(0.1 + 0.8 * share, None, "higher")},
        system={"title": "Classifier"},
        samples=1,
    )
    _, page = one(run, tmp_path)
    assert "Higher is better" in page.words
    assert "The floor" not in page.words
    assert not page.all("input")  # one sample: nothing to move through


def test_noisy_frames_are_encoded_and_thinned_until_they_fit(tmp_path):
    def noise(share: float) -> Images:
        return images_at(0.0, seed=int(1000 * share))

    run = make_run(tmp_path / "run", "a/b", noise, players={"a": (1, 1)}, scores=lambda s: {}, system={}, samples=12)
    sizes = []
    for budget in (10**9, 200_000, 80_000):
        shown = stage(read_story(run), budget)
        assert shown is not None
        frames = [base64.b64decode(a["src"].split(",")[1]) for a in Page(shown.html).all("img") if a["src"]]
        sizes.append((len(frames), sum(map(len, frames)) <= budget))
        assert (shown.data["steps"][0], shown.data["steps"][-1]) == (0, 2000)
    assert sizes[0] == (12, True)
    assert sizes[-1][0] < 12
    assert all(fits for _, fits in sizes)


def test_no_runs_and_a_run_that_is_not_there(tmp_path):
    assert "no runs" in write_gallery([], tmp_path / "a" / "page.html").read_text("utf-8")
    with pytest.raises(UserError, match="is not a run folder"):
        write_gallery([tmp_path / "none"], tmp_path / "page.html")
    with pytest.raises(UserError, match="cannot write"):
        write_gallery([], tmp_path)


def test_the_same_runs_give_the_same_page(runs, text, tmp_path):
    again = write_gallery(runs, tmp_path / "index.html").read_text("utf-8")
    assert again == text
