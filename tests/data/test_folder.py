from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from conftest import Paint
from handmade.data import folder as own
from handmade.data.pictures import Pictures
from handmade.data.source import open_data
from handmade.errors import Damaged, HandmadeError, UserError

GENERATOR = torch.Generator()
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def look(path: Path, split: str = "train", **options) -> Pictures:
    dataset, spec = open_data({"path": str(path), "size": 8, **options}, split)  # type: ignore[arg-type]
    assert isinstance(dataset, Pictures)
    assert dataset.spec == spec
    return dataset


def both(path: Path, **options) -> dict[str, Pictures]:
    return {split: look(path, split, **options) for split in ("train", "test")}


def known(path: Path, **options) -> dict[str, dict[str, str]]:
    """File name -> attribute -> value, over both splits."""
    found = {}
    for part in both(path, **options).values():
        for row, name in enumerate(part.names):
            labels = part.spec.labels.items()
            found[name] = {key: values[int(part.codes[row, column])] for column, (key, values) in enumerate(labels)}
    return found


def colour_of(part: Pictures, name: str) -> list[int]:
    return part.pixels[list(part.names).index(name), :, 4, 4].tolist()


# --- layouts, in the order in which they are tried -------------------------------------------------------------------


def test_npz_arrays_with_labels_and_captions(tmp_path: Path, noise: np.random.Generator):
    images = noise.integers(0, 256, (40, 10, 12, 3), dtype=np.uint8)
    hair, captions = np.array(["red", "blue"] * 20), np.array([f"face {i}" for i in range(40)])
    np.savez(tmp_path / "faces.npz", images=images, hair=hair, captions=captions, seed=np.array(3))
    parts = both(tmp_path / "faces.npz")
    assert sum(map(len, parts.values())) == 40
    assert parts["train"].spec.labels == {"hair": ("blue", "red")}
    assert parts["train"].report.layout == "arrays of pictures (.npz)"
    for part in parts.values():
        for row, name in enumerate(part.names):
            index = int(name.split("[")[1][:-1])
            assert part.captions(torch.tensor([row])) == [f"face {index}"]
            assert part.spec.labels["hair"][int(part.codes[row, 0])] == hair[index]


@pytest.mark.parametrize("kind", ["0..1", "-1..1", "uint16", "channels first", "grey"])
def test_npz_arrays_of_any_usual_kind_of_number_mean_the_same_pictures(kind: str, tmp_path: Path):
    plain = np.zeros((4, 8, 8, 3), np.uint8)
    plain[1:, 4:] = 255
    arrays = {
        "0..1": (plain / 255).astype(np.float32), "-1..1": plain / 127.5 - 1, "uint16": plain.astype(np.uint16) * 257,
        "channels first": plain.transpose(0, 3, 1, 2), "grey": plain[..., :1],
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", x=arrays[kind])
    train = look(tmp_path / "a.npz")
    for row, name in enumerate(train.names):
        assert (train.pixels[row].numpy() == plain[int(name[6:-1])].transpose(2, 0, 1)).all()


def test_a_pickle_inside_an_npz_is_never_opened(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Damaged, match="plain numbers"):
        look(tmp_path / "a.npz")


def test_an_npz_without_pictures_says_what_it_holds(tmp_path: Path):
    np.savez(tmp_path / "a.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match="holds weights, but no array of pictures"):
        look(tmp_path / "a.npz")


@pytest.mark.parametrize("cell", ["struct", "binary"])
def test_parquet_rows_with_picture_bytes_and_named_labels(cell: str, tmp_path: Path, paint: Paint):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    raw = [paint(tmp_path / "p.png", (i, 0, 0)).read_bytes() for i in range(20)]
    (tmp_path / "p.png").unlink()
    cells = [{"bytes": content, "path": None} for content in raw] if cell == "struct" else raw
    table = pyarrow.table(
        {"image": cells, "label": [i % 2 for i in range(20)], "Smiling": [i % 3 == 0 for i in range(20)]}
    )
    names = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    (tmp_path / "data").mkdir()
    parquet.write_table(table.slice(0, 15), tmp_path / "data" / "train-00000-of-00001.parquet")
    parquet.write_table(table.slice(15), tmp_path / "data" / "test-00000-of-00001.parquet")
    parts = both(tmp_path)
    assert (len(parts["train"]), len(parts["test"])) == (15, 5)
    assert parts["test"].spec.labels == {"label": ("cat", "dog"), "Smiling": ("no", "yes")}
    assert parts["test"].codes.tolist() == [[i % 2, i % 3 == 0] for i in range(15, 20)]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_idx_files_of_the_mnist_family_packed_or_not(tmp_path: Path, noise: np.random.Generator):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pictures, codes = noise.integers(0, 256, (12, 8, 8), dtype=np.uint8), np.arange(12, dtype=np.uint8)
    (raw / "train-images-idx3-ubyte").write_bytes(idx(pictures))
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures)))
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(codes % 10))
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures[:3])))
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(codes[:3])))
    parts = both(tmp_path, channels=1)
    assert (len(parts["train"]), len(parts["test"])) == (12, 3)
    assert (parts["train"].pixels.squeeze(1).numpy() == pictures).all()
    assert parts["train"].spec.labels["class"] == tuple("0123456789")
    assert parts["train"].codes.flatten().tolist() == (codes % 10).tolist()


