"""What the page reads: every system by itself, its objective beside its source, live networks, a step in slow motion, runs."""

from __future__ import annotations

import json
import time

import pytest

from commands import until
from handmade.registry import rooms, zoo


def test_every_room_and_recipe_appears_by_itself(server):
    systems = {system["id"]: system for system in server.get("/api/systems")["systems"]}
    assert set(systems) == set(rooms())
    for name, room in rooms().items():
        assert {recipe["id"] for recipe in systems[name]["recipes"]} == {f"{name}.{recipe}" for recipe in room.recipes}
        assert {ask["name"] for ask in systems[name]["asks"]} == set(room.asks)
        assert systems[name]["zoo"] == [f"zoo.{run.replace('/', '.')}" for run in zoo() if run.split("/")[0] == name]
    assert systems["gpt"]["recipes"][0]["takes_files"] and not systems["shapes_gan"]["recipes"][0]["takes_files"]


def test_every_system_has_a_page_with_its_objective_beside_the_lines_that_compute_it(server):
    for name, room in rooms().items():
        told = server.get(f"/api/systems/{name}")
        objective = told["objective"]
        assert objective["lines"][0].strip().startswith("def objective("), name
        assert any("yield Turn(" in line or "yield from" in line for line in objective["lines"]), name
        for form in told["settings"]:
            assert form["kind"] in ("int", "float", "bool", "str", "choice", "other") and form["name"].startswith(
                "config."
            )
            assert all(isinstance(choice, str) for choice in form["choices"]), form["name"]  # numbers too: 3, 5 or 7
        if name in {system for system in rooms() if (room.folder / "README.md").is_file()}:
            assert "<h1>" in told["readme"] and "<script" not in told["readme"] and "<img" not in told["readme"]
    told = server.get("/api/systems/dcgan")
    assert any("discriminator" in line for line in told["objective"]["words"])
    source = server.get(f"/api/systems/dcgan/source/{told['objective']['file']}")["lines"]
    first = told["objective"]["first"]
    assert source[first - 1 : first - 1 + len(told["objective"]["lines"])] == told["objective"]["lines"]
    server.get("/api/systems/dcgan/source/../../../errors.py", 404)
    server.get("/api/systems/dcgan/source/recipes.toml", 404)


def test_a_recipe_is_a_form_with_kinds_choices_and_the_recipes_own_values(server):
    told = server.get("/api/recipes/dcgan.faces")
    config = {form["name"]: form for form in told["config"]}
    train = {form["name"]: form for form in told["train"]}
    assert config["config.norm"]["kind"] == "choice" and config["config.norm"]["choices"] == ["batch", "none"]
    assert train["train.steps"]["kind"] == "int" and train["train.steps"]["value"] > 0
    assert train["train.precision"]["choices"] == ["auto", "float32", "bf16"]
    assert {form["name"] for form in told["data_options"]} >= {"data.size", "data.n"}


def test_networks_are_measured_on_the_live_model(server):
    told = server.get("/api/systems/shapes_gan/networks")
    assert told["parameters"] == sum(network["parameters"] for network in told["networks"])
    names = {network["name"] for network in told["networks"]}
    assert set(told["players"]) == {"generator", "discriminator"} == names
    for network in told["networks"]:
        assert network["in"] and network["out"] and network["layers"], network["name"]
        assert sum(layer["parameters"] for layer in network["layers"] if layer["depth"] == 1) == network["parameters"]


def test_one_training_step_is_told_turn_by_turn(server):
    told = server.post("/api/systems/shapes_gan/step", {})
    objective = server.get("/api/systems/shapes_gan")["objective"]
    assert [turn["player"] for turn in told["turns"]] == ["discriminator", "generator"]
    for turn in told["turns"]:
        assert set(turn["moved"]) == {turn["player"]} and turn["moved"][turn["player"]] > 0 and turn["gradient"] > 0
        line = objective["lines"][turn["line"] - objective["first"]]
        assert turn["file"] == objective["file"] and f'Turn("{turn["player"]}"' in line
    again = server.post("/api/systems/shapes_gan/step", {"again": True})
    assert again["step"] == told["step"] + 1 and again["turns"][0]["loss"] != told["turns"][0]["loss"]
    assert (
        server.post("/api/systems/shapes_gan/step", {})["turns"] == told["turns"]
    )  # from the start, the same to the bit


def test_a_system_without_a_run_says_what_to_do(server):
    assert "train its smoke recipe" in server.post("/api/systems/toy_fit/step", {}, 409)["detail"]


