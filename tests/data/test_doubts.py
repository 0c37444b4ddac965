"""Wrong labels: found by probes that never saw their pictures, mended in a table, and never a file moved."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from handmade import doubt as finding
from handmade.cli.main import main
from handmade.data.domains import Domains
from handmade.data.doubts import Doubt, write_doubts
from handmade.data.pictures import Pictures
from handmade.data.source import open_data
from handmade.errors import UserError
from handmade.recipe import load_recipe

WRONG = (3, 17, 42, 58, 71, 96)


@pytest.fixture(autouse=True)
def small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes that see 16 pixels in nine places."""
    monkeypatch.setattr(finding, "SIZE", 16)
    monkeypatch.setattr(finding, "GRID", 3)
    monkeypatch.setattr(finding, "FILTERS", 16)


@pytest.fixture
def pictures(tmp_path: Path, noise: np.random.Generator) -> Path:
    """120 noisy pictures, half of them with a bar across, a table of labels, and six labels that are wrong."""
    rows = ["id,glasses,number"]
    (tmp_path / "own" / "img").mkdir(parents=True)
    for i in range(120):
        pixels = noise.integers(110, 150, (16, 16, 3), dtype=np.uint8)
        if i % 2:
            pixels[6:9] = 20
        Image.fromarray(pixels).save(tmp_path / "own" / "img" / f"face-{i}.png")
        rows.append(f"{i},{(i % 2) ^ (i in WRONG)},{i % 3}")
    (tmp_path / "own" / "train.csv").write_text("\n".join(rows))
    return tmp_path / "own"


def look(path: Path, split: str = "train", **options) -> Pictures:
    dataset = open_data({"path": str(path), "size": 8, **options}, split)[0]  # type: ignore[arg-type]
    assert isinstance(dataset, Pictures)
    return dataset


def labels(path: Path, **options) -> dict[str, str]:
    """File name -> glasses, over both splits."""
    return {name: part.spec.labels["glasses"][int(part.codes[row, 0])]
            for part in (look(path, split, **options) for split in ("train", "test"))
            for row, name in enumerate(part.names)}  # fmt: skip


def filled(table: Path, **corrections: str) -> Path:
    """A table with these corrections: face_3="no"."""
    doubts = [
        Doubt(f"img/{name.replace('_', '-')}.png", "glasses", "?", "?", 0.9, value)
        for name, value in corrections.items()
    ]
    write_doubts(table, [*doubts, Doubt("img/face-0.png", "glasses", "no", "yes", 0.8)])
    return table


def test_flipped_labels_are_the_most_doubted(pictures: Path):
    found = finding.find_doubts(str(pictures), "glasses")
    assert {doubt.file_name for doubt in found.doubted[:6]} == {f"img/face-{i}.png" for i in WRONG}
    for doubt in found.doubted[:6]:
        number = int(doubt.file_name.split("-")[1].split(".")[0])
        assert (doubt.attribute, doubt.believed, doubt.correction) == ("glasses", "yes" if number % 2 else "no", "")
        assert doubt.label != doubt.believed and 0.5 < doubt.doubt <= 1
    assert [doubt.doubt for doubt in found.doubted] == sorted((doubt.doubt for doubt in found.doubted), reverse=True)
    assert found.judged == 120 and found.agreed >= 105
    assert len(finding.find_doubts(str(pictures), "glasses", most=3).doubted) == 3


def test_no_probe_judges_a_picture_that_it_saw():
    features = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    codes = torch.arange(100) % 2  # nothing in the noise tells it: only a probe that had seen the picture could know
    scores = finding.cross_validated(features, codes, lambda *_: None)
    assert 0.3 < (scores.argmax(1) == codes).float().mean() < 0.7
    assert torch.allclose(scores.sum(1), torch.ones(100), atol=1e-4)


