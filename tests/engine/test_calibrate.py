"""Choosing how to compute: the choice is one that was tried, is kept, and leaves no trace in what is learned."""

import json
import math
import random
from typing import ClassVar

import numpy as np
import pytest
import torch

from commands import differing
from handmade import api
from handmade.data.loader import Loader
from handmade.data.source import open_data
from handmade.engine import calibrate
from handmade.engine.calibrate import Choice, choose, record, report
from handmade.engine.devices import World
from handmade.errors import Diverged
from handmade.plan import Plan
from handmade.recipe import load_recipe


@pytest.fixture(scope="module")
def toy():
    recipe = load_recipe("toy_gan/smoke")
    dataset, spec = open_data(recipe.data)
    torch.manual_seed(0)
    return api.build(recipe, spec), next(Loader(dataset, 32))


def test_a_plan_that_decides_everything_is_obeyed_without_timing(toy):
    plan = Plan(precision="bf16", channels_last=True, threads=1)
    assert choose(*toy, plan, World()) == (Choice("bf16", True, 1), [])


def test_the_choice_is_one_of_those_that_were_timed(toy):
    choice, timings = choose(*toy, Plan(), World(), seconds=1.0)
    assert choice in [timing.choice for timing in timings] and timings[0].choice.precision == "float32"
    assert "times as fast as plain float32" in report(choice, timings)
    assert record(choice, timings)["choice"]["precision"] == choice.precision


@pytest.mark.parametrize("fixed", [{"precision": "bf16"}, {"precision": "float32"}, {"channels_last": True}])
def test_what_the_plan_decides_is_not_undone_by_a_timing(toy, fixed):
    choice, _ = choose(*toy, Plan(**fixed), World(), seconds=0.5)
    for name, value in fixed.items():
        assert getattr(choice, name) == value


def test_timing_changes_neither_weights_nor_random_numbers(toy):
    system, batch = toy
    before = {name: value.clone() for name, value in system.state_dict().items()}
    state = (torch.get_rng_state().clone(), np.random.get_state()[1].tolist(), random.getstate())
    threads = torch.get_num_threads()
    choose(system, batch, Plan(), World(), seconds=0.5)
    assert all(torch.equal(before[name], value) for name, value in system.state_dict().items())
    assert torch.equal(state[0], torch.get_rng_state()) and state[2] == random.getstate()
    assert state[1] == np.random.get_state()[1].tolist() and threads == torch.get_num_threads()


def test_a_candidate_that_diverges_is_not_chosen_and_ends_nothing(toy, monkeypatch):
    system, batch = toy
    really = calibrate.apply

    def sick(choice, twin, world):
        really(choice, twin, world)
        if choice.precision == "bf16":
            with torch.no_grad():
                twin.generator[0].weight.fill_(float("nan"))

    monkeypatch.setattr(calibrate, "apply", sick)
    choice, _ = choose(system, batch, Plan(), World(), seconds=1.0)
    assert choice.precision == "float32"


class Stopwatch:
    """In place of a twin: its steps take what `seconds` says of its choice, and of how often anybody has played."""

    seconds = staticmethod(lambda choice, played: 1.0)
    played: ClassVar[list[Choice]] = []

    def __init__(self, system, batch, choice, world):
        self.choice = choice

    def play(self):
        self.played.append(self.choice)
        return self.seconds(self.choice, len(self.played)), [1.0]

    def time(self, best, deadline):
        return calibrate.Timing(self.choice, self.play()[0], 1.0)


@pytest.fixture
def stopwatch(monkeypatch):
    monkeypatch.setattr(calibrate, "Twin", Stopwatch)
    monkeypatch.setattr(Stopwatch, "played", [])
    return lambda seconds: monkeypatch.setattr(Stopwatch, "seconds", staticmethod(seconds))


def test_a_layout_that_did_not_pay_is_tried_again_once_tiles_do(stopwatch):
    stopwatch(
        lambda choice, _: (2.0 if choice.winograd else 3.0) + (-1 if choice.winograd else 1) * choice.channels_last
    )
    wide = torch.nn.Conv2d(128, 128, 3, padding=1)
    choice, _ = choose(wide, None, Plan(precision="float32", threads=1), World())
    assert choice == Choice("float32", True, 1, winograd=True)
    assert len(Stopwatch.played) == len({*Stopwatch.played})  # nothing twice: no two of them were close


def test_tiles_and_channels_last_are_found_where_neither_pays_alone(stopwatch):
    stopwatch(lambda c, _: 2.0 if c.winograd and c.channels_last else 3.0 + 0.9 * (c.winograd + c.channels_last))
    wide = torch.nn.Conv2d(128, 128, 3, padding=1)
    assert choose(wide, None, Plan(threads=1), World())[0] == Choice("float32", True, 1, winograd=True)
    first = choose(wide, None, Plan(threads=1, channels_last=False), World())[0]
    assert first == Choice("float32", False, 1)


