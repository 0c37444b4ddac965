"""Inside the processes that look at a run: lessons from many threads at once, and a measurement where training will be."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from handmade.engine import calibrate
from handmade.recipe import load_recipe
from handmade.studio import measure
from handmade.studio.lesson import Lesson

RUN = "zoo:shapes_gan/exponential"


def test_many_threads_may_step_through_a_lesson_at_once():
    lesson, told, errors = Lesson(RUN), [], []
    first = lesson.step(False)["step"]

    def steps():
        try:
            told.extend(lesson.step(True)["step"] for _ in range(20))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=steps) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(told) == list(range(first + 1, first + 41))


def test_looking_at_the_networks_does_not_change_the_step_that_comes_next():
    alone, between = Lesson(RUN), Lesson(RUN)
    first = [alone.step(again)["turns"] for again in (False, True, True)]
    second = [between.step(again)["turns"] for again in (False, True)]
    between.networks()
    assert [*second, between.step(True)["turns"]] == first


def test_a_measurement_is_made_on_the_device_and_with_the_part_of_a_batch_that_training_takes(monkeypatch):
    recipe = load_recipe("toy_gan/smoke", {}, None)
    recipe = replace(recipe, train=replace(recipe.train, accumulate=2))
    device, seen = torch.device("cpu", 0), []
    monkeypatch.setattr(measure, "choose_device", lambda: device)

    def choose(system, batch, plan, world, seconds):
        seen.append((len(batch), world.device))
        choice = calibrate.Choice("float32", False, 1)
        return choice, [calibrate.Timing(choice, 0.25, 1.0)]

    monkeypatch.setattr(calibrate, "choose", choose)
    told = measure.measure(recipe)
    assert seen == [(recipe.train.batch // 2, device)]
    assert told["seconds_per_step"] == pytest.approx(0.5)
