"""The studio's server under load: how soon it starts, what it needs, a slider's picture, 64 sockets, 16 texts at once.

One server process in a folder of its own, talked to as the page talks to it. Needs a machine to itself.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.record import figure, record

FACES, PLAYS, DIGITS = "zoo.dcgan.faces", "zoo.gpt.plays", "zoo.image_gan.digits"
SLIDES, WARM = 220, 20  # asks of a slider; how many come before the clock counts
SOCKETS, HERTZ, TURNS = 64, 5, 40
TEXTS, TOKENS = 16, 200
STARTS = 5


@contextmanager
def studio(place: Path) -> Iterator[tuple[str, int]]:
    """A running server: its address and its process number."""
    env = {
        **os.environ,
        "HANDMADE_HOME": str(place / "home"),
        "HANDMADE_RUNS": str(place / "runs"),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "handmade", "studio", "--port", "0"]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout is None:
            raise SystemExit("the studio says nothing")
        try:
            url = process.stdout.readline().split("?")[0].strip().rstrip("/")
            while True:
                try:
                    httpx.get(f"{url}/api/glossary", trust_env=False)
                    break
                except httpx.TransportError:
                    time.sleep(0.01)
            yield url, process.pid
        finally:
            process.terminate()


def part_of(times: list[float], share: float) -> float:
    """A quantile of times in milliseconds."""
    return 1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))]


async def ask(socket: ClientConnection, number: int, run: str, **arguments: Any) -> float:
    """Seconds until a picture is there."""
    began = time.perf_counter()
    await socket.send(json.dumps({"id": number, "channel": "z", "run": run, "ask": "generate", "arguments": arguments}))
    frame = await socket.recv()
    taken = time.perf_counter() - began
    (size,) = struct.unpack(">I", frame[:4])  # type: ignore[arg-type]
    if not json.loads(frame[4 : 4 + size])["ok"]:
        raise SystemExit(f"{run} gave no picture")
    return taken


async def slider(url: str) -> list[float]:
    """One hand at one slider, each picture another."""
    async with connect(f"{url.replace('http', 'ws')}/api/live", proxy=None) as socket:
        return [await ask(socket, number, FACES, n=1, seed=number) for number in range(SLIDES)][WARM:]


async def sockets(url: str) -> list[float]:
    """Many pages that look at the same pictures, five times a second each."""

    async def one(number: int) -> list[float]:
        times: list[float] = []
        async with connect(f"{url.replace('http', 'ws')}/api/live", proxy=None) as socket:
            await asyncio.sleep(number / SOCKETS / HERTZ)
            due = time.perf_counter()
            for turn in range(TURNS):
                times.append(await ask(socket, turn, DIGITS, n=1, seed=(number * TURNS + turn) % TURNS))
                due += 1 / HERTZ
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return times[HERTZ:]  # the first second makes what the others then share

    return [taken for times in await asyncio.gather(*map(one, range(SOCKETS))) for taken in times]


async def texts(url: str) -> list[float]:
    """Sixteen texts written at once: seconds until each has its first new token."""

    async def one(client: httpx.AsyncClient, number: int) -> float:
        began, first = time.perf_counter(), 0.0
        body = {"arguments": {"prompt": "HAMLET:\n", "max_tokens": TOKENS, "seed": number}}
        async with client.stream("POST", f"/api/runs/{PLAYS}/asks/continue/stream", json=body) as answer:
            async for line in answer.aiter_lines():
                if not first and line.startswith("data: ") and '"given": false' in line:
                    first = time.perf_counter() - began
        return first

    async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as client:
        return list(await asyncio.gather(*(one(client, number) for number in range(TEXTS))))


def first_load(url: str) -> int:
    """Compressed bytes of the page and of what it names."""
    page = httpx.get(url, trust_env=False).text
    names = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    return sum(len(gzip.compress(content, 6)) for content in (
        page.encode(), *(httpx.get(url + name, trust_env=False).content for name in names)))  # fmt: skip


def main() -> None:
    """Start, load, record."""
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        for _ in range(STARTS):
            began = time.perf_counter()
            with studio(Path(place)):
                starts.append(time.perf_counter() - began)
        with studio(Path(place)) as (url, pid):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            megabytes, kilobytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6, first_load(url) / 1000
            for run in (FACES, DIGITS, PLAYS):
                httpx.get(f"{url}/api/runs/{run}/asks", timeout=60, trust_env=False)
            found: dict[str, list[float]] = {}
            measures: tuple[Callable[[str], Any], ...] = (slider, sockets, texts)
            for measure in measures:
                found[measure.__name__] = asyncio.run(measure(url))
    start, slides = sorted(starts)[STARTS // 2], found["slider"]
    record(
        "studio_load",
        [{"starts": starts, "ms": {name: {share: round(part_of(times, share), 1) for share in (0.5, 0.95, 0.99)}
                                   for name, times in found.items()}}],
        start=figure(start, "under 2 s", start < 2, "seconds until the studio answers, torch not loaded"),
        memory=figure(megabytes, "under 120 MB", megabytes < 120, "MB that its server holds before a model is loaded"),
        load=figure(kilobytes, "at most 150 kB", kilobytes <= 150, "kB of the page's first load, compressed"),
        slider=figure(part_of(slides, 0.5), "at most 60 ms", part_of(slides, 0.5) <= 60,
                      "ms from a slider to a new 64 x 64 picture of `dcgan/faces`, half of them"),
        slider_most=figure(part_of(slides, 0.95), "at most 120 ms", part_of(slides, 0.95) <= 120, "... 95 % of them"),
        sockets=figure(part_of(found["sockets"], 0.99), "under 200 ms", part_of(found["sockets"], 0.99) < 200,
                       f"ms for 99 % of the pictures that {SOCKETS} pages ask for {HERTZ} times a second each"),
        texts=figure(part_of(found["texts"], 0.95) / 1000, "under 1 s", part_of(found["texts"], 0.95) < 1000,
                     f"seconds to the first token of {TEXTS} texts written at once, 95 % of them"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
