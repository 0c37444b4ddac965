"""The contract that every room meets, over the registry: a room that is new is tested by being there.

Toy rooms stand beside the real ones: a game with BatchNorm, one player, five moves to one, a stream with a memory.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from commands import TOYS, differing, flags, hand
from handmade import api
from handmade.artifacts import Artifact
from handmade.cli.main import main
from handmade.core import System, Turn, asks_of
from handmade.data.loader import Loader
from handmade.data.source import check_data, open_data
from handmade.engine import checkpoint
from handmade.engine.devices import World, cut
from handmade.engine.run import Run
from handmade.engine.turns import Player, Table, players_of
from handmade.errors import DataMissing, HandmadeError
from handmade.recipe import Recipe, load_recipe
from handmade.registry import PACKAGE, find_room, rooms, system_class

ROOMS = sorted(path.parent.name for path in (PACKAGE / "systems").glob("*/recipes.toml"))
EVERY = [*ROOMS, *TOYS]
train_seconds: dict[str, float] = {}  # of processor time that a smoke run took
PLAIN = {"train.precision": "float32", "train.channels_last": "false", "train.threads": "1"}

every_room = pytest.mark.parametrize("name", EVERY)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def small(name: str, **changed: Any) -> dict[str, str]:
    """Overrides that make a smoke recipe tiny, and its computing always the same."""
    room = find_room(name)
    settings = {**PLAIN, "train.batch": "8", "train.score_items": "32", "train.warmup": "0.0", "train.log_every": "1"}
    if "dropout" in room.fields:
        settings["config.dropout"] = "0.0"  # drawn apart in every process
    if "group" in room.fields:
        settings["config.group"] = "2"  # items that are compared with each other stay in one part
    if "n" in room.recipes["smoke"].get("preview", {}):
        settings["preview.n"] = "2"
    return {**settings, **{key.replace("__", "."): str(value) for key, value in changed.items()}}


@cache
def built(name: str) -> tuple[Recipe, Any, Any]:
    """The tiny recipe of a room, its data and their spec."""
    recipe = load_recipe(f"{name}/smoke", small(name))
    return recipe, *data_of(recipe)


def data_of(recipe: Recipe) -> Any:
    try:
        return open_data(recipe.data)
    except DataMissing as error:
        pytest.skip(str(error))


def fresh(name: str) -> tuple[System, Loader]:
    """An untrained system of a room and its tiny batches."""
    recipe, dataset, spec = built(name)
    torch.manual_seed(0)
    system = api.build(recipe, spec)
    system.train()
    return system, Loader(dataset, recipe.train.batch)


class Watched(Table):
    """Remembers of every move who made it, and which parameters of the system it changed."""

    def __init__(self, system: System):
        super().__init__(system, players_of(system), World())
        self.moves: list[tuple[str, set[str]]] = []

    def _move(self, player: Player) -> None:
        before = {name: value.detach().clone() for name, value in self.system.named_parameters()}
        super()._move(player)
        changed = {name for name, value in self.system.named_parameters() if not torch.equal(before[name], value)}
        self.moves.append((player.name, changed))


def turns(table: Table, loader: Loader, steps: int) -> Iterator[Turn]:
    """Play, and yield every turn."""
    stream = iter(table.system.stream(loader))
    for step in range(steps):
        yield from table.play([next(stream)], seed=step)
        table.system.step += 1


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The smoke run of a room, trained once, as a user would train it."""
    folder = tmp_path_factory.mktemp("smoke")

    @cache
    def train(name: str) -> Run:
        data_of(load_recipe(f"{name}/smoke"))
        threads, before = torch.get_num_threads(), time.process_time()
        torch.set_num_threads(2)
        try:
            run = api.train(f"{name}/smoke", out=folder / name)
        finally:
            torch.set_num_threads(threads)
        train_seconds[name] = time.process_time() - before
        return run

    return train


# what a room says of itself


