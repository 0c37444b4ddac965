"""The loop, seen from what a run leaves behind."""

import json
import math
import resource
import shutil

import pytest
import torch
from PIL import Image

from commands import differing
from handmade import api
from handmade.core import Score
from handmade.engine import checkpoint
from handmade.engine.preview import write_previews
from handmade.errors import Damaged, Diverged, UserError


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def train(out, name="toy_gan/smoke", observers=(), **overrides):
    dotted = {key.replace("__", "."): str(value) for key, value in overrides.items()}
    return api.train(name, out=out, overrides=dotted, observers=observers)


def resume(run, observers=(), **overrides):
    dotted = {key.replace("__", "."): str(value) for key, value in overrides.items()}
    return api.resume(run, overrides=dotted, observers=observers)


def newest(run):
    return run.checkpoints / f"{checkpoint.steps(run.checkpoints)[-1]:06d}"


def test_a_run_folder_holds_what_the_design_says_and_no_pickle(tmp_path):
    run = train(tmp_path / "run", train__steps=20, train__sample_every=10)
    names = {p.name for p in run.folder.iterdir()}
    assert {"recipe.toml", "spec.json", "environment.json", "events.jsonl", "log.txt", "samples", "checkpoints",
            "latest", "best", "README.md", ".lock", "progress.png"} <= names  # fmt: skip
    assert sorted(p.name for p in (run.folder / "samples").iterdir()) == ["000000", "000010", "000020"]
    endings = {p.suffix for p in run.folder.rglob("*") if p.is_file()} - {""}
    assert endings <= {".toml", ".json", ".jsonl", ".txt", ".md", ".png", ".gif", ".mp4", ".safetensors", ".svg"}
    assert not [p for p in run.folder.rglob("*") if p.is_file() and p.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04")]


def test_events_say_step_seconds_rate_losses_and_scores(tmp_path):
    run = train(tmp_path / "run", train__steps=20)
    steps = list(run.events("step"))
    assert [event["step"] for event in steps] == [5, 10, 15, 20]
    for event in steps:
        assert set(event["losses"]) == {"discriminator", "generator"} and "D(x)" in event["log"]
        assert event["items_per_s"] > 0 and event["steps"] == 20
    seconds = [event["seconds"] for event in run.events()]
    assert seconds == sorted(seconds)
    score = list(run.events("score"))[-1]["scores"]["distance"]
    assert math.isfinite(score["value"]) and score["floor"] is not None and score["better"] == "lower"


def test_the_logged_loss_is_the_mean_since_the_last_line(tmp_path):
    each = train(tmp_path / "each", train__steps=10, train__log_every=1)
    some = train(tmp_path / "some", train__steps=10, train__log_every=5)
    single = [event["losses"]["generator"] for event in each.events("step")]
    means = [event["losses"]["generator"] for event in some.events("step")]
    assert means == pytest.approx([sum(single[:5]) / 5, sum(single[5:]) / 5], rel=1e-5)


@pytest.mark.parametrize("name", ["toy_gan", "toy_fit", "toy_critic", "toy_replay"])
def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(tmp_path, name):
    settings = {"train__steps": 30, "train__score_every": 10, "train__sample_every": 7}
    if name == "toy_gan":
        settings["config__dropout"] = 0.2
    whole = train(tmp_path / "whole", f"{name}/smoke", **settings)

    def stop_at_17(event):
        if event["kind"] == "step" and event["step"] == 15:
            (tmp_path / "cut" / "stop").touch()

    cut = train(tmp_path / "cut", f"{name}/smoke", observers=[stop_at_17], **settings)
    assert checkpoint.steps(cut.checkpoints)[-1] == 15
    torch.manual_seed(99)  # nothing outside the run may matter
    resume(cut)
    assert not differing(newest(whole), newest(cut))
    losses = [[(e["step"], e["losses"]) for e in run.events("step")] for run in (whole, cut)]
    assert losses[0] == losses[1]
    scores = [[(e["step"], e["scores"]) for e in run.events("score")] for run in (whole, cut)]
    assert scores[0] == scores[1]


def test_every_step_tells_its_seconds_to_what_watches_the_cores(tmp_path, monkeypatch):
    heard = []

    def crowded(plan, choice, world, say):
        say("watching")
        return heard.append

    monkeypatch.setattr("handmade.engine.trainer.crowded", crowded)
    run = train(tmp_path / "run", train__steps=7)
    assert len(heard) == 7 and all(0 < seconds < 60 for seconds in heard)
    assert "watching" in (run.folder / "log.txt").read_text("utf-8")


def test_more_steps_than_planned_continue_the_run(tmp_path):
    run = train(tmp_path / "run", train__steps=10)
    whole = train(tmp_path / "whole", train__steps=20, train__score_every=10)
    resume(run, train__steps=20)
    assert not differing(newest(whole), newest(run))


def test_a_damaged_newest_checkpoint_is_named_passed_over_and_trained_again(tmp_path):
    whole = train(tmp_path / "whole", train__steps=30, train__save_every=10)
    run = train(tmp_path / "run", train__steps=20, train__save_every=10, train__score_every=10)
    weights = run.checkpoints / "000020" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 4
    weights.write_bytes(bytes(data))
    said = []
    resume(run, observers=[lambda e: said.append(e["text"]) if e["kind"] == "note" else 0], train__steps=30,
           train__score_every=30)  # fmt: skip
    assert any("000020" in line and "damaged" in line and "going on from 000010" in line for line in said), said
    assert not differing(newest(whole), newest(run)) or "state" in differing(newest(whole), newest(run))
    assert torch.equal(checkpoint.read(newest(whole), "weights")["generator.0.weight"],
                       checkpoint.read(newest(run), "weights")["generator.0.weight"])  # fmt: skip


def test_events_of_a_run_that_was_killed_before_its_first_checkpoint_are_not_told_twice(tmp_path):
    run = train(tmp_path / "run", train__steps=10)
    for path in run.checkpoints.iterdir():
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()
    resume(run)
    steps = [event["step"] for event in run.events("step")]
    assert steps == [5, 10]


def test_a_kill_between_a_checkpoint_and_its_marks_is_made_good(tmp_path):
    run = train(tmp_path / "run", train__steps=10, train__score_every=5)
    best = (run.folder / "best").read_text()
    (run.folder / "best").unlink()
    (run.folder / "latest").write_text("0")
    resume(run)
    assert (run.folder / "best").read_text() == best and (run.folder / "latest").read_text() == "10"


def test_a_loss_that_is_nan_stops_names_the_player_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(Diverged, match=r"the generator's loss became nan at step 15; step 10 is kept"):
        train(tmp_path / "run", config__nan_at=15, train__save_every=5)
    run = api.find_run(tmp_path / "run")
    path, passed = run.good_checkpoint()
    assert path.name == "000010" and not passed
    assert all(value.isfinite().all() for value in checkpoint.read(path, "weights").values())


def test_weights_that_became_nan_under_a_finite_loss_are_not_saved(tmp_path):
    with pytest.raises(Diverged, match=r"the generator's weights became nan.*step 5 is kept"):
        train(tmp_path / "run", config__sick_at=10, train__save_every=5)
    path, _ = api.find_run(tmp_path / "run").good_checkpoint()
    assert path.name == "000005"


def test_stopping_early_keeps_the_best_and_uses_it(tmp_path):
    run = train(tmp_path / "run", "toy_fit/smoke", train__steps=400, train__score_every=5, train__stop_after=2,
                config__lr=0.3)  # fmt: skip
    best, last = run.marked("best"), run.marked("latest")
    scores = {e["step"]: e["scores"]["error"]["value"] for e in run.events("score")}
    assert last < 400 and best == min(scores, key=scores.get) and best < last
    assert api.load(run).step == best and api.load(run, "latest").step == last


def test_who_only_looks_whether_a_run_is_locked_keeps_nobody_out(tmp_path):
    import fcntl
    import threading

    run = train(tmp_path / "run", train__steps=1)
    with open(run.folder / ".lock") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        threading.Timer(0.01, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with run.locked():
            pass


def test_a_yardstick_that_is_no_number_is_worse_than_any(tmp_path, monkeypatch):
    from handmade.engine.trainer import Trainer

    values, really = iter([math.nan, 3.0, math.nan, 2.0, 1.0]), Trainer.__init__

    def scored(self, *args, **kwargs):
        really(self, *args, **kwargs)
        self.score_system = lambda system: {"error": Score(next(values), "stub", "lower")}

    monkeypatch.setattr(Trainer, "__init__", scored)
    run = train(tmp_path / "run", train__steps=20, train__score_every=5, train__stop_after=2)
    assert run.marked("best") == run.marked("latest") == 20  # not stopped, though one score in between was none


def test_a_run_with_more_sheets_than_a_process_may_open_gets_its_film(tmp_path):
    run = train(tmp_path / "run", train__steps=10, train__sample_every=10)
    last = run.folder / "samples" / "000010"
    for step in range(11, 100):
        shutil.copytree(last, run.folder / "samples" / f"{step:06d}")
    (run.folder / "film.gif").unlink()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        write_previews(run)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    with Image.open(run.folder / "film.gif") as film:
        assert film.n_frames > 1


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("preview__ask", "draw", 'preview.ask cannot be "draw".*generate'),
        ("preview__n", 0, "n must lie between"),
        ("preview__many", 3, 'no setting "many"'),
        ("train__accumulate", 5, "cannot be cut"),
        ("config__width", "wide", "config.width cannot be 'wide'"),
        ("judge", "zoo:nobody/nothing", "the zoo has no"),
        ("data__n", 0, "n must lie between"),
    ],
)
def test_what_cannot_be_built_leaves_no_folder_behind(tmp_path, setting, value, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path / "run", **{setting: value})
    assert not (tmp_path / "run").exists()


