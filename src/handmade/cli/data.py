"""`data list | prepare | show`: which data sets there are, whose they are, and how to get them."""

from __future__ import annotations

import json
from pathlib import Path

from handmade.cli.main import Parser, talking
from handmade.data.source import find_source, open_data, prepare, sources
from handmade.errors import UserError, did_you_mean


def data_(parser: Parser, arguments: list[str]) -> int:
    """Hand over to the verb."""
    parser.add_argument("verb", metavar="list|prepare|show")
    parser.add_argument("name", nargs="?", metavar="NAME|PATH", help="a data set, or for `show` your own folder")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    wanted = parser.parse_args(arguments)
    verbs = {"list": _list, "prepare": _prepare, "show": _show}
    if wanted.verb not in verbs:
        raise UserError(f'data has no verb "{wanted.verb}"{did_you_mean(wanted.verb, verbs)}')
    if wanted.verb != "list" and wanted.name is None:
        raise UserError(f"data {wanted.verb} needs a name ({', '.join(sources())})")
    verbs[wanted.verb](wanted.name, wanted.json)
    return 0


def _list(name: str | None, as_json: bool) -> None:
    known = sources()
    if as_json:
        keys = ("name", "title", "licence", "homepage", "note", "kind")
        print(json.dumps([{key: getattr(source, key) for key in keys} for source in known.values()], indent=1))
        return
    for source in known.values():
        print(f"{source.name:<10} {source.title} ({source.note}; {source.licence})")


def _prepare(name: str, as_json: bool) -> None:
    with talking() as progress:
        folder = prepare(name, progress)
    print(json.dumps({"name": name, "folder": str(folder)}) if as_json else folder)


def _show(name: str, as_json: bool) -> None:
    """One data set with its options, or what was recognised in a folder of the user's."""
    if name not in sources() and Path(name).exists():
        dataset, spec = open_data({"path": name})
        report = getattr(dataset, "report", None)
        if as_json:
            print(json.dumps({"items": len(dataset), "spec": repr(spec), "report": str(report)}, indent=1))
        else:
            print(f"{len(dataset)} training pictures; {spec}\n{report}")
        return
    source = find_source(name)
    if as_json:
        options = {
            option.name: {"default": option.default, "help": option.help} for option in source.options.parameters
        }
        print(
            json.dumps({"name": name, "title": source.title, "licence": source.licence, "options": options}, indent=1)
        )
        return
    print(f"{source.title}\nlicence: {source.licence}\nfrom: {source.homepage}\nsize: {source.note}\n")
    print("options (--data.NAME VALUE)")
    for option in source.options.parameters:
        print(f"  {option.name:<12} {option.default!s:<14} {option.help}")