def test_every_room_of_the_package_is_found():
    assert set(EVERY) <= set(rooms())


@every_room
def test_every_recipe_is_valid(name):
    room = find_room(name)
    assert "smoke" in room.recipes, "a room shows that it works in under a minute"
    for key in ("title", "class", "makes", "story"):
        assert room.system.get(key), f"[system] of {name} lacks {key}"
    kind = system_class(room)
    config_kind = sys.modules[kind.__module__].Config
    assert {field.name for field in fields(config_kind)} == set(room.fields)
    for recipe_name in room.recipes:
        recipe = load_recipe(f"{name}/{recipe_name}")
        check_data(recipe.data)
        api.build_config(config_kind, recipe.config, recipe.name)
        asks = asks_of(kind)
        arguments = {key: value for key, value in recipe.preview.items() if key != "ask"}
        assert recipe.preview.get("ask") in asks, recipe.name
        asks[recipe.preview["ask"]].check(arguments)
        if recipe.judge:
            judge = recipe.judge.removeprefix("zoo:")
            assert judge.split("/")[1] in find_room(judge.split("/")[0]).recipes, recipe.judge
        assert recipe.train.batch % recipe.train.accumulate == 0


@every_room
def test_every_setting_has_a_line_of_help(name):
    for field, about in find_room(name).fields.items():
        assert about.help, f"Config.{field} of {name} needs a comment that says what it is"


@every_room
def test_averages_are_of_networks_that_are_there(name):
    _, _, spec = built(name)
    for recipe_name in find_room(name).recipes:
        recipe = load_recipe(f"{name}/{recipe_name}")
        try:
            system = api.build(recipe, spec)
        except HandmadeError:  # a recipe for data of another size
            system = api.build(built(name)[0], spec)
        assert set(recipe.train.ema) <= dict(system.named_children()).keys(), recipe.name


# the game


@every_room
def test_every_turn_names_a_player_and_every_player_gets_a_turn(name):
    system, loader = fresh(name)
    players = set(system.optimizers())
    seen = {turn.player for turn in turns(Watched(system), loader, 10)}
    assert seen == players


@every_room
def test_no_parameter_has_two_players(name):
    system, _ = fresh(name)
    names = {id(parameter): key for key, parameter in system.named_parameters()}
    owner: dict[int, str] = {}
    for player in players_of(system).values():
        for parameter in player.parameters:
            assert id(parameter) in names, f"{player.name} moves a tensor that is no parameter of the system"
            assert id(parameter) not in owner, f"{names[id(parameter)]}: {owner[id(parameter)]} and {player.name}"
            owner[id(parameter)] = player.name


@every_room
def test_a_turn_changes_its_players_parameters_and_no_others(name):
    system, loader = fresh(name)
    names = {id(parameter): key for key, parameter in system.named_parameters()}
    own = {p.name: {names[id(parameter)] for parameter in p.parameters} for p in players_of(system).values()}
    table = Watched(system)
    told = [turn.player for turn in turns(table, loader, 6)]
    assert told == [player for player, _ in table.moves]
    for player, changed in table.moves:
        assert changed, f"{player} has not moved"
        assert changed <= own[player], f"{player} moved {sorted(changed - own[player])[:3]}"


@every_room
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_losses_are_finite_float32_scalars(name, precision):
    from handmade.engine.devices import prepare

    system, loader = fresh(name)
    prepare(system, World(), precision, False)
    for turn in turns(Watched(system), loader, 6):
        assert turn.loss.shape == () and turn.loss.dtype == torch.float32 and turn.loss.isfinite()
        for key, value in turn.log.items():
            assert torch.as_tensor(value).numel() == 1 and torch.as_tensor(value).isfinite().all(), key


