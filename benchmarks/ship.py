"""Put a trained run into the zoo: `python -m benchmarks.ship RUN [RUN ...]`.

What ships is the run's recipe, spec, environment, card, a thinned history, and the weights that generate, as fp16. The
training state stays behind. The shipped weights are scored again, and these scores are what the card states.
`--again ROOM/RECIPE` scores runs that have shipped, when what a score means has changed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from handmade import api
from handmade.card import model_card
from handmade.engine import checkpoint
from handmade.engine.devices import World
from handmade.engine.run import Run
from handmade.recipe import Recipe, read_recipe
from handmade.registry import ZOO, Room, find_recipe, zoo

LARGEST = {"text": 10 * 10**6}  # bytes of a shipped run, by what its room makes; words need more than pictures
OTHERWISE = 4 * 10**6


def ship(run: Run, items: int) -> Path:
    """Write the zoo run; return its folder."""
    recipe = read_recipe(run.folder / "recipe.toml")
    path, _ = run.good_checkpoint("best" if recipe.train.stop_after else "latest")
    target = Run(ZOO / recipe.name)
    shutil.rmtree(target.folder, ignore_errors=True)
    target.folder.mkdir(parents=True)
    weights = {**checkpoint.read(path, "weights"), **checkpoint.read(path, "ema")}
    absent = left_out(recipe, (name for name, _ in api.load(run).named_children()))
    needed = {name: value for name, value in weights.items() if name.split(".")[0] not in absent}
    half = {name: value.half() if value.is_floating_point() else value for name, value in needed.items()}
    environment = {**run.read_json("environment.json"), "left_out": absent}
    target.write("environment.json", json.dumps(environment, indent=1))
    for name in ("recipe.toml", "spec.json"):
        target.write(name, (run.folder / name).read_text("utf-8"))
    checkpoint.write(target.checkpoints, int(path.name), {"weights": half}, {}, World())
    target.write("latest", str(int(path.name)))
    if recipe.train.stop_after:
        target.write("best", str(int(path.name)))
    for event in thinned(list(run.events("step", "score", "end"))):
        target.log(event)
    machine = environment["name"] if environment["device"] != "cpu" else f"{environment['choice']['threads']} cores"
    state_scores(target, recipe, items, machine, run.trained_for() / 60)
    size = sum(file.stat().st_size for file in target.folder.rglob("*") if file.is_file())
    largest = LARGEST.get(recipe.room.system["makes"], OTHERWISE)
    if size > largest:
        raise SystemExit(f"{target.folder} is {size / 1e6:.1f} MB; at most {largest / 1e6:.0f} ship")
    print(f"{recipe.name}: {size / 1e6:.2f} MB")
    return target.folder


def again(name: str, items: int) -> None:
    """Score a shipped run anew."""
    run = Run(ZOO / name)
    events = list(run.events())
    if "at" not in events[-1] and events[-1]["kind"] == "score":
        del events[-1]  # what was scored when it shipped; the others were scored in training, at a time of the day
    run.write("events.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    known = find_recipe(name)[1]["expect"]
    state_scores(run, read_recipe(run.folder / "recipe.toml"), items, known["device"], known["minutes"])


def state_scores(target: Run, recipe: Recipe, items: int, machine: str, minutes: float) -> None:
    """Score what ships, and state it in its history, its card, and the room's recipe and README."""
    scores = {name: score._asdict() for name, score in api.evaluate(f"zoo:{recipe.name}", items).items()}
    step = int((target.folder / "latest").read_text("utf-8"))
    target.log({"kind": "score", "step": step, "seconds": target.trained_for(), "scores": scores})
    target.write("README.md", model_card(recipe, target.folder))
    expect(recipe, machine, minutes, scores)
    results(recipe.room)
    print(f"{recipe.name}: {json.dumps({n: round(s['value'], 4) for n, s in scores.items()})}")


def expect(recipe: Recipe, machine: str, minutes: float, scores: dict[str, dict]) -> None:
    """Write what the recipe reached, where it was trained, and in what time, into the room's recipes.toml."""
    name, score = next(iter(scores.items()))
    line = f'expect  = {{ device = "{machine}", minutes = {minutes:.1f}, {name} = {score["value"]:.4g} }}'
    path = recipe.room.folder / "recipes.toml"
    head, mark, rest = path.read_text("utf-8").partition(f"[recipe.{recipe.name.split('/')[1]}]\n")
    table, gap, others = rest.partition("\n\n")
    kept = [text for text in table.rstrip("\n").split("\n") if not text.startswith("expect")]
    path.write_text(head + mark + "\n".join([*kept, line]) + (gap or "\n") + others, "utf-8")


def results(room: Room) -> None:
    """Put the scores of the room's shipped runs between the marks in its README."""
    path, rows = room.folder / "README.md", ["| shipped run | score | value | floor |", "|---|---|---|---|"]
    for name, folder in zoo().items():
        if name.startswith(f"{room.name}/"):
            last = [event["scores"] for event in Run(folder).events("score")][-1]
            for key, score in last.items():
                floor = "" if score["floor"] is None else f"{score['floor']:.3g}"
                about = score["about"].replace("|", "\\|")
                rows.append(f"| `zoo:{name}` | {key}: {about} | {score['value']:.4g} | {floor} |")
    head, mark, rest = path.read_text("utf-8").partition("<!-- results -->")
    tail = rest.partition("<!-- /results -->")[2] if "<!-- /results -->" in rest else rest
    if mark:
        table = "\n".join(rows)
        path.write_text(f"{head}{mark}\n{table}\n<!-- /results -->{tail}", "utf-8")


def left_out(recipe: Recipe, names: Iterable[str]) -> list[str]:
    """Networks that only train: where some are averaged, those are what generates, and the others stay behind."""
    return sorted(set(names) - set(recipe.train.ema)) if recipe.train.ema else []


def thinned(events: list[dict], most: int = 60) -> list[dict]:
    """At most `most` step events, evenly apart and with four digits of each number, and all others."""
    steps = [event for event in events if event["kind"] == "step"]
    if len(steps) > most:
        kept = {id(steps[place * (len(steps) - 1) // (most - 1)]) for place in range(most)}
        events = [event for event in events if event["kind"] != "step" or id(event) in kept]
    return [{name: _short(value) if isinstance(value, dict) else value for name, value in event.items()}
            if event["kind"] == "step" else event for event in events]  # fmt: skip


def _short(values: dict) -> dict:
    """The same with four digits of each number that is no integer."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


def main() -> None:
    """Ship the runs named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--items", type=int, default=2000)
    wanted = parser.parse_args()
    torch.manual_seed(0)
    for name in wanted.runs:
        again(name, wanted.items) if wanted.again else ship(api.find_run(name), wanted.items)


if __name__ == "__main__":
    main()
