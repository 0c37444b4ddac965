"""Does bf16 change anything that matters? dcgan/faces at 32 px, same steps and seeds, in float32 and in bf16."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.record import figure, record
from handmade import api

STEPS, SEEDS = 600, (0, 1, 2)


def main() -> None:
    """Train six short runs and compare their KID."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for precision in ("float32", "bf16"):
                overrides = {"train.steps": str(STEPS), "train.seed": str(seed), "train.precision": precision,
                             "data.size": "32", "data.n": "4000", "train.sample_every": str(STEPS)}  # fmt: skip
                run = api.train("dcgan/faces", out=Path(folder) / f"{precision}-{seed}", overrides=overrides)
                kid = api.evaluate(run, 2000)["kid"]
                rows.append({"seed": seed, "precision": precision, **kid._asdict()})
                print(rows[-1], flush=True)
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    apart = [bf16["value"] - float32["value"] for float32, bf16 in pairs]
    spread = statistics.mean(max(r["high"] - r["value"], r["value"] - r["low"]) for r in rows)
    between = max(abs(a["value"] - b["value"]) for a in rows[::2] for b in rows[::2])
    allowed = spread + between  # the sampling interval, and what another seed alone changes
    mean = abs(statistics.mean(apart))
    record("bf16_quality", rows, difference=figure(mean, f"within {allowed:.3g}", mean <= allowed,
           f"KID in bf16 minus KID in float32 after {STEPS} steps, mean of {len(SEEDS)} seeds"))  # fmt: skip


if __name__ == "__main__":
    main()
