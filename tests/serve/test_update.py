"""Deploying a changed configuration touches what changed, and a model that cannot load leaves the others serving."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from tests.serve.cluster import deploy, until
from tests.serve.gate import Gate

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


def fake(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "task": "fake", "resources": {"num_cpus": 0.1}, **more}


def replicas() -> dict[str, set[str]]:
    """Ids of the running replica actors of each deployment."""
    details = serve.context._get_global_client().get_serve_details()
    deployments = details["applications"]["pipelines"]["deployments"]
    return {
        name: {replica["replica_id"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"}
        for name, deployment in deployments.items()
    }


def echo(url: str, name: str, **parameters: Any) -> httpx.Response:
    return httpx.post(f"{url}/models/{name}", json={"inputs": "x", "parameters": parameters}, timeout=60)


def test_new_defaults_reach_the_running_replicas(url: str) -> None:
    deploy(url, {"models": [fake("a"), fake("b")]})
    before = replicas()
    assert echo(url, "a").status_code == 200
    deploy(url, {"models": [fake("a", parameters={"fail_on": "x"}), fake("b")]})
    until(lambda: echo(url, "a").status_code == 500)
    assert echo(url, "b").status_code == 200
    assert replicas() == before


def test_only_the_changed_model_restarts(url: str) -> None:
    deploy(url, {"models": [fake("a"), fake("b")]})
    before = replicas()
    deploy(url, {"models": [fake("a", init={"forward_s": 0.001}), fake("b")]})
    until(lambda: replicas()["a"].isdisjoint(before["a"]) and bool(replicas()["a"]))
    after = replicas()
    assert after["b"] == before["b"]
    assert after["router"] == before["router"]


def test_a_model_comes_and_goes_without_touching_the_others(url: str) -> None:
    deploy(url, {"models": [fake("a")]})
    before = replicas()
    deploy(url, {"models": [fake("a"), fake("late")]})
    until(lambda: echo(url, "late").status_code == 200)
    assert {name: replicas()[name] for name in before} == before
    deploy(url, {"models": [fake("a")]})
    until(lambda: echo(url, "late").status_code == 404)
    assert replicas()["a"] == before["a"]


def test_a_model_that_cannot_load_leaves_the_others_serving(url: str) -> None:
    broken = fake("broken", init={"load_error": "the weights are gone"})
    deploy(url, {"models": [fake("a"), broken]}, ready=False)
    until(
        lambda: httpx.get(f"{url}/ready", timeout=60).json()["models"].get("broken", {}).get("state") == "failed", 150
    )
    until(lambda: echo(url, "a").status_code == 200)
    ready = httpx.get(f"{url}/ready", timeout=60)
    assert ready.status_code == 503
    assert "the weights are gone" in ready.json()["models"]["broken"]["reason"]
    assert "Traceback" not in ready.text
    refused = echo(url, "broken")
    assert (refused.status_code, refused.json()["error_type"]) == (503, "model_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert httpx.get(f"{url}/models/broken/health", timeout=60).status_code == 503
    assert httpx.get(f"{url}/models/a/health", timeout=60).status_code == 200
    status = serve.status().applications["pipelines"].deployments
    assert "the weights are gone" in status["broken"].message
    assert set(status) == {"a", "broken", "router"}
    deploy(url, {"models": [fake("a"), fake("broken")]}, ready=False)  # mended, it comes up
    until(lambda: echo(url, "broken").status_code == 200)


def test_fractional_cpus_and_bounds_reach_serve(url: str) -> None:
    deploy(url, {"models": [fake("a", scale={"min_replicas": 1, "max_replicas": 3}, batch={"max_items": 7})]})
    details = serve.context._get_global_client().get_serve_details()
    config = details["applications"]["pipelines"]["deployments"]["a"]["deployment_config"]
    assert config["ray_actor_options"]["num_cpus"] == 0.1
    assert (config["autoscaling_config"]["min_replicas"], config["autoscaling_config"]["max_replicas"]) == (1, 3)
    assert config["max_ongoing_requests"] == 28


def test_callers_join_into_a_batch_while_the_model_is_busy(url: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    deploy(url, {"models": [fake("busy", init=gate.init, batch={"max_items": 32})]})
    with httpx.Client(base_url=url, timeout=120) as client, ThreadPoolExecutor(24) as callers:

        def ask(index: int) -> Any:
            return client.post("/models/busy", json={"inputs": f"{index}"}).json()

        with gate.closed():
            asked = [callers.submit(ask, 0)]
            gate.busy()
            asked += [callers.submit(ask, index) for index in range(1, 24)]
            until(lambda: client.get("/models/busy/info").json().get("waiting", -1) == 23)
        answers = [one.result() for one in asked]
    assert [answer["echo"] for answer in answers] == [str(index) for index in range(24)]
    assert answers[0]["batch_size"] == 1
    assert max(answer["batch_size"] for answer in answers) > 1
