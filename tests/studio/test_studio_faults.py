"""Full disks, processes that cannot be started, terminals that train: the studio says so and goes on."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys

import pytest

from commands import until
from handmade.engine.run import Run
from handmade.recipe import load_recipe
from handmade.studio import estimates, job, jobs
from handmade.studio.asking import Worker
from handmade.studio.places import Busy, Places, read_json
from handmade.studio.runs import Runs

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def places(tmp_path):
    return Places(runs=tmp_path / "runs", home=tmp_path / "home")


@pytest.fixture
def queue(places, monkeypatch):
    """A queue whose commands end at once."""
    monkeypatch.setattr(jobs, "start", lambda *_: subprocess.Popen([sys.executable, "-c", ""]))
    made = jobs.Jobs(places, lambda *_: None, {})
    yield made
    made.end()


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while `disk["full"]`."""
    state, write = {"full": False}, job.write_json

    def writing(path, values):
        if state["full"]:
            raise FULL
        write(path, values)

    monkeypatch.setattr(job, "write_json", writing)
    return state


def states(queue):
    return {told["state"] for told in queue.all()["jobs"]}


def test_a_full_disk_does_not_end_the_queue_and_what_it_refused_is_written_later(queue, disk):
    for _ in range(2):
        queue.other("prepare", "squares", ["data", "prepare", "squares"])
    disk["full"] = True
    queue.begin()
    until(lambda: states(queue) == {"done"}, 20)
    assert {read_json(path)["state"] for path in queue.folder.glob("*/job.json")} == {"waiting"}
    disk["full"] = False
    until(lambda: {read_json(path)["state"] for path in queue.folder.glob("*/job.json")} == {"done"}, 20)
    assert queue.thread.is_alive()


def test_a_look_that_the_machine_refuses_is_repeated_and_the_other_jobs_go_on(queue, monkeypatch):
    lost = queue.other("prepare", "lost", ["data", "prepare", "lost"])["id"]
    queue.jobs[lost].state, queue.slots = "running", 2
    other, looks = queue.other("prepare", "other", ["data", "prepare", "other"])["id"], []

    def alive(*_):
        looks.append(1)
        if len(looks) < 20:
            raise OSError(errno.EMFILE, "Too many open files")
        return False

    monkeypatch.setattr(jobs, "alive", alive)
    queue.begin()
    until(lambda: queue.one(other)["state"] == "done", 20)
    until(lambda: queue.one(lost)["state"] == "done", 20)


def test_a_job_that_could_not_be_written_down_is_not_in_the_queue(queue, disk):
    disk["full"] = True
    with pytest.raises(OSError, match="No space left"):
        queue.other("prepare", "squares", ["data", "prepare", "squares"])
    assert queue.all()["jobs"] == [] and list(queue.folder.iterdir()) == []


def test_a_run_that_a_terminal_trains_is_shown_as_such_and_cannot_be_thrown_away(places):
    folder = places.runs / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('name = "toy_gan/smoke"\n')
    runs = Runs(places)
    with Run(folder).locked():
        assert [run["state"] for run in runs.all() if run["id"] == "mine"] == ["training"]
        with pytest.raises(Busy, match="another process is training in this run"):
            runs.throw_away("mine", "mine")
    assert folder.is_dir() and runs.short("mine")["state"] == "empty"
    runs.throw_away("mine", "mine")
    assert not folder.exists()


@pytest.mark.parametrize("broken", ["create_subprocess_exec", "write_json"])
def test_a_measurement_that_cannot_be_made_or_written_is_over_and_says_why(places, monkeypatch, broken):
    async def measured(self, request):
        return {"seconds_per_step": 0.1}

    async def no_process(*_, **__):
        raise FULL

    def no_room(*_):
        raise FULL

    if broken == "write_json":
        monkeypatch.setattr(estimates.Estimates, "_measured", measured)
        monkeypatch.setattr(estimates, "write_json", no_room)
    else:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process)

    async def ask():
        found = estimates.Estimates(places, lambda *_: None)
        told = await found.ask(load_recipe("toy_fit/smoke", {}, None), {}, None, None)
        await asyncio.gather(*found.tasks, return_exceptions=True)
        return found.one(told["id"])

    told = asyncio.run(ask())
    assert told["state"] == "failed" and "No space left" in told["error"]


def test_a_worker_that_talks_nonsense_is_ended_so_that_no_later_ask_waits_for_it():
    class Process:
        stdin = returncode = None
        killed = False

        def kill(self):
            self.killed = True

    async def read():
        process, process.stdout = Process(), asyncio.StreamReader()
        process.stdout.feed_data(b"nonsense\n")
        worker = Worker(process, "run")
        await worker.read()
        return worker

    worker = asyncio.run(read())
    assert worker.process.killed and not worker.alive
