"""Fashion-MNIST: 70,000 small grey pictures of clothes in ten classes (Xiao et al., 2017, arXiv:1708.07747)."""

from __future__ import annotations

from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.cache import digest
from handmade.data.idx import read_idx
from handmade.data.mirrors import Mirror, locate
from handmade.data.pictures import Pictures, Report, chosen, in_channels, padded, resized
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import ImageSpec

CLASSES = (
    "t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FILES = {  # measured on the unpacked bytes; the packed files differ from one distributor to the next
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def clothes(
    wanted: Wanted,
    size: Annotated[int, Range(16, 128)] = 28,
    n: Annotated[int, Range(1, 60_000)] = 60_000,
    held_out: Annotated[int, Range(1, 10_000)] = 10_000,
    channels: Literal[1, 3] = 1,
    flip: bool = False,
    where: str = "",
) -> tuple[Dataset, ImageSpec]:
    """Read the pictures with the label class.

    size: height and width in pixels; 28 as published, 32 with a black border, otherwise resized
    n: number of training pictures, the first so many of the 60,000
    held_out: number of test pictures, the first so many of the 10,000
    channels: 1 for grey, 3 for grey in three channels
    flip: mirror half of the training pictures, at random
    where: keep only some of them, such as class=t-shirt|bag
    """
    import torch

    part, count = ("train", n) if wanted.split == "train" else ("t10k", held_out)
    files = {name: right for name, right in FILES.items() if name.startswith(part)}
    content = locate(SOURCE.name, files, SOURCE.mirrors)
    raw = torch.from_numpy(read_idx(content[f"{part}-images-idx3-ubyte"])[:count].copy()).unsqueeze(1)
    codes = torch.from_numpy(read_idx(content[f"{part}-labels-idx1-ubyte"])[:count].astype("int64")).unsqueeze(1)
    pictures = Pictures(
        pixels=in_channels(padded(raw, 32) if size == 32 else resized(raw, size), channels),
        codes=codes,
        spec=ImageSpec(channels, size, {"class": CLASSES}),
        fingerprint=digest("clothes", 1, files, count, size, channels, flip),
        flip=flip and wanted.split == "train",
        report=Report("Fashion-MNIST", count),
    )
    kept = chosen(pictures, where)
    return kept, kept.spec


SOURCE = DataSource(
    name="clothes",
    title="Fashion-MNIST, grey pictures of clothes",
    licence="MIT (Zalando SE)",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    note="70,000 pictures of 28 pixels: 31 MB to fetch, 55 MB in the cache",
    kind="images",
    build=clothes,
    files=FILES,
    mirrors=(
        Mirror("folder", "/usr/share/datasets/fashion-mnist"),  # where Debian's package puts them
        Mirror("deb", "dataset-fashion-mnist"),
        Mirror("url", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
    ),
)
