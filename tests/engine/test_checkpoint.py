"""Checkpoints: whole or not there, and never read without being checked."""

import json
import shutil

import pytest
import torch

from handmade.engine import checkpoint, state
from handmade.engine.devices import World
from handmade.engine.run import Run
from handmade.errors import Damaged, HandmadeError, UserError


def save(folder, step, value=1.0):
    tensors = {"weights": {"w": torch.full((40, 30), value)}, "state/train": {"m": torch.ones(3)}}
    return checkpoint.write(folder, step, tensors, {"state/train": {"step": step}}, World())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    path = save(tmp_path, 7, 2.5)
    assert path.name == "000007" and checkpoint.verify(path)["step"] == 7
    assert torch.equal(checkpoint.read(path, "weights")["w"], torch.full((40, 30), 2.5))
    assert checkpoint.read(path, "ema") == {}


def test_nothing_but_the_finished_folder_is_left(tmp_path):
    save(tmp_path, 7)
    assert [p.name for p in tmp_path.iterdir()] == ["000007"]


def cut_short(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE = {
    "cut by one byte": lambda p: cut_short(p / "weights.safetensors"),
    "one bit of the weights": lambda p: flip_a_bit(p / "weights.safetensors"),
    "one bit of the state": lambda p: flip_a_bit(p / "state" / "train.safetensors"),
    "edited state": lambda p: (p / "state" / "train.json").write_text('{"step": 99}'),
    "weights gone": lambda p: (p / "weights.safetensors").unlink(),
    "manifest gone": lambda p: (p / "MANIFEST.json").unlink(),
    "manifest cut": lambda p: cut_short(p / "MANIFEST.json"),
    "manifest of another kind": lambda p: (p / "MANIFEST.json").write_text("[1, 2]"),
    "manifest with a format that is no number": lambda p: (p / "MANIFEST.json").write_text(
        '{"format": "x", "sha256": {}}'
    ),
    "empty": lambda p: [shutil.rmtree(p), p.mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_newest_is_named_and_the_one_before_is_used(tmp_path, damage):
    run = Run(tmp_path)
    save(run.checkpoints, 10)
    damage(save(run.checkpoints, 20))
    path, passed = run.good_checkpoint()
    assert path.name == "000010"
    assert len(passed) == 1 and "000020" in passed[0]
    with pytest.raises(Damaged):
        run.good_checkpoint("20")


def test_no_good_checkpoint_is_an_error_that_names_them_all(tmp_path):
    run = Run(tmp_path)
    for step in (10, 20):
        flip_a_bit(save(run.checkpoints, step) / "weights.safetensors")
    with pytest.raises(Damaged, match=r"no good checkpoint.*000020.*000010"):
        run.good_checkpoint()


def test_a_checkpoint_of_a_newer_format_is_refused_not_passed_over(tmp_path):
    run = Run(tmp_path)
    save(run.checkpoints, 10)
    manifest = save(run.checkpoints, 20) / "MANIFEST.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(UserError, match="newer version"):
        run.good_checkpoint()


def test_a_step_that_is_not_there_is_the_users_mistake(tmp_path):
    run = Run(tmp_path)
    save(run.checkpoints, 10)
    with pytest.raises(UserError, match=r"no checkpoint of step 11.*10"):
        run.good_checkpoint("11")


def test_sweeping_keeps_the_newest_and_the_best_and_removes_drafts(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    (tmp_path / ".000006.123" / "state").mkdir(parents=True)
    checkpoint.sweep(tmp_path, keep=2, best=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000002", "000004", "000005"]


def test_damaged_ones_are_set_aside_so_that_they_push_no_good_one_out(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    checkpoint.set_aside(tmp_path, 2)
    checkpoint.sweep(tmp_path, keep=2, best=None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001", "000002", "damaged-000003"]


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_the_others(tmp_path):
    save(tmp_path, 1)
    (tmp_path / f".000002.{__import__('os').getpid()}").write_text("in the way")
    with pytest.raises(HandmadeError, match="cannot save step 2 .*earlier checkpoints are intact"):
        save(tmp_path, 2)
    assert checkpoint.verify(tmp_path / "000001")


def test_where_another_process_could_not_write_its_piece_nothing_is_published(tmp_path):
    class Two(World):
        def anyone(self, flag):
            return True  # the other one has no space left

    save(tmp_path, 1)
    with pytest.raises(HandmadeError, match="cannot save step 2 .*earlier checkpoints are intact"):
        checkpoint.write(tmp_path, 2, {"weights": {"w": torch.ones(3)}}, {}, Two())
    assert [path.name for path in tmp_path.iterdir()] == ["000001"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}"])
def test_what_is_no_safetensors_file_is_damaged(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="not a safetensors file"):
        checkpoint.read_tensors(path)


def test_a_file_with_more_tensors_than_a_network_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST_TENSORS", 2)
    path = save(tmp_path, 1) / "weights.safetensors"
    checkpoint.save_file({str(k): torch.zeros(1) for k in range(3)}, path)
    with pytest.raises(Damaged, match="3 tensors"):
        checkpoint.read_tensors(path)


def test_any_nest_of_plain_values_and_tensors_survives_packing():
    tree = {"a": [1, 2.5, None, True, "x"], 3: (torch.arange(3), {"deep": torch.ones(2)}), "empty": {}, "none": []}
    tensors = {}
    packed = json.loads(json.dumps(state.pack(tree, tensors)))
    back = state.unpack(packed, tensors)
    assert back["a"] == tree["a"] and back["empty"] == {} and back["none"] == []
    assert isinstance(back[3], tuple) and torch.equal(back[3][0], torch.arange(3))
    assert torch.equal(back[3][1]["deep"], torch.ones(2))


def test_what_only_a_pickle_could_hold_is_refused():
    with pytest.raises(TypeError, match="state /a holds a object"):
        state.pack({"a": object()}, {})


def test_every_random_generator_goes_on_where_it_was():
    import random

    import numpy as np

    tensors = {}
    packed = json.loads(json.dumps(state.pack(state.random_state(), tensors)))
    first = (torch.rand(3), np.random.rand(3).tolist(), random.random(), np.random.randn(), torch.randn(1))
    state.set_random_state(state.unpack(packed, tensors))
    second = (torch.rand(3), np.random.rand(3).tolist(), random.random(), np.random.randn(), torch.randn(1))
    assert torch.equal(first[0], second[0]) and first[1:4] == second[1:4] and torch.equal(first[4], second[4])


def test_a_run_was_trained_for_all_its_parts(tmp_path):
    run = Run.create(tmp_path / "run", "", {}, {}, "")
    assert run.trained_for() == 0
    ends = [
        json.dumps({"kind": "end", "step": 1, "seconds": seconds}) for seconds in (3.0, 8.5)
    ]  # stopped, and gone on with
    (run.folder / "events.jsonl").write_text("\n".join(ends) + "\n")
    assert run.trained_for() == 8.5
