from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from gallery_runs import images_at, numbers_run, pictures_run, points_at
from handmade.artifacts import curves, progress_sheet, write_film
from handmade.artifacts.history import history, open_picture, read_events
from handmade.artifacts.plot import Axes, label, thin, ticks
from handmade.artifacts.sheet import duration, panels
from handmade.errors import Damaged, UserError


def steps(player: str, values: list[float]) -> list[dict]:
    return [
        {"kind": "step", "step": 10 * i, "seconds": float(i), "items_per_s": 100.0, "losses": {player: value}}
        for i, value in enumerate(values)
    ]


def test_curves_show_every_player_and_the_yardstick_with_its_floor(tmp_path):
    run = pictures_run(tmp_path / "run")
    events = read_events(run)
    picture = curves(events, (900, 360))
    assert picture.size == (900, 360)
    colours = {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3)}
    for wanted in ("#2f6fdb", "#e2603f", "#12907e", "#6f7380"):
        assert tuple(int(wanted[i : i + 2], 16) for i in (1, 3, 5)) in colours


@pytest.mark.parametrize(
    "events",
    [[], steps("model", [1.0]), steps("model", [math.nan, 1.0, 2.0]), [{"kind": "score", "step": 0, "scores": {}}]],
)
def test_curves_of_few_or_no_events_are_still_a_picture(events):
    assert curves(events).mode == "RGB"


def test_the_first_wild_losses_do_not_flatten_the_rest():
    told = history(steps("model", [1e6, 1e5] + [1.0 + 0.1 * math.sin(i) for i in range(200)]))
    from handmade.artifacts.sheet import limits

    assert limits(panels(told)[0])[1][1] < 2


def test_a_score_over_many_powers_of_ten_is_drawn_in_powers_of_ten(tmp_path):
    told = history(read_events(pictures_run(tmp_path / "run")))
    assert panels(told)[1].log
    assert not panels(told)[0].log


def test_a_progress_sheet_shows_curves_and_samples_and_survives_missing_parts(tmp_path):
    run = pictures_run(tmp_path / "run")
    whole = progress_sheet(run)
    for sheet in (run / "samples").rglob("sheet.png"):
        sheet.write_bytes(b"not a picture")
    assert progress_sheet(run).height < whole.height
    (run / "events.jsonl").unlink()
    assert progress_sheet(run).height < whole.height
    assert progress_sheet(numbers_run(tmp_path / "numbers")).width == whole.width


def test_events_survive_a_half_line_and_lines_that_are_no_events(tmp_path):
    good = steps("model", [1.0, 2.0])
    lines = [json.dumps(good[0]), "[1]", "7", "{", json.dumps(good[1]), '{"kind": "step", "step": 20, "los']
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    assert [p.value for p in history(read_events(tmp_path)).losses["model"]] == [1.0, 2.0]
    assert read_events(tmp_path / "none") == []


def test_history_takes_no_value_that_is_not_a_finite_number():
    events = [
        {"kind": "step", "step": 1, "losses": {"a": "1", "b": None, "c": True, "d": math.inf, "e": 10**400, "f": 1}},
        {"kind": "step", "step": "2", "losses": {"f": 3}},
        {"kind": "score", "step": 1, "scores": {"x": {"value": "high"}, "y": 3, "z": {"value": 1, "floor": "a"}}},
    ]
    told = history(events)
    assert list(told.losses) == ["f"]
    assert list(told.scores) == ["z"]
    assert told.scores["z"][0].floor is None


def test_a_step_told_twice_counts_once():
    told = history([*steps("model", [1.0, 2.0]), *steps("model", [1.0, 5.0])])
    assert [p.value for p in told.losses["model"]] == [1.0, 5.0]


def test_samples_outside_the_run_are_not_read(tmp_path):
    paths = ["../other/sheet.png", "/etc/passwd", "samples/0/sheet.png", 3, "a\0b"]
    events = [{"kind": "sample", "step": i, "path": path} for i, path in enumerate(paths)]
    assert [sample.step for sample in history(events, tmp_path).samples] == [2]


def test_a_picture_that_is_none_or_too_large_is_damaged(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    Image.new("L", (5000, 4000)).save(tmp_path / "large.png")
    Image.new("L", (5, 5)).save(tmp_path / "jpeg.png", format="JPEG")
    for name in ("text.png", "large.png", "jpeg.png", "missing.png"):
        with pytest.raises(Damaged):
            open_picture(tmp_path / name)


def test_a_film_loops_and_holds_its_last_picture(tmp_path):
    frames = [images_at(share).picture() for share in (0.0, 0.3, 0.6, 1.0)]
    film = write_film(frames, tmp_path, seconds=0.25, hold=2.0)[0]
    with Image.open(film) as gif:
        assert getattr(gif, "n_frames") == 4  # noqa: B009
        assert gif.info["loop"] == 0
        times = []
        for index in range(4):
            gif.seek(index)
            times.append(gif.info["duration"])
        assert times == [250, 250, 250, 2000]
        last = np.asarray(gif.convert("RGB")).astype(int)
    wanted = np.asarray(frames[-1].crop((0, 0, last.shape[1], last.shape[0]))).astype(int)
    assert np.abs(last - wanted).mean() < 25


def test_a_film_is_the_same_bytes_every_time_and_takes_pictures_of_any_size(tmp_path):
    frames = [points_at(0.0).picture(), images_at(1.0).picture(), Image.new("L", (1, 1)), points_at(1.0).picture()]
    one, other = write_film(frames, tmp_path / "a"), write_film(frames, tmp_path / "b")
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


def test_a_film_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least one picture"):
        write_film([], tmp_path)


def test_an_mp4_is_written_where_av_is_installed(tmp_path):
    av = pytest.importorskip("av")
    film = write_film([images_at(share).picture() for share in (0.0, 1.0)], tmp_path)[1]
    with av.open(str(film)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == 12


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 9000, [0, 2000, 4000, 6000, 8000]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round(low, high, wanted):
    assert ticks(low, high) == wanted
    assert ticks(3, 3) == [3]


@pytest.mark.parametrize("low", [0.001, 0.63, -7, 1e-9])
def test_there_are_never_fewer_than_three_ticks(low):
    for span in (1.0, 1.3, 2.9, 0.07, 1e6):
        assert 3 <= len(ticks(low, low + span, 4)) <= 12


def test_axes_keep_values_inside_and_know_powers_of_ten():
    axes = Axes(0, 0, 100, 50, (0, 0.001), (10, 1.0), log=True)
    assert axes.y(0.001) == 50
    assert axes.y(1.0) == 0
    assert axes.y(-5) == 50
    assert axes.x(99) == 100
    assert axes.y_ticks() == pytest.approx([0.001, 0.01, 0.1, 1.0])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0031, "0.0031"), (0, "0"), (2500, "2,500"), (12_000, "12k"), (3.4e6, "3.4M"), (-0.5, "-0.5"), (2e-7, "2.0e-7")],
)
def test_labels_are_short(value, text):
    assert label(value) == text


def test_thinning_keeps_the_mean_and_the_last_point():
    points = [(float(i), float(i % 2)) for i in range(1000)]
    thinned = thin(points, 50)
    assert len(thinned) == 50
    assert thinned[-1] == points[-1]
    assert abs(sum(y for _, y in thinned[:-1]) / 49 - 0.5) < 0.1


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (120, "2 min")])
def test_durations_are_words(seconds, text):
    assert duration(seconds) == text