def test_a_truncated_idx_file_is_damaged_and_named(tmp_path: Path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 8, 8), np.uint8))[:-1])
    with pytest.raises(Damaged, match="train-images-idx3-ubyte: an IDX file"):
        look(tmp_path)


def test_two_domains_with_and_without_test_folders(tmp_path: Path, paint: Paint):
    for name, colour, count in [("trainA", RED, 5), ("trainB", GREEN, 4), ("testA", RED, 2), ("testB", GREEN, 1)]:
        for i in range(count):
            paint(tmp_path / "horse2zebra" / name / f"{i}.png", colour)
    parts = both(tmp_path)
    assert (len(parts["train"]), len(parts["test"])) == (9, 3)
    assert parts["train"].spec.labels == {"domain": ("A", "B")}
    only = look(tmp_path, where="domain=B")
    assert len(only) == 4
    assert all(only.pixels[:, 1].flatten() == 255)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_metadata_table_gives_captions_and_labels(kind: str, tmp_path: Path, paint: Paint):
    rows = [
        {"file_name": f"pictures/{i}.png", "text": f"picture {i}, red", "glasses": ["no", "yes"][i % 2]}
        for i in range(9)
    ]
    for row in rows[:8]:
        paint(tmp_path / row["file_name"])
    paint(tmp_path / "pictures" / "other.png")
    if kind == "csv":
        lines = ["file_name,text,glasses", *(f'{r["file_name"]},"{r["text"]}",{r["glasses"]}' for r in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    (tmp_path / f"metadata.{kind}").write_text("\n".join(lines))
    parts = both(tmp_path)
    assert sum(map(len, parts.values())) == 8
    report = parts["train"].report
    assert report.broken == (("pictures/8.png", "there is no such file"),)
    assert report.notes == ("pictures that the table does not name, left out: 1",)
    assert known(tmp_path)["pictures/3.png"] == {"glasses": "yes"}
    row = list(parts["train"].names).index("pictures/3.png") if "pictures/3.png" in parts["train"].names else 0
    assert parts["train"].captions(torch.tensor([row]))[0].endswith(", red")


@pytest.mark.parametrize("mark", [",", ";"])
def test_celeba_as_kaggle_gives_it(mark: str, tmp_path: Path, paint: Paint):
    for i in range(8):
        paint(tmp_path / "img_align_celeba" / "img_align_celeba" / f"{i:06d}.jpg", size=(18, 22))
    rows = [
        ["image_id", "Blond_Hair", "Eyeglasses"],
        *([f"{i:06d}.jpg", "1" if i % 2 else "-1", "-1"] for i in range(8)),
    ]
    (tmp_path / "list_attr_celeba.csv").write_text("\n".join(mark.join(row) for row in rows))
    boxes = [["image_id", "x_1", "y_1"], *([f"{i:06d}.jpg", str(i * 7), str(i * 9)] for i in range(8))]
    (tmp_path / "list_bbox_celeba.csv").write_text("\n".join(mark.join(row) for row in boxes))
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + "\n".join(f"{i:06d}.jpg,{'2' if i > 5 else '0'}" for i in range(8))
    )
    parts = both(tmp_path)
    assert (len(parts["train"]), len(parts["test"])) == (6, 2)
    assert parts["train"].spec.labels == {"Blond_Hair": ("no", "yes"), "Eyeglasses": ("no", "yes")}
    assert parts["train"].codes[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert len(look(tmp_path, where="Blond_Hair=1")) == 3


def test_celeba_as_published(tmp_path: Path, paint: Paint):
    for i in range(1, 7):
        paint(tmp_path / "img_align_celeba" / f"{i:06d}.jpg", size=(18, 22))
    rows = [f"{i:06d}.jpg  {1 if i > 3 else -1} -1  1" for i in range(1, 7)]
    (tmp_path / "list_attr_celeba.txt").write_text("6\nBlond_Hair Eyeglasses Smiling\n" + "\n".join(rows) + "\n")
    (tmp_path / "list_eval_partition.txt").write_text(
        "".join(f"{i:06d}.jpg {[0, 0, 0, 0, 1, 2][i - 1]}\n" for i in range(1, 7))
    )
    (tmp_path / "README.txt").write_text("a readme, with commas, that is no table\nid, at all\n")
    parts = both(tmp_path)
    assert (len(parts["train"]), len(parts["test"])) == (5, 1)
    assert parts["train"].codes.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 1]]


