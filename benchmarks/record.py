"""Results as JSON with machine and commit; the README's table is written from them, never by hand."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- numbers: written by `python -m benchmarks` -->", "<!-- /numbers -->"


def record(name: str, rows: list[dict[str, Any]], device: str = "cpu", **figures: Any) -> None:
    """Write one result: figures to quote (each with its goal where it has one), and the rows they come from."""
    import torch

    from handmade.engine.devices import World, describe_machine

    result = {
        "name": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "src", "benchmarks/*.py")),
        "machine": describe_machine(World(device=torch.device(device))),
        "figures": figures,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(figures, indent=1), flush=True)


def recorded(name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and figures of the last time, for a benchmark of which a part is run again; none where there was none.

    Every figure then says by itself at which commit it was measured.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return [], {}
    before = json.loads(path.read_text("utf-8"))
    return before["rows"], {key: {"commit": before["commit"], **entry} for key, entry in before["figures"].items()}


Part = tuple[list[dict[str, Any]], dict[str, Any]]  # rows and figures of one part of a benchmark


def record_parts(name: str, parts: Mapping[str, Callable[[], Part]], asked: Collection[str] | None = None) -> None:
    """Run the parts that are asked for, or all, and record them beside those that were measured before.

    A row says of which part it is, or gets the part's name.
    """
    rows, figures = recorded(name) if asked else ([], {})
    for part in asked or parts:
        found, measured = parts[part]()
        found = [{"part": part, **row} for row in found]
        again = {row["part"] for row in found}
        rows = [row for row in rows if row["part"] not in again] + found
        figures |= measured
    record(name, rows, **figures)


def figure(value: float, goal: str, holds: bool, about: str, **more: Any) -> dict[str, Any]:
    """One number to quote: its goal in words, whether it holds, and what it is."""
    return {"value": round(value, 4), "goal": goal, "holds": bool(holds), "about": about, **more}


def bounded(value: float, word: str, bound: float, about: str) -> dict[str, Any]:
    """One number to quote that is to be "at least" or "at most" its bound."""
    return figure(value, f"{word} {bound:g}", value >= bound if word == "at least" else value <= bound, about)


def paired(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median, lowest and highest of the ratios theirs / ours of seconds taken in turn: above 1, ours is faster."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {"ratio": round(statistics.median(ratios), 3), "low": round(ratios[0], 3), "high": round(ratios[-1], 3)}


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def table() -> str:
    """The README's table, from every result that is there."""
    lines = ["| what | measured | goal | machine, commit |", "|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        where = f"{result['machine']['name']}, {result['machine']['cores']} cores"
        for entry in result["figures"].values():
            if isinstance(entry, dict) and "goal" in entry:
                commit = entry.get("commit", result["commit"])  # its own where it was measured before the others
                mark = "" if entry["holds"] else " (missed)"
                about = entry["about"].replace("|", "\\|")
                lines.append(f"| {about} | {entry['value']:g}{mark} | {entry['goal']} | {where}, {commit} |")
    return "\n".join(lines)


def write_readme() -> None:
    """Put the table between its marks in the README."""
    path = ROOT / "README.md"
    text = path.read_text("utf-8") if path.exists() else ""
    if BEGIN in text and END in text:
        head, rest = text.split(BEGIN)
        path.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", "utf-8")
