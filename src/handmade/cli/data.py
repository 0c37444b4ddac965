"""`data list | prepare | show | doubt`: which data sets there are, whose they are, how to get them, which labels to mend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handmade.cli.main import Parser, talking
from handmade.data.source import DataSource, find_source, kind_of, open_data, prepare, sources
from handmade.errors import DataMissing, UserError, did_you_mean

OPENING = 300  # characters of a text that are shown


def data_(parser: Parser, arguments: list[str]) -> int:
    """Hand over to the verb."""
    parser.add_argument("verb", metavar="list|prepare|show|doubt")
    parser.add_argument(
        "name", nargs="?", metavar="NAME|PATH", help="a data set, or for `show` and `doubt` your own folder"
    )
    parser.add_argument("--text", help="for `show`: how this text becomes tokens, step by step; with options such as "
                                       "--codec bpe")  # fmt: skip
    parser.add_argument("--attribute", help="for `doubt`: the label to look at; for `show`: two kinds, such as "
                                            "Blond_Hair=1|0")  # fmt: skip
    parser.add_argument("--out", type=Path, help="for `doubt`: the table to write (doubts.csv)")
    parser.add_argument("--most", type=int, help="for `doubt`: how many labels to list (200)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    wanted, rest = parser.parse_known_args(arguments)
    verbs: dict[str, Any] = {"list": _list, "prepare": _prepare, "show": _show, "doubt": _doubt}
    if wanted.verb not in verbs:
        raise UserError(f'data has no verb "{wanted.verb}"{did_you_mean(wanted.verb, verbs)}')
    if wanted.verb != "list" and wanted.name is None:
        raise UserError(f"data {wanted.verb} needs a name ({', '.join(sources())})")
    _refuse(wanted, rest)
    if wanted.verb == "show":
        options = _options("show", rest) | ({} if wanted.attribute is None else {"attribute": wanted.attribute})
        _show(wanted.name, options, wanted.text, wanted.json)
    elif wanted.verb == "doubt":
        _doubt(wanted, _options("doubt", rest))
    else:
        verbs[wanted.verb](wanted.name, wanted.json)
    return 0


def _refuse(wanted: Any, rest: Sequence[str]) -> None:
    """Raise UserError for a word that belongs to another verb."""
    fits = {"text": ("show",), "attribute": ("show", "doubt"), "out": ("doubt",), "most": ("doubt",)}
    strange = [
        f"--{name}" for name, verbs in fits.items() if getattr(wanted, name) is not None and wanted.verb not in verbs
    ]
    strange += [] if wanted.verb in ("show", "doubt") else rest
    if strange:
        raise UserError(f"data {wanted.verb} does not know {strange[0]}; see `handmade data --help`")


def _options(verb: str, words: Sequence[str]) -> dict[str, str]:
    """Options of a data set from `--codec bpe`, `--codec=bpe` or `--data.codec bpe`."""
    options, left = {}, iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        given = value if equals else next(left, None)
        if not name.startswith("--") or given is None:
            raise UserError(f'data {verb} does not know "{word}"; options are written --NAME VALUE')
        options[name.removeprefix("--").removeprefix("data.")] = given
    return options


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


def _show(name: str, options: dict[str, str], text: str | None, as_json: bool) -> None:
    """One data set with its options, what was recognised in files of the user's, or how a text becomes tokens."""
    if name not in sources() and Path(name).exists():
        kind = "domains" if "attribute" in options else kind_of(Path(name))
        table = {"path": name, **({} if kind == "images" else {"kind": kind}), **options}
    else:
        kind, table = find_source(name).kind, {"source": name, **options}
    if text is not None:
        _work(table, kind, text, as_json)
    elif "path" in table:
        _own(table, as_json)
    else:
        _named(find_source(name), table, as_json)


