"""Batching as callers see it: nobody blocks the loop, lists are answered item by item, equal requests share."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.cluster import deploy, until
from tests.serve.gate import Gate
from tests.tiny import CASES, checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def _fake(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "task": "fake", "resources": {"num_cpus": 0.1}, **more}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Of the model ``held``."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path, gate: Gate) -> str:
    case = next(case for case in CASES if case.id == "text-classification-bert")
    classify = {"task": case.task, "model": str(checkpoint(case, checkpoints)), "resources": {"num_cpus": 0.5}}
    models = [
        _fake("quick"),
        _fake("held", init=gate.init),
        _fake("steady", init={"forward_s": 0.01}),
        {"name": "classify", **classify, "cache": {"max_bytes": 1_000_000}},
    ]
    deploy(url, {"models": models, "limits": {"max_list_items": 10_000}})
    return url


def _ask(url: str, name: str, inputs: Any, **parameters: Any) -> httpx.Response:
    return httpx.post(f"{url}/models/{name}", json={"inputs": inputs, "parameters": parameters}, timeout=120)


def test_health_answers_while_a_forward_runs(server: str, gate: Gate) -> None:
    """The model goes on only when they have answered. Its info comes from the replica's own loop."""
    with ThreadPoolExecutor(1) as caller, gate.closed():
        held = caller.submit(_ask, server, "held", "x")
        gate.busy()
        for _ in range(4):
            assert httpx.get(f"{server}/health", timeout=60).status_code == 200
            until(lambda: "batching" in httpx.get(f"{server}/models/held/info", timeout=60).json())
        assert not held.done()
    assert held.result().status_code == 200


def test_list_is_answered_item_by_item_in_order(server: str) -> None:
    answer = _ask(server, "quick", [f"{index}" for index in range(200)], fail_on="77")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-failed-items"] == "1"
    items = answer.json()
    assert [item.get("echo") for item in items] == [None if index == 77 else f"{index}" for index in range(200)]
    assert items[77]["error_type"] == "inference"
    assert "told to" not in items[77]["error"]


def test_list_of_which_nothing_can_be_answered_fails(server: str) -> None:
    answer = _ask(server, "quick", ["a", "a"], fail_on="a")
    assert answer.status_code == 500
    assert answer.json()["error_type"] == "inference"


def test_single_requests_are_answered_while_a_list_of_a_thousand_is_under_way(server: str) -> None:
    with ThreadPoolExecutor(1) as caller, httpx.Client(base_url=server, timeout=120) as client:
        listed = caller.submit(_ask, server, "steady", [f"{index}" for index in range(1000)])
        singles = 0
        while not listed.done():
            answer = client.post("/models/steady", json={"inputs": f"single-{singles}"})
            assert answer.json()["echo"] == f"single-{singles}"
            singles += not listed.done()
        items = listed.result().json()
    assert [item["echo"] for item in items] == [f"{index}" for index in range(1000)]
    assert singles >= 3


def test_headers_tell_where_the_time_went(server: str) -> None:
    started = time.perf_counter()
    headers = _ask(server, "quick", "x", sleep_s=0.5).headers
    spent_ms = (time.perf_counter() - started) * 1000
    stages = {name: float(headers[f"x-{name}-ms"]) for name in ("queue", "preprocess", "forward", "postprocess")}
    assert 500 <= stages["forward"] <= spent_ms
    assert sum(stages.values()) <= float(headers["x-total-ms"]) + 1
    assert (headers["x-batch-size"], headers["x-padding-waste"], headers["x-cache"]) == ("1", "0.00", "none")


def test_kept_answer_is_the_same_answer(server: str) -> None:
    first, second = (_ask(server, "classify", "The very same words.") for _ in range(2))
    other = _ask(server, "classify", "The very same words.", top_k=2)
    assert [answer.headers["x-cache"] for answer in (first, second, other)] == ["none", "hit", "none"]
    assert first.json() == second.json()
    assert len(other.json()[0]) == 2


def test_caller_who_disconnects_costs_no_forward(server: str, gate: Gate) -> None:
    """While the model is busy, a caller leaves whose forward would take longer than the test."""

    def waiting() -> int:
        return int(httpx.get(f"{server}/models/held/info", timeout=60).json().get("waiting", -1))

    with ThreadPoolExecutor(2) as callers:
        with gate.closed():
            ahead = callers.submit(_ask, server, "held", "ahead")
            gate.busy()
            leaving = HTTPConnection(httpx.URL(server).netloc.decode(), timeout=60)
            body = json.dumps({"inputs": "gone", "parameters": {"sleep_s": 1000}})
            leaving.request("POST", "/models/held", body, {"Content-Type": "application/json"})
            until(lambda: waiting() == 1)
            leaving.close()
            until(lambda: waiting() == 0)
            last = callers.submit(_ask, server, "held", "last")
            until(lambda: waiting() == 1)
        assert [call.result().json()["echo"] for call in (ahead, last)] == ["ahead", "last"]


def test_info_says_how_inputs_are_batched(server: str) -> None:
    info = httpx.get(f"{server}/models/classify/info", timeout=30).json()
    assert info["batching"] == {"mode": "padded", "unit": "tokens"}
    assert info["max_padded_cost"] == 16384
    assert json.dumps(info)
