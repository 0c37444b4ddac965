"""The engine's own step, as training takes it, on one batch that is always the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from handmade.core import Batch, System
from handmade.engine.devices import World
from handmade.engine.run import Run
from handmade.engine.trainer import Trainer
from handmade.plan import Plan


class Same:
    """A loader whose batches are all one batch."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def engine_step(system: System, batch: Batch, plan: Plan, device: str = "cpu") -> tuple[Callable[[], Any], str]:
    """A function that takes one step, and what calibration chose."""
    folder = Path(tempfile.mkdtemp())
    trainer = Trainer(
        system, Same(batch), plan, Run.create(folder / "run", "", {}, {}, ""), World(device=torch.device(device))
    )
    trainer._prepare()
    stream = iter(trainer.loader)

    def step() -> None:
        trainer._step(stream)
        if trainer.system.step % plan.log_every == 0:
            trainer._log()

    return step, str(trainer.choice)