def test_a_run_whose_data_has_changed_is_not_resumed(tmp_path):
    run = train(tmp_path / "run", train__steps=5)
    with pytest.raises(UserError, match="no longer what it was trained on"):
        resume(run, data__curve="sine")


def test_networks_of_another_size_do_not_fit_a_checkpoint(tmp_path):
    run = train(tmp_path / "run", train__steps=5)
    with pytest.raises((Damaged, UserError), match="generator.0.weight is .*not"):
        resume(run, config__width=8)


def test_a_run_of_a_newer_version_is_refused(tmp_path):
    run = train(tmp_path / "run", train__steps=5)
    path = run.folder / "recipe.toml"
    path.write_text(path.read_text().replace("format = 1", "format = 2", 1))
    for use in (lambda: api.load(run), lambda: resume(run)):
        with pytest.raises(UserError, match="newer version"):
            use()


def test_the_averages_are_what_generates(tmp_path):
    run = train(tmp_path / "run", train__steps=30)
    saved, averages = checkpoint.read(newest(run), "weights"), checkpoint.read(newest(run), "ema")
    loaded = api.load(run).state_dict()
    for name, value in averages.items():
        assert torch.equal(loaded[name], value)
    assert any(not torch.equal(saved[name], value) for name, value in averages.items() if "weight" in name)
    assert torch.equal(loaded["discriminator.0.weight"], saved["discriminator.0.weight"])


