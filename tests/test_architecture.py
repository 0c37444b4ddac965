"""Who may import whom, what no file may contain, and that adding a room edits nothing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import handmade
from commands import hand
from handmade.plan import Plan

SOURCE = Path(handmade.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(p.parent for p in (SOURCE / "systems").glob("*/recipes.toml"))
LONG_FILE, LONG_FUNCTION = 400, 60


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(SOURCE).as_posix() for path in paths]


@pytest.mark.parametrize("room", ROOMS, ids=ids(ROOMS))
def test_a_room_imports_no_other_room_and_nothing_that_runs_it(room):
    refused = ("engine", "api", "cli", "studio", "registry", "recipe", "data.source", "data.loader", "systems")
    for path in room.glob("*.py"):
        for name in imported(path):
            own = name.startswith(f"handmade.systems.{room.name}")
            assert own or not name.startswith(tuple(f"handmade.{part}" for part in refused)), f"{path}: {name}"


@pytest.mark.parametrize("room", ROOMS, ids=ids(ROOMS))
def test_a_room_has_the_three_files_of_a_room(room):
    for name in ("system.py", "recipes.toml", "README.md"):
        assert (room / name).is_file(), f"{room.name} lacks {name}"


def test_the_engine_names_no_room():
    names = {room.name for room in ROOMS} - {field.name for field in fields(Plan)}  # `clip` also shortens gradients
    for path in [*(SOURCE / "engine").glob("*.py"), SOURCE / "core.py", SOURCE / "api.py"]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Name | ast.Attribute):
                assert (node.id if isinstance(node, ast.Name) else node.attr) not in names, path
        assert not any(name.startswith("handmade.systems.") for name in imported(path)), path


def test_the_import_contracts_hold():
    root = SOURCE.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout, done.stdout


def test_no_file_is_longer_than_can_be_read_in_one_go():
    long = {
        path.relative_to(SOURCE).as_posix(): n
        for path in FILES
        if (n := len(path.read_text().splitlines())) > LONG_FILE
    }
    assert not long


def test_no_function_is_longer_than_a_screen():
    long = {}
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONG_FUNCTION:
                    long[f"{path.relative_to(SOURCE).as_posix()}:{node.name}"] = length
    assert not long


def test_no_module_is_a_drawer_for_odds_and_ends():
    assert not [path for path in FILES if path.stem in {"utils", "util", "helpers", "helper", "common", "misc"}]


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_nothing_is_pickled_evaluated_or_handed_to_a_shell(path):
    assert not imported(path) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.save"}, (
                called
            )
            for keyword in node.keywords:
                assert not (keyword.arg == "shell" and ast.unparse(keyword.value) != "False"), called
                assert not (keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"), called
            if called.endswith("torch.load"):
                assert "weights_only=True" in ast.unparse(node)
            if called.endswith((".load", "np.load")) and called.startswith(("np.", "numpy.")):
                assert any(k.arg == "allow_pickle" for k in node.keywords), f"{path}: {called}"


def test_pickles_from_outside_are_read_by_the_restricted_reader_only():
    text = (SOURCE / "engine" / "foreign.py").read_text()
    assert re.search(r"torch\.load\([^)]*weights_only=True\)", text)
    others = [path for path in FILES if "torch.load" in path.read_text() and path.name != "foreign.py"]
    assert not others


@pytest.mark.parametrize("path", FILES, ids=ids(FILES))
def test_no_error_is_swallowed_and_no_user_is_asserted_or_printed_at(path):
    talks = "cli" in path.relative_to(SOURCE).parts
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts"
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            silent = all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
            assert not (broad and silent), f"{path}:{node.lineno} swallows every error"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            assert talks, f"{path}:{node.lineno} prints"


def test_every_public_function_and_class_says_what_it_does():
    silent = []
    for path in FILES:
        module = tree(path)
        if path.name != "__init__.py":
            assert ast.get_docstring(module), f"{path} has no docstring"
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                nested = isinstance(node, ast.FunctionDef) and not _reachable(module, node)
                if not nested and not ast.get_docstring(node):
                    silent.append(f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}")
    assert not silent


def _reachable(module: ast.Module, wanted: ast.AST) -> bool:
    """Whether a definition is at the top of its module or in a class there."""
    for node in module.body:
        if node is wanted or (isinstance(node, ast.ClassDef) and wanted in node.body and not node.name.startswith("_")):
            return True
    return False


QUICK = {
    "import": "import handmade",
    "list": "from handmade.cli.main import main; main(['list'])",
    "list --json": "from handmade.cli.main import main; main(['list', '--json'])",
    "show": "from handmade.cli.main import main; main(['show', 'dcgan/smoke'])",
    "doctor": "from handmade.cli.main import main; main(['doctor'])",
    "data list": "from handmade.cli.main import main; main(['data', 'list'])",
    "a mistake": "from handmade.cli.main import main; assert main(['train', 'dcgan/smoke', '--config.widht', '3']) == 2",
    "--help": "from handmade.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    "train --help": "from handmade.cli.main import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
}
WATCH = """
import sys
def watch(event, arguments):
    if event.startswith("socket."):
        raise SystemExit(f"opened a socket: {event} {arguments}")