def _doubt(wanted: Any, options: dict[str, str]) -> None:
    """Write a table of the labels that a probe disbelieves, and a sheet of their pictures."""
    if wanted.attribute is None:
        raise UserError("data doubt needs --attribute NAME: `handmade data show PATH` tells which labels there are")
    if unknown := options.keys() - {"where", "corrections"}:
        raise UserError(
            f"data doubt does not know --{min(unknown)} (--attribute, --out, --most, --where, --corrections)"
        )
    if wanted.most is not None and wanted.most < 1:
        raise UserError(f"--most must be 1 or more, not {wanted.most}")
    table = wanted.out or Path("doubts.csv")
    if table.is_dir() or table.suffix == ".png" or not table.parent.is_dir():
        raise UserError(f"--out {table} must be a table to write, such as doubts.csv, in a folder that exists")
    for file in (table, table.with_suffix(".png")):  # before the work, not after it
        if file.exists():
            raise UserError(f"{file} exists, and may hold work of yours: choose another --out")
    from handmade.doubt import find_doubts

    with talking() as progress:
        found = find_doubts(wanted.name, wanted.attribute, wanted.most or 200, progress=progress, **options)
    sheet = found.save(table)
    if wanted.json:
        told = {"judged": found.judged, "agreed": found.agreed, "doubted": [doubt._asdict() for doubt in found.doubted]}
        print(json.dumps({**told, "table": str(table), "sheet": str(sheet) if sheet else None}, indent=1))
        return
    share = 100 * found.agreed / found.judged
    print(
        f"{found.judged:,} pictures judged by probes that never saw them; they agree with {share:.1f} % of the labels"
    )
    print(f"{table}: the {len(found.doubted):,} most doubted labels" + (f"; {sheet}: their pictures" if sheet else ""))
    print(f"fill in the column correction ({', '.join(found.values)}), then train with --data.corrections {table}")


def _work(table: dict[str, Any], kind: str, text: str, as_json: bool) -> None:
    """How a text becomes tokens with the codec that these data train."""
    if kind not in ("text", "pairs"):
        raise UserError(f"{table.get('source', table.get('path'))} holds {kind}, so no text becomes tokens with it")
    from handmade.data.codecs import codec_from_values, show_work

    with talking() as progress:
        spec: Any = open_data(table, "train", progress)[1]
    codec = codec_from_values(spec.codec)
    if as_json:
        ids = codec.encode(text)
        print(json.dumps({"ids": ids, "tokens": [codec.name(token) for token in ids], "work": show_work(codec, text)}))
    else:
        print("\n".join(show_work(codec, text)))


def _own(table: dict[str, Any], as_json: bool) -> None:
    """What was recognised in files of the user's."""
    with talking() as progress:
        dataset, spec = open_data(table, "train", progress)
    report = getattr(dataset, "report", None)
    if as_json:
        print(json.dumps({"items": len(dataset), "spec": repr(spec), "report": str(report)}, indent=1))
    else:
        what = {"images": "pictures", "domains": "pictures of each kind", "text": "windows"}.get(
            table.get("kind", "images"), "items"
        )
        print(f"{len(dataset):,} training {what}; {spec}\n{report}")


def _named(source: DataSource, table: dict[str, Any], as_json: bool) -> None:
    """A data set of ours, with its options, and how its text begins where it is here."""
    opening = _opening(table) if source.kind == "text" else None
    if as_json:
        options = {
            option.name: {"default": option.default, "help": option.help} for option in source.options.parameters
        }
        shown = {"name": source.name, "title": source.title, "licence": source.licence, "options": options}
        print(json.dumps(shown if opening is None else {**shown, "opening": opening}, indent=1))
        return
    print(f"{source.title}\nlicence: {source.licence}\nfrom: {source.homepage}\nsize: {source.note}\n")
    print("options (--data.NAME VALUE)")
    for option in source.options.parameters:
        print(f"  {option.name:<12} {option.default!s:<14} {option.help}")
    if opening is not None:
        print(f"\n{opening}")


def _opening(table: dict[str, Any]) -> str:
    """How a text begins, or what to type to have it."""
    try:
        with talking() as progress:
            dataset, spec = open_data(table, "train", progress)
    except DataMissing as error:
        return str(error)
    tokens: Any = dataset
    return f"{tokens.report}\n\n{spec.decode(tokens.tokens[:OPENING].tolist())[:OPENING]} ..."  # type: ignore[union-attr]
