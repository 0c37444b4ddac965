"""GPT-2 with 124 million weights, one prompt: tokens per second against transformers, and what 1558 million take in memory.

The weights are random (speed and memory do not depend on them), in a Hugging Face folder written here; every run is made by
`handmade import` and measured in a process of its own. What fewer bits cost in quality is measured on a trained network.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import figure, paired, record
from benchmarks.workers import Contestant, rounds

PROMPT, NEW, ROUNDS = 16, 48, 7
THREADS = None  # torch's choice
PRECISIONS = ("float32", "bf16", "int8", "int4")
GOALS = {"float32": 1.1, "bf16": 1.3, "int8": 3.0, "int4": None}  # times transformers in float32
MEMORY = {"float32": 7.0, "bf16": 3.6, "int8": 2.2, "int4": None}  # GB for 1558 million weights
SIZES = {"124M": (12, 768, 12), "1558M": (48, 1600, 25)}
TRAINED = "zoo:gpt/austen"


def main() -> None:
    """Take turns, then measure memory, then quality."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        figures = _speed(folder)
        rows: list[dict[str, Any]] = [figures.pop("rows")]
        for precision in PRECISIONS:
            rows.append(_memory(folder, precision))
            if (most := MEMORY[precision]) is not None:
                largest = rows[-1]["GB"]
                figures[f"memory_{precision}"] = figure(
                    largest, f"under {most} GB", largest < most,
                    f"GB at most while importing GPT-2's 1558M shape in {precision}, loading it and writing 48 tokens",
                )  # fmt: skip
        figures |= _quality()
    record("words_generation", rows, **figures)


def publish(folder: Path, size: str) -> Path:
    """A Hugging Face folder of a published size with random weights, written one tensor at a time."""
    import torch

    from handmade.engine.tensors import write_tensors
    from handmade.weights import Stored

    layers, width, heads = SIZES[size]
    shapes = {"wte.weight": (50257, width), "wpe.weight": (1024, width), "ln_f.weight": (width,), "ln_f.bias": (width,)}
    for n in range(layers):
        for part, *shape in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                             ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width)):  # fmt: skip
            shapes |= {f"h.{n}.{part}.weight": tuple(shape), f"h.{n}.{part}.bias": tuple(shape[1:])}
        shapes |= {f"h.{n}.ln_{k}.{end}": (width,) for k in (1, 2) for end in ("weight", "bias")}

    def drawn(name: str, shape: tuple[int, ...]) -> Callable[[], torch.Tensor]:
        return lambda: torch.ones(shape) if "ln" in name and "weight" in name else torch.randn(shape) * 0.02

    where = folder / f"published-{size}"
    where.mkdir()
    tensors = {
        f"transformer.{name}": Stored(shape, torch.float32, drawn(name, shape)) for name, shape in shapes.items()
    }
    write_tensors(where / "model.safetensors", tensors)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": layers, "n_embd": width, "n_head": heads,
              "n_positions": 1024, "vocab_size": 50257, "activation_function": "gelu_new"}  # fmt: skip
    (where / "config.json").write_text(json.dumps(config))
    return where


