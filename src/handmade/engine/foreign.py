"""Weights from elsewhere, opened without trusting them.

`.safetensors` is data by construction, and so are TensorFlow's checkpoint files. `.pt`, `.pth` and `.bin` are pickles, which
can run code: they are read in a process of their own, by torch's restricted unpickler (tensors and plain containers only),
with limits on time and memory, and what comes back is safetensors. Anything else is refused with the reason.
"""

from __future__ import annotations

import contextlib
import json
import pickletools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from handmade.engine.bundle import open_bundle
from handmade.engine.checkpoint import read_tensors
from handmade.engine.tensors import open_tensors
from handmade.errors import Damaged, DataMissing, UserError
from handmade.weights import Foreign, Stored

SECONDS = 900
LARGEST = 20 * 2**30  # bytes of a pickle
PICKLES = (".pt", ".pth", ".bin", ".ckpt")
BESIDE = ("config.json", "hparams.json", "generation_config.json")  # small files that say what the tensors are
IN_FOLDERS = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin",
              "ckpt.pt")  # fmt: skip

SMALL = 16 * 2**20  # bytes of a pickle of plain values
PLAIN = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2", "INT", "LONG1", "BINFLOAT",
         "NONE", "NEWTRUE", "NEWFALSE"}  # fmt: skip

_READER = """
import json, sys, torch
from safetensors.torch import save_file
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
except ImportError:
    pass
torch.serialization.clear_safe_globals()
mapped = torch.serialization._is_zipfile(open(sys.argv[1], "rb"))
found = torch.load(sys.argv[1], map_location="cpu", mmap=mapped, weights_only=True)
if not isinstance(found, dict):
    sys.exit(f"it holds a {type(found).__name__}, no table of tensors")
def plain(value):
    return value is None or isinstance(value, (bool, int, float, str))
values = {k: {a: b for a, b in v.items() if isinstance(a, str) and plain(b)} for k, v in found.items()
          if isinstance(k, str) and isinstance(v, dict)}
for key in ("state_dict", "model_state_dict", "model"):
    if isinstance(found.get(key), dict):
        found = found[key]
tensors, seen = {}, set()
for k, v in found.items():
    if isinstance(v, torch.Tensor):
        v, place = v.detach().contiguous(), v.untyped_storage().data_ptr()
        tensors[str(k)] = v.clone() if place in seen or v.numel() * v.element_size() != v.untyped_storage().nbytes() else v
        seen.add(place)
save_file(tensors, sys.argv[2], {"values": json.dumps({k: v for k, v in values.items() if v})})
"""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name.

    Raises UserError for a file of another kind or one that needs code to be read, Damaged for one that is broken.
    """
    if not path.is_file():
        raise UserError(f"no file {path}")
    if path.suffix.lower() == ".safetensors":
        return read_tensors(path)[0]
    _check_ending(path)
    with tempfile.TemporaryDirectory() as folder:
        return read_tensors(_unpickled(path, Path(folder)))[0]


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[Foreign]:
    """Open a weight file, or a folder that holds one (whole or in pieces), without reading its tensors.

    Raises UserError or Damaged as `read_weights` does, DataMissing for a folder without weights.
    """
    if not path.exists() and not path.with_name(path.name + ".index").is_file():
        raise UserError(f"no file or folder {path}")
    with tempfile.TemporaryDirectory() as drafts:
        if (index := _bundle_of(path)) is not None:
            tensors, values, layout = open_bundle(index), {}, "tensorflow"
        else:
            file = _file_of(path)
            layout = "safetensors" if "safetensors" in file.name else "pickle"
            tensors, values = _open(file, Path(drafts))
        folder = path if path.is_dir() else path.parent
        for name in BESIDE:
            if (folder / name).is_file():
                values[name] = _json(folder / name)
        if (folder / "meta.pkl").is_file():
            values["meta.pkl"] = plain_pickle(folder / "meta.pkl")
        yield Foreign(path, tensors, values, layout)


def _bundle_of(path: Path) -> Path | None:
    """The table of a TensorFlow checkpoint that a folder, a file or a checkpoint's name means."""
    if path.is_file():
        return path if path.suffix == ".index" else None
    if not path.is_dir():
        return path.with_name(path.name + ".index")
    if any((path / name).is_file() for name in IN_FOLDERS):
        return None
    found = sorted(path.glob("*.index"), key=lambda file: file.stat().st_mtime)
    return found[-1] if found else None


