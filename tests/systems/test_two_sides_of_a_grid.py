"""Conditional WGAN: what a grid changes where a side is left out, and what `find` does on a GPU and at the last seed."""

from __future__ import annotations

import pytest
import torch

from elsewhere import THERE, Elsewhere
from handmade.core import System
from handmade.data.specs import ImageSpec
from handmade.errors import UserError
from handmade.systems.classifier.system import Classifier
from handmade.systems.classifier.system import Config as Sizes
from handmade.systems.conditional_wgan.labels import read_sides
from handmade.systems.conditional_wgan.system import ConditionalWGAN, Config

DATA = ImageSpec(3, 16, {"glasses": ("no", "yes"), "hair": ("black", "blond", "red"), "cut": ("long", "bald")})


def system() -> ConditionalWGAN:
    torch.manual_seed(0)
    return ConditionalWGAN(Config(latent=7, width=4), DATA).eval()


@pytest.mark.parametrize(
    ("across", "down", "changing"),
    [
        ("", "", ("glasses", "hair")),
        ("hair=black..blond", "", ("hair", "glasses")),
        ("glasses=no..yes", "", ("glasses", "hair")),
        ("", "glasses=no..yes", ("hair", "glasses")),
        ("glasses=no..yes,hair=red..black", "", ("glasses hair", "cut")),
        ("glasses=no..yes,hair=red..black,cut=bald..long", "", ("glasses hair cut", "seed")),
        ("", "seed=3..8", ("glasses", "seed")),
    ],
)
def test_a_side_that_is_left_out_changes_what_the_other_leaves(across, down, changing):
    sides = read_sides(across, down, DATA)
    assert tuple("seed" if side.seeds else " ".join(side.start) for side in sides) == changing


def test_every_code_of_a_grid_is_a_mixture_of_values():
    room, seen = system(), []
    room.generator.register_forward_pre_hook(lambda _, given: seen.append(given[1].clone()))
    room.grid(across="hair=black..blond", side=3)
    room.grid(down="glasses=yes..no", side=3)
    for codes in seen:
        assert codes.min() >= 0 and codes.max() <= 1
        assert all(torch.allclose(part.sum(1), torch.ones(9)) for part in codes.split([2, 3, 2], 1))


def test_two_sides_that_change_the_same_are_refused():
    with pytest.raises(UserError, match=r"both change hair: let one side change something else"):
        system().grid(across="hair=black..blond", down="glasses=no..yes,hair=red..black")


class Yes(System):
    """Sees everything in every picture."""

    def probabilities(self, pixels):
        return [torch.tensor([[0.1, 0.9]]).expand(len(pixels), 2)]


YES = Yes(None, ImageSpec(3, 16, {"there": ("no", "yes")}))


def lent(probe: System) -> ConditionalWGAN:
    room = system()
    object.__setattr__(room, "borrowed", {"probe": probe})
    room.tell = lambda text: None
    return room


def test_find_looks_on_a_gpu_and_shows_what_it_would_show_elsewhere():
    torch.manual_seed(0)
    probe = Classifier(Sizes(width=2), DATA).eval()
    with torch.no_grad():
        sees = DATA.labels["hair"][int(probe.probabilities(system().generate(n=1).pixels)[1].argmax())]
    here = lent(probe).find(want=f"hair={sees}", n=3)
    with Elsewhere():
        there = lent(probe).to(THERE).find(want=f"hair={sees}", n=3)
        assert there.names == here.names and torch.allclose(there.pixels, here.pixels, atol=1e-5)


def test_find_ends_with_the_last_seed_there_is():
    last = 2**63 - 1
    found = lent(YES).find(want="there=yes", seed=last - 1, n=8)
    assert found.names == (f"seed-{last - 1}.png", f"seed-{last}.png")
    with pytest.raises(UserError, match=f'none of 1 seeds from {last} shows "there=no"'):
        lent(YES).find(want="there=no", seed=last)
