"""What can be asked of a room can be asked on a GPU, too: seen on a device that is none, where there is no GPU to try."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from elsewhere import THERE, Elsewhere
from handmade import api
from handmade.core import asks_of
from handmade.errors import UserError
from test_every_system import EVERY, arguments_for, fresh


def test_what_is_here_and_what_is_elsewhere_do_not_meet():
    with Elsewhere():
        here, there = torch.ones(2), torch.ones(2).to(THERE)
        with pytest.raises(RuntimeError, match="on the same device"):
            here * there
        with pytest.raises(RuntimeError, match="on the same device"):
            here * there.sum()
        assert (there * here.sum() + torch.tensor([1.0, 2.0], device=there.device)).cpu().tolist() == [3.0, 4.0]


@pytest.mark.parametrize("name", EVERY)
def test_every_ask_is_answered_elsewhere(name, tmp_path: Path):
    system: Any = fresh(name)[0].eval()
    with Elsewhere():
        system.to(THERE)
        for ask in asks_of(system).values():
            with suppress(UserError):  # an ask that needs more than the defaults says so before it begins
                assert dict(getattr(system, ask.name)(**arguments_for(ask, tmp_path)).items())


def test_scores_are_computed_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch):
    """On the CPU unless told otherwise; `auto` is the GPU where there is one, for the network as for the judge."""
    placed: list[Any] = []
    monkeypatch.setattr(api, "choose_device", lambda: placed.append("a GPU") or torch.device("cpu"))
    alone = api.evaluate("zoo:numbers_gan/fives", 64)
    assert not placed and api.evaluate("zoo:numbers_gan/fives", 64, device="auto") == alone and len(placed) == 2
