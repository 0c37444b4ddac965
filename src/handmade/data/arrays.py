"""Pictures that come as arrays or as rows of a table: .npz, IDX and parquet files, read from a tree."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from handmade.data.idx import read_idx
from handmade.data.layouts import Listing
from handmade.data.tables import CAPTIONS, Table, attributes, captions, unfit
from handmade.data.tree import Tree, naming
from handmade.errors import Damaged, UserError

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES = 8 << 30  # of one file of arrays, unpacked
IMAGES = ("images", "pixels", "x", "x_train", "arr_0")
IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png")


def read_npz(tree: Tree, files: Sequence[str]) -> Listing:
    """Arrays of pictures with labels and captions of the same length; nothing pickled is read."""
    parts = []
    for file in files:
        with naming(file):
            arrays = _load(tree.read(file, MOST_BYTES))
        key = next((key for key in IMAGES if key in arrays), None)
        if key is None:
            raise UserError(
                f"{file} holds {', '.join(arrays) or 'nothing'}, but no array of pictures ({', '.join(IMAGES)})"
            )
        pictures = _eight_bits(file, arrays.pop(key))
        columns = {n: [str(v) for v in a.tolist()] for n, a in arrays.items() if a.shape == (len(pictures),)}
        parts.append((file, pictures, Table(columns)))
    return _joined("arrays of pictures (.npz)", parts)


def read_idx_files(tree: Tree, files: Sequence[str]) -> Listing:
    """Pictures of IDX files, with the labels of the files beside them."""
    parts, seen = [], set()
    for file in files:
        if file.removesuffix(".gz") in seen:
            continue  # the same file, packed
        seen.add(file.removesuffix(".gz"))
        with naming(file):
            pictures = read_idx(tree.read(file, MOST_BYTES))
        if pictures.ndim != 3:
            raise Damaged(f"{file} holds {pictures.ndim} sizes where pictures have 3")
        base = file.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
        beside = next((name for name in (base, f"{base}.gz") if name in tree.sizes), None)
        columns = {}
        if beside:
            with naming(beside):
                codes = read_idx(tree.read(beside, MOST_BYTES))
            if codes.shape != pictures.shape[:1]:
                raise Damaged(f"{beside} labels {len(codes):,} pictures, but {file} holds {len(pictures):,}")
            columns["class"] = [str(code) for code in codes.tolist()]
        parts.append((file, pictures, Table(columns)))
    return _joined("pictures in IDX files (MNIST family)", parts)


def read_parquet(tree: Tree, files: Sequence[str]) -> Listing:
    """Rows with a picture file in a column, as bytes or as {bytes, path}; needs pyarrow."""
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(f"reading {files[0]} needs pyarrow: type pip install pyarrow") from None
    parts = []
    for file in files:
        try:
            with naming(file):
                table = parquet.read_table(io.BytesIO(tree.read(file, MOST_BYTES)))
        except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
            raise Damaged(f"{file} cannot be read as parquet: {str(error).splitlines()[0]}") from None
        column = next((name for name in IMAGE_COLUMNS if name in table.column_names), None)
        if column is None:
            raise UserError(
                f"{file} has no column of pictures ({', '.join(IMAGE_COLUMNS)}), only {', '.join(table.column_names)}"
            )
        cells = table.column(column).to_pylist()
        pictures = [(cell.get("bytes") if isinstance(cell, dict) else cell) or b"" for cell in cells]
        names = _class_names(table.schema.metadata or {})
        columns = {}
        for name in table.column_names:
            values = table.column(name).to_pylist() if name != column else []
            kinds = str | int | float if name in CAPTIONS else str | int | float | None  # a missing label is told of
            if values and all(isinstance(value, kinds) for value in values):
                columns[name] = [_word(value, names.get(name, ())) for value in values]
        parts.append((file, pictures, Table(columns)))
    return _joined("rows of a parquet table", parts)


def _word(value: str | int | float | None, names: Sequence[str]) -> str:
    """A cell as text: a label code by its name, nothing as nothing."""
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return "" if value is None else str(value)


def _joined(layout: str, parts: Sequence[tuple[str, Any, Table]]) -> Listing:
    """Put the pictures of several files one after another; a file name with train or test in it names their split."""
    where = [(file, pictures, row) for file, pictures, _ in parts for row in range(len(pictures))]
    shared = [c for c in parts[0][2].columns if all(c in table.columns for _, _, table in parts)]
    table = Table({column: [value for _, _, part in parts for value in part.columns[column]] for column in shared})
    splits = ["test" if _is_test(file) else "train" for file, _, _ in where]
    return Listing(
        layout,
        [f"{file}[{row}]" for file, _, row in where],
        lambda index: where[index][1][where[index][2]],
        labels=attributes(table),
        words=captions(table),
        splits=splits if len(set(splits)) == 2 else (),
        unfit=unfit(table, [f"{file}[{row}]" for file, _, row in where]),
    )


def _is_test(file: str) -> bool:
    return PurePosixPath(file).name.lower().startswith(("test", "t10k", "val"))


def _load(content: bytes) -> dict[str, np.ndarray]:
    """All arrays of an .npz, after its own list of sizes has been looked at."""
    import numpy as np

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
                raise Damaged(f"it would unpack to more than {MOST_BYTES >> 30} GiB")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, NotImplementedError) as error:
        raise Damaged(f"cannot be read as arrays of plain numbers: {error}") from None


def _eight_bits(file: str, pictures: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) or (N, C, H, W) of any kind of number -> (N, H, W[, C]) uint8."""
    import numpy as np

    if pictures.ndim == 4 and pictures.shape[1] in (1, 3, 4) and pictures.shape[-1] not in (1, 3, 4):
        pictures = pictures.transpose(0, 2, 3, 1)
    if (
        pictures.ndim not in (3, 4)
        or 0 in pictures.shape
        or (pictures.ndim == 4 and pictures.shape[-1] not in (1, 3, 4))
    ):
        raise UserError(f"{file}: pictures have shape (N, H, W) or (N, H, W, 1, 3 or 4), not {pictures.shape}")
    if pictures.shape[-1] == 1 and pictures.ndim == 4:
        pictures = pictures[..., 0]
    if pictures.dtype == np.uint8:
        return pictures
    if pictures.dtype == np.uint16:
        return (pictures / 257).round().astype(np.uint8)
    if pictures.dtype.kind != "f":
        raise UserError(f"{file}: pictures are uint8, uint16 or floating-point numbers, not {pictures.dtype}")
    low, high = float(pictures.min()), float(pictures.max())
    scaled = (pictures + 1) * 127.5 if low < 0 else pictures * 255 if high <= 1 else pictures
    if not (low >= -1.001 and high <= (255.001 if low >= 0 else 1.001)):
        raise UserError(f"{file}: pictures lie in {low:g}..{high:g}; allowed are 0..255, 0..1 and -1..1")
    return scaled.round().clip(0, 255).astype(np.uint8)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """The names of label codes that a hub's parquet file carries in its own metadata."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: about["names"] for name, about in features.items() if isinstance(about, dict) and "names" in about
        }
    except (ValueError, KeyError, TypeError):
        return {}