@every_room
def test_accumulation_agrees_with_one_batch(name):
    """Exactly the same, but for BatchNorm, whose statistics are those of a part: there the contract excepts it."""
    system, loader = fresh(name)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in system.modules()):
        pytest.skip("BatchNorm sees the parts, not the whole: documented")
    batches = list(itertools.islice(system.stream(loader), 6))
    results = []
    for parts in (1, 2, 4):
        twin, _ = fresh(name)
        table = Table(twin, players_of(twin), World())
        played = []
        for step, batch in enumerate(batches):
            played += [turn.loss.item() for turn in table.play([cut(batch, k, parts) for k in range(parts)], seed=step)]
            twin.step += 1
        results.append(played)
    for played in results[1:]:
        assert played == pytest.approx(results[0], rel=1e-4, abs=1e-5)


# training


@every_room
def test_the_smoke_recipe_improves_its_yardstick_in_under_a_minute(name, trained):
    run = trained(name)
    scores = [next(iter(event["scores"].values())) for event in run.events("score")]
    untrained, best = scores[0], scores[-1]
    better = 1 if best["better"] == "higher" else -1
    assert better * (best["value"] - untrained["value"]) > 0, f"{untrained['value']} -> {best['value']}"
    assert train_seconds[name] < 2 * 60, "two processors for a minute, however many others want them"


@every_room
def test_a_score_says_what_it_measures(name, trained):
    for key, score in list(trained(name).events("score"))[-1]["scores"].items():
        assert score["about"], key
        if score["low"] is not None:
            assert score["low"] <= score["value"] <= score["high"], key


KILL = """
import json, os, sys
from handmade import api
name, out, overrides = json.loads(sys.argv[1])
def kill(event):
    if event["kind"] == "step" and event["step"] == 9:
        os.kill(os.getpid(), 9)
api.train(name, out=out, overrides=overrides, observers=[kill])
"""


@every_room
def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bytes(name, tmp_path):
    """Trained 12 steps in this process; killed in the 10th and resumed, in two fresh ones."""
    overrides = small(name, train__steps=12, train__save_every=6, train__score_every=6, train__sample_every=6)
    built(name)
    whole = api.train(f"{name}/smoke", out=tmp_path / "whole", overrides=overrides)
    words = json.dumps([f"{name}/smoke", str(tmp_path / "cut"), overrides])
    killed = subprocess.run([sys.executable, "-c", KILL, words], capture_output=True, text=True, check=False)
    assert killed.returncode == -SIGKILL, killed.stderr
    assert checkpoint.steps(tmp_path / "cut" / "checkpoints") == [6]
    done = hand("resume", tmp_path / "cut")
    assert done.code == 0, done
    for step in ("000006", "000012"):
        assert not differing(whole.checkpoints / step, tmp_path / "cut" / "checkpoints" / step)


@pytest.mark.parametrize("name", ROOMS)
def test_one_and_two_processes_agree(name, tmp_path):
    overrides = small(name, train__steps=10)
    built(name)
    one = api.train(f"{name}/smoke", out=tmp_path / "one", overrides=overrides)
    done = hand("train", f"{name}/smoke", "--devices", 2, "--out", tmp_path / "two", *flags(overrides))
    assert done.code == 0, done
    losses = [[(e["step"], e["losses"]) for e in run.events("step")] for run in (one, Run(tmp_path / "two"))]
    assert len(losses[0]) == len(losses[1]) == 10
    for (_, left), (step, right) in zip(*losses, strict=True):
        assert right == pytest.approx(left, rel=1e-3, abs=1e-4), f"step {step}"


# what a run leaves behind


@every_room
def test_checkpoints_are_safetensors_and_nothing_in_a_run_is_a_pickle(name, trained):
    run = trained(name)
    path, _ = run.good_checkpoint()
    for file in path.rglob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            assert list(tensors.keys())
    for file in (p for p in run.folder.rglob("*") if p.is_file()):
        assert file.suffix not in {".pt", ".pth", ".pkl", ".bin", ".ckpt", ".npy"}, file
        assert file.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), file