def test_a_sample_and_a_score_change_nothing_in_training(tmp_path):
    rare = train(tmp_path / "rare", train__steps=20, train__sample_every=20, config__dropout=0.3)
    often = train(tmp_path / "often", train__steps=20, train__sample_every=1, train__score_every=1, config__dropout=0.3)
    assert "weights.safetensors" not in differing(newest(rare), newest(often))


def test_the_seed_decides_the_run(tmp_path):
    one, same, other = (train(tmp_path / name, train__steps=6, train__seed=seed) for name, seed in
                        (("one", 3), ("same", 3), ("other", 4)))  # fmt: skip
    assert not differing(newest(one), newest(same)) and differing(newest(one), newest(other))


def test_minutes_must_be_more_than_none():
    for minutes in (0, -1, float("nan")):
        with pytest.raises(UserError, match="minutes must be more than 0"):
            api.train("toy_gan/smoke", minutes=minutes)


def test_events_survive_a_last_line_that_a_kill_cut_short(tmp_path):
    run = train(tmp_path / "run", train__steps=5)
    whole = list(run.events())
    with open(run.folder / "events.jsonl", "a") as file:
        file.write('{"kind": "step", "st')
    assert list(run.events()) == whole
    resume(run, train__steps=10)
    for line in (run.folder / "events.jsonl").read_text().splitlines():
        json.loads(line)
