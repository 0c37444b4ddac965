"""Emoji as their designers drew them: code points, names, categories and SVG bodies of one style's package.

A package holds `icons.json` (bodies and aliases), `chars.json` (code points -> icon) and `metadata.json` (categories).
What an emoji is *of* is told by its code points without skin tone, gender and direction: these variants are drawn alike,
so they must lie on the same side of a split.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from handmade.errors import Damaged

if TYPE_CHECKING:
    import numpy as np

TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
CATEGORIES = ("activities", "animals", "flags", "food", "objects", "people", "smileys", "symbols", "travel")
JOINERS = {  # glue, gender, direction, hair, tone: variants of what they are joined to
    "200d", "fe0f", "2640", "2642", "27a1", "1f9b0", "1f9b1", "1f9b2", "1f9b3", *TONES,
}  # fmt: skip
PEOPLE = {  # women, men and persons of one age, or of one trade, are one
    "1f468": "1f9d1", "1f469": "1f9d1", "1f466": "1f9d2", "1f467": "1f9d2", "1f474": "1f9d3", "1f475": "1f9d3",
    "1f934": "1fac5", "1f478": "1fac5", "1f936": "1f385", "1f57a": "1f483", "1f46b": "1f46d", "1f46c": "1f46d",
    "1fac3": "1f930", "1fac4": "1f930",
}  # fmt: skip
GROUPS = {
    "1f48b": "1f48f",
    "2764": "1f491",
    "1f91d": "1f46d",
}  # kiss, heart, hands: what two people do -> the pair's own

SPELLED = {"1f9d1-1f384": "1f385", "1faf1-1faf2": "1f91d"}  # the third Santa; a handshake of two skins


class Drawing(NamedTuple):
    """One emoji in one style."""

    point: str  # its code points, "1f98a" or "1f477-1f3fc-200d-2642"
    name: str  # in words
    category: str
    tone: str  # of skin, or "none"
    svg: str


def drawings(files: Mapping[str, bytes]) -> list[Drawing]:
    """Every emoji of a package that has code points, by code points; Damaged where the package is made otherwise."""
    try:
        icons, chars, about = (json.loads(files[name]) for name in ("icons.json", "chars.json", "metadata.json"))
        category = {
            icon: title.split()[0].lower() for title, members in about["categories"].items() for icon in members
        }
        return [
            Drawing(point, _words(name, point), category[name], tone_of(point), _svg(icons, name))
            for point, name in sorted(chars.items())
            if category.get(name) in CATEGORIES
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"emoji: the package is not laid out as it should be: {error!r}") from None


def base(point: str) -> str:
    """What an emoji is of: its code points without tone, gender and direction, people of one kind as one."""
    parts = [PEOPLE.get(part, part) for part in point.split("-") if part not in JOINERS]
    people = [part for part in parts if part in ("1f9d1", "1f9d2")]
    if len(people) > 1:  # two people who kiss, love or hold hands; else a family
        return next((pair for sign, pair in GROUPS.items() if sign in parts), "1f46a")
    joined = "-".join(parts) or point
    return SPELLED.get(joined, joined)


def tone_of(point: str) -> str:
    """The skin tone that an emoji names, the first where there are two."""
    return next((TONES[part] for part in point.split("-") if part in TONES), "none")


def _words(name: str, point: str) -> str:
    """An icon's name in words; one style leaves "skin tone" away."""
    words = name.removesuffix("-skin-tone")
    tones = [tone for tone in TONES.values() if words.endswith(f"-{tone}")]
    if tone_of(point) == "none" or not tones:
        return name.replace("-", " ")
    tone = max(tones, key=len)
    return f"{words.removesuffix(f'-{tone}').replace('-', ' ')}, {tone} skin tone"


def _svg(icons: dict[str, Any], name: str) -> str:
    """The whole drawing of an icon or an alias, mirrored where the alias says so."""
    icon, mirrored = icons["icons"].get(name), False
    if icon is None:
        alias = icons["aliases"][name]
        icon, mirrored = icons["icons"][alias["parent"]], bool(alias.get("hFlip"))
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    body = f'<g transform="translate({width} 0) scale(-1 1)">{icon["body"]}</g>' if mirrored else icon["body"]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{body}</svg>'
    )


def draw(svgs: Sequence[str], size: int, background: tuple[int, int, int]) -> np.ndarray:
    """Drawings on a plain background, (N, 3, size, size) uint8."""
    import numpy as np
    import resvg_py
    from PIL import Image

    drawn = np.empty((len(svgs), 3, size, size), np.uint8)
    for row, svg in enumerate(svgs):
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
        picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        paper = Image.new("RGBA", (size, size), background)
        paper.alpha_composite(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
        drawn[row] = np.asarray(paper.convert("RGB")).transpose(2, 0, 1)
    return drawn