def test_cards_show_what_shipped_runs_really_made(server):
    def card():
        systems = {system["id"]: system for system in server.get("/api/systems")["systems"]}
        time.sleep(0.3)
        return systems["shapes_gan"]["card"] if systems["shapes_gan"]["card"]["state"] == "ready" else None

    made = until(card, 240)
    assert made["run"] == "zoo.shapes_gan.exponential" and made["sample"]["kind"] == "points"
    assert server.client.get(made["picture"]).content.startswith(b"\x89PNG")


def test_runs_side_by_side(server):
    told = server.get("/api/compare", params={"runs": ["zoo.gpt.plays", "zoo.gpt.austen"]})
    metric = next(row for row in told["metrics"] if row["name"] == "bits_per_byte")
    assert set(metric["values"]) == {"zoo.gpt.plays", "zoo.gpt.austen"} and not told["same_data"]
    assert all(run["losses"] and "card" not in run for run in told["runs"])
    server.get("/api/compare", 404, params={"runs": ["zoo.gpt.plays", "nothing"]})


def test_events_come_as_they_are_written_and_a_rewritten_file_starts_over(server):
    run = server.place / "runs" / "followed"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text('name = "toy_gan/smoke"\n')
    event = {"kind": "step", "step": 1, "seconds": 0.1, "losses": {"a": 1.0}}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n" + '{"kind": "st')
    first = server.get("/api/runs/followed/events")
    assert first["events"] == [event] and not first["reset"]
    with (run / "events.jsonl").open("a") as file:
        file.write('ep", "step": 2}\n')
    second = server.get("/api/runs/followed/events", params={"after": first["cursor"]})
    assert [e["step"] for e in second["events"]] == [2] and not second["reset"]
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    third = server.get("/api/runs/followed/events", params={"after": second["cursor"]})
    assert third["reset"] and third["events"] == [event]
    with server.client.stream("GET", "/api/events", params={"run": "followed"}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: hello"
        assert "followed" in json.loads(next(lines).removeprefix("data: "))["cursors"]
        with (run / "events.jsonl").open("a") as file:
            file.write('{"kind": "step", "step": 3}\n')
        told = next(
            json.loads(line.removeprefix("data: ")) for line in lines if line.startswith('data: {"run": "followed"')
        )
        assert told["events"] == [{"kind": "step", "step": 3}]


def test_an_estimate_is_there_at_once_and_then_measured(server):
    told = server.post("/api/estimates", {"recipe": "toy_fit.smoke", "overrides": {"train.steps": "500"}})
    assert told["state"] == "measuring" and told["steps"] == 500

    def measured():
        time.sleep(0.2)
        now = server.get(f"/api/estimates/{told['id']}")
        return now if now["state"] != "measuring" else None

    ready = until(measured, 240)
    assert ready["state"] == "ready" and ready["source"] == "measured", ready
    assert 0 < ready["minutes"] < 5 and ready["memory_mb"] > 50 and ready["disk_mb"] > 0 and ready["fits"]
    quick = server.post(
        "/api/estimates", {"recipe": "toy_fit.smoke", "overrides": {"train.steps": "500"}, "minutes": 2}
    )
    assert quick["state"] == "ready" and quick["minutes"] == 2 and quick["steps"] > 500
    assert (
        "did you mean"
        in server.post("/api/estimates", {"recipe": "toy_fit.smoke", "overrides": {"train.stesp": "1"}}, 422)["detail"]
    )


def test_folders_can_be_picked_below_the_roots_only(own_server, tmp_path):
    photos, outside = tmp_path / "photos", tmp_path / "secret"
    for folder in (photos / "cats", outside):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"x")
    (photos / "way-out").symlink_to(outside)
    (photos / ".hidden").mkdir()
    server = own_server("--root", str(photos))
    (root,) = server.get("/api/folders")["folders"]
    below = server.get(f"/api/folders/{root['id']}")
    assert [folder["name"] for folder in below["folders"]] == ["cats"] and below["folders"][0]["pictures"] == 1
    assert server.get(f"/api/folders/{below['folders'][0]['id']}")["parents"][0]["id"] == root["id"]
    for trick in ("..", "%2e%2e", "secret", root["id"][:-1] + "0", str(outside)):
        server.get(f"/api/folders/{trick}", 404)


@pytest.mark.parametrize(
    "name", ["machine", "glossary", "data", "runs", "results", "uploads", "jobs", "folders", "openapi.json"]
)
def test_simple_routes_answer(server, name):
    assert isinstance(server.get(f"/api/{name}"), dict)
