"""`ask`, `evaluate` and `recreate`: use a run. The flags of an ask are its signature."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from handmade.asks import Ask, Parameter
from handmade.cli.main import Parser
from handmade.errors import Damaged, UserError, did_you_mean

DEVICE: dict[str, Any] = {"default": "cpu", "choices": ("cpu", "auto"), "help": "where to compute: cpu, which gives the "
                          "same bytes on every machine of a kind (default), or auto, the GPU where there is one"}  # fmt: skip


def ask_(parser: Parser, arguments: list[str]) -> int:
    """Run one ask and save what it makes."""
    parser.add_argument("run", metavar="RUN", help="a path, a name under runs/, `latest`, or zoo:ROOM/RECIPE")
    parser.add_argument("ask", metavar="ASK", nargs="?", help="what to ask for; left out: what can be asked")
    words = [word for word in arguments if word not in ("-h", "--help")]
    if not words:
        parser.parse_args(arguments)
    wanted, rest = parser.parse_known_args(words)
    from handmade import api
    from handmade.core import asks_of
    from handmade.recipe import read_recipe
    from handmade.registry import system_class

    run = api.find_run(wanted.run)
    asks = asks_of(system_class(read_recipe(run.folder / "recipe.toml").room))
    if wanted.ask is None:
        for name, form in asks.items():
            print(f"{name:<14} {form.summary}")
        return 0
    if wanted.ask not in asks:
        raise UserError(f'{wanted.run} cannot be asked to "{wanted.ask}"{did_you_mean(wanted.ask, asks)}')
    form = _form(wanted, asks[wanted.ask])
    if len(words) < len(arguments):
        form.print_help()
        return 0
    given = vars(form.parse_args(rest))
    out, at, as_json, device, precision = (given.pop(key) for key in ("out", "at", "json", "device", "precision"))
    checked = asks[wanted.ask].check({name: value for name, value in given.items() if value is not None})
    system = api.load(wanted.run, at, device, precision)
    talk = _Talk()
    if not as_json:
        system.tell = talk  # type: ignore[method-assign]
    artifact = getattr(system, wanted.ask)(**checked)
    folder = Path(out) if out else api.new_folder(Path("out"), f"{run.name}-{wanted.ask}")
    return _save(artifact, folder, as_json, talk.began)


class _Talk:
    """What an ask says while it works, on standard output as it comes: to a pipe as it is, to a terminal without its signs."""

    def __init__(self) -> None:
        self.began = False
        self.safe = sys.stdout.isatty()

    def __call__(self, text: str) -> None:
        from handmade.artifacts.terminal import printable

        self.began = True
        known = sys.stdout.encoding or "utf-8"
        shown = printable(text) if self.safe else text
        sys.stdout.write(shown.encode(known, "replace").decode(known))
        sys.stdout.flush()


def _form(wanted: Any, ask: Ask) -> Parser:
    """A parser whose flags are the ask's parameters."""
    form = Parser(prog=f"handmade ask {wanted.run} {ask.name}", description=ask.summary, allow_abbrev=False)
    for parameter in ask.parameters:
        flags = dict.fromkeys((f"--{parameter.name.replace('_', '-')}", f"--{parameter.name}"))  # with - or with _
        form.add_argument(*flags, dest=parameter.name, help=_help(parameter), metavar=_word(parameter))
    form.add_argument("--out", help="the folder for what is made (default: the next free one under out/)")
    form.add_argument("--at", help='which checkpoint: "latest", "best" or a step')
    form.add_argument("--device", **DEVICE)
    form.add_argument("--precision", default="float32", choices=("float32", "bf16"),
                      help="bf16 draws up to twice as fast where the processor has it (default float32)")  # fmt: skip
    form.add_argument("--json", action="store_true", help="one JSON document: the files")
    return form


def _word(parameter: Parameter) -> str:
    return "|".join(map(str, parameter.choices)) if parameter.choices else parameter.kind.__name__.upper()


