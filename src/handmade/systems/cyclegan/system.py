"""CycleGAN: two kinds of pictures turned into each other, learned without pairs. Zhu et al. 2017 (arXiv 1703.10593).

Objective, to_b and to_a painting, critic_a and critic_b giving scores (least squares, Mao et al. 2016, arXiv 1611.04076):
    critics    minimise  sum over both kinds of  (E[(critic_b(b) - 1)^2] + E[critic_b(to_b(a))^2]) / 2
    generators minimise  sum over both kinds of  E[(critic_b(to_b(a)) - 1)^2] + cycle E|to_a(to_b(a)) - a|
                                                 + identity E|to_b(b) - b| + price E[mask]
Differing from the paper: a generator paints new colours and a mask of where they go, to_b(a) = a + mask (new - a), so that
what has no part in the difference stays as it is (Pumarola et al. 2018, arXiv 1807.09251), and a large mask has a price;
layers of one size are joined across the generator. `mask = false, skip = false` is the paper's generator. With `hiding = false`
the way back starts from a copy of the translation, so that nothing is gained by hiding in it what was there before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from handmade.artifacts import Album, Images
from handmade.artifacts.names import png_names
from handmade.core import Judge, Range, Schedule, Score, System, Turn, ask
from handmade.data.given import given_pictures
from handmade.data.specs import DomainsBatch, DomainsSpec
from handmade.errors import UserError, did_you_mean
from handmade.objectives.cycle import blend, cycle_consistency, identity_mapping
from handmade.objectives.least_squares import least_squares_critic, least_squares_generator
from handmade.systems.cyclegan.network import Generator, clamped, critic, initialise
from handmade.systems.cyclegan.pool import Pool
from handmade.systems.cyclegan.scores import Way, seen_as, to_kinds, to_partners
from handmade.systems.cyclegan.tiles import change

EXAMPLES = 8  # held-out pictures of each kind that are kept with the weights


@dataclass(frozen=True)
class Config:
    """The settings of the four networks and of the game."""

    width: int = 64  # channels of a generator next to the pixels, twice and four times as many further in
    blocks: int = 9  # residual blocks of a generator (paper: 6 at 128 px, 9 at 256 px)
    kernel: Literal[3, 5, 7] = 7  # side of a generator's first and last convolution
    mask: bool = True  # paint through a mask; false: paint the whole picture, as in the paper
    skip: bool = True  # join layers of one size across the generator; false: as in the paper
    critic_width: int = 64  # channels of a critic next to the pixels, doubled at every halving
    critic_layers: int = 3  # halvings of a critic: with 3 a score sees 70 x 70 px, with 2 it sees 34 x 34
    lr: float = 2e-4  # Adam, both players (paper, section 4); constant for half of the run, then falling to 0
    beta1: float = 0.5  # of Adam
    cycle: float = 10.0  # weight of the way there and back (paper, section 4)
    hiding: bool = True  # the way back teaches the way there, too, which may hide things for it (paper); false: neither
    identity: float = 5.0  # weight of leaving alone what is already of the wanted kind (paper, section 5.2)
    identity_every: int = 1  # steps from one look at those to the next; each counts that many times
    price: float = 0.0  # of each share of the picture that the mask covers
    pool: int = 50  # earlier translations that a critic is shown again (paper, section 4); 0: none


def second_half(progress: float) -> float:
    """The learning rate's factor: constant, and from the middle of the run on falling to 0 (paper, section 4)."""
    return min(1.0, 2 * (1 - progress))


