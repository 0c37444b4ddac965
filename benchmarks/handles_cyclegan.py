"""cyclegan: steps per second at 128 px against a plain loop of the same networks, and how good the shipped runs are.

The paper's networks, batch 1, nine residual blocks, identity loss on both sides, with as many threads as cores (`--speed`) and
with one each (`--alone`). `--quality` or `--frames` likewise for a part: the others keep the figures of the last time.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.record import Part, bounded, figure, paired, record_parts
from benchmarks.workers import Contestant, rounds

SIZE, ROUNDS, STEPS = 128, 15, 3  # one step of three is as cold as the others' turns have left the caches
GOALS = {  # score -> for each shipped run the goal in words, and the least or the most it may be
    "partner": {"hair": ("at most", 0.3), "glasses": ("at most", 0.5)},
    "to black": {"hair": ("at most", 0.3)},
    "to blond": {"hair": ("at most", 0.3)},
    "to no": {"glasses": ("at most", 0.5)},
    "to yes": {"glasses": ("at most", 0.5)},
    "outside": {"hair": ("at most", 2.0), "glasses": ("at most", 2.0)},
    "seen as": {"hair": ("at least", 0.95), "glasses": ("at least", 0.95)},
}


def pictures() -> Any:
    """One picture of each kind."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, 3, SIZE, SIZE, generator=generator) * 2 - 1


