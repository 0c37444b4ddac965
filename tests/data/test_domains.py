"""Two kinds of pictures: drawn faces with their true partners, other data sets, and folders of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from conftest import Paint
from handmade.cli.main import main
from handmade.data.domains import Domains
from handmade.data.loader import Loader
from handmade.data.source import check_data, for_path, kind_of, open_data
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources import faces as faces_source
from handmade.data.sources.faces import HELD_OUT
from handmade.data.specs import DomainsSpec, spec_from_json, spec_to_json
from handmade.errors import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are drawn in blocks of four, so that a test draws few."""
    monkeypatch.setattr(faces_source, "BLOCK", 4)


def drawn(split: str = "train", **options) -> Domains:
    table = {"source": "domains", "size": 32, "n": 8, "held_out": 4, **options}
    dataset, spec = open_data(table, split)  # type: ignore[arg-type]
    assert isinstance(dataset, Domains)
    assert dataset.spec == spec
    return dataset


def own(path: Path, split: str = "train", **options) -> Domains:
    dataset, spec = open_data({"path": str(path), "kind": "domains", "size": 8, **options}, split)  # type: ignore[arg-type]
    assert isinstance(dataset, Domains)
    assert dataset.spec == spec
    return dataset


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- faces -----------------------------------------------------------------------------------------------------------


def test_the_two_kinds_are_named_in_the_order_that_was_asked_for():
    assert drawn().spec == DomainsSpec(3, 32, ("blond", "black"), "hair")
    assert drawn(attribute="glasses=yes|no").spec.names == ("yes", "no")
    assert spec_from_json(json.loads(json.dumps(spec_to_json(drawn().spec)))) == drawn().spec