def test_a_table_that_names_pictures_by_number(tmp_path: Path, paint: Paint):
    for i in range(1, 9):
        paint(tmp_path / "faces-spring-2020" / f"face-{i}.png")
    rows = "\n".join(f"{i},{i / 7:.3f},{i % 2}" for i in range(1, 7))
    (tmp_path / "train.csv").write_text("id,v1,glasses\n" + rows)
    labels = known(tmp_path)
    assert len(labels) == 6
    assert labels["faces-spring-2020/face-3.png"] == {"glasses": "yes"}
    assert look(tmp_path).report.notes[0].endswith("left out: 2")


def test_one_folder_per_class(tmp_path: Path, paint: Paint):
    for name, colour in [("10", RED), ("9", GREEN), ("cat", BLUE)]:
        for i in range(4):
            paint(tmp_path / "data" / name / "deep" / f"{i}.png", colour)
    (tmp_path / "data" / "readme.md").write_text("not a picture, and nobody minds")
    assert look(tmp_path).spec.labels == {"class": ("9", "10", "cat")}
    for name, labels in known(tmp_path).items():
        assert labels["class"] == name.split("/")[1]
    part = both(tmp_path, where="class=cat|9")
    assert part["train"].spec.labels == {"class": ("9", "cat")}


def test_class_folders_below_train_and_test(tmp_path: Path, paint: Paint):
    for split, count in [("train", 3), ("valid", 2)]:
        for name in ("cat", "dog"):
            for i in range(count):
                paint(tmp_path / split / name / f"{i}.png")
    parts = both(tmp_path)
    assert (len(parts["train"]), len(parts["test"])) == (6, 4)
    assert parts["train"].spec.labels == {"class": ("cat", "dog")}


