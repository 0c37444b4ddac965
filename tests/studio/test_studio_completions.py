"""OpenAI's completions over runs that write text: the shapes that clients rely on, and numbers that are true."""

from __future__ import annotations

import json
import math

import pytest

PLAYS, AUSTEN = "zoo.gpt.plays", "zoo.lstm.austen"


def complete(server, status=200, **body):
    return server.post("/v1/completions", {"model": PLAYS, **body}, status)


def test_models_are_the_runs_that_write_text(server):
    models = server.get("/v1/models")
    names = {model["id"] for model in models["data"]}
    assert models["object"] == "list" and {PLAYS, AUSTEN} <= names and "zoo.dcgan.faces" not in names
    assert "zoo.translator.en-fr" not in names
    assert server.get(f"/v1/models/{PLAYS}")["object"] == "model"
    assert server.get("/v1/models/gpt-4", 404)["error"]["code"] == "model_not_found"


def test_a_completion_is_what_the_ask_writes(server):
    told = complete(server, prompt="HAMLET:\n", max_tokens=12, temperature=0.8, seed=3)
    asked = server.post(
        f"/api/runs/{PLAYS}/asks/continue",
        {"arguments": {"prompt": "HAMLET:\n", "max_tokens": 12, "temperature": 0.8, "seed": 3}},
    )
    choice = told["choices"][0]
    assert "HAMLET:\n" + choice["text"] == asked["fields"]["texts"][0]
    assert choice["finish_reason"] == "length" and told["usage"] == {
        "prompt_tokens": 8,
        "completion_tokens": 12,
        "total_tokens": 20,
    }
    assert complete(server, prompt="HAMLET:\n", max_tokens=12, temperature=0.8, seed=3)["choices"] == told["choices"]


def test_a_stream_says_the_same_as_the_whole(server):
    body = {"model": PLAYS, "prompt": ["A", "B"], "n": 2, "max_tokens": 8, "seed": 1, "logprobs": 3}
    whole = server.post("/v1/completions", body)
    texts, ended = {}, {}
    with server.client.stream(
        "POST", "/v1/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}
    ) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    for chunk in map(json.loads, lines[:-1]):
        for choice in chunk["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            ended[choice["index"]] = choice["finish_reason"]
    assert [texts[index] for index in range(4)] == [choice["text"] for choice in whole["choices"]]
    assert set(ended.values()) == {"length"} and json.loads(lines[-2])["usage"] == whole["usage"]
    assert len({choice["text"] for choice in whole["choices"]}) == 4


@pytest.mark.parametrize("model", [PLAYS, AUSTEN])
def test_logprobs_are_those_of_the_model(server, model):
    told = server.post(
        "/v1/completions",
        {"model": model, "prompt": "It is", "max_tokens": 6, "temperature": 0, "logprobs": 2, "echo": False},
    )
    odds = told["choices"][0]["logprobs"]
    assert (
        len(odds["tokens"]) == len(odds["token_logprobs"]) == len(odds["top_logprobs"]) == len(odds["text_offset"]) == 6
    )
    assert "".join(odds["tokens"]) == told["choices"][0]["text"]
    for name, value, best in zip(odds["tokens"], odds["token_logprobs"], odds["top_logprobs"], strict=True):
        assert len(best) == 2 and value == pytest.approx(max(best.values()), abs=2e-3), name
    asked = server.post(
        f"/api/runs/{model}/asks/next_words", {"arguments": {"prompt": "It is", "temperatures": "1", "k": 1}}
    )
    assert odds["token_logprobs"][0] == pytest.approx(math.log(asked["fields"]["rows"][0][1]), abs=1e-3)


def test_stop_ends_a_text_and_echo_repeats_the_prompt(server):
    plain = complete(server, prompt="HAMLET:\n", max_tokens=60, temperature=0)["choices"][0]["text"]
    stop = plain[10:13]
    cut = complete(server, prompt="HAMLET:\n", max_tokens=60, temperature=0, stop=[stop])["choices"][0]
    assert cut["text"] == plain[: plain.index(stop)] and cut["finish_reason"] == "stop"
    assert (
        complete(server, prompt="HAMLET:\n", max_tokens=5, temperature=0, echo=True)["choices"][0]["text"]
        == f"HAMLET:\n{plain[:5]}"
    )


def test_mistakes_have_the_shape_that_clients_expect(server):
    for body, status in (
        ({"model": "gpt-4"}, 404),
        ({"max_tokens": 0}, 400),
        ({"stop": ["a|b"]}, 400),
        ({"temperature": "hot"}, 400),
    ):
        error = complete(server, status, **body)["error"]
        assert error["type"] == "invalid_request_error" and error["message"]
    assert complete(server, prompt="A", max_tokens=1, user="me", best_of=1)[
        "choices"
    ]  # fields that clients send anyway