def test_every_face_of_a_kind_has_its_value_and_no_training_face_has_its_partner_among_the_others():
    dataset = drawn()
    for kind, value, first in ((dataset.a, "blond", 0), (dataset.b, "black", HELD_OUT // 2)):
        for i in range(8):
            face = {**lorelei.attributes(0, first + i), "hair": value}
            assert torch.equal(kind[i], torch.from_numpy(lorelei.draw(0, first + i, face, 32).copy()))
    assert dataset.a_as_b is dataset.b_as_a is None


def test_held_out_faces_come_with_their_exact_partners():
    batch = drawn("test").batch(torch.arange(4), generator())
    spec = drawn("test").spec
    for i in range(4):
        first, second = HELD_OUT + i, HELD_OUT + HELD_OUT // 2 + i
        for pixels, number, hair in ((batch.a, first, "blond"), (batch.a_as_b, first, "black"),
                                     (batch.b, second, "black"), (batch.b_as_a, second, "blond")):  # fmt: skip
            face = lorelei.draw(0, number, {**lorelei.attributes(0, number), "hair": hair}, 32)
            assert torch.equal(spec.decode(pixels[i]), torch.from_numpy(face.copy()))


def test_only_the_attribute_differs_between_partners():
    dataset = drawn("test", attribute="glasses=yes|no", size=64)
    changed = (dataset.a.int() - dataset.a_as_b.int()).abs().amax(1) > 8  # type: ignore[union-attr]
    assert 0.005 < changed.float().mean() < 0.2
    assert not changed[:, :16].any()  # glasses touch no corner of the hair or the background above


def test_a_batch_takes_the_first_in_turn_and_draws_the_second_anew():
    dataset = drawn()
    one, two = (dataset.batch(torch.arange(8), generator(seed)) for seed in (1, 2))
    assert torch.equal(one.a, two.a)
    assert not torch.equal(one.b, two.b)
    again = dataset.batch(torch.arange(8), generator(1))
    assert torch.equal(one.b, again.b)
    assert one.a_as_b is None and one.a.shape == (8, 3, 32, 32) and one.a.dtype == torch.float32
    assert one.a.min() >= -1 and one.a.max() <= 1


def test_flips_mirror_half_of_the_training_pictures_and_no_held_out_one():
    plain, flipped = drawn(), drawn(flip=True)
    one, two = (part.batch(torch.arange(8), generator(3)) for part in (plain, flipped))
    same = (one.a == two.a).flatten(1).all(1)
    mirrored = (one.a == two.a.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all() and same.any() and mirrored.any()
    assert not drawn("test", flip=True).flip
    assert plain.fingerprint != flipped.fingerprint


def test_the_fingerprint_tells_what_was_drawn_and_asking_for_more_draws_only_what_is_missing(own_cache: Path):
    small = drawn()
    assert small.fingerprint == drawn().fingerprint != drawn(attribute="hair=black|blond").fingerprint
    blocks = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npz")}
    assert len(blocks) == 8  # two of each kind, and those of the other order
    large = drawn(n=12)
    assert torch.equal(large.a[:8], small.a) and torch.equal(large.b[:8], small.b)
    assert all(path.stat().st_mtime_ns == time for path, time in blocks.items())
    assert large.fingerprint != small.fingerprint


def test_grey_faces_and_the_loader():
    dataset = drawn(channels=1)
    assert dataset.spec.channels == 1
    batch = next(Loader(dataset, batch=3, seed=0))
    assert batch.a.shape == batch.b.shape == (3, 1, 32, 32)


@pytest.mark.parametrize("attribute, message", [
    ("hiar=blond|black", 'no attribute "hiar"; did you mean "hair"'),
    ("hair=blond|blak", 'no value "blak"; did you mean "black"'),
    ("hair=blond", "two values of hair with a | between"),
    ("hair=blond|black|red", "two values of hair with a | between"),
    ("hair=blond|blond", "the two kinds are the same"),
    ("", "no attribute"),
])  # fmt: skip
def test_an_expression_that_is_not_two_known_values_is_one_plain_line(attribute: str, message: str):
    with pytest.raises(UserError, match=message.replace("|", r"\|")) as error:
        drawn(attribute=attribute)
    assert "\n" not in str(error.value)


def test_what_all_faces_of_both_kinds_have_is_drawn_too():
    dataset = drawn(where="glasses=no, background=sky", n=4)
    face = {**lorelei.attributes(0, 1), "hair": "blond", "glasses": "no", "background": "sky"}
    assert torch.equal(dataset.a[1], torch.from_numpy(lorelei.draw(0, 1, face, 32).copy()))
    with pytest.raises(UserError, match="fixes hair, of which the two kinds are two values"):
        drawn(where="hair=red")
    with pytest.raises(UserError, match="no attribute"):
        drawn(where="hat=red")


# --- other data sets --------------------------------------------------------------------------------------------------


def with_glasses(number: int, **asked: str) -> torch.Tensor:
    face = {**lorelei.attributes(0, number), "glasses": "yes", **asked}
    return torch.from_numpy(lorelei.draw(0, number, face, 32).copy())


def test_both_kinds_can_share_a_frame_which_only_glasses_show():
    one, four = (drawn("test", attribute="glasses=no|yes", where=where) for where in ("frame=round", ""))
    assert torch.equal(one.a, four.a)  # a bare face has no frame
    assert one.a_as_b is not None
    for index, worn in enumerate(one.a_as_b):
        assert torch.equal(worn, with_glasses(HELD_OUT + index, frame="round"))
    assert not torch.equal(one.b, four.b)
    assert one.fingerprint != four.fingerprint


def test_of_strays_nothing_is_asked_in_training_and_held_out_ones_have_one_right_partner():
    options = {"attribute": "glasses=yes|no", "where": "frame=round"}
    some, none = drawn(strays=0.5, **options), drawn(**options)
    for number, face in enumerate(some.a):
        assert torch.equal(face, with_glasses(number, **({"frame": "round"} if number < 4 else {})))
    assert some.fingerprint != none.fingerprint
    assert torch.equal(drawn("test", strays=0.5, **options).a, drawn("test", **options).a)
    with pytest.raises(UserError, match="leave data.strays out"):
        drawn(of="digits", attribute="class=1|7", strays=0.5)


def test_two_frames_can_be_the_two_kinds():
    dataset = drawn("test", attribute="frame=round|square", where="glasses=yes")
    assert dataset.spec.names == ("round", "square")
    assert float((dataset.a != dataset.a_as_b).float().mean()) > 0.01


def test_any_data_set_with_labels_can_be_cut_in_two():
    pytest.importorskip("sklearn")
    train, test = (
        drawn(split, of="digits", attribute="class=3|8", size=16, n=50, channels=1) for split in ("train", "test")
    )
    assert train.spec.names == ("3", "8")
    assert len(train.a) == len(train.b) == 50
    assert len(test.a) == 4 and test.a_as_b is None


@pytest.mark.parametrize("of, message", [
    ("shapes", "holds points, not labelled pictures"), ("domains", "holds domains"), ("face", 'did you mean "faces"'),
])  # fmt: skip
def test_data_without_labelled_pictures_cannot(of: str, message: str):
    with pytest.raises(UserError, match=message):
        drawn(of=of)


# --- your own ---------------------------------------------------------------------------------------------------------


def painted(folder: Path, paint: Paint, **kinds: tuple[tuple[int, ...], int]) -> Path:
    for name, (colour, count) in kinds.items():
        for i in range(count):
            paint(folder / name / f"{i}.png", colour)
    return folder


def celeba(folder: Path, paint: Paint, rows: list[str], head: str = "image_id,Blond_Hair,Black_Hair") -> Path:
    for i, row in enumerate(rows):
        paint(folder / "img" / f"{i:06d}.png", (i, 0, 0) if row else RED)
    (folder / "list_attr_celeba.csv").write_text("\n".join([head, *(f"{i:06d}.png,{r}" for i, r in enumerate(rows))]))
    return folder


def test_train_a_and_train_b_with_their_own_test_folders(tmp_path: Path, paint: Paint):
    painted(tmp_path / "horse2zebra", paint, trainA=(RED, 5), trainB=(GREEN, 7), testA=(RED, 2), testB=(GREEN, 3))
    train, test = own(tmp_path), own(tmp_path, "test")
    assert (len(train.a), len(train.b), len(train)) == (5, 7, 7)
    assert (len(test.a), len(test.b), len(test)) == (2, 3, 3)
    assert train.spec == DomainsSpec(3, 8, ("A", "B"), "")
    batch = train.batch(torch.arange(7), generator())
    assert torch.equal(batch.a[:, 0], torch.ones(7, 8, 8)) and torch.equal(batch.b[:, 1], torch.ones(7, 8, 8))
    assert test.batch(torch.arange(3), generator()).a_as_b is None
    assert "train: A 5, B 7" in train.report.lines()[-1]
    assert kind_of(tmp_path) == "domains"


def test_without_test_folders_some_of_each_kind_are_held_out(tmp_path: Path, paint: Paint):
    painted(tmp_path, paint, trainA=(RED, 30), trainB=(GREEN, 2))
    train, test = own(tmp_path), own(tmp_path, "test")
    assert len(train.a) + len(test.a) == 30 and len(test.a) >= 1
    assert len(train.b) == len(test.b) == 1
    assert not {*train.names[0], *train.names[1]} & {*test.names[0], *test.names[1]}


def test_two_class_folders_of_any_name(tmp_path: Path, paint: Paint):
    painted(tmp_path, paint, summer=(RED, 4), winter=(GREEN, 4))
    assert own(tmp_path).spec == DomainsSpec(3, 8, ("summer", "winter"), "")


def test_of_three_class_folders_two_must_be_named(tmp_path: Path, paint: Paint):
    painted(tmp_path, paint, cat=(RED, 4), dog=(GREEN, 4), fox=(BLUE, 4))
    with pytest.raises(UserError, match=r'labels class \(cat, dog, fox\): say which two kinds .* "class=cat\|dog"'):
        own(tmp_path)
    chosen = own(tmp_path, attribute="class=fox|cat")
    assert chosen.spec == DomainsSpec(3, 8, ("fox", "cat"), "class")
    assert (chosen.a[:, 2] == 255).all()


@pytest.mark.parametrize(
    "attribute", ["Blond_Hair=1|0", "Blond_Hair=yes|no", "Blond_Hair=1|-1", "Blond_Hair = true|false"]
)
def test_one_attribute_of_celeba(attribute: str, tmp_path: Path, paint: Paint):
    celeba(tmp_path, paint, [f"{'1' if i % 2 else '-1'},-1" for i in range(12)])
    train, test = own(tmp_path, attribute=attribute), own(tmp_path, "test", attribute=attribute)
    assert train.spec == DomainsSpec(3, 8, ("yes", "no"), "Blond_Hair")
    assert {int(colour) % 2 for colour in torch.cat([train.a, test.a])[:, 0, 4, 4]} == {1}
    assert {int(colour) % 2 for colour in torch.cat([train.b, test.b])[:, 0, 4, 4]} == {0}


def test_celebas_text_table(tmp_path: Path, paint: Paint):
    for i in range(8):
        paint(tmp_path / "img_align_celeba" / f"{i:06d}.jpg")
    rows = [f"{i:06d}.jpg {'-1' if i % 2 else ' 1'} {' 1' if i % 2 else '-1'}" for i in range(8)]
    (tmp_path / "list_attr_celeba.txt").write_text("8\nBlond_Hair Black_Hair\n" + "\n".join(rows) + "\n")
    both = own(tmp_path, attribute="Blond_Hair=1 / Black_Hair=1")
    assert both.spec == DomainsSpec(3, 8, ("Blond_Hair", "Black_Hair"), "")


def test_celeba_as_a_hubs_parquet_rows_and_a_row_without_a_label(tmp_path: Path, paint: Paint):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    raw = [paint(tmp_path / "p.png", (i, 0, 0)).read_bytes() for i in range(20)]
    (tmp_path / "p.png").unlink()
    blond = [i % 2 == 0 for i in range(20)]
    columns = {"image": [{"bytes": content, "path": None} for content in raw], "Blond_Hair": blond,
               "Smiling": [None if i == 3 else True for i in range(20)]}  # fmt: skip
    parquet.write_table(pyarrow.table(columns), tmp_path / "train-00000-of-00001.parquet")
    assert own(tmp_path, attribute="Blond_Hair=1|0").spec.names == ("yes", "no")
    with pytest.raises(UserError, match=r"Smiling cannot be used: 1 of 20 rows are empty, the first for .*\[3\]"):
        own(tmp_path, attribute="Smiling=1|0")


def test_pictures_of_both_kinds_are_counted_and_one_is_named(tmp_path: Path, paint: Paint):
    celeba(tmp_path, paint, ["1,-1", "1,1", "-1,1", "1,1", "1,-1", "-1,1"])
    with pytest.raises(UserError, match=r"2 pictures are both Blond_Hair and Black_Hair, such as img/000001.png"):
        own(tmp_path, attribute="Blond_Hair=1 / Black_Hair=1")
    apart = own(tmp_path, attribute="Blond_Hair=1,Black_Hair=0 / Black_Hair=1,Blond_Hair=0")
    assert apart.spec.names == ("Blond_Hair=1,Black_Hair=0", "Black_Hair=1,Blond_Hair=0")


@pytest.mark.parametrize("rows, attribute, message", [
    (["1,-1"] * 4 + ["-1,1"], "Black_Hair=1|0", "yes has one picture, img/000004.png, and one must be held out"),
    (["1,-1"] * 5, "Black_Hair=1|0", "yes has no picture"),
    (["1,-1"] * 3 + [",1"] * 2, "Blond_Hair=1|0", "Blond_Hair cannot be used: 2 of 5 rows are empty, the first for img/000003"),
    (["1,-1"] * 3 + [",1"] * 2, "Blond_Hair=1 / Black_Hair=1", "Blond_Hair cannot be used"),
    (["1,-1"] * 2 + ["-1,1"] * 2 + ["?,1"], "Blond_Hair=1|-1", 'Blond_Hair is "\\?" in 1 pictures, the first img/000004.png'),
    (["1,-1"] * 3 + ["-1,1"] * 2, "Blond_Hiar=1|0", 'no attribute "Blond_Hiar"; did you mean "Blond_Hair"'),
    (["1,-1"] * 3 + ["-1,1"] * 2, "Blond_Hair=1 / Gray_Hair=1", 'no attribute "Gray_Hair"'),
    (["1,-1"] * 3 + ["-1,1"] * 2, "Blond_Hair=blond|0", 'no value "blond"'),
    (["1,-1"] * 3 + ["-1,1"] * 2, "", "say which two kinds with --data.attribute"),
    (["1,-1"] * 3 + ["-1,1"] * 2, "Blond_Hair=1 / Black_Hair=1 / Blond_Hair=0", "two expressions with one / between"),
])  # fmt: skip
def test_what_cannot_be_two_kinds_is_one_plain_line(
    rows: list[str], attribute: str, message: str, tmp_path: Path, paint: Paint
):
    celeba(tmp_path, paint, rows)
    with pytest.raises(UserError, match=message) as error:
        own(tmp_path, attribute=attribute)
    assert "\n" not in str(error.value)


def test_a_value_that_is_neither_can_be_left_out(tmp_path: Path, paint: Paint):
    celeba(tmp_path, paint, ["1,-1"] * 3 + ["-1,1"] * 3 + ["?,1"])
    assert own(tmp_path, attribute="Blond_Hair=1|-1", where="Blond_Hair=1|-1").spec.names == ("1", "-1")


def test_a_folder_of_one_kind_says_what_is_needed(tmp_path: Path, paint: Paint):
    for i in range(4):
        paint(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="pictures of one kind: give trainA and trainB"):
        own(tmp_path)


def test_pictures_of_different_sizes_and_modes_just_work(tmp_path: Path, paint: Paint):
    for i, (colour, size) in enumerate([(RED, (30, 8)), (128, (8, 30)), ((0, 255, 0, 128), (9, 9)), (200, (200, 100))]):
        for folder in ("trainA", "trainB"):
            paint(tmp_path / folder / f"{i}.png", colour, size)
    paint(tmp_path / "trainA" / "palette.gif", RED)
    assert own(tmp_path).a.shape[1:] == own(tmp_path, "test", channels=3).b.shape[1:] == (3, 8, 8)


def test_a_recipe_of_domains_takes_a_folder_and_leaves_its_own_attribute_behind(tmp_path: Path):
    table = for_path({"source": "domains", "of": "faces", "size": 32, "flip": True}, tmp_path)
    assert table == {"path": str(tmp_path), "kind": "domains", "size": 32, "flip": True, "channels": 3}
    assert check_data({**table, "attribute": "a=1|0"})["attribute"] == "a=1|0"


def test_the_command_line_shows_domains_and_a_folder_of_them(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
):
    assert main(["data", "show", "domains"]) == 0
    assert "hair=blond|black" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "domains" in capsys.readouterr().out
    painted(tmp_path / "own", paint, trainA=(RED, 5), trainB=(GREEN, 7))
    assert main(["data", "show", str(tmp_path / "own"), "--size", "8"]) == 0
    assert "two domains, trainA and trainB" in capsys.readouterr().out
    celeba(tmp_path / "celeba", paint, ["1,-1", "1,1", "-1,1", "1,1"])
    assert main(["data", "show", str(tmp_path / "celeba"), "--attribute", "Blond_Hair=1 / Black_Hair=1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
