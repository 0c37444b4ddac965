"""Going on from a trained gpt: all weights or a low-rank product, and leaving for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from handmade import api
from handmade.errors import UserError
from handmade.recipe import load_recipe

torch.set_num_threads(1)
TEXT = "the cat sat on the mat and the dog sat on the log. " * 120
FEW = {"train.steps": "12", "train.batch": "8", "train.score_every": "100", "train.sample_every": "100",
       "train.score_items": "16", "train.precision": "float32", "train.threads": "1"}  # fmt: skip


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Path:
    """A small GPT-2 trained on letters for a moment."""
    out = tmp_path_factory.mktemp("runs") / "base"
    settings = {"config.style": "\"gpt2\"", "config.width": "32", "config.layers": "2", "data.context": "32", **FEW,
                "train.steps": "100"}  # fmt: skip
    api.train("gpt/smoke", out=out, overrides=settings)
    return out


@pytest.fixture
def own(tmp_path) -> Path:
    (tmp_path / "mine.txt").write_text(TEXT)
    return tmp_path / "mine.txt"


def fine_tuned(start: Path, own: Path, out: Path, **settings: str) -> Path:
    overrides = {
        "start": str(start),
        "data.context": "32",
        **FEW,
        **{k.replace("__", "."): v for k, v in settings.items()},
    }
    api.train("gpt/fine-tune", data=own, out=out, overrides=overrides)
    return out


def test_a_low_rank_run_starts_as_its_base_learns_and_leaves_the_base_alone(started, own, tmp_path):
    run = fine_tuned(started, own, tmp_path / "lora", config__rank="4", config__lr="0.02", train__steps="60")
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    scores = [event["scores"]["nats"]["value"] for event in events if event["kind"] == "score"]
    base, lora = api.load(started), api.load(run)
    held = api.held_out(load_recipe("gpt/fine-tune", {"data.context": "32"}, own), 16, base.data)
    with torch.no_grad():
        assert abs(base.evaluate(held)["nats"].value - scores[0]) < 1e-4
    assert scores[-1] < scores[0] - 0.05
    before, after = base.state_dict(), lora.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(after) > len(before) and lora.data == base.data
    trained = sum(p.numel() for p in lora.parameters() if p.requires_grad)
    assert trained < sum(p.numel() for p in base.parameters()) / 2


def test_all_weights_can_go_on_and_a_low_rank_run_can_itself_be_started_from(started, own, tmp_path):
    lora = fine_tuned(started, own, tmp_path / "lora", config__rank="4")
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        expected = api.load(lora).network(tokens)
    full = fine_tuned(lora, own, tmp_path / "full", config__rank="0", config__lr="1e-9", config__rest_lr="1e-9")
    with torch.no_grad():
        found = api.load(full).network(tokens)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not any(name.endswith((".a", ".b")) for name in api.load(full).state_dict())


def test_a_run_cannot_start_from_another_network_or_nowhere(started, own, tmp_path):
    with pytest.raises(UserError, match="cannot start from"):
        fine_tuned(started, own, tmp_path / "other", config__width="64")
    with pytest.raises(UserError, match="--start RUN"):
        api.train("gpt/fine-tune", data=own, out=tmp_path / "none")
    with pytest.raises(UserError, match="no run"):
        fine_tuned(tmp_path / "nowhere", own, tmp_path / "lost")
    with pytest.raises(UserError, match="more than the 32"):
        fine_tuned(started, own, tmp_path / "long", data__context="64")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_low_rank_run_leaves_merged_and_alone(started, own, tmp_path):
    run = fine_tuned(started, own, tmp_path / "lora", config__rank="4")
    api.export(run, "hf", tmp_path / "hf")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "hf").eval()
    tokens = torch.arange(32)[None]
    with torch.no_grad():
        assert torch.allclose(theirs(tokens).logits, api.load(run).network(tokens), atol=1e-4)
    api.export(run, "peft", tmp_path / "peft")
    adapter, about = load_file(tmp_path / "peft" / "adapter_model.safetensors"), json.loads(
        (tmp_path / "peft" / "adapter_config.json").read_text())  # fmt: skip
    assert about["r"] == 4 and about["peft_type"] == "LORA"
    name = "base_model.model.transformer.h.1.mlp.c_fc"
    assert adapter[f"{name}.lora_A.weight"].shape == (4, 32) and adapter[f"{name}.lora_B.weight"].shape == (128, 4)


def test_only_gpt2s_own_architecture_leaves(started, tmp_path):
    out = api.train("gpt/smoke", out=tmp_path / "modern", overrides={**FEW, "train.steps": "1", "config.width": "32"})
    with pytest.raises(UserError, match='style "modern"'):
        api.export(out, "hf", tmp_path / "hf")
    with pytest.raises(UserError, match='cannot leave as "onx"'):
        api.export(started, "onx", tmp_path / "hf")
    with pytest.raises(UserError, match="learnt no low-rank product"):
        api.export(started, "peft", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_fewer_bits_cost_little_and_cannot_be_trained(started, own, tmp_path):
    import sys

    from handmade.networks.quantised import shrink

    base = api.load(started)
    held = api.held_out(load_recipe("gpt/smoke", {"data.context": "32"}), 64)
    with torch.no_grad():
        plain = base.evaluate(held)["nats"].value
        for precision, most in (("bf16", 0.01), ("int8", 0.01), ("int4", 0.1)):
            system = api.load(started)
            shrink(system.network, precision)
            assert abs(system.evaluate(held)["nats"].value - plain) < most
    network = sys.modules["handmade.systems.gpt.system"]
    config = network.Config(style="gpt2", kept="int8")
    with pytest.raises(UserError, match="cannot be trained"):
        network.GPTSystem(config, base.data).optimizers()


def test_the_command_line_goes_on_from_a_run_and_from_where_it_was_stopped(started, own, tmp_path):
    from commands import hand

    run = tmp_path / "mine"
    words = ["--data.context", 32, "--train.batch", 8, "--train.score_items", 16, "--train.threads", 1]
    done = hand("train", "gpt/fine-tune", "--start", started, "--data", own, "--out", run, "--train.steps", 4, *words)
    assert done.code == 0, done
    done = hand("resume", run, "--train.steps", 8)
    assert done.code == 0 and (run / "latest").read_text() == "8", done
    done = hand("export", run, "--to", "hf", "--out", tmp_path / "hf")
    assert done.code == 0 and "codec.json" in done.said and (tmp_path / "hf" / "config.json").is_file(), done
    done = hand("export", run, "--to", "hf", "--out", tmp_path / "hf")
    assert done.code == 2 and "is not empty" in done.complaint()
