"""Weights from elsewhere, read without trusting them.

`.safetensors` is data by construction. `.pt`, `.pth` and `.bin` are pickles, which can run code: they are read in a process
of their own, by torch's restricted unpickler (tensors and plain containers only), with limits on time and memory, and what
comes back is safetensors. Anything else is refused with the reason.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from handmade.engine.checkpoint import read_tensors
from handmade.errors import Damaged, UserError

SECONDS = 300
LARGEST = 20 * 2**30  # bytes of a file

_READER = """
import sys, torch
from safetensors.torch import save_file
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
except ImportError:
    pass
torch.serialization.clear_safe_globals()
found = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
for key in ("state_dict", "model_state_dict", "model"):
    if isinstance(found, dict) and isinstance(found.get(key), dict):
        found = found[key]
tensors = {str(k): v.detach().clone().contiguous() for k, v in found.items() if isinstance(v, torch.Tensor)}
save_file(tensors, sys.argv[2])
"""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name.

    Raises UserError for a file of another kind or one that needs code to be read, Damaged for one that is broken.
    """
    if not path.is_file():
        raise UserError(f"no file {path}")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} is larger than {LARGEST // 2**30} GB")
    match path.suffix.lower():
        case ".safetensors":
            return read_tensors(path)[0]
        case ".pt" | ".pth" | ".bin" | ".ckpt":
            return _read_pickle(path)
        case other:
            raise UserError(
                f"{path}: cannot read {other or 'a file without an ending'} (.safetensors, .pt, .pth, .bin, .ckpt)"
            )


def _read_pickle(path: Path) -> dict[str, Tensor]:
    memory = 8 * 2**30 + 4 * path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.safetensors"
        command = [sys.executable, "-I", "-c", _READER, str(path.resolve()), str(out), str(memory)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Damaged(f"{path} could not be read within {SECONDS} seconds") from None
        if done.returncode != 0:
            refused = "Weights only load failed" in done.stderr
            reason = "it is damaged, or reading it would run code" if refused else _last_line(done.stderr)
            raise UserError(f"{path} is refused: {reason}; only plain files of tensors are read")
        return read_tensors(out)[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["its reader was stopped"])[-1][:160]