def _speed(folder: Path) -> dict[str, Any]:
    published = publish(folder, "124M")
    contestants = {"transformers": Contestant("words_generation:theirs", folder=str(published), threads=THREADS)}
    for precision in PRECISIONS:
        run = folder / f"run-{precision}"
        _hand("import", "gpt", published, "--precision", precision, "--out", run)
        contestants[precision] = Contestant("words_generation:ours", run=str(run), threads=THREADS)
    contestants["no cache"] = Contestant(
        "words_generation:without_cache", run=str(folder / "run-float32"), threads=THREADS
    )
    times = rounds(contestants, ROUNDS, 1)
    for contestant in contestants.values():
        contestant.close()
    figures: dict[str, Any] = {"rows": {name: {"about": contestants[name].about, "seconds": seconds,
                                               "tokens_per_s": round(NEW / sorted(seconds)[len(seconds) // 2], 1)}
                                        for name, seconds in times.items()}}  # fmt: skip
    for precision in PRECISIONS:
        speed, goal = paired(times[precision], times["transformers"]), GOALS[precision]
        about = (
            f"GPT-2 124M in {precision}: {PROMPT} tokens read, {NEW} written, times transformers' float32 `generate`"
        )
        figures[precision] = (
            figure(speed["ratio"], f"at least {goal}", speed["ratio"] >= goal, about, **speed) if goal else speed
        )
    loop = paired(times["int8"], times["no cache"])
    figures["loop"] = figure(loop["ratio"], "at least 7", loop["ratio"] >= 7, "... in int8, times a float32 loop without cache",
                             **loop)  # fmt: skip
    return figures


def _hand(*words: Any) -> None:
    subprocess.run([sys.executable, "-m", "handmade", *map(str, words)], check=True, capture_output=True)


def _tokens() -> Any:
    import torch

    return torch.randint(50257, (1, PROMPT), generator=torch.Generator().manual_seed(0))


def theirs(folder: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """transformers, float32, greedy, with its cache."""
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None
    tokens = _tokens()
    mask = torch.ones_like(tokens)
    return lambda: model.generate(tokens, attention_mask=mask, max_new_tokens=NEW, do_sample=False), _about(
        "float32", threads
    )


def ours(run: str, threads: int | None = None) -> tuple[Callable[[], Any], str]:
    """The imported run, as its asks write."""
    import torch

    from handmade import api
    from handmade.samplers.tokens import Taste, fortunes

    system: Any = api.load(run)
    writing = sys.modules["handmade.systems.gpt.writing"]

    @torch.no_grad()
    def step() -> None:
        text = writing.continued(system.network, _tokens().tolist(), Taste(0.0), fortunes(1, 0), 1, NEW)
        for _ in range(NEW):
            next(text)

    return step, _about(system.config.kept, threads)


def without_cache(run: str, threads: int | None) -> tuple[Callable[[], Any], str]:
    """The book's loop: the whole text is read again for every token."""
    import torch

    from handmade import api

    network: Any = api.load(run).network

    @torch.no_grad()
    def step() -> None:
        tokens = _tokens()
        for _ in range(NEW):
            tokens = torch.cat([tokens, network(tokens)[:, -1].argmax(-1, keepdim=True)], 1)

    return step, _about("float32", threads)


def _about(precision: str, threads: int | None) -> str:
    import torch

    if threads:
        torch.set_num_threads(threads)
    return f"{precision}, {torch.get_num_threads()} threads"


def _memory(folder: Path, precision: str) -> dict[str, Any]:
    """GB at most, of importing the 1558M shape and of using it, each in a process of its own."""
    published = folder / "published-1558M"
    if not published.exists():
        publish(folder, "1558M")
    run = folder / "large"
    peaks = [_peak("words_generation:_import", str(published), str(run), precision),
             _peak("words_generation:_use", str(run))]  # fmt: skip
    subprocess.run(["rm", "-r", str(run)], check=True)
    return {"precision": precision, "import_GB": peaks[0], "use_GB": peaks[1], "GB": max(peaks)}


def _peak(task: str, *words: str) -> float:
    done = subprocess.run([sys.executable, "-m", "benchmarks.words_generation", task.split(":")[1], *words],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return round(float(done.stdout.splitlines()[-1]) / 1e9, 3)


def _import(published: str, run: str, precision: str) -> None:
    from handmade import api

    api.import_weights("gpt", Path(published), out=run, precision=precision)


def _use(run: str) -> None:
    step, _ = ours(run)
    step()


def _quality() -> dict[str, Any]:
    """Perplexity of a trained network on held-out text, in each precision, against float32."""
    import torch

    from handmade import api
    from handmade.networks.quantised import shrink
    from handmade.recipe import read_recipe

    try:
        run = api.find_run(TRAINED)
    except api.UserError:
        return {}
    held = api.held_out(read_recipe(run.folder / "recipe.toml"), 200)
    found: dict[str, float] = {}
    for precision in PRECISIONS:
        system: Any = api.load(run)
        if precision != "float32":
            shrink(system.network, precision)
        with torch.no_grad():
            found[precision] = float(torch.tensor(system.evaluate(held)["nats"].value).exp())
    worse = {p: round(100 * (found[p] / found["float32"] - 1), 3) for p in PRECISIONS[1:]}
    about = f"% more perplexity of {TRAINED} in int8 on held-out text ({found['float32']:.2f} in float32)"
    return {"quality": figure(worse["int8"], "at most 1.5 %", worse["int8"] <= 1.5, about), "quality_all": worse}


if __name__ == "__main__":
    {"_import": _import, "_use": _use}[sys.argv[1]](*sys.argv[2:])
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
