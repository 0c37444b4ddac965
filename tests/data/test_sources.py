from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from handmade.data import sources as shelf
from handmade.data.source import check_data, find_source, for_path, open_data, prepare, sources
from handmade.data.specs import spec_from_json, spec_to_json
from handmade.errors import DataMissing, HandmadeError, UserError

GENERATOR = torch.Generator()


def everything(dataset) -> torch.Tensor:
    return dataset.batch(torch.arange(len(dataset)), GENERATOR)


def test_naming_and_checking_data_loads_neither_torch_nor_numpy():
    code = (
        "import sys; from handmade.data.source import check_data, sources\n"
        "check_data({'source': 'faces', 'size': 32}); check_data({'path': '.'}); names = sorted(sources())\n"
        "assert {'clothes', 'digits', 'faces', 'numbers', 'shapes'} <= set(names), names\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_source_is_added_by_adding_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ones_added.py").write_text(
        "from __future__ import annotations\n"
        "from handmade.data.source import Dataset, DataSource, Rows, Wanted\n"
        "from handmade.data.specs import NumbersSpec\n"
        "def ones_added(wanted: Wanted, n: int = 4) -> tuple[Dataset, NumbersSpec]:\n"
        '    """Ones.\n\n    n: how many\n    """\n'
        "    import torch\n"
        "    return Rows(torch.ones(n, 3, dtype=torch.int64), 'ones'), NumbersSpec(3, 2, (1,))\n"
        "SOURCE = DataSource('ones_added', 'Ones', 'none', '', 'tiny', 'numbers', ones_added)\n"
    )
    monkeypatch.setattr(shelf, "__path__", [*shelf.__path__, str(tmp_path)])
    dataset, spec = open_data({"source": "ones_added", "n": 7})
    assert len(dataset) == 7
    assert spec.members == (1,)


def test_every_source_says_what_it_is_and_documents_its_options():
    for name, source in sources().items():
        assert source.name == name
        assert source.title
        assert source.licence
        assert source.note
        assert all(parameter.help for parameter in source.options.parameters)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "face"}, 'did you mean "faces"'),
        ({"source": "faces", "sise": 3}, 'did you mean "size"'),
        ({"source": "faces", "size": "big"}, "size must be a whole number"),
        ({"source": "faces", "size": 4}, "between 16 and 256"),
        ({"source": "faces", "channels": 2}, "channels cannot be 2"),
        ({"source": "shapes", "curve": "sinus"}, 'did you mean "sine"'),
        ({}, "names no"),
        ({"source": "faces", "path": "."}, "keep one of them"),
        ({"path": ".", "n": 3}, 'no setting "n"'),
    ],
)
def test_a_wrong_word_or_value_is_named_with_what_is_allowed(data: dict, message: str):
    with pytest.raises(UserError, match=message):
        check_data(data)


def test_an_unknown_split_is_the_users_mistake():
    with pytest.raises(UserError, match='did you mean "train"'):
        find_source("numbers").open("trian")  # type: ignore[arg-type]


def test_a_users_folder_takes_over_the_options_that_both_know(tmp_path: Path):
    table = for_path({"source": "faces", "size": 32, "n": 500, "flip": True, "where": "glasses=yes"}, tmp_path)
    assert table == {"path": str(tmp_path), "size": 32, "channels": 3, "flip": True}
    assert for_path({"source": "clothes"}, tmp_path) == {
        "path": str(tmp_path),
        "size": 28,
        "channels": 1,
        "flip": False,
    }
    with pytest.raises(UserError, match="shapes makes its own points"):
        for_path({"source": "shapes"}, tmp_path)


@pytest.mark.parametrize("curve", ["exponential", "inverted_u", "sine", "cosine", "quadratic"])
def test_points_lie_on_their_curve_and_fill_the_spec(curve: str):
    dataset, spec = open_data({"source": "shapes", "curve": curve})
    points = everything(dataset)
    assert points.shape == (2048, 2)
    function = {
        "exponential": lambda x: 1.08**x, "inverted_u": lambda x: 10 - x**2, "sine": torch.sin, "cosine": torch.cos,
        "quadratic": lambda x: x**2,
    }[curve]  # fmt: skip
    torch.testing.assert_close(points[:, 1], function(points[:, 0]), rtol=1e-4, atol=1e-4)
    codes = spec.encode(points)
    assert codes.min() >= -1.0001
    assert codes.max() <= 1.0001
    assert codes.max(0).values.min() > 0.95
    torch.testing.assert_close(spec.decode(codes), points, rtol=1e-4, atol=1e-4)


