"""GPT-2's architecture against transformers: the same logits and the same continuations, in and out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parity.published import CODEC, SHAPES, brought, close, saved, small_gpt2, write_vocabulary

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_equal_those_of_transformers(shape, tmp_path):
    theirs = small_gpt2(*shape)
    ours = brought(saved(theirs, tmp_path / "hf"), tmp_path / "run")
    tokens = torch.randint(CODEC.size, (3, shape[3]))
    with torch.no_grad():
        assert close(ours.network(tokens), theirs(tokens).logits) < 1e-5


def ours_greedy(network, prompts: list[list[int]], count: int) -> list[list[int]]:
    from handmade.samplers.tokens import Taste, fortunes
    from handmade.systems.gpt.writing import continued

    tokens = continued(network, prompts, Taste(0.0), fortunes(len(prompts), 0), 1, count)
    with torch.no_grad():
        return torch.stack([next(tokens) for _ in range(count)], 1).tolist()


def without_cache(network, prompt: list[int], count: int) -> list[int]:
    row = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            row.append(int(network(torch.tensor([row]))[0, -1].argmax()))
    return row[len(prompt) :]


def theirs_greedy(model, prompts: list[list[int]], count: int) -> list[list[int]]:
    longest = max(map(len, prompts))
    rows = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None
    return model.generate(rows, attention_mask=mask, max_new_tokens=count, do_sample=False)[:, longest:].tolist()


@pytest.mark.parametrize("shape", list(SHAPES.values())[:3], ids=list(SHAPES)[:3])
def test_greedy_continuations_are_token_identical_with_and_without_the_cache(shape, tmp_path):
    theirs = small_gpt2(*shape)
    network = brought(saved(theirs, tmp_path / "hf"), tmp_path / "run").network
    for length in (1, 5, 12):
        prompt = torch.randint(CODEC.size, (length,), generator=torch.Generator().manual_seed(length)).tolist()
        expected = theirs_greedy(theirs, [prompt], 18)
        assert ours_greedy(network, [prompt], 18) == expected
        assert [without_cache(network, prompt, 18)] == expected


def test_padded_batches_give_the_tokens_that_each_prompt_gives_alone(tmp_path):
    theirs = small_gpt2(3, 64, 4, 40)
    network = brought(saved(theirs, tmp_path / "hf"), tmp_path / "run").network
    prompts = [
        torch.randint(CODEC.size, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (3, 9, 1, 14)
    ]
    found = ours_greedy(network, prompts, 20)
    assert found == theirs_greedy(theirs, prompts, 20)
    assert found == [ours_greedy(network, [prompt], 20)[0] for prompt in prompts]


def test_the_exported_folder_gives_transformers_the_same_logits_and_tokens(tmp_path):
    from handmade import api

    theirs = small_gpt2(3, 64, 4, 40)
    ours = brought(saved(theirs, tmp_path / "hf"), tmp_path / "run")
    api.export(tmp_path / "run", "hf", tmp_path / "out")
    again, told = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    before, after = theirs.state_dict(), again.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    tokens = torch.randint(CODEC.size, (2, 40))
    with torch.no_grad():
        assert close(again.eval()(tokens).logits, ours.network(tokens)) < 1e-5
    reader = transformers.GPT2TokenizerFast.from_pretrained(tmp_path / "out")
    text = "The thin man and the other, in an inn.\n\n  Ünïcode 12 😀"
    assert reader(text)["input_ids"] == CODEC.encode(text)
    assert again.config.eos_token_id == CODEC.end


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_what_is_kept_in_fewer_bits_leaves_and_comes_back_the_same(precision, tmp_path):
    from handmade import api

    theirs = small_gpt2(2, 64, 2, 32)
    ours = brought(saved(theirs, tmp_path / "hf"), tmp_path / "run", precision)
    api.export(tmp_path / "run", "hf", tmp_path / "out")
    write_vocabulary(tmp_path / "out")
    again = brought(tmp_path / "out", tmp_path / "again", precision)
    tokens = torch.randint(CODEC.size, (2, 32))
    with torch.no_grad():
        assert close(ours.network(tokens), again.network(tokens)) < (0.06 if precision == "int4" else 1e-3)
        assert close(ours.network(tokens), theirs(tokens).logits) < {"bf16": 0.03, "int8": 0.06, "int4": 0.4}[precision]


def nothing_is_read() -> torch.Tensor:
    raise AssertionError("a tensor was read")


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8", "int4"])
@pytest.mark.parametrize("size", [(12, 768, 12), (24, 1024, 16), (36, 1280, 20), (48, 1600, 25)], ids=str)
def test_every_published_size_fits_name_by_name_and_nothing_is_read_for_it(size, precision, tmp_path):
    from handmade import exchange
    from handmade.recipe import check
    from handmade.registry import find_room, room_module
    from handmade.weights import Foreign, Stored

    layers, width, heads = size
    config = transformers.GPT2Config(n_layer=layers, n_embd=width, n_head=heads, vocab_size=CODEC.size)
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(config)
    tensors = {name: Stored(tuple(value.shape), value.dtype, nothing_is_read)
               for name, value in model.state_dict().items() if name != "lm_head.weight"}  # fmt: skip
    write_vocabulary(tmp_path)
    room = find_room("gpt")
    foreign = Foreign(tmp_path, tensors, {"config.json": config.to_dict()}, "safetensors")
    found = room_module(room, "weights").bring(foreign, precision)
    assert found.name == {12: "124M", 24: "355M", 36: "774M", 48: "1558M"}[layers]
    exchange._check_names(check(room, f"gpt/{found.name}", found.recipe), found)
    each = {"float32": 4, "bf16": 2, "int8": 1, "int4": 0.63}[precision]
    assert found.bytes == pytest.approx(each * sum(t.size for t in tensors.values()) + found.working, rel=0.03)


@pytest.mark.slow
def test_the_shape_with_1558_million_parameters_loads_whole_and_agrees(tmp_path: Path):
    theirs = small_gpt2(48, 1600, 25, 1024)
    folder = saved(theirs, tmp_path / "hf", max_shard_size="2GB")
    tokens = torch.randint(CODEC.size, (1, 12))
    with torch.no_grad():
        expected = theirs(tokens).logits
    del theirs
    with torch.no_grad():
        assert close(brought(folder, tmp_path / "run").network(tokens), expected) < 1e-4