def test_each_score_is_that_of_a_ridge_regression_on_the_other_folds():
    dice = torch.Generator().manual_seed(0)
    features, codes = torch.randn(40, 5, generator=dice), torch.randint(3, (40,), generator=dice)
    scores = finding.cross_validated(features, codes, lambda *_: None)
    fold = torch.empty(40, dtype=torch.int64)
    fold[torch.randperm(40, generator=torch.Generator().manual_seed(0))] = torch.arange(40) % 5
    wanted = torch.nn.functional.one_hot(codes).float()
    for number in range(5):
        seen = fold != number
        mean, own = wanted[seen].mean(0), features[seen]
        ridge = own.T @ own + finding.RIDGE * 40 * torch.eye(5)
        weights = torch.linalg.inv(ridge) @ own.T @ (wanted[seen] - mean)
        assert torch.allclose(scores[~seen], features[~seen] @ weights + mean, atol=1e-4)


def test_a_description_does_not_change_with_brightness_and_hardly_with_contrast(noise: np.random.Generator):
    raw = torch.from_numpy(noise.integers(60, 120, (60, 3, 16, 16), dtype=np.uint8))
    plain, brighter = (finding.described(pixels, lambda *_: None) for pixels in (raw, raw + 80))
    assert (plain - brighter).abs().max() < 0.05
    assert plain.shape == (60, 2 * 16 * 9)
    assert plain.mean(0).abs().max() < 1e-4


def test_the_same_pictures_give_the_same_doubts_and_leave_the_dice_alone(pictures: Path):
    before = torch.get_rng_state()
    one, two = (finding.find_doubts(str(pictures), "glasses").doubted for _ in "ab")
    assert one == two
    assert torch.equal(before, torch.get_rng_state())


def test_corrections_count_and_nothing_is_moved_or_overwritten(pictures: Path, tmp_path: Path):
    files = {path: path.read_bytes() for path in sorted(pictures.rglob("*")) if path.is_file()}
    before = labels(pictures)
    table = filled(tmp_path / "doubts.csv", face_3="yes", face_17="yes", face_42="0")
    after = labels(pictures, corrections=str(table))
    assert {name: value for name, value in after.items() if before[name] != value} == {
        "img/face-3.png": "yes", "img/face-17.png": "yes", "img/face-42.png": "no",
    }  # fmt: skip
    assert {path: path.read_bytes() for path in sorted(pictures.rglob("*")) if path.is_file()} == files
    assert "labels corrected by" in str(look(pictures, corrections=str(table)).report)


def test_the_fingerprint_tells_of_corrections_and_not_of_an_empty_table(pictures: Path, tmp_path: Path):
    plain = look(pictures).fingerprint
    none, one, two = (filled(tmp_path / f"{i}.csv", **rows)
                      for i, rows in enumerate([{}, {"face_3": "yes"}, {"face_3": "yes", "face_17": "yes"}]))  # fmt: skip
    prints = [look(pictures, corrections=str(table)).fingerprint for table in (none, one, two)]
    assert prints[0] == plain
    assert len({*prints}) == 3


def test_a_spreadsheet_may_save_the_table_with_semicolons_and_a_mark_before_it(pictures: Path, tmp_path: Path):
    table = filled(tmp_path / "doubts.csv", face_3="yes")
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b",", b";").replace(b"\n", b"\r\n"))
    assert labels(pictures, corrections=str(table))["img/face-3.png"] == "yes"


def test_corrections_move_a_picture_to_the_other_domain(pictures: Path, tmp_path: Path):
    table = {"path": str(pictures), "kind": "domains", "attribute": "glasses=yes|no", "size": 8}
    mended = {**table, "corrections": str(filled(tmp_path / "doubts.csv", face_3="yes"))}
    for options, side in ((table, 1), (mended, 0)):
        parts = [open_data(options, split)[0] for split in ("train", "test")]  # type: ignore[arg-type]
        assert all(isinstance(part, Domains) for part in parts)
        assert any("img/face-3.png" in part.names[side] for part in parts)  # type: ignore[attr-defined]
    assert open_data(table, "train")[0].fingerprint != open_data(mended, "train")[0].fingerprint


