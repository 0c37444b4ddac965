"""Every way in which GPT-2's weights lie on disks gives the same network; what is wrong with a file is said in one line."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handmade.engine.bundle import open_bundle, unpack_snappy
from handmade.errors import Damaged, HandmadeError, UserError
from parity.bundles import literal_snappy, varint, write_bundle
from parity.published import CODEC, MERGES, brought, close, saved, small_gpt2, write_vocabulary

pytest.importorskip("transformers")
torch.set_num_threads(1)
TOKENS = torch.randint(CODEC.size, (2, 32), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def theirs() -> Any:
    return small_gpt2(2, 64, 2, 32)


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory) -> Path:
    return saved(theirs, tmp_path_factory.mktemp("hf") / "gpt2")


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@torch.no_grad()
def same(system: Any, theirs: Any, most: float = 1e-5) -> bool:
    return close(system.network(TOKENS), theirs(TOKENS).logits) < most


def vocabulary_beside(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    write_vocabulary(path)


def state(theirs: Any) -> dict[str, torch.Tensor]:
    """By the names of OpenAI's first PyTorch files: no prefix, and the masks saved as if they were weights."""
    found = {name.removeprefix("transformer."): value.clone() for name, value in theirs.state_dict().items()}
    del found["lm_head.weight"]
    for layer in range(theirs.config.n_layer):
        found[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
        found[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return found


def tensorflow(theirs: Any) -> dict[str, np.ndarray]:
    """By OpenAI's TensorFlow names."""
    ends = {"ln_1.weight": "ln_1/g", "ln_2.weight": "ln_2/g", "ln_f.weight": "ln_f/g"}
    found = {}
    for name, value in theirs.state_dict().items():
        name = name.removeprefix("transformer.")
        if name in ("wte.weight", "wpe.weight"):
            found[f"model/{name[:3]}"] = value.numpy()
        elif name != "lm_head.weight":
            name = name.replace("h.", "h", 1) if name.startswith("h.") else name
            for ours, other in ends.items():
                name = name.replace(ours, other)
            name = name.removesuffix(".weight") + ("/w" if name.endswith(".weight") else "")
            name = name.removesuffix(".bias") + ("/b" if name.endswith(".bias") else "")
            array = value.numpy()
            found["model/" + name.replace(".", "/")] = array[None] if name.endswith("/w") else array
    return found


def hparams(theirs: Any) -> dict[str, int]:
    c = theirs.config
    return {
        "n_vocab": c.vocab_size,
        "n_ctx": c.n_positions,
        "n_embd": c.n_embd,
        "n_head": c.n_head,
        "n_layer": c.n_layer,
    }


def nano(theirs: Any, prefix: str = "_orig_mod.", rows: int = 0) -> dict[str, Any]:
    """nanoGPT's ckpt.pt: matrices as torch's Linear has them, the vocabulary padded to `rows`."""
    model = {}
    for name, value in theirs.state_dict().items():
        turned = any(part in name for part in ("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        model[prefix + name] = value.t().contiguous() if turned else value.clone()
    if rows:
        spare = torch.randn(rows - CODEC.size, theirs.config.n_embd)
        model[prefix + "transformer.wte.weight"] = torch.cat([model[prefix + "transformer.wte.weight"], spare])
        model[prefix + "lm_head.weight"] = model[prefix + "transformer.wte.weight"]
    c = theirs.config
    arguments = {"n_layer": c.n_layer, "n_head": c.n_head, "n_embd": c.n_embd, "block_size": c.n_positions, "bias": True,
                 "vocab_size": rows or c.vocab_size, "dropout": 0.0}  # fmt: skip
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
    return {"model": model, "optimizer": optimizer, "model_args": arguments, "iter_num": 3,
            "best_val_loss": torch.tensor(1.5), "config": {"dataset": "mine", "compile": True}}  # fmt: skip


# ways in


def test_a_pickle_of_tensors_gives_the_same_network_in_both_of_torchs_forms(theirs, tmp_path):
    for number, zipped in enumerate((True, False)):
        vocabulary_beside(tmp_path / f"{number}")
        torch.save(state(theirs), tmp_path / f"{number}" / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        (tmp_path / f"{number}" / "config.json").write_text(json.dumps(theirs.config.to_dict()))
        assert same(brought(tmp_path / f"{number}", tmp_path / f"run{number}"), theirs)


def test_a_folder_in_pieces_gives_the_same_network(theirs, folder, tmp_path):
    pieces = saved(theirs, tmp_path / "pieces", max_shard_size="100KB")
    assert len(list(pieces.glob("model-*.safetensors"))) > 2
    assert same(brought(pieces, tmp_path / "run"), theirs)


def test_half_precision_files_are_read(theirs, folder, tmp_path):
    vocabulary_beside(tmp_path / "half")
    from safetensors.torch import save_file

    half = {name: value.bfloat16() if "attn.bias" not in name else value for name, value in state(theirs).items()}
    save_file(half, tmp_path / "half" / "model.safetensors")
    (tmp_path / "half" / "config.json").write_text(json.dumps(theirs.config.to_dict()))
    assert same(brought(tmp_path / "half", tmp_path / "run"), theirs, 0.03)


@pytest.mark.parametrize("pieces, packed, each", [(1, False, 40), (1, False, 3), (3, True, 7)])
def test_openais_tensorflow_files_give_the_same_network_without_tensorflow(theirs, tmp_path, pieces, packed, each):
    vocabulary_beside(tmp_path / "124M")
    arrays = tensorflow(theirs) | {"global_step": np.array(7, np.int64)}
    write_bundle(tmp_path / "124M" / "model.ckpt", arrays, pieces, packed, each)
    (tmp_path / "124M" / "hparams.json").write_text(json.dumps(hparams(theirs)))
    (tmp_path / "124M" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    assert same(brought(tmp_path / "124M", tmp_path / "run"), theirs)
    assert same(brought(tmp_path / "124M" / "model.ckpt", tmp_path / "again"), theirs)


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_nanogpts_checkpoint_gives_the_same_network_its_padding_cut_off(theirs, tmp_path, prefix):
    theirs = small_gpt2(2, 64, 2, 32, activation_function="gelu")
    vocabulary_beside(tmp_path / "out")
    padded = -(-CODEC.size // 64) * 64
    torch.save(nano(theirs, prefix, padded), tmp_path / "out" / "ckpt.pt")
    assert same(brought(tmp_path / "out", tmp_path / "run"), theirs)
    assert brought(tmp_path / "out" / "ckpt.pt", tmp_path / "int8", "int8").network(TOKENS).shape[2] == CODEC.size


def letters_beside(path: Path, table: Any, protocol: int) -> None:
    """nanoGPT's meta.pkl, as its preparation of characters writes it."""
    import pickle

    path.mkdir(exist_ok=True)
    (path / "meta.pkl").write_bytes(pickle.dumps(table, protocol))


@pytest.mark.parametrize("protocol", [2, 4])
def test_nanogpts_characters_come_from_its_meta_file_which_runs_nothing(tmp_path, protocol):
    letters = "\n !abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,.;:'?-3"
    theirs = small_gpt2(2, 64, 2, 32, vocabulary=len(letters), activation_function="gelu")
    numbers = {letter: number for number, letter in enumerate(letters)}
    table = {"vocab_size": len(letters), "itos": {n: letter for letter, n in numbers.items()}, "stoi": numbers}
    letters_beside(tmp_path / "out", table, protocol)
    torch.save(nano(theirs), tmp_path / "out" / "ckpt.pt")
    system = brought(tmp_path / "out", tmp_path / "run")
    text = "To be, or not to be"
    assert system.data.encode(text) == [numbers[letter] for letter in text]
    assert system.data.decode(system.data.encode(text)) == text
    tokens = torch.tensor([system.data.encode(text)])
    with torch.no_grad():
        assert close(system.network(tokens), theirs(tokens).logits) < 1e-5
    with pytest.raises(UserError, match="'é' is none of them"):
        system.data.encode("caf\u00e9")
    letters_beside(tmp_path / "out", {**table, "itos": {0: "a"}}, protocol)
    assert "63 tokens" in refused(tmp_path / "out", tmp_path)
    letters_beside(tmp_path / "out", {"itos": Path("x")}, protocol)
    assert "holds more than tables" in refused(tmp_path / "out", tmp_path)
    (tmp_path / "out" / "meta.pkl").write_bytes(b"\x80\x04]q")
    assert "meta.pkl" in refused(tmp_path / "out", tmp_path, HandmadeError)


def test_a_run_made_of_published_weights_can_be_asked_and_judged(folder, tmp_path):
    from commands import hand

    done = hand("import", "gpt", folder, "--out", tmp_path / "run", "--precision", "int8")
    assert done.code == 0 and "kept in int8, needs" in done.said and "are free" in done.said, done
    done = hand(
        "ask", tmp_path / "run", "score", "--text", "the thin man and the inn", "--json", "--out", tmp_path / "out"
    )
    assert done.code == 0 and set(done.json()) == {"nats_per_token", "tokens", "perplexity"}, done
    done = hand("resume", tmp_path / "run")
    assert done.code == 2 and "weights only" in done.complaint()


# what is wrong


def refused(path: Path, tmp_path: Path, kind: type[HandmadeError] = UserError, precision: str = "float32") -> str:
    """The complaint; nothing is left behind."""
    with pytest.raises(kind) as error:
        brought(path, tmp_path / "refused", precision)
    assert not (tmp_path / "refused").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_that_is_cut_short_is_damaged(copy, tmp_path):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "cut short" in refused(copy, tmp_path, Damaged)
    file.write_bytes(file.read_bytes()[:100])
    assert "not a safetensors file" in refused(copy, tmp_path, Damaged)


def test_a_header_that_lies_is_damaged(copy, tmp_path):
    file = copy / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(struct.pack("<Q", 1 << 60) + raw[8:])
    assert "header claims" in refused(copy, tmp_path, Damaged)
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header["transformer.wte.weight"]["shape"][0] += 1
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    assert "are not a tensor of shape" in refused(copy, tmp_path, Damaged)


def test_a_wrong_shape_and_a_missing_or_strange_tensor_are_named(theirs, copy, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    name = "transformer.h.1.mlp.c_fc.bias"
    for changed, said in (
        ({**weights, name: torch.zeros(7)}, "h.1.mlp.c_fc.bias is (7,), not (256,)"),
        ({key: value for key, value in weights.items() if key != name}, "h.1.mlp.c_fc.bias is missing"),
        ({**weights, "transformer.h.1.cross.weight": torch.zeros(2)}, "h.1.cross.weight"),
        ({**weights, "lm_head.weight": torch.zeros(CODEC.size, 64)}, "not its embedding"),
        ({"a": torch.zeros(2)}, "no tensor is named like its embedding"),
    ):
        save_file(changed, copy / "model.safetensors")
        assert said in refused(copy, tmp_path), changed.keys()


@pytest.mark.parametrize("key, value", [("n_layer", 3), ("n_head", 5), ("activation_function", "relu"),
                                        ("layer_norm_epsilon", 1e-6), ("scale_attn_by_inverse_layer_idx", True)])  # fmt: skip
def test_a_config_that_is_not_plain_gpt2_is_refused(copy, tmp_path, key, value):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, key: value}))
    refused(copy, tmp_path)


def test_a_pickle_that_runs_code_is_refused_before_anything_runs(copy, tmp_path):
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.write_text, (tmp_path / "ran", "boom"))

    (copy / "model.safetensors").unlink()
    torch.save({"wte.weight": Bomb()}, copy / "pytorch_model.bin")
    assert "would run code" in refused(copy, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_vocabulary_that_does_not_fit_the_weights_is_refused(copy, tmp_path):
    from handmade.data.codecs.gpt2 import GPT2

    write_vocabulary(copy, GPT2([*MERGES, (b"o", b"n")]))
    assert f"{CODEC.size:,} tokens" in refused(copy, tmp_path)
    write_vocabulary(copy, GPT2(MERGES[:-1]))
    assert f"{CODEC.size - 1:,}" in refused(copy, tmp_path)


def test_too_little_memory_is_said_before_anything_is_read(copy, tmp_path):
    """The shape of a network with 6.6 TB of weights: the file has holes in place of them."""
    width, layers = 1 << 17, 8
    header: dict[str, Any] = {}
    end = 0

    def add(name: str, *shape: int) -> None:
        nonlocal end
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size

    add("wte.weight", CODEC.size, width)
    add("wpe.weight", 32, width)
    for n in range(layers):
        for name, *shape in (("ln_1.weight", width), ("ln_1.bias", width), ("ln_2.weight", width), ("ln_2.bias", width),
                             ("attn.c_attn.weight", width, 3 * width), ("attn.c_attn.bias", 3 * width),
                             ("attn.c_proj.weight", width, width), ("attn.c_proj.bias", width),
                             ("mlp.c_fc.weight", width, 4 * width), ("mlp.c_fc.bias", 4 * width),
                             ("mlp.c_proj.weight", 4 * width, width), ("mlp.c_proj.bias", width)):  # fmt: skip
            add(f"h.{n}.{name}", *shape)
    add("ln_f.weight", width)
    add("ln_f.bias", width)
    (copy / "config.json").unlink()
    text = json.dumps(header).encode()
    with open(copy / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        try:
            file.truncate(8 + len(text) + end)
        except OSError:
            pytest.skip("this file system keeps no file with holes of this size")
    said = refused(copy, tmp_path)
    assert "GB of memory" in said and "are free" in said and "--precision bf16" in said
    assert "--precision" not in refused(copy, tmp_path, precision="int4")


def test_a_folder_without_weights_says_what_it_looked_for(tmp_path):
    from handmade.errors import DataMissing

    vocabulary_beside(tmp_path / "empty")
    assert "model.safetensors" in refused(tmp_path / "empty", tmp_path, DataMissing)
    assert "no file or folder" in refused(tmp_path / "nowhere", tmp_path)


def test_a_piece_outside_the_folder_is_refused(copy, tmp_path):
    (copy / "model.safetensors").rename(tmp_path / "model.safetensors")
    (copy / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"wte.weight": "../model.safetensors"}})
    )
    assert "names the piece" in refused(copy, tmp_path, Damaged)


# TensorFlow's tables


def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model.ckpt", {"model/wte": np.arange(12, dtype=np.float32).reshape(3, 4),
                                           "model/h0/x": np.ones(3, np.float16)})  # fmt: skip
    return tmp_path / "model.ckpt.index"


def test_a_table_gives_names_shapes_kinds_and_numbers(tmp_path):
    tensors = open_bundle(bundle(tmp_path))
    assert {name: (t.shape, t.dtype) for name, t in tensors.items()} == {
        "model/wte": ((3, 4), torch.float32), "model/h0/x": ((3,), torch.float16)}  # fmt: skip
    assert torch.equal(tensors["model/wte"].read(), torch.arange(12.0).view(3, 4))


def test_a_changed_cut_or_lonely_table_is_damaged(tmp_path):
    index = bundle(tmp_path)
    raw = index.read_bytes()
    for place in (3, len(raw) // 4, len(raw) - 3):
        index.write_bytes(raw[:place] + bytes([raw[place] ^ 64]) + raw[place + 1 :])
        with pytest.raises(Damaged):
            open_bundle(index)
    index.write_bytes(raw[:-20])
    with pytest.raises(Damaged):
        open_bundle(index)
    index.write_bytes(raw)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(Damaged, match="cut short"):
        open_bundle(index)
    data.unlink()
    with pytest.raises(Damaged, match="not beside it"):
        open_bundle(index)


def test_snappy_gives_back_what_was_packed_and_refuses_copies_from_nowhere():
    text = b"the whale, the white whale, the white whale of the sea " * 9
    assert len(literal_snappy(text)) < len(text) and unpack_snappy(literal_snappy(text)) == text
    run = varint(11) + bytes([0 << 2]) + b"a" + bytes([(6 << 2) | 1, 1])  # ten more of the byte before, overlapping
    assert unpack_snappy(run) == b"a" * 11
    for bad in (varint(9) + bytes([0]) + b"a" + bytes([8 << 2 | 2, 5, 0]), varint(1 << 40), varint(5) + b"\x00a"):
        with pytest.raises(ValueError):
            unpack_snappy(bad)