def _file_of(path: Path) -> Path:
    if path.is_file():
        if not path.name.endswith((".safetensors", ".index.json")):
            _check_ending(path)
        return path
    for name in IN_FOLDERS:
        if (path / name).is_file():
            return path / name
    single = [file for file in sorted(path.iterdir()) if file.suffix == ".safetensors"]
    if len(single) != 1:
        raise DataMissing(f"{path} holds no weights ({', '.join(IN_FOLDERS)}, or TensorFlow's *.index with *.data-*)")
    return single[0]


def _check_ending(path: Path) -> None:
    if path.suffix.lower() not in PICKLES:
        raise UserError(
            f"{path}: cannot read {path.suffix or 'a file without an ending'} (.safetensors, {', '.join(PICKLES)})"
        )


def _open(file: Path, drafts: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Tensors and plain values of one file, or of all pieces that an index names."""
    if file.name.endswith(".index.json"):
        tensors: dict[str, Stored] = {}
        for name in sorted(set(_json(file).get("weight_map", {}).values())):
            if Path(str(name)).name != name or not (file.parent / name).is_file():
                raise Damaged(f"{file} names the piece {name!r}, which is not beside it")
            tensors |= _open(file.parent / name, drafts)[0]
        return tensors, {}
    if file.suffix.lower() == ".safetensors":
        tensors, metadata = open_tensors(file)
        return tensors, {}
    tensors, metadata = open_tensors(_unpickled(file, drafts))
    return tensors, json.loads(metadata.get("values", "{}"))


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > 50_000_000:
            raise ValueError("it is larger than 50 MB")
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no table of values")
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path} is not JSON: {error}") from None
    return values


def plain_pickle(path: Path) -> dict[str, Any]:
    """The table of a small pickle of dicts, texts and numbers, read step by step; nothing in it can be run.

    Raises UserError for a pickle that holds anything else, Damaged for one that is broken.
    """
    stack: list[Any] = []
    marks: list[int] = []
    kept: list[Any] = []
    try:
        if path.stat().st_size > SMALL:
            raise ValueError(f"it is larger than {SMALL // 2**20} MB")
        value: Any
        for code, value, _ in pickletools.genops(path.read_bytes()):
            match code.name:
                case "PROTO" | "FRAME":
                    continue
                case "EMPTY_DICT":
                    stack.append({})
                case "MARK":
                    marks.append(len(stack))
                case "MEMOIZE":
                    kept.append(stack[-1])
                case "BINGET" | "LONG_BINGET":
                    stack.append(kept[value])
                case "BINPUT" | "LONG_BINPUT":
                    kept += [None] * (value + 1 - len(kept)) if value < 1_000_000 else []
                    kept[value] = stack[-1]
                case "SETITEMS" | "SETITEM":
                    first = marks.pop() if code.name == "SETITEMS" else len(stack) - 2
                    pairs = stack[first:]
                    del stack[first:]
                    stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
                case "STOP":
                    break
                case name if name in PLAIN:
                    stack.append(value)
                case name:
                    raise UserError(f"{path} is refused: it holds more than tables of texts and numbers ({name})")
    except (ValueError, IndexError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise Damaged(f"{path} is not a pickle of plain values: {error}") from None
    if len(stack) != 1 or not isinstance(stack[0], dict):
        raise Damaged(f"{path} holds no table")
    return stack[0]


def _unpickled(path: Path, folder: Path) -> Path:
    """Have a pickle read in a process of its own; return the safetensors file that it wrote."""
    size = path.stat().st_size
    if size > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST // 2**30} GB")
    out = folder / f"{len(list(folder.iterdir()))}.safetensors"
    command = [sys.executable, "-I", "-c", _READER, str(path.resolve()), str(out), str(8 * 2**30 + 4 * size)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Damaged(f"{path} could not be read within {SECONDS} seconds") from None
    if done.returncode != 0:
        refused = "Weights only load failed" in done.stderr
        reason = "it is damaged, or reading it would run code" if refused else _last_line(done.stderr)
        raise UserError(f"{path} is refused: {reason}; only plain files of tensors are read")
    return out


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["its reader was stopped"])[-1][:160]
