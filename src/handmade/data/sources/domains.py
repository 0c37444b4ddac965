"""Two kinds of pictures from one data set, told apart by an attribute: what unpaired translation learns from.

Of `faces` each kind is drawn directly, from other face numbers than the other, so that no two training pictures are a
pair; the held-out ones come with their true partners, the same face with this one attribute changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from handmade.asks import Range
from handmade.data.cache import cache_folder, digest
from handmade.data.domains import Domains, two_values
from handmade.data.pictures import Pictures, Report, in_channels
from handmade.data.source import Dataset, DataSource, Progress, Wanted, find_source, sources
from handmade.data.sources import _lorelei as lorelei
from handmade.data.sources.faces import HELD_OUT, draw_faces
from handmade.data.specs import DomainsSpec, ImageSpec
from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

APART = HELD_OUT // 2  # face numbers of the second kind are so much higher
MOST = 100_000  # pictures of one kind


def domains(
    wanted: Wanted,
    of: str = "faces",
    attribute: str = "hair=blond|black",
    size: Annotated[int, Range(16, 256)] = 64,
    n: Annotated[int, Range(2, MOST)] = 6000,
    held_out: Annotated[int, Range(1, MOST)] = 400,
    seed: int = 0,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    where: str = "",
    strays: Annotated[float, Range(0.0, 1.0)] = 0.0,
) -> tuple[Dataset, DomainsSpec]:
    """Take two values of an attribute as two kinds; a batch is a and b, unpaired, and held out also their partners.

    of: the data set, any with labels: faces, emoji, clothes, digits
    attribute: the two kinds, such as hair=blond|black, glasses=yes|no, style=noto|twemoji, class=shirt|coat
    size: height and width in pixels
    n: number of training pictures of each kind, or as many as there are
    held_out: number of test pictures of each kind, or as many as there are; they are never trained on
    seed: which faces are drawn
    channels: 3 for colour, 1 for grey
    flip: mirror half of the training pictures, at random
    where: what all pictures of both kinds have, such as glasses=no, tone=none; of faces also the frame of the glasses
    strays: share of the training faces that `where` is not asked of; held-out ones all have one right partner
    """
    train = wanted.split == "train"
    options = {"size": size, "channels": channels, "seed": seed}
    if of == "faces":
        made = _faces(wanted, attribute, where, strays, n if train else held_out, **options)
    elif strays:
        raise UserError(f'strays are drawn, and of="{of}" is not: leave data.strays out')
    else:
        made = _labelled(wanted, of, attribute, where, n if train else held_out, options)
    made = replace(made, flip=flip and train, drawn=train, fingerprint=digest("domains", made.fingerprint, flip))
    return made, made.spec


def _faces(
    wanted: Wanted, attribute: str, where: str, strays: float, count: int, size: int, channels: int, seed: int
) -> Domains:
    """Faces drawn with one value or the other; held out, the partner of each is the same face with the other value."""
    import torch

    name, *values = two_values(attribute, lorelei.CHOICES)
    fixed = ImageSpec(channels, size, lorelei.CHOICES).codes(where)
    if name in fixed:
        raise UserError(f'where="{where}" fixes {name}, of which the two kinds are two values')
    shared = {other: lorelei.CHOICES[other][code] for other, code in fixed.items()}
    train = wanted.split == "train"
    firsts = [start if train else HELD_OUT + start for start in (0, APART)]
    alike = round(count * (1 - strays)) if train else count

    def drawn(kind: int, value: str) -> Tensor:
        """The faces of one kind, with this value of the attribute; the last ones are the strays."""
        parts = ((firsts[kind], alike, shared), (firsts[kind] + alike, count - alike, {}))
        faces = [
            torch.from_numpy(draw_faces(seed, first, n, size, wanted.progress, {**asked, name: value}))
            for first, n, asked in parts
            if n
        ]
        return in_channels(torch.cat(faces), channels)

    return Domains(
        a=drawn(0, values[0]),
        b=drawn(1, values[1]),
        spec=DomainsSpec(channels, size, (values[0], values[1]), name),
        fingerprint=digest(
            "faces", lorelei.versions(), seed, firsts, count, size, channels, name, values, shared, alike
        ),
        a_as_b=None if train else drawn(0, values[1]),
        b_as_a=None if train else drawn(1, values[0]),
        names=([f"face {firsts[0] + i}" for i in range(count)], [f"face {firsts[1] + i}" for i in range(count)]),
        report=Report(f"drawn faces, {attribute}", 2 * count),
    )


def _labelled(wanted: Wanted, of: str, attribute: str, where: str, count: int, options: dict[str, Any]) -> Domains:
    """The pictures of any data set with one value or the other; partners are those that show the same thing (`keys`)."""
    source = find_source(of)
    if source.kind != "images":
        fitting = [name for name, known in sources().items() if known.kind == "images"]
        raise UserError(f'of="{of}" holds {source.kind}, not labelled pictures{did_you_mean("", fitting)}')
    known = {parameter.name for parameter in source.options.parameters}
    given = {name: value for name, value in options.items() if name in known}
    pictures: Any = source.open(wanted.split, wanted.progress, where=f"{attribute},{where}", **given)[0]
    name, *values = two_values(attribute, pictures.spec.labels)
    codes = pictures.codes[:, list(pictures.spec.labels).index(name)]
    kinds = [(codes == pictures.spec.labels[name].index(value)).nonzero().squeeze(1).tolist() for value in values]
    partners: list[dict[int, int]] = [{}, {}]
    if wanted.split == "test" and (keys := getattr(pictures, "keys", ())):  # only what both kinds have can be judged
        partners = [_partners(keys, kinds[0], kinds[1]), _partners(keys, kinds[1], kinds[0])]
        kinds = [list(there) for there in partners]
    kinds = [rows[:count] for rows in kinds]
    if empty := [value for value, rows in zip(values, kinds, strict=True) if not rows]:
        raise UserError(f'attribute="{attribute}": no picture of {of} has {name}={empty[0]}')
    others = [[there[row] for row in rows] if there else [] for rows, there in zip(kinds, partners, strict=True)]
    return Domains(
        a=_pixels(pictures, kinds[0]),
        b=_pixels(pictures, kinds[1]),
        spec=DomainsSpec(pictures.spec.channels, pictures.spec.size, (values[0], values[1]), name),
        fingerprint=digest(pictures.fingerprint, name, values, where, count),
        a_as_b=_pixels(pictures, others[0]) if others[0] else None,
        b_as_a=_pixels(pictures, others[1]) if others[1] else None,
        report=Report(f"{of}, {attribute}", sum(map(len, kinds))),
    )


def _partners(keys: Sequence[str], mine: Sequence[int], others: Sequence[int]) -> dict[int, int]:
    """Row -> the row of the other kind that shows the same thing, where there is one."""
    there = {keys[row]: row for row in others}
    return {row: there[keys[row]] for row in mine if keys[row] in there}


def _pixels(pictures: Pictures, rows: Sequence[int]) -> Tensor:
    """Some pictures (R,) as (R, C, H, W) uint8."""
    import torch

    return pictures.pixels.index_select(0, torch.tensor(rows, dtype=torch.int64))


def gather(progress: Progress) -> Any:
    """Draw the faces of the default domains into the cache."""
    for split in ("train", "test"):
        domains(Wanted(split, progress))
    return cache_folder()


SOURCE = DataSource(
    name="domains",
    title="Two kinds of pictures of another data set",
    licence="that of the data set it is of; drawn faces are CC0 1.0",
    homepage="https://www.dicebear.com/styles/lorelei/",
    note="6,000 faces of each kind, held-out ones with partners: 13,600 pictures, drawn once, as fast as faces",
    kind="domains",
    build=domains,
    gather=gather,
)
