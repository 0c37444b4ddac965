"""The queue: trainings are processes of their own, stop with saving, go on, and outlive the page, the server and kills."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from commands import steps_logged, until

SLOW = {"config.pause": "0.02", "train.steps": "100000", "train.save_every": "20"}


def folder_of(server, job):
    return server.place / "runs" / job["run"]


def test_a_training_from_the_page_ends_as_a_run_that_can_be_asked(server):
    job = server.train()
    assert job["state"] == "waiting" and job["run"] == "toy_gan-smoke-001"
    done = server.job(job["id"], "done", "failed")
    assert done["state"] == "done", done
    assert done["step"] == done["steps"] == 400 and done["score"]["name"] == "distance" and done["ended"]
    run = server.get(f"/api/runs/{job['run']}")
    assert (
        run["usable"]
        and run["resumable"]
        and run["state"] == "ready"
        and set(run["losses"]) == {"discriminator", "generator"}
    )
    assert run["log"]["D(x)"] and [sample["step"] for sample in run["samples"]] == [0, 200, 400]
    assert server.client.get(run["samples"][-1]["picture"]).content.startswith(b"\x89PNG")
    assert (
        server.client.get(run["samples"][-1]["picture"].replace("sheet.png", "sample.json")).json()["kind"] == "points"
    )
    assert run["remarks"] and "<h1>" in run["card"] and run["score_curves"]["distance"][0]["floor"] is not None


def test_a_wrong_setting_is_refused_before_anything_is_queued(server):
    before = len(server.get("/api/jobs")["jobs"])
    for overrides, words in (
        ({"config.widht": "3"}, 'did you mean "config.width"'),
        ({"train.steps": "-3"}, "train.steps"),
        ({"data.path": "/etc"}, "no setting"),
        ({"start": "/etc"}, "no setting"),
        ({"config.__class__": "x"}, "no setting"),
    ):
        told = server.post("/api/jobs", {"recipe": "toy_gan.smoke", "overrides": overrides}, 422)
        assert words in told["detail"], told
    assert server.post("/api/jobs", {"recipe": "no.such"}, 404) == {"detail": "there is no such thing here"}
    assert "lr2" in server.post("/api/jobs", {"recipe": "toy_gan.smoke", "lr2": 1}, 422)["detail"]
    assert len(server.get("/api/jobs")["jobs"]) == before


def test_a_recipe_that_fails_says_why_and_the_next_one_runs(server):
    sick = server.train(overrides={"config.nan_at": "5"})
    well = server.train(overrides={"train.steps": "30"})
    told = server.job(sick["id"], "failed")
    assert "nan" in told["error"] and "Traceback" not in told["error"]
    assert server.job(well["id"], "done")["step"] == 30


def test_pause_saves_and_resume_goes_on_from_the_same_step(server):
    job = server.train(overrides={**SLOW, "train.steps": "160"})
    until(lambda: steps_logged(folder_of(server, job)) >= 10)
    assert server.post(f"/api/jobs/{job['id']}/pause")["state"] == "stopping"
    paused = server.job(job["id"], "paused", seconds=30)
    assert 10 <= paused["step"] < 160 and int((folder_of(server, job) / "latest").read_text()) == paused["step"]
    assert not (folder_of(server, job) / "stop").exists()
    server.post(f"/api/jobs/{job['id']}/resume")
    done = server.job(job["id"], "done")
    assert done["step"] == 160
    log = (folder_of(server, job) / "log.txt").read_text()
    assert f"going on from step {paused['step']}" in log


@pytest.mark.slow
def test_minutes_given_with_resume_carry_a_finished_run_further(server):
    job = server.train(overrides={"train.steps": "40"})
    server.job(job["id"], "done")
    again = server.post("/api/jobs", {"resume": job["run"], "minutes": 0.05}, 201)
    assert again["run"] == job["run"]
    done = server.job(again["id"], "done", "failed")
    assert done["state"] == "done" and done["step"] > 40


def test_waiting_jobs_can_be_moved_ahead_and_cancelled(own_server):
    server = own_server()
    first = server.train(overrides=SLOW)
    server.job(first["id"], "running", "starting")
    second, third = server.train(), server.train()
    assert [server.get(f"/api/jobs/{job['id']}")["place"] for job in (second, third)] == [1, 2]
    assert server.post(f"/api/jobs/{third['id']}/first")["place"] == 1
    assert server.post(f"/api/jobs/{second['id']}/cancel")["state"] == "cancelled"
    assert "cannot first" in server.post(f"/api/jobs/{second['id']}/first", status=409)["detail"]
    server.delete(f"/api/jobs/{second['id']}")
    server.get(f"/api/jobs/{second['id']}", 404)
    until(lambda: steps_logged(folder_of(server, first)) >= 5)
    server.post(f"/api/jobs/{first['id']}/stop")
    assert server.job(first["id"], "stopped", seconds=30)["step"] >= 5
    server.job(third["id"], "done")


def test_a_killed_training_is_told_as_such_and_can_be_resumed(own_server):
    server = own_server()
    job = server.train(overrides={**SLOW, "train.steps": "120"})
    until(lambda: (folder_of(server, job) / "latest").exists() and steps_logged(folder_of(server, job)) > 40)
    told = until(lambda: next((j for j in server.get("/api/jobs")["jobs"] if j["state"] == "running"), None))
    os.killpg(pid_of(server, told["id"]), signal.SIGKILL)
    assert "resume" in server.job(job["id"], "interrupted")["error"]
    server.post(f"/api/jobs/{job['id']}/resume")
    assert server.job(job["id"], "done")["step"] == 120


def pid_of(server, job):
    return json.loads((server.place / "home" / "studio" / "jobs" / job / "job.json").read_text())["pid"]


@pytest.mark.parametrize("how", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_jobs_outlive_the_server_and_are_found_again(own_server, how):
    server = own_server()
    running = server.train(overrides={**SLOW, "train.steps": "200"})
    waiting = server.train(overrides={"train.steps": "20"})
    until(lambda: steps_logged(folder_of(server, running)) >= 10)
    server.stop(how)
    seen = steps_logged(folder_of(server, running))
    until(lambda: steps_logged(folder_of(server, running)) > seen)  # nobody serves, and it trains on
    server.start()
    jobs = {job["id"]: job for job in server.get("/api/jobs")["jobs"]}
    assert jobs[running["id"]]["state"] in ("running", "starting") and jobs[waiting["id"]]["state"] == "waiting"
    server.post(f"/api/jobs/{running['id']}/pause")
    assert server.job(running["id"], "paused", "done", seconds=30)["step"] > seen
    assert server.job(waiting["id"], "done")["step"] == 20


def test_a_training_that_ends_while_no_server_is_there_is_done_when_one_comes(own_server):
    server = own_server()
    job = server.train(overrides={"config.pause": "0.02", "train.steps": "60"})
    until(lambda: steps_logged(folder_of(server, job)) >= 5)
    server.stop()
    until(lambda: (folder_of(server, job) / "progress.png").exists())
    time.sleep(1.0)
    server.start()
    assert server.job(job["id"], "done", seconds=10)["step"] == 60


def test_a_queue_of_64_refuses_200_more_at_once_and_loses_none(own_server):
    server = own_server()
    first = server.train(overrides=SLOW)
    server.job(first["id"], "running", "starting")
    kept = [server.train(overrides={"train.steps": "5"})["id"] for _ in range(64)]
    slowest = 0.0
    for _ in range(200):
        began = time.perf_counter()
        answer = server.client.post("/api/jobs", json={"recipe": "toy_gan.smoke"})
        slowest = max(slowest, time.perf_counter() - began)
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0, answer.text
    began = time.perf_counter()
    jobs = server.get("/api/jobs")
    took = time.perf_counter() - began
    assert jobs["waiting"] == 64 and {job["id"] for job in jobs["jobs"]} == {first["id"], *kept}
    assert slowest < 1.0 and took < 1.0
    server.stop(signal.SIGKILL)
    server.start()
    assert server.get("/api/jobs")["waiting"] == 64
    folders = {job["run"] for job in server.get("/api/jobs")["jobs"]}
    assert len(folders) == 65  # each has a run folder of its own
    server.post(f"/api/jobs/{first['id']}/cancel")
    server.job(first["id"], "cancelled", "stopped", seconds=30)


def test_a_run_is_thrown_away_only_with_its_name_typed(server):
    job = server.train(overrides={"train.steps": "10"})
    server.job(job["id"], "done")
    assert "type the name" in server.delete(f"/api/runs/{job['run']}", {"name": "another"}, 422)["detail"]
    server.delete(f"/api/runs/{job['run']}", {"name": job["run"]})
    server.get(f"/api/runs/{job['run']}", 404)
    assert list((server.place / "home" / "studio" / "trash").glob(f"{job['run']}-*/recipe.toml"))
    assert "shipped" in server.delete("/api/runs/zoo.dcgan.faces", {"name": "faces"}, 422)["detail"]