def _help(parameter: Parameter) -> str:
    limits = f", {parameter.limits.low:g} to {parameter.limits.high:g}" if parameter.limits else ""
    default = "none" if parameter.default == Path() else repr(parameter.default)
    return f"{parameter.help} (default {default}{limits})".replace("%", "%%")


def _save(artifact: Any, folder: Path, as_json: bool, told: bool) -> int:
    """Save; print the folder, on standard error where the ask has told its answer on standard output."""
    try:
        files = artifact.save(folder)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error}") from None
    if as_json:
        paths = {"folder": str(folder), "files": [str(path) for path in files]}
        print(json.dumps(getattr(artifact, "values", paths), indent=1, ensure_ascii=False))
        return 0
    if sys.stdout.isatty() and not told:
        print(artifact.text(), file=sys.stderr)
    print(folder, file=sys.stderr if told else sys.stdout)
    return 0


def evaluate_(parser: Parser, arguments: list[str]) -> int:
    """Print held-out scores."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--items", type=int, default=2000, help="held-out examples to score on (default 2000)")
    parser.add_argument("--at", help='which checkpoint: "latest", "best" or a step')
    parser.add_argument("--device", **DEVICE)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    wanted = parser.parse_args(arguments)
    if wanted.items < 1:
        raise UserError(f"items must be at least 1, not {wanted.items}")
    from handmade import api

    scores = api.evaluate(wanted.run, wanted.items, wanted.at, wanted.device)
    if wanted.json:
        print(json.dumps({name: score._asdict() for name, score in scores.items()}, indent=1))
        return 0
    for name, score in scores.items():
        span = "" if score.low is None else f"  ({score.low:.4g} to {score.high:.4g})"
        floor = "" if score.floor is None else f"  floor {score.floor:.4g}"
        print(f"{name:<18} {score.value:.4g}{span}{floor}  {score.better} is better: {score.about}")
    return 0


def recreate_(parser: Parser, arguments: list[str]) -> int:
    """Make an output again and compare the bytes."""
    parser.add_argument("file", metavar="FILE", help="something `handmade ask` made")
    parser.add_argument("--out", default="recreated", help="the folder for the new copy (default recreated/)")
    wanted = parser.parse_args(arguments)
    path, out = Path(wanted.file), Path(wanted.out)
    if not path.is_file():
        raise UserError(f"no file {path}")
    if out.resolve() == path.resolve().parent:
        raise UserError(f"{path} stands in {out}, and would be written over: choose another --out")
    from handmade.artifacts.provenance import read_origin

    origin = read_origin(path)
    if lacking := [name for name in ("run", "step", "sha256") if name not in origin]:
        raise Damaged(f"{path}: its note of origin has no {lacking[0]}")
    import torch

    from handmade import api
    from handmade.core import asks_of

    torch.set_num_threads(origin.get("threads", torch.get_num_threads()))
    how = origin.get("device", "cpu"), origin.get("precision", "float32")
    system = api.load(origin["run"], str(origin["step"]), *how)
    found = (system.origin or {})["sha256"]
    if found != origin["sha256"]:
        raise UserError(
            f"{path} was made with other weights of {origin['run']} ({origin['sha256'][:12]}, not {found[:12]})"
        )
    if origin["ask"] not in (asks := asks_of(system)):
        raise UserError(f'{origin["run"]} cannot be asked to "{origin["ask"]}"{did_you_mean(origin["ask"], asks)}')
    artifact = getattr(system, origin["ask"])(**origin["arguments"])
    told = {key: origin[key] for key in ("run", "version", "torch") if key in origin}  # as the file tells them
    copies = {copy.name: copy for copy in replace(artifact, origin={**artifact.origin, **told}).save(out)}
    if origin["file"] not in copies:
        raise UserError(f"{origin['ask']} of {origin['run']} makes no file named {origin['file']}")
    copy = copies[origin["file"]]
    same = copy.read_bytes() == path.read_bytes()
    print(copy)
    print(
        "the same bytes" if same else "different bytes: another version of torch or another processor", file=sys.stderr
    )
    return 0 if same else 1