sys.addaudithook(watch)
"""
HEAVY = ("torch", "numpy", "PIL", "handmade.api", "handmade.core", "safetensors", "resvg_py", "dicebear")


@pytest.mark.parametrize("code", QUICK.values(), ids=QUICK)
def test_quick_words_load_no_torch_and_open_no_socket(code):
    tell = f"\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", WATCH + code + tell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(done.stderr.split()) & set(HEAVY), done.stderr


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, "passive 10000"),
        ({"GOMP_SPINCOUNT": "0"}, "passive 0"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
    ],
)
def test_waiting_threads_are_told_to_sleep_before_torch_is_loaded(own, told):
    code = "import os, handmade; print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'))"
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env={**environment, **own}, capture_output=True, text=True)
    assert done.stdout.strip() == told, done.stderr


ROOM = '''
"""A room from a test."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import mse_loss

from handmade.artifacts import Points
from handmade.core import Score, System, Turn, ask


@dataclass(frozen=True)
class Config:
    """Settings."""

    width: int = 8  # how wide it is


class Added(System):
    """Learns y from x."""

    def __init__(self, config, data):
        super().__init__(config, data)
        self.net = nn.Sequential(nn.Linear(1, config.width), nn.Tanh(), nn.Linear(config.width, 1))

    def optimizers(self):
        return {"net": torch.optim.Adam(self.net.parameters(), 1e-2)}

    def objective(self, batch):
        x, y = self.data.encode(batch).split(1, 1)
        yield Turn("net", mse_loss(self.net(x), y))

    def evaluate(self, held_out, judge=None):
        x, y = self.data.encode(held_out).split(1, 1)
        return {"error": Score(float(mse_loss(self.net(x), y)), "squared error")}

    @ask
    def curve(self, n: int = 8) -> Points:
        """Show the curve.

        n: how many points
        """
        x = torch.linspace(-1, 1, n)[:, None]
        return Points(self.data.decode(torch.cat([x, self.net(x)], 1)), self.data.formula, self.data.low, self.data.high)
'''
RECIPES = """
[system]
title = "Added"
class = "system:Added"
makes = "points"
story = "It was not there a moment ago."

[recipe.smoke]
data    = { source = "shapes", curve = "sine", n = 128 }
train   = { steps = 20, batch = 16, precision = "float32", threads = 1 }
preview = { ask = "curve" }
"""


def test_a_room_in_a_folder_of_yours_is_listed_shown_trained_and_asked(tmp_path):
    room = tmp_path / "mine" / "added"
    room.mkdir(parents=True)
    (room / "system.py").write_text(ROOM)
    (room / "recipes.toml").write_text(RECIPES)
    before = {path: path.stat().st_mtime_ns for path in SOURCE.rglob("*.py")}
    place = {"HANDMADE_ROOMS": str(room.parent), "HANDMADE_RUNS": str(tmp_path / "runs")}
    listed = {entry["name"]: entry for entry in hand("list", "--json", **place).json()["rooms"]}
    assert listed["added"]["asks"] == {"curve": "Show the curve."}
    assert "how wide it is" in hand("show", "added", **place).out
    done = hand("train", "added/smoke", "--json", **place)
    assert done.code == 0 and done.json()["step"] == 20, done
    done = hand("ask", "latest", "curve", "--n", 5, "--out", tmp_path / "made", "--json", **place)
    assert done.code == 0 and {Path(p).name for p in done.json()["files"]} >= {"points.csv", "sheet.png"}, done
    assert before == {path: path.stat().st_mtime_ns for path in SOURCE.rglob("*.py")}


def test_new_makes_a_room_that_trains_as_it_is(tmp_path):
    place = {"HANDMADE_HOME": str(tmp_path / "home"), "HANDMADE_RUNS": str(tmp_path / "runs")}
    done = hand("new", "my_gan", **place)
    assert done.code == 0 and done.out.splitlines()[1] == "handmade train my_gan/smoke", done
    room = tmp_path / "home" / "rooms" / "my_gan"
    assert sorted(p.name for p in room.iterdir()) == ["README.md", "recipes.toml", "system.py"]
    assert tomllib.loads((room / "recipes.toml").read_text())["system"]["title"] == "my_gan"
    done = hand("train", "my_gan/smoke", "--train.steps", 30, "--json", **place)
    assert done.code == 0 and json.loads(done.out)["step"] == 30, done
    assert hand("new", "my_gan", **place).code == 2
