"""Signals, kills, full disks, and several processes: each with real processes."""

import json
import random
import subprocess
import sys
import time
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
import torch

from commands import Done, agree, differing, flags, hand, losses, steps_logged, torchrun, until
from handmade import api
from handmade.engine import checkpoint
from handmade.errors import UserError


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def newest(run):
    return run / "checkpoints" / f"{checkpoint.steps(run / 'checkpoints')[-1]:06d}"


def test_signals_save_a_second_process_is_refused_and_resume_goes_on(tmp_path, background):
    run, slow = tmp_path / "run", ("--config.pause", 0.01, "--train.steps", 100_000)
    first = background("train", "toy_gan/smoke", "--out", run, *slow)
    until(lambda: steps_logged(run) >= 5)
    with pytest.raises(UserError, match="another process is training in"):
        api.resume(run)
    with pytest.raises(UserError, match="already a run"):
        api.train("toy_gan/smoke", out=run)
    first.send(SIGTERM)
    done = first.wait()
    assert done.code == 143 and "stopped and saved" in done.complaint(), done
    reached = checkpoint.steps(run / "checkpoints")[-1]
    assert reached >= 5
    second = background("resume", run)
    until(lambda: steps_logged(run) >= reached + 10)
    second.send(SIGINT)
    done = second.wait()
    assert done.code == 130 and f"handmade resume {run} goes on".replace(str(run), f"{run}`") in done.complaint(), done
    stopped = checkpoint.steps(run / "checkpoints")[-1]
    assert stopped > reached
    whole = api.train("toy_gan/smoke", out=tmp_path / "whole", overrides={"train.steps": str(stopped)})
    api.resume(run, overrides={"train.steps": str(stopped + 1), "config.pause": "0"})
    for name in ("weights", "ema"):
        left = checkpoint.read(newest(whole.folder), name)
        right = checkpoint.read(run / "checkpoints" / f"{stopped:06d}", name)
        assert all(torch.equal(left[key], right[key]) for key in left if key != "ballast")


def kill_and_resume(tmp_path, background, kills, steps, seed=0):
    """Kill a run that saves after every step at so many random moments; compare its end with a run left in peace."""
    settings = {"train.steps": steps, "train.save_every": 1, "train.sample_every": 7, "config.dropout": 0.2,
                "config.ballast": 4, "config.pause": 0.01}  # fmt: skip
    whole = api.train("toy_gan/smoke", out=tmp_path / "whole", overrides={k: str(v) for k, v in settings.items()})
    run, chance, half_saved = tmp_path / "cut", random.Random(seed), 0
    running = background("train", "toy_gan/smoke", "--out", run, *flags(settings))
    until(lambda: (run / "latest").exists())
    for kill in range(kills):
        time.sleep(chance.uniform(0, 0.15))
        running.send(SIGKILL)
        assert running.wait().code == -SIGKILL, "the run ended before it was killed: give it more steps"
        half_saved += bool(list((run / "checkpoints").glob(".[0-9]*")))
        acknowledged = int((run / "latest").read_text())
        path, passed = api.find_run(run).good_checkpoint()
        assert int(path.name) >= acknowledged and not passed
        if kill < kills - 1:
            running = background("resume", run)
            until(lambda now=acknowledged: int((run / "latest").read_text()) > now)
    assert hand("resume", run).code == 0
    assert not differing(newest(whole.folder), newest(run))
    assert losses(whole.folder) == losses(run)
    assert not list((run / "checkpoints").glob(".[0-9]*"))
    return half_saved


def test_killed_at_five_random_moments_a_run_ends_as_if_it_had_not_been(tmp_path, background):
    assert kill_and_resume(tmp_path, background, kills=5, steps=80) >= 1


def with_largest_file(size, *words):
    """Run a command in which no file may grow beyond `size` bytes: what a full disk looks like to a program."""
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "from handmade.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=250, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_full_disk_while_saving_loses_nothing(tmp_path):
    run = tmp_path / "run"
    api.train("toy_gan/smoke", out=run, overrides={"train.steps": "5", "config.ballast": "2"})
    done = with_largest_file(1_000_000, "resume", run, "--train.steps", 10)
    assert done.code == 1 and "cannot save step 10 (8 MB)" in done.complaint(), done
    assert "earlier checkpoints are intact" in done.complaint()
    assert checkpoint.steps(run / "checkpoints") == [5] and checkpoint.verify(run / "checkpoints" / "000005")
    assert not list((run / "checkpoints").glob(".*"))
    whole = api.train("toy_gan/smoke", out=tmp_path / "whole", overrides={
        "train.steps": "10", "config.ballast": "2", "train.score_every": "5", "train.sample_every": "5"})  # fmt: skip
    api.resume(run, overrides={"train.steps": "10"})
    assert "weights.safetensors" not in differing(newest(whole.folder), newest(run))