def test_two_that_are_close_play_in_turn_and_what_the_machine_did_meanwhile_decides_nothing(stopwatch):
    last, narrow = Choice("float32", True, 1), torch.nn.Conv2d(3, 3, 3)
    disturbed = {2: 1.1, 7: 2.0, 10: 2.0}  # times as slow; the second step is the candidate's, alone
    stopwatch(lambda choice, played: (0.475 if choice.channels_last else 0.5) * disturbed.get(played, 1.0))
    choice, timings = choose(narrow, None, Plan(precision="float32", threads=1), World())
    assert choice == last
    assert [timing.seconds for timing in timings] == [0.5, pytest.approx(0.475)]
    assert Stopwatch.played[-4:] == [Choice(), last] * 2


@pytest.mark.parametrize("long", [1.1, 100])
def test_steps_of_more_than_a_second_play_no_duel(stopwatch, long):
    stopwatch(lambda choice, played: long * (1 - played / 100))
    choose(torch.nn.Conv2d(3, 3, 3), None, Plan(precision="float32", threads=1), World())
    assert Stopwatch.played == [Choice(), Choice("float32", True, 1)]


@pytest.mark.parametrize(("deadline", "steps"), [(0.0, 3), (math.inf, 14)])
def test_a_candidate_plays_three_steps_at_least_and_its_shortest_but_the_first_counts(toy, deadline, steps):
    twin = calibrate.Twin(*toy, Choice(), World())
    really = twin.play
    twin.play = lambda: (100.0 - twin.steps, really()[1])
    assert twin.time(math.inf, deadline).seconds == 100.0 - (steps - 1)
    assert twin.steps == steps


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 4), (60.0, 12)])
def test_a_duel_gives_what_a_candidate_takes_of_the_champion_for_four_to_twelve_steps(toy, seconds, rounds):
    champion, candidate = (calibrate.Twin(*toy, Choice(), World()) for _ in range(2))
    really, slowed = candidate.play, []

    def slow():
        slowed.append(really())
        return 100 * slowed[-1][0], slowed[-1][1]

    candidate.play = slow
    assert 10 < calibrate.duel(champion, candidate, seconds) < 1000
    assert (champion.steps, candidate.steps) == (2 + rounds, rounds)


def test_a_system_that_diverges_in_float32_says_so():
    recipe = load_recipe("toy_gan/smoke", {"config.nan_at": "1"})
    dataset, spec = open_data(recipe.data)
    with pytest.raises(Diverged, match="generator"):
        choose(api.build(recipe, spec), next(Loader(dataset, 32)), Plan(), World(), seconds=0.5)


def test_a_candidate_that_finds_no_memory_is_passed_over(toy, monkeypatch):
    """On a GPU that the first copy fills, say."""
    whole = calibrate.apply

    def narrow(choice, system, world):
        if choice.precision == "bf16":
            raise torch.OutOfMemoryError("CUDA out of memory")
        whole(choice, system, world)

    monkeypatch.setattr(calibrate, "apply", narrow)
    choice, timings = choose(*toy, Plan(), World(), seconds=0.5)
    assert choice.precision == "float32" and all(timing.choice.precision == "float32" for timing in timings)


@pytest.mark.parametrize("toy_name", ["toy_gan", "toy_replay"])
def test_a_calibrated_run_learns_the_same_as_one_told_to_compute_so(tmp_path, toy_name):
    few = {"train.steps": "12", "train.save_every": "12"}
    free = {**few, "train.precision": "auto", "train.threads": "auto", "train.channels_last": "auto"}
    chosen = api.train(f"{toy_name}/smoke", out=tmp_path / "free", overrides=free)
    taken = json.loads((chosen.folder / "environment.json").read_text())
    assert taken["choice"] in [{k: v for k, v in t.items() if k != "seconds"} for t in taken["timings"]]
    choice = taken["choice"]
    told = {**few, "train.precision": choice["precision"], "train.threads": str(choice["threads"])}
    told["train.channels_last"] = str(choice["channels_last"]).lower()
    fixed = api.train(f"{toy_name}/smoke", out=tmp_path / "told", overrides=told)
    assert not differing(chosen.checkpoints / "000012", fixed.checkpoints / "000012")


def test_resume_computes_as_the_run_has_chosen(tmp_path):
    run = api.train("toy_gan/smoke", out=tmp_path / "run", overrides={"train.steps": "5", "train.precision": "auto"})
    path = run.folder / "environment.json"
    odd = {**json.loads(path.read_text()), "choice": {"precision": "bf16", "channels_last": False, "threads": 1}}
    path.write_text(json.dumps(odd))
    starts = []
    api.resume(
        run, overrides={"train.steps": "6"}, observers=[lambda e: starts.append(e) if e["kind"] == "start" else 0]
    )
    assert starts[0]["choice"].startswith("bf16") and json.loads(path.read_text()) == odd
