"""Your own pictures: any folder or file that `layouts` recognises, read in place, once, into one uint8 tensor.

Broken pictures are named, counted and reported, never dropped in silence; too many of them is an error. What was
decoded is kept in the cache under the names, sizes and times of the files, so that the second run starts at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest, store
from handmade.data.decode import decode, quiet_decoder, square
from handmade.data.doubts import read_corrections
from handmade.data.layouts import Listing, order_of, recognise
from handmade.data.pictures import Pictures, Report, chosen
from handmade.data.source import Dataset, DataSource, Progress, Wanted
from handmade.data.specs import ImageSpec
from handmade.data.tree import Tree, open_tree
from handmade.errors import Damaged, UserError

if TYPE_CHECKING:
    import numpy as np

VERSION = 3  # of what is kept in the cache
MOST_BROKEN = 0.2  # a larger share is a mistake of ours or yours, not bad luck
MOST_MEMORY = 16 << 30  # bytes of decoded pictures
HELD_OUT = 10  # one picture in so many is never trained on, where the folder itself names no test pictures
CHUNK = 256  # pictures between two words of progress


@dataclass(frozen=True)
class Decoded:
    """What is kept in the cache."""

    pixels: np.ndarray  # (N, C, size, size) uint8
    codes: np.ndarray  # (N, A) int64
    about: dict[str, Any]  # layout, names, labels, words, splits, broken, notes, unfit, fingerprint


def open_images(
    wanted: Wanted,
    path: str = ".",
    size: Annotated[int, Range(8, 1024)] = 64,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
    corrections: str = "",
) -> tuple[Dataset, ImageSpec]:
    """Read the pictures of a folder, .zip, .npz, .parquet or IDX file; `dataset.report` says what was found.

    path: where they are
    size: height and width in pixels after cropping the middle square
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: keep only some of them, such as Blond_Hair=1, class=cat|dog
    corrections: a table of mended labels, as `handmade data doubt` writes it
    """
    import torch

    everything, given = read_pictures(path, size, channels, wanted.progress, corrections)
    name = digest(everything.fingerprint, wanted.split, flip)
    kept = chosen(replace(everything, flip=flip and wanted.split == "train", fingerprint=name), where)
    mine = [split == wanted.split for split in splits_of(kept.names, given)]
    if len(mine) > 1:  # of a single picture there is nothing to hold out
        kept = kept.take(torch.tensor(mine).nonzero().squeeze(1))
    return kept, kept.spec


def read_pictures(
    path: str, size: int, channels: int, progress: Progress, corrections: str = ""
) -> tuple[Pictures, dict[str, str]]:
    """All pictures of a path with their mended labels, and file name -> split where the folder itself names them."""
    import torch

    decoded = _decoded(Path(path).expanduser(), size, channels, progress)
    about = decoded.about
    labels = {name: tuple(values) for name, values in about["labels"].items()}
    codes = torch.from_numpy(decoded.codes)
    notes, mended = tuple(about["notes"]), []
    if corrections:
        mended = read_corrections(Path(corrections).expanduser(), about["names"], labels)
        codes = codes.clone()
        for row, column, code in mended:
            codes[row, column] = code
        notes += (f"labels corrected by {corrections}: {len(mended):,}",)
    broken = tuple((name, reason) for name, reason in about["broken"])
    pictures = Pictures(
        pixels=torch.from_numpy(decoded.pixels),
        codes=codes,
        spec=ImageSpec(channels, size, labels),
        fingerprint=digest(about["fingerprint"], sorted(mended)) if mended else about["fingerprint"],
        words=about["words"],
        names=about["names"],
        report=Report(about["layout"], len(about["names"]), broken, notes, about["unfit"]),
    )
    return pictures, dict(zip(about["names"], about["splits"], strict=True)) if about["splits"] else {}


def splits_of(names: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """The split of each picture that is left: the folder's own, or where it has none, some are held out."""
    splits = [given[name] for name in names] if given else []
    return splits if len(set(splits)) == 2 else hold_out(names)


def _decoded(path: Path, size: int, channels: int, progress: Progress) -> Decoded:
    """The decoded pictures of a path, from the cache where nothing has changed."""
    tree = open_tree(path)
    kept = cache_folder() / "pictures" / digest(VERSION, str(path.resolve()), tree.entries, size, channels)[:32]
    if decoded := _load(kept):
        return decoded
    rmtree(kept, ignore_errors=True)  # a damaged one makes room
    decoded = _decode(tree, recognise(tree), size, channels, progress)
    return (_load(kept) if store(kept, lambda folder: _save(folder, decoded)) else None) or decoded


