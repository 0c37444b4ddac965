"""Music: what relative attention and the cache are worth, the LSTM of the same size at equal time, and 1,000 MIDI files.

`music_transformer/chorales`, the same without relative attention, and `lstm/chorales` are trained on the same chorales.
Their steps are timed in turn in one process, by processor time, and each gets the steps that `--share` of the recipe's time
allows (1: all of it); a linear decay ends with each. Held-out surprise is read as each room's own score reads it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import figure, record, recorded

ROOM, PEER = "music_transformer/chorales", "lstm/chorales"
ROUNDS = 9
EVENTS = 1000
FILES, NOTES = 1000, 1000
CONTESTANTS: dict[str, tuple[str, dict[str, str]]] = {
    "relative": (ROOM, {}),
    "absolute": (ROOM, {"config.relative": "false"}),
    "lstm": (PEER, {}),
}


def main() -> None:
    """Run the parts that are named, or all; parts that are not run again keep the figures of the last time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=("models", "cache", "folder"))
    wanted = parser.parse_known_args()[0]
    only = wanted.only or ["models", "cache", "folder"]
    rows, figures = recorded("music_models") if wanted.only else ([], {})
    if "models" in only:
        rows, found = models(wanted.share, wanted.threads)
        figures |= found
    if "cache" in only:
        cache = cache_speed()
        about = f"times as fast with the cache as without, {EVENTS:,} events"
        figures["cache"] = figure(cache, "at least 5", cache >= 5, about)
    if "folder" in only:
        files = folder_seconds()
        about = f"seconds to read and encode {FILES:,} MIDI files of {NOTES:,} notes, {os.cpu_count()} cores"
        figures["folder"] = figure(files, "under 30 s", files < 30, about)
    record("music_models", rows, **figures)


def models(share: float, threads: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train the three for the same processor time."""
    costs = step_costs(threads)
    whole = _recipe("relative", threads).train.steps * costs["relative"] * share
    rows: list[dict[str, Any]] = []
    for name in CONTESTANTS:
        steps = max(20, int(whole / costs[name]))
        rows.append({"contestant": name, "steps": steps, "cpu_s_per_step": costs[name], **train(name, steps, threads)})
    nats = {row["contestant"]: row["nats"] for row in rows}
    better, worth = 100 * (1 - nats["relative"] / nats["lstm"]), nats["relative"] / nats["absolute"] - 1
    about = (
        f"% less held-out surprise per token of chorales than an LSTM of the same size, {whole / 60:.0f} minutes each"
    )
    told = "% more held-out surprise with relative attention than without"
    return rows, {
        "lstm": figure(better, "at least 10 %", better >= 10, about, **nats),
        "relative": figure(100 * worth, "below 0", worth < 0, told),
    }


def _recipe(name: str, threads: int, **more: str) -> Any:
    from handmade.recipe import load_recipe

    path, overrides = CONTESTANTS[name]
    return load_recipe(path, {**overrides, **more, "train.threads": str(threads)})


def step_costs(threads: int) -> dict[str, float]:
    """Seconds of processor time of one step of each, the median of rounds taken in turn."""
    import torch

    from benchmarks.engine_step import engine_step
    from handmade import api
    from handmade.data.loader import Loader
    from handmade.data.source import open_data

    torch.set_num_threads(threads)
    steps: dict[str, Callable[[], Any]] = {}
    for name in CONTESTANTS:
        recipe = _recipe(name, threads)
        dataset, spec = open_data(recipe.data)
        torch.manual_seed(0)
        steps[name], _ = engine_step(api.build(recipe, spec), next(Loader(dataset, recipe.train.batch)), recipe.train)
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            begun = time.process_time()
            step()
            spent[name].append(time.process_time() - begun)
    return {name: round(statistics.median(times), 4) for name, times in spent.items()}


def train(name: str, steps: int, threads: int) -> dict[str, Any]:
    """Train a contestant for so many steps; its best held-out surprise, and its size."""
    from handmade import api

    path, overrides = CONTESTANTS[name]
    every = str(max(1, steps // 10))
    settings = {**overrides, "train.steps": str(steps), "train.score_every": every, "train.sample_every": str(steps),
                "train.threads": str(threads)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = api.train(path, out=Path(folder) / "run", overrides=settings)
        found = [event["scores"]["nats"]["value"] for event in run.events("score")]
        size = sum(parameter.numel() for parameter in api.load(run).parameters())
    return {"nats": round(min(found), 4), "weights": size}


def cache_speed() -> float:
    """How many times as fast 1,000 events are written with the cache as without."""
    import torch

    from handmade.data.codecs.midi_events import Events
    from handmade.data.specs import MusicSpec
    from handmade.samplers.tokens import Taste, fortunes
    from handmade.systems.music_transformer.system import Config, MusicTransformer
    from handmade.systems.music_transformer.writing import written

    torch.manual_seed(0)
    system, times = MusicTransformer(Config(), MusicSpec(Events().to_values(), EVENTS + 24)).eval(), []
    for cached in (True, False):
        begun = time.process_time()
        with torch.no_grad():
            text = written(system.transformer, [388], [], [388], Taste(), fortunes(1, 0), 1, EVENTS, cached)
            made = sum(1 for _ in text)
        times.append((time.process_time() - begun) / made)
    return times[1] / times[0]


def folder_seconds() -> float:
    """Seconds to read a folder of MIDI files into tokens, with nothing in the cache."""
    import random

    from handmade.data.source import open_data
    from handmade.midi import Note, Piece, midi_bytes

    with tempfile.TemporaryDirectory() as place:
        for number in range(FILES):
            luck, now, notes = random.Random(number), 0.0, []
            for _ in range(NOTES):
                now += luck.choice([0.0, 0.05, 0.11, 0.23])
                notes.append(Note(now, luck.random(), luck.randrange(30, 90), luck.randrange(1, 128)))
            (Path(place) / f"{number}.mid").write_bytes(midi_bytes(Piece(tuple(notes))))
        before = os.environ.get("HANDMADE_CACHE")
        os.environ["HANDMADE_CACHE"] = str(Path(place) / "cache")
        begun = time.monotonic()
        try:
            open_data({"path": place, "kind": "music"})
        finally:
            os.environ.pop("HANDMADE_CACHE") if before is None else os.environ.update(HANDMADE_CACHE=before)
        return round(time.monotonic() - begun, 1)


if __name__ == "__main__":
    main()