def ours(precision: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """The engine's step on the room, set to the paper's networks."""
    import handmade  # noqa: F401  it sets how threads wait, which torch reads when it is loaded

    # isort: split
    import torch

    from benchmarks.engine_step import engine_step
    from handmade.data.specs import DomainsBatch, DomainsSpec
    from handmade.plan import Plan
    from handmade.registry import find_room, system_class

    kind = system_class(find_room("cyclegan"))
    config = sys.modules[kind.__module__].Config(mask=False, skip=False)
    torch.manual_seed(0)
    plan = Plan(batch=1, precision=precision, channels_last="auto", threads=threads or "auto")
    return engine_step(kind(config, DomainsSpec(3, SIZE, ("a", "b"))), DomainsBatch(*pictures()), plan)


def theirs(threads: int | None) -> tuple[Callable[[], Any], str]:
    """A plain loop."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    loop, (a, b) = PlainCycleGAN(), pictures()
    return lambda: loop.step(a, b), f"float32, {torch.get_num_threads()} threads"


class PlainCycleGAN:
    """The common form: torch's own layers, three Adams, critics that collect gradients while the generators learn."""

    def __init__(self) -> None:
        from torch.optim import Adam

        self.to_a, self.to_b = self.generator(), self.generator()
        self.critic_a, self.critic_b = self.critic(), self.critic()
        both = itertools.chain(self.to_a.parameters(), self.to_b.parameters())
        self.for_generators = Adam(both, 2e-4, (0.5, 0.999))
        self.for_critics = [Adam(c.parameters(), 2e-4, (0.5, 0.999)) for c in (self.critic_a, self.critic_b)]
        self.pools: dict[str, list[Any]] = {"a": [], "b": []}

    def generator(self, width: int = 64, blocks: int = 9) -> Any:
        """3 -> 3 channels by way of a quarter of the size."""
        from torch import nn

        class Block(nn.Module):
            def __init__(self, n: int):
                super().__init__()
                half = [nn.ReflectionPad2d(1), nn.Conv2d(n, n, 3), nn.InstanceNorm2d(n)]
                other = [nn.ReflectionPad2d(1), nn.Conv2d(n, n, 3), nn.InstanceNorm2d(n)]
                self.body = nn.Sequential(*half, nn.ReLU(inplace=True), *other)

            def forward(self, x: Any) -> Any:
                return x + self.body(x)

        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]
        for n in (width, 2 * width):
            layers += [nn.Conv2d(n, 2 * n, 3, 2, 1), nn.InstanceNorm2d(2 * n), nn.ReLU(inplace=True)]
        layers += [Block(4 * width) for _ in range(blocks)]
        for n in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(n, n // 2, 3, 2, 1, output_padding=1)
            layers += [up, nn.InstanceNorm2d(n // 2), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def critic(self, width: int = 64) -> Any:
        """A score for every patch of 70 px."""
        from torch import nn

        layers = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for n, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [nn.Conv2d(n, 2 * n, 4, stride, 1), nn.InstanceNorm2d(2 * n), nn.LeakyReLU(0.2, inplace=True)]
        return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def step(self, a: Any, b: Any) -> None:
        """The generators' update, then one of each critic."""
        from torch.nn.functional import l1_loss

        self.for_generators.zero_grad()
        same = l1_loss(self.to_a(a), a) + l1_loss(self.to_b(b), b)
        as_b, as_a = self.to_b(a), self.to_a(b)
        fooled = self.toward(self.critic_b(as_b), 1.0) + self.toward(self.critic_a(as_a), 1.0)
        cycle = l1_loss(self.to_a(as_b), a) + l1_loss(self.to_b(as_a), b)
        (fooled + 10 * cycle + 5 * same).backward()
        self.for_generators.step()
        turns = ((self.critic_a, a, as_a, "a"), (self.critic_b, b, as_b, "b"))
        for adam, (critic, real, made, kind) in zip(self.for_critics, turns, strict=True):
            adam.zero_grad()
            old = self.from_pool(kind, made.detach())
            ((self.toward(critic(real), 1.0) + self.toward(critic(old), 0.0)) / 2).backward()
            adam.step()

    def toward(self, scores: Any, wanted: float) -> Any:
        """Mean squared distance of the scores from one number."""
        import torch
        from torch.nn.functional import mse_loss

        return mse_loss(scores, torch.full_like(scores, wanted))

    def from_pool(self, kind: str, made: Any) -> Any:
        """Fifty earlier pictures, of which every second time one is shown."""
        import random

        kept = self.pools[kind]
        if len(kept) < 50:
            kept.append(made)
            return made
        if random.random() < 0.5:
            return made
        place = random.randrange(50)
        made, kept[place] = kept[place], made
        return made


def speed(threads: int | None) -> Part:
    """Take turns, and return the rows and the ratios."""
    contestants = {
        "ours": Contestant("handles_cyclegan:ours", precision="auto", threads=threads),
        "ours, float32": Contestant("handles_cyclegan:ours", precision="float32", threads=threads),
        "plain": Contestant("handles_cyclegan:theirs", threads=threads),
    }
    times = rounds(contestants, ROUNDS, STEPS)
    rows = [
        {"contestant": name, "about": contestants[name].about, "seconds": seconds,
         "steps_per_s": round(STEPS / statistics.median(seconds), 3)}
        for name, seconds in times.items()
    ]  # fmt: skip
    for contestant in contestants.values():
        contestant.close()
    plain, float32 = paired(times["ours"], times["plain"]), paired(times["ours, float32"], times["plain"])
    each = "one thread each" if threads else "as many threads as cores"
    about = f"`cyclegan` training at 128 px, batch 1, {each}, times the images/s of a plain float32 loop"
    alone = "alone " if threads else ""
    return rows, {
        f"{alone}plain": figure(plain["ratio"], "at least 2.5", plain["ratio"] >= 2.5, about, **plain),
        f"{alone}float32": figure(float32["ratio"], "at least 1.0", float32["ratio"] >= 1.0, "... in float32", **float32),
    }  # fmt: skip


def quality() -> Part:
    """Score the shipped runs on the held-out pictures of their recipes."""
    from handmade import api
    from handmade.registry import zoo

    rows, figures = [], {}
    for run in ("hair", "glasses"):
        name = f"cyclegan/{run}"
        if name not in zoo():
            print(f"{name} is not in the zoo yet: train and ship it first", file=sys.stderr)
            continue
        scores = api.evaluate(f"zoo:{name}", 400)
        rows.append({"recipe": name, "scores": {key: score._asdict() for key, score in scores.items()}})
        for key, score in scores.items():
            for start, goals in GOALS.items():
                if run in goals and (key == start or key.startswith(f"{start} ")):
                    figures[f"{run} {key}"] = bounded(score.value, *goals[run], f"`{name}`, {key}: {score.about}")
    return rows, figures


def frames(faces: int = 200) -> Part:
    """Glasses taken off held-out faces, frame by frame: the usual one, and those that only strays wear in training."""
    import torch

    from handmade import api
    from handmade.data.source import open_data
    from handmade.data.sources import _lorelei as lorelei
    from handmade.recipe import read_recipe
    from handmade.systems.cyclegan.system import CycleGAN

    system = api.load("zoo:cyclegan/glasses")
    assert isinstance(system, CycleGAN)
    data = read_recipe(api.find_run("zoo:cyclegan/glasses").folder / "recipe.toml").data
    rows = []
    for frame in lorelei.FRAMES:
        held: Any = open_data({**data, "where": f"frame={frame}"}, "test")[0]
        worn = held.spec.names.index("yes")
        given, bare = [(held.a, held.a_as_b), (held.b, held.b_as_a)][worn]
        given, bare = held.spec.encode(given[:faces]), held.spec.encode(bare[:faces])
        with torch.no_grad():
            made = system._translated(given, to=1 - worn)
        share = float((made - bare).abs().mean() / (given - bare).abs().mean())
        rows.append({"recipe": "cyclegan/glasses", "frame": frame, "usual": frame in data["where"], "to no": share})
    rare = [row["to no"] for row in rows if not row["usual"]]
    about = f"`cyclegan/glasses`, to no: rare frames taken off {faces} held-out faces each, the worst of {len(rare)}"
    return rows, {"glasses rare frames": figure(max(rare), "at most 0.5", max(rare) <= 0.5, about)}


def main() -> None:
    """Measure both halves and record them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[], Part]] = {
        "speed": lambda: speed(None),
        "alone": lambda: speed(1),
        "quality": quality,
        "frames": frames,
    }
    for name in parts:
        parser.add_argument(f"--{name}", action="store_true")
    wanted = parser.parse_known_args()[0]
    record_parts("handles_cyclegan", parts, [name for name in parts if getattr(wanted, name)])


if __name__ == "__main__":
    main()
