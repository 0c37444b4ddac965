"""A data source: where examples come from, what they are called, and the options it can be opened with.

One file per source in `data/sources/`, found by being there. A source's builder is a function whose typed, documented
parameters are its options, the way an ask's are its form:

    def numbers(wanted: Wanted, of: int = 5, depth: int = 100) -> tuple[Dataset, Spec]: ...

A recipe's data table names the source and its options, `{source = "numbers", of = 7}`; `{path = "FOLDER"}` is the
user's own pictures, `{path = "FOLDER", kind = "text"}` the user's own text. Importing this module, or any source, loads
no torch: names and options are checked first.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

from handmade.asks import Ask, describe
from handmade.data import sources as shelf
from handmade.data.cache import cache_folder
from handmade.data.mirrors import Mirror, fetch
from handmade.data.specs import Spec
from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "DataSource", "Dataset", "Rows", "Wanted", "cache_folder", "check_data", "find_source", "for_path", "open_data",
    "prepare", "sources",
]  # fmt: skip

Split = Literal["train", "test"]
Progress = Callable[[int, int, str], None]  # done, of how many, what


class Dataset(Protocol):
    """A fixed number of examples that can be taken in any order."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content, or of everything it is made from."""
        ...

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
        """Examples (B,) int64 -> a batch of them; `generator` is for augmentation only."""
        ...


@dataclass(frozen=True)
class Rows:
    """A dataset that is one tensor, one example per row."""

    values: Tensor  # (N, ...)
    fingerprint: str

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.values)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) int64 -> (B, ...)."""
        return self.values.index_select(0, indices)


def _silent(done: int, total: int, what: str) -> None:
    """Progress that nobody watches."""


class Wanted(NamedTuple):
    """What a builder is asked for, beside its options."""

    split: Split
    progress: Progress = _silent
    like: Spec | None = None  # of a trained run, which an option may ask to follow


Builder = Callable[..., tuple[Dataset, Spec]]

OWN = {  # kind of data -> module and name of the source that reads the user's own files of that kind
    "images": ("handmade.data.folder", "OWN_PICTURES"),
    "text": ("handmade.data.own_text", "OWN_TEXT"),
    "pairs": ("handmade.data.own_pairs", "OWN_PAIRS"),
    "domains": ("handmade.data.own_domains", "OWN_DOMAINS"),
    "music": ("handmade.data.own_music", "OWN_MUSIC"),
    "rolls": ("handmade.data.own_music", "OWN_ROLLS"),
    "captions": ("handmade.data.own_captions", "OWN_CAPTIONS"),
    "videos": ("handmade.data.own_videos", "OWN_VIDEOS"),
}


@dataclass(frozen=True)
class DataSource:
    """One set of examples: what it is, whose it is, how large, and how to open it."""

    name: str
    title: str
    licence: str
    homepage: str
    note: str  # size in words
    kind: Literal["images", "captions", "videos", "domains", "points", "numbers", "text", "pairs", "music", "rolls"]
    build: Builder = field(repr=False)  # (wanted, **options) -> (dataset, spec)
    files: Mapping[str, str] = field(default_factory=dict)  # file name -> SHA-256 of its unpacked bytes
    mirrors: tuple[Mirror, ...] = ()  # where the files come from, in the order in which they are tried
    gather: Callable[[Progress], Path] | None = field(
        default=None, repr=False
    )  # fetches what is no short list of files

    @property
    def options(self) -> Ask:
        """The form of this source's options."""
        return describe(self.build)

    def open(self, split: Split = "train", progress: Progress = _silent, like: Spec | None = None,
             **options: Any) -> tuple[Dataset, Spec]:  # fmt: skip
        """Return one split and the spec of its examples.

        like: the spec of a trained run, for options that follow it

        Raises UserError for an unknown split or option or a wrong value, DataMissing where files must be fetched first.
        """
        if split not in get_args(Split):
            raise UserError(f'{self.name} has no split "{split}"{did_you_mean(split, get_args(Split))}')
        return self.build(Wanted(split, progress, like), **self.options.check(options))