def test_a_table_of_doubts_beside_the_pictures_is_not_taken_for_their_labels(pictures: Path):
    before = labels(pictures)
    finding.find_doubts(str(pictures), "glasses").save(pictures / "doubts.csv")
    (pictures / "doubts.png").unlink()  # a sheet there would be one more picture
    assert labels(pictures) == before


@pytest.mark.parametrize("line, message", [
    ("img/face-999.png,glasses,no,yes,0.9,yes", 'line 2: no picture "img/face-999.png" among the 120'),
    ("img/face-3.png,glases,no,yes,0.9,yes", 'no attribute "glases"; did you mean "glasses"'),
    ("img/face-3.png,glasses,no,yes,0.9,yess", 'no value "yess"; did you mean "yes"'),
    ("img/face-3.png,glasses,no,yes,0.9,yes\nimg/face-3.png,glasses,no,yes,0.9,no", "line 3: .* is corrected twice"),
])  # fmt: skip
def test_a_correction_that_fits_nothing_is_one_plain_line(line: str, message: str, pictures: Path, tmp_path: Path):
    table = tmp_path / "doubts.csv"
    table.write_text("file_name,attribute,label,believed,doubt,correction\n" + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        look(pictures, corrections=str(table))
    assert "\n" not in str(error.value)


def test_a_table_that_is_missing_or_something_else_is_one_plain_line(pictures: Path, tmp_path: Path):
    with pytest.raises(UserError, match="corrections: .*none.csv does not exist"):
        look(pictures, corrections=str(tmp_path / "none.csv"))
    with pytest.raises(UserError, match="has no column file_name"):
        look(pictures, corrections=str(pictures / "train.csv"))


@pytest.mark.parametrize("options, message", [
    ({"attribute": "glases"}, 'no attribute "glases"; did you mean "glasses"'),
    ({"attribute": "glasses", "where": "glasses=yes"}, "with 1 kinds of glasses"),
])  # fmt: skip
def test_what_cannot_be_judged_is_said(options: dict[str, str], message: str, pictures: Path):
    with pytest.raises(UserError, match=message):
        finding.find_doubts(str(pictures), **options)


def test_the_command_writes_a_table_and_a_sheet_and_never_over_anything(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    words = ["data", "doubt", str(pictures), "--attribute", "glasses", "--most", "8"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "120 pictures judged" in said and "--data.corrections doubts.csv" in said
    rows = list(csv.DictReader(Path("doubts.csv").read_text("utf-8").splitlines()))
    assert list(rows[0]) == ["file_name", "attribute", "label", "believed", "doubt", "correction"]
    with Image.open("doubts.png") as sheet:
        assert sheet.width > 100
    assert main(words) == 2
    assert "doubts.csv exists" in capsys.readouterr().err
    assert main([*words, "--out", "second.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["table"] == "second.csv" and told["judged"] == 120
    assert [row["file_name"] for row in rows] == [doubt["file_name"] for doubt in told["doubted"]]


@pytest.mark.parametrize("words, message", [
    (["doubt", "PATH"], "needs --attribute"),
    (["doubt", "PATH", "--attribute", "glasses", "--most", "0"], "--most must be 1 or more"),
    (["doubt", "PATH", "--attribute", "glasses", "--size", "9"], "does not know --size"),
    (["list", "--attribute", "glasses"], "data list does not know --attribute"),
    (["doubt"], "needs a name"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, pictures: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["data", *(str(pictures) if word == "PATH" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_recipe_remembers_where_its_corrections_lie(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("dcgan/smoke", {"data.corrections": "mended.csv"}, pictures)
    assert recipe.data["corrections"] == str(tmp_path / "mended.csv")
