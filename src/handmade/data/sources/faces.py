"""Drawn faces in colour: endless, CC0, every label known, and every change of a label drawn exactly.

They are drawn once, in blocks of 100, by all cores, and kept in the cache: asking for more of them draws only what is
missing. Drawn pictures are easier than photographs: never set their scores beside those of CelebA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest, load_arrays, store_arrays
from handmade.data.pictures import Pictures, Report, chosen, in_channels
from handmade.data.source import Dataset, DataSource, Progress, Wanted
from handmade.data.sources import _lorelei as lorelei
from handmade.data.specs import ImageSpec
from handmade.errors import HandmadeError, UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

BLOCK = 100  # faces drawn and kept together
HELD_OUT = 1_000_000  # test faces are numbered from here, so that they never meet the training faces


@dataclass(frozen=True)
class Faces(Pictures):
    """Pictures that know how they were drawn."""

    numbers: Sequence[int] = ()  # which face each picture is
    seed: int = 0

    def counterfactual(self, indices: Tensor, **changed: str) -> Tensor:
        """Draw pictures (B,) int64 again with attributes changed and all else equal, (B, C, H, W) float32 in [-1, 1].

        `counterfactual(torch.arange(8), glasses="yes")`; raises UserError for an unknown attribute or value.
        """
        import numpy as np
        import torch

        for name, value in changed.items():
            if name not in lorelei.LABELS:
                raise UserError(f'faces have no attribute "{name}"{did_you_mean(name, lorelei.LABELS)}')
            if value not in lorelei.LABELS[name]:
                raise UserError(f'{name} cannot be "{value}"{did_you_mean(str(value), lorelei.LABELS[name])}')
        drawn = []
        for number in (self.numbers[int(index)] for index in indices.reshape(-1)):
            face = {**lorelei.attributes(self.seed, number), **changed}
            drawn.append(lorelei.draw(self.seed, number, face, self.spec.size))
        return self.spec.encode(in_channels(torch.from_numpy(np.stack(drawn)), self.spec.channels))

    def take(self, rows: Tensor, **changed: Any) -> Faces:
        """The faces of these rows (R,) int64 alone."""
        taken = super().take(rows, **changed)
        return replace(taken, numbers=[self.numbers[row] for row in rows.tolist()])  # type: ignore[call-arg,return-value]


def faces(
    wanted: Wanted,
    size: Annotated[int, Range(16, 256)] = 64,
    n: Annotated[int, Range(1, HELD_OUT)] = 8000,
    held_out: Annotated[int, Range(1, HELD_OUT)] = 1000,
    seed: int = 0,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
) -> tuple[Dataset, ImageSpec]:
    """Draw faces with labels glasses, hair, cut, expression, eyes, skin and background, and a caption each.

    size: height and width in pixels
    n: number of training faces drawn, before `where` chooses among them
    held_out: number of test faces drawn; they are never trained on
    seed: which faces are drawn
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: keep only some of them, such as glasses=yes, hair=blond|black
    """
    import torch

    first, count = (0, n) if wanted.split == "train" else (HELD_OUT, held_out)
    numbers = range(first, first + count)
    drawn = [lorelei.attributes(seed, number) for number in numbers]
    codes = [[values.index(face[name]) for name, values in lorelei.LABELS.items()] for face in drawn]
    pixels = in_channels(torch.from_numpy(draw_faces(seed, first, count, size, wanted.progress)), channels)
    pictures = Faces(
        pixels=pixels,
        codes=torch.tensor(codes),
        spec=ImageSpec(channels, size, lorelei.LABELS),
        fingerprint=digest("faces", lorelei.versions(), seed, first, count, size, channels, flip),
        flip=flip and wanted.split == "train",
        words=[lorelei.caption(face) for face in drawn],
        report=Report("drawn faces", count),
        numbers=numbers,
        seed=seed,
    )
    kept = chosen(pictures, where)
    return kept, kept.spec


def draw_faces(
    seed: int, first: int, count: int, size: int, progress: Progress, changed: Mapping[str, str] = MappingProxyType({})
) -> np.ndarray:
    """Faces from the cache, and those that are missing from the pen, (count, 3, size, size) uint8.

    changed: attributes that all of them have, whatever they would have drawn: `{"hair": "blond"}`
    """
    import numpy as np

    change = "".join(f"-{name}={value}" for name, value in sorted(changed.items()))
    folder = cache_folder() / "faces" / f"lorelei-{'-'.join(lorelei.versions())}-{size}px-seed{seed}{change}"
    pixels = np.empty((count, 3, size, size), np.uint8)
    missing = []
    for start in range(first, first + count, BLOCK):
        kept = load_arrays(folder / f"{start:07d}.npz")
        if kept is not None and "pixels" in kept and kept["pixels"].shape == (BLOCK, 3, size, size):
            pixels[start - first : start - first + BLOCK] = kept["pixels"][: first + count - start]
        else:
            missing.append(start)
    total = len(missing) * BLOCK
    for done, (start, block) in enumerate(_drawn(missing, seed, size, changed), start=1):
        store_arrays(folder / f"{start:07d}.npz", {"pixels": block, "licence": np.array(SOURCE.licence)})
        pixels[start - first : start - first + BLOCK] = block[: first + count - start]
        progress(done * BLOCK, total, "drawing faces")
    return pixels


def _drawn(
    starts: Sequence[int], seed: int, size: int, changed: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[int, np.ndarray]]:
    """Draw blocks, here if there are few, else with one worker process per core."""
    workers = min(_cores(), len(starts) // 2)  # to start a worker costs as much as to draw two blocks
    if workers < 2:
        for start in starts:
            yield start, lorelei.draw_block(seed, start, BLOCK, size, changed)
        return
    idle: SimpleQueue[Worker] = SimpleQueue()
    crew = [Worker() for _ in range(workers)]
    for worker in crew:
        idle.put(worker)

    def draw(start: int) -> np.ndarray:
        worker = idle.get()
        try:
            return worker.draw(seed, start, size, changed)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from zip(starts, pool.map(draw, starts), strict=True)
    finally:  # also when the caller stops early: idle workers end at once, busy ones are not waited for
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in crew:
            worker.end()


class Worker:
    """One process that draws; a fresh interpreter, since a forked one could inherit torch's threads in a bad state."""

    def __init__(self) -> None:
        roots = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", lorelei.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
        )

    def draw(self, seed: int, start: int, size: int, changed: Mapping[str, str]) -> np.ndarray:
        """One block, (BLOCK, 3, size, size) uint8; HandmadeError with the worker's last words if it died."""
        import numpy as np

        process, count = self.process, BLOCK * 3 * size * size
        try:
            job = f"{seed} {start} {BLOCK} {size} {json.dumps(dict(changed))}\n"
            process.stdin.write(job.encode())  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            raw = process.stdout.read(count)  # type: ignore[union-attr]
        except OSError:
            raw = b""
        if len(raw) < count:
            words = process.stderr.read().decode(errors="replace").strip()  # type: ignore[union-attr]
            raise HandmadeError(f"drawing faces failed: {words.splitlines()[-1] if words else 'the worker died'}")
        return np.frombuffer(raw, np.uint8).reshape(BLOCK, 3, size, size)

    def end(self) -> None:
        """Stop the process and close its pipes."""
        self.process.terminate()
        self.process.communicate()


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SOURCE = DataSource(
    name="faces",
    title="Drawn faces (Lorelei by Lisa Wischofsky)",
    licence="CC0 1.0 (pictures); DiceBear and resvg are MIT",
    homepage="https://www.dicebear.com/styles/lorelei/",
    note="8,000 faces of 64 pixels: drawn once, in about half a minute on two free cores; 23 MB in the cache",
    kind="images",
    build=faces,
)