def sources() -> dict[str, DataSource]:
    """Every source by name, one per file of `data/sources/`."""
    names = sorted(module.name for module in pkgutil.iter_modules(shelf.__path__) if not module.name.startswith("_"))
    return {name: importlib.import_module(f"{shelf.__name__}.{name}").SOURCE for name in names}


def find_source(name: str) -> DataSource:
    """The source of this name; UserError naming the nearest where there is none."""
    known = sources()
    if name not in known:
        raise UserError(f'no data set "{name}"{did_you_mean(name, known)}')
    return known[name]


def check_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's data table with every option filled in and checked; UserError for what is unknown or wrong."""
    source, options = _named(data)
    head = {key: data[key] for key in ("source", "kind") if key in data}
    return {**head, **source.options.check(options)}


def open_data(data: Mapping[str, Any], split: Split = "train", progress: Progress = _silent,
              like: Spec | None = None) -> tuple[Dataset, Spec]:  # fmt: skip
    """Open what a recipe's data table names: a source (`source = "faces"`) or your own files (`path = ...`)."""
    source, options = _named(data)
    return source.open(split, progress, like, **options)


def for_path(data: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """The data table with the user's own folder or file in place of its source.

    Options that both know (size, codec, ...) keep their value; what only the source knows is left out.
    """
    source, _ = _named(data)
    if source.kind not in OWN:
        raise UserError(
            f"{source.name} makes its own {source.kind}, so it takes no files; "
            f"change its options instead ({', '.join(p.name for p in source.options.parameters)})"
        )
    kind = {} if source.kind == "images" else {"kind": source.kind}
    place = {"path": str(Path(path).expanduser().resolve()), **kind}
    shared = {parameter.name for parameter in _named(place)[0].options.parameters} - {
        "path", "where", "attribute",
    }  # fmt: skip
    return {**place, **{key: value for key, value in check_data(data).items() if key in shared}}


def anchored(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data table with the user's own files named from the root, so that a run finds them from any folder."""
    own = {key: str(Path(data[key]).expanduser().resolve()) for key in ("path", "corrections") if data.get(key)}
    return {**data, **own}


def kind_of(path: Path) -> str:
    """What a user's folder or file holds, by the names of its files: "images", "domains", "text", "pairs" or "music"."""
    from handmade.data.tree import open_tree

    names = [entry.name.lower() for entry in open_tree(path).entries]
    if any(name.endswith((".tmx", ".tsv")) for name in names):
        return "pairs"
    if any(name.endswith((".mid", ".midi")) for name in names):
        return "music"
    if any(name.endswith((".mp4", ".m4v", ".mov", ".webm", ".mkv")) for name in names):
        return "videos"
    pictures = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".npz", ".parquet", "ubyte", ".gz")
    if {folder for name in names for folder in name.split("/")[:-1]} >= {"traina", "trainb"}:
        return "domains"
    texts = any(name.endswith(".txt") for name in names)
    return "text" if texts and not any(name.endswith(pictures) for name in names) else "images"


def _named(data: Mapping[str, Any]) -> tuple[DataSource, dict[str, Any]]:
    """The source that a data table names, and the options it gives."""
    options = {key: value for key, value in data.items() if key not in ("source", "kind")}
    if "path" in data:
        if "source" in data:
            raise UserError('data names both a "source" and a "path": keep one of them')
        kind = str(data.get("kind", "images"))
        if kind not in OWN:
            raise UserError(f'no files of kind "{kind}" can be read{did_you_mean(kind, OWN)}')
        module, name = OWN[kind]
        return getattr(importlib.import_module(module), name), options
    if "source" not in data:
        raise UserError(f'data names no "source" ({", ".join(sources())})')
    if "kind" in data:
        raise UserError('"kind" goes with a "path": a source knows its own')
    return find_source(str(data["source"])), options


def prepare(name: str, progress: Progress = _silent) -> Path:
    """Put a source's files, or its drawings, into the cache; return their folder. Uses the network where it must."""
    if name == "gpt2-codec":  # no data set, but fetched like one
        from handmade.data.codecs.gpt2 import fetch_files

        return fetch_files(progress)
    source = find_source(name)
    if source.gather:
        return source.gather(progress)
    if source.files:
        return fetch(source.name, source.files, source.mirrors, progress)
    source.open("train", progress)
    return cache_folder()
