"""What can be asked of every system that turns pictures into codes and draws them again: a room brings the networks.

A room that inherits from `FromCodes` says how its networks read and draw; these are its asks. A code is a row of numbers, as
long as the room likes; all of them together are (N, L).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from handmade.artifacts import Images
from handmade.artifacts.names import png_names
from handmade.core import Range, System, ask
from handmade.data.given import given_squares
from handmade.data.specs import ImageSpec
from handmade.errors import UserError
from handmade.metrics.similarity import psnr
from handmade.samplers.arithmetic import straight, terms
from handmade.samplers.latents import seed_numbers


class FromCodes(System):
    """A system with a network that reads pictures as codes, and one that draws pictures from codes."""

    data: ImageSpec

    def codes(self, pixels: Tensor) -> Tensor:
        """(N, C, H, H) pictures -> (N, L) codes."""
        raise NotImplementedError(f"{type(self).__name__} reads no codes")

    def draw(self, codes: Tensor) -> Tensor:
        """(N, L) codes -> (N, C, H, H) in [-1, 1]."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")

    def new(self, n: int, seed: int, label: str) -> Tensor:
        """(N, L) codes of new pictures, of what a label text says, or of anything."""
        raise NotImplementedError(f"{type(self).__name__} has no new codes")

    def named(self, wanted: Mapping[str, int]) -> Tensor:
        """{attribute: value} -> (1, L), the code that all pictures of these labels share."""
        raise NotImplementedError(f"{type(self).__name__} has no codes of labels")

    def between(self, stops: Tensor, steps: int) -> Tensor:
        """(K, L) codes -> the codes of a walk from each to the next, in straight lines unless a room knows better."""
        return straight(stops, steps)

    @ask
    def reconstruct(self, image: Path = Path("picture.png")) -> Images:
        """Show each given picture, and what comes back from its code.

        image: a picture file, or a folder or .zip of them
        """
        names, pixels = self.given(image)
        back = self.draw(self.codes(pixels))
        kept = [f"{name}: {ratio:.1f} dB" for name, ratio in zip(names, psnr(pixels, back).tolist(), strict=True)]
        pairs = torch.stack([pixels, back], dim=1).flatten(0, 1)  # (2 N, C, H, H)
        titles = tuple(title for pair in zip(names, kept, strict=True) for title in pair)
        return Images(pairs, columns=2, titles=titles, names=png_names(names, ("-given", "")))

    @ask
    def generate(self, n: Annotated[int, Range(1, 10_000)] = 64, seed: int = 0, label: str = "") -> Images:
        """Draw new pictures; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        label: what they must be, such as "glasses=yes, hair=black"; the rest as often as in the data
        """
        return Images(self.draw(self.new(n, seed, label)))

    @ask
    def interpolate(
        self, image: Path = Path(), to: Path = Path(), seeds: str = "0,1,2,3", steps: Annotated[int, Range(1, 100)] = 6
    ) -> Images:
        """Walk from picture to picture through the codes: between given pictures, or else between seeds.

        image: a picture file, or a folder or .zip of those to visit; left out: the seeds
        to: another picture file, visited last
        seeds: pictures of `generate` to visit, separated by commas
        steps: strides from each picture to the next
        """
        paths = [path for path in (image, to) if path != Path()]
        stops = torch.cat([self.codes(self.given(path)[1]) for path in paths] or [self.seeded(seeds)])
        if len(stops) < 2:
            raise UserError("a walk needs two pictures: give --image and --to, a folder, or two seeds")
        return Images(self.draw(self.between(stops, steps)), columns=steps * (len(stops) - 1) + 1)

    @ask
    def arithmetic(self, equation: str = "0 - 1 + 2") -> Images:
        """Add and subtract codes, and show every term and what comes out.

        equation: terms with + or - between spaces: a label (glasses=yes), a picture file or a folder of picked ones, a seed
        """
        found = terms(equation)
        codes = torch.cat([self._term(term.name) for term in found])  # (K, L)
        result = codes.new_tensor([term.sign for term in found]) @ codes
        titles = [f"{'+' if term.sign > 0 else '-'} {term.name}" for term in found]
        pictures = self.draw(torch.cat([codes, result[None]]))
        return Images(pictures, columns=len(pictures), titles=(*titles, "= result"))

    def _term(self, name: str) -> Tensor:
        """One term of an equation -> (1, L): the mean code of a label's pictures or of picked ones, or a seed's."""
        if name.isdecimal():
            return self.seeded(name)
        if "=" not in name or Path(name).exists():
            return self.codes(self.given(Path(name))[1]).mean(0, keepdim=True)
        return self.named(self.data.codes(name))

    def given(self, path: Path) -> tuple[list[str], Tensor]:
        """The names of given pictures, and their middle squares (N, C, H, H) in [-1, 1]."""
        names, raw = given_squares(path, self.data.size, self.data.channels)
        return names, self.data.encode(raw).to(next(self.parameters()).device)

    def seeded(self, seeds: str) -> Tensor:
        """The code of the first picture of `generate` for each seed in a text such as "0,1"."""
        return torch.cat([self.new(1, seed, label="") for seed in seed_numbers(seeds)])

    def rows(self, wanted: Mapping[str, int]) -> list[int]:
        """{attribute: value} -> the place of each among the values of all attributes, one after the other."""
        values = [(name, code) for name, known in self.data.labels.items() for code in range(len(known))]
        return [values.index(label) for label in wanted.items()]

    def wish(self, label: str) -> dict[str, int]:
        """A label text -> {attribute: value}; left out, the last value of the first attribute."""
        if not self.data.labels:
            raise UserError("this run was trained on pictures without labels: use arithmetic with picked pictures")
        first, values = next(iter(self.data.labels.items()))
        return self.data.codes(label or f"{first}={values[-1]}")


def slid(names: Sequence[str], steps: Sequence[float], drawn: Sequence[Tensor]) -> Images:
    """Pictures (N, C, H, H) for each of K strengths -> rows of K, one for each name."""
    endings = tuple(f"-{step:g}" for step in steps) if len(steps) > 1 else ("",)
    pictures = torch.stack(list(drawn), dim=1).flatten(0, 1)  # (N * K, C, H, H)
    titles = tuple(f"{name} {step:g}" for name in names for step in steps)
    return Images(pictures, columns=len(steps), titles=titles, names=png_names(list(names), endings))