def test_any_pictures_however_deep_without_labels(tmp_path: Path, paint: Paint):
    for i in range(10):
        paint(tmp_path / "data" / "data" / f"{i}.png")
    paint(tmp_path / ".hidden" / "a.png")
    paint(tmp_path / "__MACOSX" / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    parts = both(tmp_path)
    assert sum(map(len, parts.values())) == 10
    assert parts["train"].spec.labels == {}
    batch = parts["train"].batch(torch.tensor([0, 1]), GENERATOR)
    assert batch.pixels.shape == (2, 3, 8, 8)
    assert batch.labels.shape == (2, 0)


def test_a_zip_is_read_where_it_lies_and_nothing_is_unpacked(tmp_path: Path, paint: Paint):
    for name in ("cat", "dog"):
        for i in range(5):
            paint(tmp_path / "in" / name / f"{i}.png", RED if name == "cat" else BLUE)
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "animals.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for picture in sorted((tmp_path / "in").rglob("*.png")):
            packed.write(picture, Path("../../evil") / picture.relative_to(tmp_path / "in"))
    parts = both(path)
    assert sum(map(len, parts.values())) == 10
    assert parts["train"].spec.labels == {"class": ("cat", "dog")}
    assert [found.name for found in tmp_path.joinpath("out").rglob("*")] == ["animals.zip"]
    with pytest.raises(UserError, match=r"but animals\.zip: give that file itself"):
        look(tmp_path / "out")


# --- kinds of pictures -----------------------------------------------------------------------------------------------


def one(path: Path, **options) -> list[int]:
    """The middle pixel of a single picture, of which the two splits are one and the same."""
    part = look(path, **options)
    assert len(part) == 1
    return part.pixels[0, :, 4, 4].tolist()


def test_transparent_pictures_are_laid_on_white(tmp_path: Path, paint: Paint):
    assert one(paint(tmp_path / "half.png", (0, 0, 0, 51))) == [204, 204, 204]
    assert one(paint(tmp_path / "none.png", (9, 9, 9, 0))) == [255, 255, 255]
    palette = Image.new("P", (9, 9), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    palette.save(tmp_path / "palette.png")
    assert one(tmp_path / "palette.png") == [10, 200, 30]
    palette.save(tmp_path / "clear.png", transparency=1)
    assert one(tmp_path / "clear.png") == [255, 255, 255]


@pytest.mark.parametrize(("value", "right"), [(0, 0), (32768, 128), (65535, 255), (300, 1)])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(value: int, right: int, tmp_path: Path):
    Image.fromarray(np.full((9, 9), value, np.uint16)).save(tmp_path / "deep.png")
    assert one(tmp_path / "deep.png") == [right] * 3


def test_cmyk_grey_and_floating_point_pictures(tmp_path: Path):
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red = one(tmp_path / "a.jpg")
    assert red[0] > 240
    assert max(red[1:]) < 15
    Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(tmp_path / "f.tif")
    assert one(tmp_path / "f.tif") == [128] * 3
    Image.new("1", (9, 9), 1).save(tmp_path / "b.png")
    assert one(tmp_path / "b.png", channels=1) == [255]


def test_pictures_stand_upright_as_their_exif_says(tmp_path: Path):
    picture = Image.new("RGB", (16, 16), BLUE)
    picture.paste(RED, (0, 0, 16, 8))  # red above blue
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "a.png", exif=exif)
    pixels = look(tmp_path / "a.png").pixels[0]
    assert pixels[:, 0, 4].tolist() == list(BLUE)
    assert pixels[:, 7, 4].tolist() == list(RED)


def test_the_middle_square_is_taken_and_the_first_frame_of_an_animation(tmp_path: Path):
    wide = Image.new("RGB", (90, 30), BLUE)
    wide.paste(RED, (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    assert look(tmp_path / "wide.png").pixels[0].flatten(1).T.unique(dim=0).tolist() == [list(RED)]
    frames = [Image.new("RGB", (9, 9), colour) for colour in (GREEN, RED)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert one(tmp_path / "moving.gif") == list(GREEN)


def test_large_photographs_are_shrunk_without_losing_detail_they_should_keep(tmp_path: Path):
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    Image.fromarray(np.repeat(ramp[None], 1024, 0)).save(tmp_path / "ramp.jpg", quality=95)
    row = look(tmp_path / "ramp.jpg", size=16, channels=1).pixels[0, 0, 8].float()
    assert (row.diff() - 16).abs().max() < 2.5


# --- bad input -------------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG of these sizes whose pixels are missing: a decoder that trusts it asks for gigabytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [60_000, 10_000, 5_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded.append)
    with pytest.raises(UserError, match=r"bomb\.png: .*16 megapixels") as caught:
        look(tmp_path)
    assert not decoded
    assert caught.value.exit_code == 2


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path, paint: Paint):
    for i in range(9):
        paint(tmp_path / f"{i}.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(20_000_001)
    report = look(tmp_path).report
    assert [name for name, _ in report.broken] == ["huge.png"]
    assert "more than the 20 MB" in report.broken[0][1]


def test_broken_pictures_are_named_counted_and_reported_and_the_rest_is_used(tmp_path: Path, paint: Paint):
    for i in range(97):
        paint(tmp_path / f"{i:03d}.png", (i, 0, 0))
    (tmp_path / "text.png").write_text("I am not a picture")
    (tmp_path / "cut.jpg").write_bytes(paint(tmp_path / "cut.jpg", size=(64, 64)).read_bytes()[:400])
    (tmp_path / "empty.gif").write_bytes(b"")
    parts = both(tmp_path)
    assert sum(map(len, parts.values())) == 97
    report = parts["test"].report
    assert [name for name, _ in report.broken] == ["cut.jpg", "empty.gif", "text.png"]
    assert report.count == 97
    assert report.lines(1)[0] == "pictures without labels: 97 pictures, 3 broken"
    assert report.lines(1)[2] == "and 2 more broken pictures"
    for part in parts.values():
        for row, name in enumerate(part.names):
            assert part.pixels[row, 0, 0, 0] == int(name[:3])


def test_too_many_broken_pictures_are_an_error_that_names_them(tmp_path: Path, paint: Paint):
    for i in range(7):
        paint(tmp_path / f"{i}.png")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("text")
    with pytest.raises(
        UserError, match=r"2 of 9 pictures .* are broken \(a\.png: not a picture that can be read; b\.png"
    ):
        look(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "empty", "no pictures", "broken zip"])
def test_a_path_without_pictures_is_one_clear_line(kind: str, tmp_path: Path):
    path = tmp_path / "data"
    if kind == "broken zip":
        path = tmp_path / "data.zip"
        path.write_bytes(b"PK but no zip")
    elif kind != "missing":
        path.mkdir()
    if kind == "no pictures":
        (path / "notes.txt").write_text("nothing here")
    message = {"missing": "does not exist", "empty": "no files in", "no pictures": "no pictures among the 1 files"}
    with pytest.raises(HandmadeError, match=message.get(kind, "cannot be read as a .zip")) as caught:
        look(path)
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for i in range(12):
            packed.writestr(f"{i}.png", bytes(15_000_000))
    with pytest.raises(UserError, match="too much for its size"):
        look(tmp_path / "bomb.zip")


def test_a_picture_whose_packed_bytes_are_damaged_is_named(tmp_path: Path, paint: Paint):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for i in range(9):
            packed.writestr(f"{i}.ppm", paint(tmp_path / "p.ppm", (i, 9, 9), (40, 40)).read_bytes())
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    start = whole.index(b"0.ppm") + 5
    whole[start : start + 8] = b"\xff" * 8
    (tmp_path / "a.zip").write_bytes(whole)
    assert [name for name, _ in look(tmp_path / "a.zip").report.broken] == ["0.ppm"]


@pytest.mark.parametrize("damage", ["cut", "edited"])
def test_a_damaged_npz_is_one_clear_line(damage: str, tmp_path: Path, noise: np.random.Generator):
    np.savez_compressed(tmp_path / "a.npz", images=noise.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:200] if damage == "cut" else whole[:300] + b"x" * 60 + whole[360:])
    with pytest.raises(Damaged, match=r"a\.npz: cannot be read"):
        look(tmp_path / "a.npz")


def test_a_zip_with_a_password_names_its_pictures(tmp_path: Path, paint: Paint):
    raw = paint(tmp_path / "a.png").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a.png", raw)
    locked = bytearray(buffer.getvalue())
    locked[6] |= 1  # the flag of encryption, in the local header and in the directory
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(UserError, match=r"a\.png: cannot be read: .*password"):
        look(tmp_path / "locked.zip")


# --- splits, cache, options ------------------------------------------------------------------------------------------


def test_about_one_picture_in_ten_is_held_out_and_adding_pictures_moves_none():
    names = [f"{i}.png" for i in range(2000)]
    splits = own.hold_out(names)
    assert 150 < splits.count("test") < 250
    assert own.hold_out([*names, "new.png"])[:2000] == splits
    for n in (2, 3, 5):
        assert {"train", "test"} == set(own.hold_out(names[:n]))


def test_splits_share_no_picture(tmp_path: Path, paint: Paint):
    for i in range(30):
        paint(tmp_path / f"{i}.png", (i, i, i))
    parts = both(tmp_path)
    assert not set(parts["train"].names) & set(parts["test"].names)
    assert len(parts["train"]) + len(parts["test"]) == 30
    assert parts["train"].fingerprint != parts["test"].fingerprint


def test_the_second_opening_decodes_nothing_until_a_file_changes(tmp_path: Path, paint: Paint, own_cache: Path):
    for i in range(12):
        paint(tmp_path / "in" / f"{i}.png", (i, 0, 0))
    said: list[tuple[int, int, str]] = []
    data = {"path": str(tmp_path / "in"), "size": 8}
    first, _ = open_data(data, "train", lambda *words: said.append(words))
    assert said == [(12, 12, "reading pictures")]
    again, _ = open_data(data, "train", lambda *words: said.append(words))
    assert len(said) == 1
    assert torch.equal(again.pixels, first.pixels)  # type: ignore[attr-defined]
    assert again.fingerprint == first.fingerprint
    paint(tmp_path / "in" / "0.png", GREEN)
    changed, _ = open_data(data, "train", lambda *words: said.append(words))
    assert len(said) == 2
    assert changed.fingerprint != first.fingerprint
    for kept in (own_cache / "pictures").iterdir():
        (kept / "about.json").write_text("{")
    for _ in range(2):
        again, _ = open_data(data, "train", lambda *words: said.append(words))
        assert again.fingerprint == changed.fingerprint
    assert len(said) == 3  # what was damaged is made once more, and then kept again


def test_pictures_are_read_without_a_cache_that_can_be_written(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
):
    paint(tmp_path / "in" / "a.png")
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "in" / "a.png" / "cache"))
    assert len(look(tmp_path / "in")) == 1


def test_a_set_too_large_for_memory_asks_for_a_smaller_size(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
):
    paint(tmp_path / "a.png")
    monkeypatch.setattr(own, "MOST_MEMORY", 100)
    with pytest.raises(UserError, match="choose a smaller size"):
        look(tmp_path)


def test_nothing_in_the_users_folder_is_touched(tmp_path: Path, paint: Paint):
    for i in range(5):
        paint(tmp_path / "in" / f"{i}.png")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")}
    both(tmp_path / "in")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")} == before


def test_flips_mirror_about_half_of_the_training_pictures(tmp_path: Path):
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 4, 8))
    picture.save(tmp_path / "a.png")
    dataset = look(tmp_path, flip=True, channels=1)
    pixels = dataset.batch(torch.zeros(200, dtype=torch.int64), GENERATOR.manual_seed(0)).pixels
    assert 70 < (pixels[:, 0, 0, 0] == 1).sum() < 130
    assert torch.equal(pixels[:, 0, 0, 0], -pixels[:, 0, 0, 7])
    assert not look(tmp_path, "test", flip=True).flip