@every_room
def test_averaged_weights_are_what_generates(name, trained):
    run = trained(name)
    recipe = load_recipe(f"{name}/smoke")
    loaded = api.load(run)
    path = run.checkpoints / f"{loaded.step:06d}"
    averages, weights, state = checkpoint.read(path, "ema"), checkpoint.read(path, "weights"), loaded.state_dict()
    assert bool(averages) == bool(recipe.train.ema)
    assert {key.split(".")[0] for key in averages} == set(recipe.train.ema)
    for key, value in weights.items():
        assert torch.equal(state[key], averages.get(key, value)), key
    assert not loaded.training


@every_room
def test_a_run_can_be_used_without_its_data(name, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "nothing here"))
    monkeypatch.setattr("handmade.api.open_data", lambda *_, **__: pytest.fail("the data were opened"))
    assert api.load(trained(name)).origin


# asks


FEW = {"n": 3, "steps": 4, "stops": 2, "seconds": 3, "max_tokens": 12}


def arguments_for(ask: Any, folder: Path) -> dict[str, Any]:
    """Few of everything; a picture where an ask wants a file."""
    chosen: dict[str, Any] = {}
    for parameter in ask.parameters:
        if parameter.name in FEW:
            chosen[parameter.name] = FEW[parameter.name]
        elif parameter.kind is Path and parameter.default != Path():  # else a file in place of a text
            folder.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "picture.png")
            chosen[parameter.name] = str(folder / "picture.png")
    return chosen


@every_room
def test_every_ask_is_documented_typed_and_defaulted(name):
    room = find_room(name)
    kind = system_class(room)
    forms = asks_of(kind)
    assert forms and forms.keys() == room.asks.keys(), "what `handmade show` reads from the source is what there is"
    for ask in forms.values():
        assert ask.summary.endswith((".", "?")) and room.asks[ask.name] == ask.summary
        for parameter in ask.parameters:
            assert parameter.help and parameter.kind in (int, float, bool, str, Path)
            assert parameter.check(parameter.default) == parameter.default, "a default must be allowed"


@every_room
def test_every_ask_builds_a_command_line(name, trained, capsys):
    run = trained(name)
    capsys.readouterr()
    for ask in asks_of(system_class(find_room(name))).values():
        assert main(["ask", str(run.folder), ask.name, "--help"]) == 0
        told = capsys.readouterr().out
        for parameter in ask.parameters:
            assert f"--{parameter.name.replace('_', '-')}" in told, told
        assert main(["ask", str(run.folder), ask.name, "--no-such-flag", "1"]) == 2
        assert "no-such-flag" in capsys.readouterr().err


@every_room
def test_the_same_arguments_give_the_same_artifact_and_training_mode_is_left_alone(name, trained, tmp_path):
    system: Any = api.load(trained(name))
    for ask in asks_of(system).values():
        chosen = arguments_for(ask, tmp_path)
        first, second = (getattr(system, ask.name)(**chosen) for _ in range(2))
        assert isinstance(first, Artifact)
        assert dict(first.items()) == dict(second.items())
        system.train()
        in_training = getattr(system, ask.name)(**chosen)
        assert system.training and dict(in_training.items()) == dict(first.items()), "an ask depends on the mode"
        system.eval()
        seeds = [parameter for parameter in ask.parameters if parameter.name == "seed"]
        if seeds:
            other = getattr(system, ask.name)(**{**chosen, "seed": 12345})
            assert dict(other.items()) != dict(first.items()), "another seed must give something else"