class CycleGAN(System):
    """Two generators, one for each way, and a critic for each kind of picture."""

    def __init__(self, config: Config, data: DomainsSpec):
        super().__init__(config, data)
        least = 2 ** (config.critic_layers + 2)
        if data.size % 4 or data.size < least:
            raise UserError(
                f"cyclegan cannot learn from {data.size} px: use a multiple of 4, at least {least} with "
                f"{config.critic_layers} critic_layers (set data.size)"
            )
        networks = (data.channels, config.width, config.blocks, config.kernel, config.mask, config.skip)
        critics = (data.channels, config.critic_width, config.critic_layers)
        self.to_b, self.to_a = (Generator(*networks).apply(initialise) for _ in range(2))
        self.critic_b, self.critic_a = (critic(*critics).apply(initialise) for _ in range(2))
        for kind in "ab":  # the first held-out pictures, filled when scored
            shown = torch.full((EXAMPLES, data.channels, data.size, data.size), 127, dtype=torch.uint8)
            self.register_buffer(f"examples_{kind}", shown)
        self.examples_a: Tensor
        self.examples_b: Tensor
        self.pools = {"a": Pool(config.pool), "b": Pool(config.pool)}

    def optimizers(self) -> Mapping[str, tuple[Optimizer, Schedule]]:
        """Adam for both players, each of which is two networks."""
        lr, betas = self.config.lr, (self.config.beta1, 0.999)
        critics = [*self.critic_a.parameters(), *self.critic_b.parameters()]
        generators = [*self.to_a.parameters(), *self.to_b.parameters()]
        return {
            "critics": (Adam(critics, lr, betas), second_half),
            "generators": (Adam(generators, lr, betas), second_half),
        }

    def stream_state(self) -> dict[str, Any]:
        """What the pools remember."""
        return {kind: pool.state() for kind, pool in self.pools.items()}

    def load_stream_state(self, state: dict[str, Any]) -> None:
        """Give the pools their memory back."""
        for kind, pool in self.pools.items():
            pool.load(state[kind])

    def objective(self, batch: DomainsBatch) -> Iterator[Turn]:
        """The critics learn to tell made from real, then the generators learn to please them and to find back."""
        a, b, n, config = batch.a, batch.b, len(batch.a), self.config  # (B, C, H, H) each
        looks = config.identity > 0 and self.step % config.identity_every == 0
        as_b, mask_b, same_b = self._both(self.to_b, a, b if looks else b[:0])
        as_a, mask_a, same_a = self._both(self.to_a, b, a if looks else a[:0])
        on_a, on_made_a = self.critic_a(torch.cat([a, self.pools["a"].swap(as_a.detach(), self.dice)])).split(n)
        on_b, on_made_b = self.critic_b(torch.cat([b, self.pools["b"].swap(as_b.detach(), self.dice)])).split(n)
        beliefs = {"D(x)": (on_a.mean() + on_b.mean()) / 2, "D(G(x))": (on_made_a.mean() + on_made_b.mean()) / 2}
        loss = least_squares_critic(on_a, on_made_a) + least_squares_critic(on_b, on_made_b)
        yield Turn("critics", loss, {name: value.detach() for name, value in beliefs.items()})

        seen_b, seen_a = (as_b, as_a) if config.hiding else (as_b.detach(), as_a.detach())
        back_a, back_b = self._paint(self.to_a, seen_b)[0], self._paint(self.to_b, seen_a)[0]
        fooled = least_squares_generator(self.critic_a(as_a)) + least_squares_generator(self.critic_b(as_b))
        cycle = cycle_consistency(a, back_a) + cycle_consistency(b, back_b)
        covered = mask_a.mean() + mask_b.mean()
        loss = fooled + config.cycle * cycle + config.price * covered
        if looks:
            identity = identity_mapping(a, same_a) + identity_mapping(b, same_b)
            loss = loss + config.identity * config.identity_every * identity
        parts = {"fooled": fooled, "cycle": cycle, "mask": covered / 2}
        yield Turn("generators", loss, {name: value.detach() for name, value in parts.items()})

    def evaluate(self, held_out: DomainsBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """Translate both kinds of held-out pictures; how far from the true partners is the yardstick, or KID without."""
        for buffer, pictures in ((self.examples_a, held_out.a), (self.examples_b, held_out.b)):
            rows = torch.arange(EXAMPLES, device=buffer.device) % len(pictures)
            buffer.copy_(self.data.decode(pictures[rows]))  # kept with the weights, so that an ask can show them
        (a, b), (name_a, name_b) = held_out[:2], self.data.names
        as_b, as_a = self._translated(a, to=1), self._translated(b, to=0)
        ways = {name_b: Way(a, as_b, b, held_out.a_as_b), name_a: Way(b, as_a, a, held_out.b_as_a)}
        back_a, back_b = self._translated(as_b, to=0), self._translated(as_a, to=1)
        cycle = float(cycle_consistency(a, back_a) + cycle_consistency(b, back_b)) / 2 * 127.5
        about = f"mean difference in 1/255 after there and back again, of {len(a)} and {len(b)} held-out pictures"
        near = to_partners(ways) if held_out.a_as_b is not None else to_kinds(ways, judge)
        return {**near, "cycle": Score(cycle, about), **seen_as(ways, self.data.attribute, judge)}

    @ask
    def translate(
        self, image: Path = Path("picture.png"), to: str = "", detail: Literal["fit", "full"] = "fit"
    ) -> Album:
        """Turn a picture, or each picture of a folder, into the other kind.

        image: a picture file, or a folder or .zip of them, of any size
        to: the kind to turn it into; left out: the second of the two
        detail: fit looks at a picture in the size that was learned and carries the change over; full at every pixel
        """
        way, names, made = self._way(to), [], []
        for name, levels in given_pictures(image, self.data.channels):
            names.append(name)
            made.append(self._at_any_size(levels, way, detail))
        return Album(made, png_names(names))

    @ask
    def round_trip(
        self, image: Path = Path("picture.png"), to: str = "", detail: Literal["fit", "full"] = "fit"
    ) -> Album:
        """Turn a picture into the other kind and back: side by side, with the mean difference from where it began.

        image: a picture file, or a folder or .zip of them, of any size
        to: the kind to turn it into first; left out: the second of the two
        detail: fit looks at a picture in the size that was learned and carries the change over; full at every pixel
        """
        way, names, strips, titles = self._way(to), [], [], []
        for name, levels in given_pictures(image, self.data.channels):
            there = self._at_any_size(levels, way, detail)
            back = self._at_any_size(there, 1 - way, detail)
            error = float((back.float() - levels.float()).abs().mean())
            names.append(name)
            strips.append(torch.cat([levels, there, back], 2))  # (C, H, 3 W)
            titles.append(f"{name}: cycle error {error:.1f} of 255")
        return Album(strips, png_names(names), tuple(titles), columns=1 if len(strips) < 4 else None)

    @ask
    def examples(self, n: Annotated[int, Range(1, EXAMPLES)] = EXAMPLES) -> Images:
        """Show test pictures that were never trained on: each kind, what it became, and what became of that.

        n: pictures of each kind
        """
        rows, titles = [], []
        for kind, to in ((self.examples_a, 1), (self.examples_b, 0)):
            given = self.data.encode(kind[:n])  # (n, C, H, H)
            there = self._translated(given, to)
            rows += [given, there, self._translated(there, 1 - to)]
            titles += [self.data.names[1 - to], f"as {self.data.names[to]}", "and back"]
        return Images(torch.cat(rows), columns=n, titles=tuple(title for title in titles for _ in range(n)))

    def _way(self, to: str) -> int:
        """Which of the two kinds is meant."""
        if to not in ("", *self.data.names):
            raise UserError(f'this run cannot turn pictures into "{to}"{did_you_mean(to, self.data.names)}')
        return self.data.names.index(to or self.data.names[1])

    def _at_any_size(self, levels: Tensor, to: int, detail: str) -> Tensor:
        """A picture (C, H, W) uint8 -> what becomes of it, (C, H, W) uint8."""
        picture = self.data.encode(levels[None])[0].to(self.examples_a.device)
        made = change(picture, lambda x: self._translated(x, to), self.data.size, fit=detail == "fit")
        return self.data.decode(made).cpu()

    def _translated(self, pictures: Tensor, to: int) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1] -> in the kind `to`, a hundred at a time."""
        generator = (self.to_a, self.to_b)[to]
        return torch.cat([self._paint(generator, part)[0] for part in pictures.split(100)])

    def _both(self, generator: Generator, other: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Translate pictures of the other kind, and at once those that are of this kind: the first with their masks."""
        made, mask = self._paint(generator, torch.cat([other, own]))
        n = len(other)
        return made[:n], mask[:n], made[n:]

    def _paint(self, generator: Generator, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, H, W) -> the same painted over, and the masks (B, 1, H, W)."""
        strokes = generator(x)  # (B, C [+ 1], H, W)
        new = strokes[:, : self.data.channels].tanh()
        if not self.config.mask:
            return new, torch.ones_like(new[:, :1])
        mask = clamped(0.5 + strokes[:, self.data.channels :])
        return blend(x, new, mask), mask
