"""What must hold on a GPU, on a real one: `make test-gpu`. Everywhere else a device that imitates one (elsewhere.py) stands in.

Noise of asks is drawn on the CPU wherever the networks are, so that what is drawn on either can be compared.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
import torch

from commands import Done, agree, flags, hand, losses, torchrun
from handmade import api
from handmade.artifacts import Images, Points
from handmade.core import asks_of
from handmade.engine import checkpoint
from handmade.engine.run import Run
from handmade.errors import UserError
from handmade.recipe import load_recipe
from handmade.registry import find_room, system_class
from handmade.studio.measure import measure
from test_every_system import EVERY, arguments_for, built, small

pytestmark = pytest.mark.gpu
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
every_room = pytest.mark.parametrize("name", EVERY)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The smoke run of a room, trained once on the GPU."""
    folder = tmp_path_factory.mktemp("on-a-gpu")

    @cache
    def train(name: str) -> Run:
        built(name)
        return api.train(f"{name}/smoke", out=folder / name)

    return train


@pytest.mark.parametrize("name", ["toy_gan", "dcgan", "gpt", "conditional_wgan"])
def test_processes_that_share_a_gpu_agree_with_one(name, tmp_path):
    settings = small(name, train__steps=6)
    built(name)
    api.train(f"{name}/smoke", out=tmp_path / "one", overrides=settings)
    done = hand("train", f"{name}/smoke", "--devices", 2, "--out", tmp_path / "two", *flags(settings))
    assert done.code == 0, done
    agree(losses(tmp_path / "two"), losses(tmp_path / "one"), 1e-2, 1e-3)


def test_one_process_that_torchrun_starts_trains_there(tmp_path):
    done = torchrun(1, "train", "toy_fit/smoke", "--out", tmp_path / "run", "--train.steps", 10)
    assert done.code == 0, done
    assert len(losses(tmp_path / "run")) >= 1


def test_weights_are_split_over_processes_that_share_a_gpu(tmp_path):
    words = ("--train.shard", "true", "--devices", 2, "--train.steps", 10)
    done = hand("train", "toy_fit/smoke", "--out", tmp_path / "split", *words)
    assert done.code == 0, done
    one = api.train("toy_fit/smoke", out=tmp_path / "one", overrides={"train.steps": "10"})
    agree(losses(tmp_path / "split"), losses(one.folder), 1e-2, 1e-3)


FULL = """
import sys, torch
from handmade.cli.main import main
torch.cuda.set_per_process_memory_fraction(0.001)
sys.exit(main(["train", "dcgan/smoke", "--out", sys.argv[1], "--train.batch", "2048", "--config.width", "64"]))
"""


def test_a_gpu_without_memory_is_one_plain_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "memory" in Done(done.returncode, done.stdout, done.stderr).complaint()


def test_the_studio_measures_there_what_a_training_will_cost():
    told = measure(load_recipe("dcgan/smoke"))
    assert told["seconds_per_step"] > 0 and told["checkpoint"] > 0


@every_room
def test_the_smoke_recipe_trains_there_and_improves_its_yardstick(name, trained):
    run = trained(name)
    assert run.read_json("environment.json")["device"] == "cuda"
    scores = [next(iter(event["scores"].values())) for event in run.events("score")]
    better = 1 if scores[0]["better"] == "higher" else -1
    assert better * (scores[-1]["value"] - scores[0]["value"]) > 0


@every_room
def test_scores_are_there_what_they_are_on_the_cpu(name, trained):
    here, there = (next(iter(api.evaluate(trained(name), 64, device=where).values())) for where in ("cpu", "auto"))
    assert there.about == here.about and there.value == pytest.approx(here.value, rel=0.1, abs=0.05)


@every_room
def test_asks_give_there_what_they_give_on_the_cpu(name, trained, tmp_path):
    """Pictures and points may differ by rounding; texts and notes, in which one token decides the next, must be answered."""
    here: Any = api.load(trained(name))
    there: Any = api.load(trained(name), device="auto")
    assert next(there.parameters()).is_cuda and not next(here.parameters()).is_cuda
    for ask in asks_of(system_class(find_room(name))).values():
        with suppress(UserError):  # an ask that needs more than the defaults says so before it begins
            chosen = arguments_for(ask, tmp_path)
            left, right = getattr(here, ask.name)(**chosen), getattr(there, ask.name)(**chosen)
            again = getattr(there, ask.name)(**chosen)
            assert dict(right.items()) == dict(again.items()), f"{ask.name} gives other bytes each time"
            assert left.origin is not None and right.origin["device"] == "auto"
            if isinstance(left, Images):
                assert (left.pixels - right.pixels.cpu()).abs().mean() < 0.02, ask.name
            if isinstance(left, Points):
                assert torch.allclose(left.points, right.points.cpu(), atol=0.02), ask.name


@every_room
def test_both_precisions_give_finite_losses_there(name, tmp_path):
    for precision in ("float32", "bf16"):
        settings = small(name, train__steps=6, train__precision=precision, train__channels_last="true")
        built(name)
        api.train(f"{name}/smoke", out=tmp_path / precision, overrides=settings)
        assert len(losses(tmp_path / precision)) == 6  # a loss that is not finite ends the run


@every_room
def test_a_run_goes_on_there_as_if_it_had_not_stopped(name, tmp_path):
    """To rounding: kernels of a GPU add in another order each time, and a game makes much of it in a few steps."""
    built(name)
    whole = api.train(f"{name}/smoke", out=tmp_path / "whole", overrides=small(name, train__steps=8))
    settings = small(name, train__steps=8, train__save_every=4)
    api.train(f"{name}/smoke", out=tmp_path / "cut", overrides=settings)
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "000008")
    resumed = api.resume(tmp_path / "cut")
    agree(losses(resumed.folder), losses(whole.folder), 0.15, 0.05)
    assert len(losses(whole.folder)) == 8


@every_room
def test_a_run_moves_from_the_gpu_to_the_cpu_and_back(name, tmp_path):
    settings = small(name, train__steps=2)
    built(name)
    run = api.train(f"{name}/smoke", out=tmp_path / "run", overrides=settings).folder
    done = hand("resume", run, "--train.steps", 4, **NO_GPU)
    assert done.code == 0, done
    api.resume(run, overrides={"train.steps": "6"})
    assert checkpoint.steps(run / "checkpoints")[-1] == 6 and sorted(losses(run)) == [1, 2, 3, 4, 5, 6]