def test_a_users_formula_makes_a_curve_and_a_bad_one_is_refused():
    _, spec = open_data({"source": "shapes", "formula": "x ** 3", "low": -1, "high": 2})
    assert spec.low == (-1, -1)
    assert spec.high == (2, 8)
    for options, message in [
        ({"formula": "log(x)"}, "not finite"),
        ({"formula": "3"}, "flat line"),
        ({"formula": "import os"}, "not a formula"),
        ({"low": 3.0, "high": 1.0}, "smaller than high"),
    ]:
        with pytest.raises(UserError, match=message):
            open_data({"source": "shapes", **options})


def test_numbers_come_from_the_whole_set_and_nothing_else():
    dataset, spec = open_data({"source": "numbers", "of": 5})
    assert spec.members == tuple(range(0, 100, 5))
    drawn = everything(dataset)
    assert drawn.shape == (8192, 10)
    assert drawn.dtype == torch.int64
    counts = drawn.flatten().bincount(minlength=100)
    assert set(counts.nonzero().flatten().tolist()) == set(spec.members)
    assert counts[counts > 0].float().std() / counts[counts > 0].float().mean() < 0.05
    assert torch.equal(spec.decode(spec.encode(drawn[:9])), drawn[:9])


def test_a_users_set_of_numbers_is_taken_and_a_bad_one_refused():
    assert open_data({"source": "numbers", "members": "7, 2,3 2", "depth": 8})[1].members == (2, 3, 7)
    for members, message in [
        ("2,x", "whole numbers"),
        ("2,100", "between 0 and 99"),
        ("-1", "between"),
        (",", "between"),
    ]:
        with pytest.raises(UserError, match=message):
            open_data({"source": "numbers", "members": members})


@pytest.mark.parametrize("name", ["shapes", "numbers"])
def test_splits_share_no_row_and_every_opening_gives_the_same(name: str):
    train, again, test = (open_data({"source": name}, split)[0] for split in ("train", "train", "test"))
    assert train.fingerprint == again.fingerprint != test.fingerprint
    assert torch.equal(everything(train), everything(again))
    assert not {tuple(row) for row in everything(train).tolist()} & {tuple(row) for row in everything(test).tolist()}
    assert train.fingerprint != open_data({"source": name, "seed": 1})[0].fingerprint


@pytest.mark.parametrize("name", ["shapes", "numbers"])
def test_a_spec_survives_json(name: str):
    spec = open_data({"source": name})[1]
    assert spec_from_json(spec_to_json(spec)) == spec


def test_data_that_is_not_here_says_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    if Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("the package is installed on this machine")
    with pytest.raises(DataMissing, match="type handmade data prepare clothes") as caught:
        open_data({"source": "clothes"})
    assert caught.value.exit_code == 3


def test_preparing_a_computed_source_needs_nothing():
    assert prepare("numbers")


@pytest.mark.skipif(not find_spec("sklearn"), reason="digits come with scikit-learn, or from its wheel when asked for")
def test_digits_are_read_as_a_file_and_every_class_is_in_both_splits():
    parts = [open_data({"source": "digits", "size": 16}, split) for split in ("train", "test")]
    assert sum(len(dataset) for dataset, _ in parts) == 1797
    for dataset, spec in parts:
        batch = dataset.batch(torch.arange(len(dataset)), GENERATOR)
        assert batch.pixels.shape[1:] == (1, 16, 16)
        assert batch.pixels.min() == -1
        share = batch.labels.flatten().bincount(minlength=10) / len(dataset)
        assert share.min() > 0.06
        assert share.max() < 0.14
        assert spec.labels["class"][0] == "zero"


@pytest.mark.network
def test_clothes_can_be_fetched_with_registries_alone():
    said: list[str] = []
    folder = prepare("clothes", lambda done, total, what: said.append(what))
    assert len(list(folder.iterdir())) == 4
    dataset, spec = open_data({"source": "clothes", "size": 32, "where": "class=bag|t-shirt"}, "test")
    assert len(dataset) == 2000
    assert spec.labels["class"] == ("t-shirt", "bag")
    assert said


def test_a_source_raises_only_errors_of_ours():
    for name in sources():
        try:
            open_data(
                {"source": name} if name != "faces" else {"source": name, "n": 1, "held_out": 1, "size": 16}, "test"
            )
        except HandmadeError as error:
            assert "\n" not in str(error)