@every_room
def test_artifacts_are_saved_opened_again_and_recreated_to_the_byte(name, trained, tmp_path, capsys):
    run = trained(name)
    for ask in asks_of(system_class(find_room(name))).values():
        chosen = arguments_for(ask, tmp_path / "given")
        out = tmp_path / ask.name
        assert main(["ask", str(run.folder), ask.name, *flags(chosen), "--out", str(out), "--json"]) == 0, (
            capsys.readouterr()
        )
        told = json.loads(capsys.readouterr().out)  # a table tells its values
        saved = told["files"] if "files" in told else sorted(out.iterdir(), key=lambda file: file.name == "sheet.png")
        files = [Path(file) for file in saved]
        assert files and files[-1].name == "sheet.png"
        for file in files:
            if file.suffix == ".png":
                with Image.open(file) as picture:
                    picture.load()
        shown = [file for file in files if file.suffix != ".json"]
        for file in (shown[0], shown[-1]):
            assert main(["recreate", str(file), "--out", str(tmp_path / "again")]) == 0, capsys.readouterr()
            assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
        capsys.readouterr()


@every_room
def test_artifacts_show_themselves_in_a_terminal(name, trained, tmp_path):
    system: Any = api.load(trained(name))
    for ask in asks_of(system).values():
        artifact = getattr(system, ask.name)(**arguments_for(ask, tmp_path))
        for colour in (False, True):
            assert artifact.text(60, colour).strip()


# odd sizes


def works_or_says_why(name: str, overrides: dict[str, str], out: Path) -> str:
    """Train three steps; return what our error said, or nothing where it worked."""
    try:
        run = api.train(f"{name}/smoke", out=out, overrides=overrides)
    except HandmadeError as error:
        assert len(str(error).splitlines()) == 1
        return str(error)
    assert run.marked("latest") == 3
    return ""


@every_room
def test_a_batch_of_three_works(name, tmp_path):
    built(name)
    overrides = small(name, train__steps=3, train__batch=3, train__accumulate=1)
    assert works_or_says_why(name, overrides, tmp_path / "run") == ""


@every_room
def test_prime_widths_work(name, tmp_path):
    wide = [field for field in find_room(name).fields if field in ("width", "latent", "hidden", "channels")]
    assert wide, "every room has a width"
    overrides = small(name, train__steps=3, **{f"config__{field}": 13 for field in wide})
    built(name)
    assert works_or_says_why(name, overrides, tmp_path / "run") == ""


@every_room
def test_either_side_of_a_switch_trains_and_is_saved(name, tmp_path):
    fields_of = find_room(name).fields
    switches = [field for field, about in fields_of.items() if about.kind == "bool"]
    if not switches:
        pytest.skip("no switches")
    built(name)
    for field in switches:
        other = "false" if fields_of[field].default == "True" else "true"
        overrides = small(name, train__steps=3, **{f"config__{field}": other})
        assert works_or_says_why(name, overrides, tmp_path / field) == ""


@every_room
def test_other_channels_and_sizes_work_or_are_refused_in_one_line(name, tmp_path):
    recipe, _, spec = built(name)
    options = check_data(recipe.data)
    if "channels" not in options:
        pytest.skip("no pictures")
    few = {key: 200 for key in ("n", "held_out") if key in options}
    for index, changed in enumerate(({"channels": 4 - spec.channels}, {"size": 17}, {"size": 32})):
        data = {f"data__{key}": value for key, value in {**few, **changed}.items()}
        said = works_or_says_why(name, small(name, train__steps=3, **data), tmp_path / str(index))
        assert not said or "size" in changed, said


@every_room
def test_a_data_set_smaller_than_a_batch_works(name, tmp_path):
    recipe, _, _ = built(name)
    if "n" not in check_data(recipe.data):
        pytest.skip("its size is given")
    overrides = small(name, train__steps=3, data__n=5)
    assert works_or_says_why(name, overrides, tmp_path / "run") == ""


def test_a_frozen_config_cannot_be_changed():
    for name in EVERY:
        recipe, _, _ = built(name)
        config = api.build_config(sys.modules[system_class(recipe.room).__module__].Config, recipe.config, name)
        with pytest.raises(AttributeError):
            setattr(config, fields(config)[0].name, 0)
        assert replace(config) == config