def test_a_full_disk_while_logging_is_one_plain_line(tmp_path):
    run = tmp_path / "run"
    api.train("toy_gan/smoke", out=run, overrides={"train.steps": "5"})
    size = (run / "events.jsonl").stat().st_size
    done = with_largest_file(size + 300, "resume", run, "--train.steps", 200)
    assert done.code == 1 and done.complaint(), done
    assert checkpoint.verify(run / "checkpoints" / "000005")


@pytest.mark.parametrize(("name", "tolerance"), [("toy_critic", 1e-4), ("toy_gan", 1e-4)])
def test_two_processes_train_as_one(tmp_path, name, tolerance):
    few = {"train.steps": "30"}
    one = api.train(f"{name}/smoke", out=tmp_path / "one", overrides=few)
    done = hand("train", f"{name}/smoke", "--devices", 2, "--out", tmp_path / "two", "--train.steps", 30)
    assert done.code == 0, done
    agree(losses(one.folder), losses(tmp_path / "two"), tolerance)
    two = api.find_run(tmp_path / "two")
    assert torch.allclose(api.load(one).generate().points, api.load(two).generate().points, rtol=1e-2, atol=1e-2)
    api.resume(two, overrides={"train.steps": "35"})  # and one process goes on with what two have saved


def test_weights_split_over_two_processes_learn_the_same_and_move_between_one_and_two(tmp_path):
    one = api.train(
        "toy_fit/smoke", out=tmp_path / "one", overrides={"train.steps": "20", "train.schedule": "constant"}
    )
    words = ("--train.shard", "true", "--devices", 2)
    split = tmp_path / "split"
    done = hand("train", "toy_fit/smoke", "--out", split, "--train.steps", 20, "--train.schedule", "constant", *words)
    assert done.code == 0, done
    agree(losses(one.folder), losses(split), 1e-4)
    pieces = sorted(p.name for p in newest(split).glob("*.safetensors"))
    assert pieces == [f"{kind}.{k}-of-2.safetensors" for kind in ("ema", "weights") for k in (0, 1)]
    whole, together = checkpoint.read(newest(one.folder), "weights"), checkpoint.read(newest(split), "weights")
    assert {k: v.shape for k, v in whole.items()} == {k: v.shape for k, v in together.items()}
    api.resume(split, overrides={"train.steps": "40"})  # two -> one
    done = hand("resume", one.folder, "--train.steps", 40, *words)  # one -> two
    assert done.code == 0, done
    agree(losses(one.folder), losses(split), 1e-3)
    assert [p.name for p in newest(split).glob("weights*")] == ["weights.safetensors"]
    assert len(list(newest(one.folder).glob("weights*"))) == 2
    assert torch.allclose(api.load(one).curve().points, api.load(split).curve().points, atol=1e-2)


def test_torchrun_starts_the_processes_too(tmp_path):
    done = torchrun(2, "train", "toy_fit/smoke", "--out", tmp_path / "run", "--train.steps", 10)
    assert done.code == 0, done
    one = api.train("toy_fit/smoke", out=tmp_path / "one", overrides={"train.steps": "10"})
    agree(losses(one.folder), losses(tmp_path / "run"), 1e-4)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2


def test_two_processes_end_with_the_exit_code_and_the_one_line_of_the_fault(tmp_path):
    run = tmp_path / "run"
    done = hand("train", "toy_gan/smoke", "--devices", 2, "--out", run, "--config.nan_at", 8, "--train.save_every", 5)
    assert done.code == 5 and "the generator's loss became nan at step 8; step 5 is kept" in done.complaint(), done
    done = hand("train", "toy_gan/smoke", "--devices", 2, "--out", run)
    assert done.code == 2 and "already a run" in done.complaint(), done


def test_a_ctrl_c_reaches_all_processes_and_saves_once(tmp_path, background):
    run = tmp_path / "run"
    words = ("--devices", 2, "--config.pause", 0.01, "--train.steps", 100_000)
    running = background("train", "toy_gan/smoke", "--out", run, *words)
    until(lambda: steps_logged(run) >= 5)
    running.send(SIGINT)
    done = running.wait()
    assert done.code == 130 and "stopped and saved" in done.complaint(), done
    saved = checkpoint.steps(run / "checkpoints")[-1]
    api.resume(run, overrides={"train.steps": str(saved + 5), "config.pause": "0"})
    assert checkpoint.steps(run / "checkpoints")[-1] == saved + 5
