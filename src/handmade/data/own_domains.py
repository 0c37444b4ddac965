"""Your own two kinds of pictures: trainA and trainB, two class folders, or an attribute expression on labelled pictures.

Everything that `folder` recognises can be cut in two: `Blond_Hair=1|0` names two values of one attribute,
`Blond_Hair=1 / Black_Hair=1` two expressions, which must have no picture in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from handmade.asks import Range
from handmade.data.cache import digest
from handmade.data.domains import Domains, two_values
from handmade.data.folder import read_pictures, splits_of
from handmade.data.pictures import Pictures, Report, check_attribute, choose, chosen
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import NO, YES, DomainsSpec
from handmade.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Sides(NamedTuple):
    """The two kinds that were found: what they are called, of which attribute they are values, and their pictures."""

    names: tuple[str, str]
    attribute: str  # or nothing
    rows: tuple[list[int], list[int]]


def open_own_domains(
    wanted: Wanted,
    path: str = ".",
    attribute: str = "",
    size: Annotated[int, Range(8, 1024)] = 64,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
    corrections: str = "",
) -> tuple[Dataset, DomainsSpec]:
    """Read pictures of two kinds; `dataset.report` says what was found.

    path: a folder or .zip with trainA and trainB, with two class folders, or any labelled pictures
    attribute: the two kinds of labelled pictures, such as hair=blond|black, or Blond_Hair=1 / Black_Hair=1
    size: height and width in pixels after cropping the middle square
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: keep only some of them, such as Eyeglasses=0
    corrections: a table of mended labels, as `handmade data doubt` writes it
    """
    everything, given = read_pictures(path, size, channels, wanted.progress, corrections)
    pictures = chosen(everything, where)
    sides = _expressions(pictures, attribute) if "/" in attribute else _values(pictures, attribute, path)
    _check(sides, pictures, path)
    kinds = [_of_split(rows, pictures.names, given, wanted.split) for rows in sides.rows]
    first, second = ([pictures.names[row] for row in rows] for rows in kinds)
    flip = flip and wanted.split == "train"
    counts = ", ".join(f"{name} {len(rows):,}" for name, rows in zip(sides.names, kinds, strict=True))
    report = pictures.report
    dataset = Domains(
        a=_pixels(pictures, kinds[0]),
        b=_pixels(pictures, kinds[1]),
        spec=DomainsSpec(channels, size, sides.names, sides.attribute),
        fingerprint=digest(pictures.fingerprint, sides.names, first, second, flip),
        flip=flip,
        drawn=wanted.split == "train",
        names=(first, second),
        report=Report(
            report.layout, report.count, report.broken, (*report.notes, f"{wanted.split}: {counts}"), report.unfit
        ),
    )
    return dataset, dataset.spec


def _values(pictures: Pictures, attribute: str, path: str) -> Sides:
    """Two values of one attribute: of the one that is named, or of the only one there is."""
    labels, unfit = pictures.spec.labels, pictures.report.unfit
    if not attribute:
        attribute = _only(labels, path)
    where = f'attribute="{attribute}"'
    check_attribute(attribute.partition("=")[0].strip(), labels, where, unfit)
    name, *values = two_values(attribute, labels)
    codes = pictures.codes[:, list(labels).index(name)]
    rows = [(codes == labels[name].index(value)).nonzero().squeeze(1).tolist() for value in values]
    if all(any(value.lower() in words for value in values) for words in (YES, NO)):
        _check_strangers(pictures, name, codes, values)
    plain = name in ("domain", "class") and set(values) == set(labels[name])  # folders, which nobody calls an attribute
    return Sides((values[0], values[1]), "" if plain else name, (rows[0], rows[1]))


def _only(labels: Mapping[str, Sequence[str]], path: str) -> str:
    """The attribute expression where none is given; UserError where it is not clear what is meant."""
    if not labels:
        raise UserError(
            f"{path} holds pictures of one kind: give trainA and trainB, two class folders, or a table of labels"
        )
    name, values = next(iter(labels.items()))
    if len(labels) == 1 and len(values) == 2:
        return f"{name}={values[0]}|{values[1]}"
    known = "; ".join(
        f"{name} ({', '.join(values[:5])}{', ...' * (len(values) > 5)})" for name, values in labels.items()
    )
    example = f'"{name}={"|".join(values[:2])}"'
    raise UserError(f"{path} has labels {known[:400]}: say which two kinds with --data.attribute {example}")


def _check_strangers(pictures: Pictures, name: str, codes: Tensor, values: Sequence[str]) -> None:
    """Raise UserError where a yes-or-no column holds something that is neither, and no number."""
    for code, value in enumerate(pictures.spec.labels[name]):
        rows = (codes == code).nonzero().squeeze(1).tolist()
        if rows and value not in values and not value.lstrip("-").replace(".", "", 1).isdigit():
            raise UserError(
                f'{name} is "{value}" in {len(rows):,} pictures, the first {pictures.names[rows[0]]}: mend the table, '
                f'or leave them out with --data.where "{name}={"|".join(values)}"'
            )


def _expressions(pictures: Pictures, attribute: str) -> Sides:
    """Two expressions with a / between, each read as `where` is."""
    parts = [part.strip() for part in attribute.split("/")]
    if len(parts) != 2 or not all(parts):
        raise UserError(f'attribute="{attribute}": two kinds are two expressions with one / between')
    rows = [choose(pictures.spec.labels, pictures.codes, part, pictures.report.unfit)[0].tolist() for part in parts]
    names = [_short(part) for part in parts]
    return Sides((names[0], names[1]) if names[0] != names[1] else (parts[0], parts[1]), "", (rows[0], rows[1]))


def _short(expression: str) -> str:
    """What a kind is called: "Blond_Hair=1" is Blond_Hair, "hair=blond" is blond; a longer one is called by itself."""
    name, _, value = (part.strip() for part in expression.partition("="))
    if "," in expression or "|" in expression or value.lower() in NO:
        return expression
    return name if value.lower() in YES else value


def _check(sides: Sides, pictures: Pictures, path: str) -> None:
    """Raise UserError where the two kinds cannot be told apart or one is too small to learn from."""
    if both := sorted(set(sides.rows[0]) & set(sides.rows[1])):
        raise UserError(
            f"{len(both):,} pictures are both {sides.names[0]} and {sides.names[1]}, such as "
            f"{pictures.names[both[0]]}: choose expressions that no picture fulfils twice"
        )
    for name, rows in zip(sides.names, sides.rows, strict=True):
        if len(rows) < 2:
            what = "no picture" if not rows else f"one picture, {pictures.names[rows[0]]}, and one must be held out"
            raise UserError(f"{name} has {what} in {path}: each kind needs two or more")


def _of_split(rows: Sequence[int], names: Sequence[str], given: Mapping[str, str], split: str) -> list[int]:
    """The pictures of one kind that are in a split: the folder's own, or where it has none, some are held out."""
    splits = splits_of([names[row] for row in rows], given)
    return [row for row, found in zip(rows, splits, strict=True) if found == split]


def _pixels(pictures: Pictures, rows: Sequence[int]) -> Tensor:
    import torch

    return pictures.pixels.index_select(0, torch.tensor(rows, dtype=torch.int64))


OWN_DOMAINS = DataSource(
    name="path",
    title="Your own pictures of two kinds",
    licence="yours",
    homepage="",
    note="",
    kind="domains",
    build=open_own_domains,
)