def _decode(tree: Tree, listing: Listing, size: int, channels: int, progress: Progress) -> Decoded:
    """Decode every picture on all cores and set the broken ones aside."""
    import numpy as np

    count, each = len(listing.names), channels * size * size
    if count * each > MOST_MEMORY:
        raise UserError(
            f"{count:,} pictures of {size} pixels need {count * each / 2**30:.0f} GiB, more than the "
            f"{MOST_MEMORY >> 30} GiB allowed: choose a smaller size"
        )
    pixels = np.empty((count, channels, size, size), np.uint8)
    reasons: dict[int, str] = {}

    def fill(index: int) -> None:
        try:
            pixels[index] = _read(listing, index, size, channels)
        except Damaged as error:
            reasons[index] = str(error)

    with quiet_decoder(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, count, CHUNK):
            list(pool.map(fill, range(first, min(first + CHUNK, count))))
            progress(min(first + CHUNK, count), count, "reading pictures")
    broken = [(listing.names[index], reasons[index]) for index in sorted(reasons)]
    if len(broken) > MOST_BROKEN * count:
        named = "; ".join(f"{name}: {reason}" for name, reason in broken[:3])
        share = f"{len(broken):,} of {count:,} pictures in {tree.root}"
        raise UserError(f"{share} are broken ({named}): repair or remove them")
    good = [index for index in range(count) if index not in reasons]
    return _described(listing, good, broken, pixels[good] if broken else pixels)


def _read(listing: Listing, index: int, size: int, channels: int) -> np.ndarray:
    """One picture, (channels, size, size) uint8; Damaged with the reason where it is broken."""
    from PIL import Image

    raw = listing.read(index)
    return decode(raw, size, channels) if isinstance(raw, bytes) else square(Image.fromarray(raw), size, channels)


def _described(listing: Listing, good: Sequence[int], broken: Sequence[tuple[str, str]], pixels: np.ndarray) -> Decoded:
    """Turn label names into codes and fingerprint the content."""
    import numpy as np

    labels = {name: order_of(values) for name, values in listing.labels.items()}
    codes = np.zeros((len(good), len(labels)), np.int64)
    for column, (name, values) in enumerate(labels.items()):
        code = {value: number for number, value in enumerate(values)}
        codes[:, column] = [code[listing.labels[name][index]] for index in good]
    names = [listing.names[index] for index in good]
    content = sha256(np.ascontiguousarray(pixels).data)
    content.update(codes.data)
    about = {
        "layout": listing.layout,
        "names": names,
        "labels": labels,
        "words": [listing.words[index] for index in good] if listing.words else [],
        "splits": [listing.splits[index] for index in good] if listing.splits else [],
        "broken": list(broken),
        "notes": list(listing.notes),
        "unfit": listing.unfit,
        "fingerprint": content.hexdigest(),
    }
    return Decoded(pixels, codes, about)


def hold_out(names: Sequence[str]) -> list[str]:
    """Put about one name in ten, at least one and never all, into the test split.

    Each is placed by its own hash, so that adding pictures moves none from one split to the other.
    """
    hashes = [blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names]
    numbers = [int.from_bytes(value, "big") for value in hashes]
    splits = ["test" if number % HELD_OUT == 0 else "train" for number in numbers]
    if len(set(splits)) == 1 and len(names) > 1:
        splits[numbers.index(min(numbers))] = "train" if splits[0] == "test" else "test"
    return splits


def _save(folder: Path, decoded: Decoded) -> None:
    import numpy as np

    np.save(folder / "pixels.npy", decoded.pixels)
    np.save(folder / "codes.npy", decoded.codes)
    (folder / "about.json").write_text(json.dumps(decoded.about), encoding="utf-8")


def _load(folder: Path) -> Decoded | None:
    """What `_save` kept, its pixels left on disk until they are needed; None where it is not there or is damaged."""
    import numpy as np

    try:
        about = json.loads((folder / "about.json").read_text("utf-8"))
        pixels = np.load(folder / "pixels.npy", mmap_mode="c", allow_pickle=False)
        codes = np.load(folder / "codes.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return Decoded(pixels, codes, about) if len(pixels) == len(codes) == len(about["names"]) else None


OWN_PICTURES = DataSource(
    name="path",
    title="Your own pictures",
    licence="yours",
    homepage="",
    note="",
    kind="images",
    build=open_images,
)
