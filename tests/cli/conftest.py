"""The command line in this process, and a run to speak of."""

from __future__ import annotations

import pytest
import torch

from commands import Done
from handmade import api
from handmade.cli.main import main


@pytest.fixture
def say(capsys):
    """Run `handmade WORDS` in this process."""

    def run(*words) -> Done:
        torch.set_num_threads(1)
        code = main([str(word) for word in words])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A toy run of five steps."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return api.train("toy_gan/smoke", out=folder, overrides={"train.steps": "5"}).folder
