"""Promise 5: whoever is killed, each accepted request has its answer, or an error that says to try again; counted."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve

from tests.serve.cluster import deploy, until
from tests.serve.gate import Gate
from tests.serve.open_loop import Account, load

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

COUNT, PER_S = 300, 40


def fake(**more: Any) -> dict[str, Any]:
    return {"name": "echo", "task": "fake", "resources": {"num_cpus": 0.1}, "init": {"forward_s": 0.1}, **more}


def pids(deployment: str) -> list[int]:
    """Processes of the running replicas of a deployment."""
    details = serve.context._get_global_client().get_serve_details()
    found = details["applications"]["pipelines"]["deployments"][deployment]["replicas"]
    return [replica["pid"] for replica in found if replica["state"] == "RUNNING" and replica["pid"]]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def run(url: str, midway: Any, account: Account | None = None) -> dict[str, int]:
    async def beside() -> None:
        await asyncio.to_thread(midway)

    where, body = f"{url}/models/echo", lambda number: {"inputs": f"text {number}"}
    account = asyncio.run(load(where, body, COUNT, PER_S, beside, account))
    assert account.sent == sum(account.answers.values()) == COUNT  # every request is accounted for
    return dict(account.answers)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_killed_replica_loses_nothing(url: str, replicas: int) -> None:
    deploy(url, {"models": [fake(scale={"min_replicas": replicas})]})
    until(lambda: len(pids("echo")) == replicas)
    found = run(url, lambda: kill(pids("echo")[0]))
    # Serve may see before the load ends that the only one is gone: who comes then is told when to come again
    assert set(found) <= ({"200"} if replicas > 1 else {"200", "503+"})
    assert found["200"] >= COUNT // 2


def test_a_rolling_update_loses_nothing(url: str) -> None:
    deploy(url, {"models": [fake(scale={"min_replicas": 2})]})
    changed = fake(scale={"min_replicas": 2}, init={"forward_s": 0.11})
    before = set(pids("echo"))
    assert run(url, lambda: deploy(url, {"models": [changed]}, ready=False)) == {"200": COUNT}
    until(lambda: before.isdisjoint(pids("echo")))


@pytest.mark.slow
def test_a_rolling_update_of_everything_loses_nothing(url: str) -> None:
    """Of the router too, which answers what it has before it goes."""
    deploy(url, {"models": [fake(scale={"min_replicas": 2}), {**fake(), "name": "second"}]})
    before = {name: set(pids(name)) for name in ("echo", "second", "router")}
    changed = fake(scale={"min_replicas": 2}, init={"forward_s": 0.11})
    args = {"models": [changed, {**changed, "name": "second"}], "router": {"num_cpus": 0.2}}
    assert run(url, lambda: deploy(url, args, ready=False)) == {"200": COUNT}
    until(lambda: all(ids.isdisjoint(pids(name)) and bool(pids(name)) for name, ids in before.items()), 120)


@pytest.mark.slow
def test_answers_that_take_long_outlive_a_rolling_update(url: str) -> None:
    """Longer than the 20 s that Ray by itself gives a replica, or a router, to finish."""
    one = {"batch": {"max_items": 1}}
    deploy(url, {"models": [fake(**one)]})
    before = {name: set(pids(name)) for name in ("echo", "router")}
    body = {"inputs": "long", "parameters": {"sleep_s": 22}}
    with ThreadPoolExecutor(2) as callers:
        answers = [callers.submit(httpx.post, f"{url}/models/echo", json=body, timeout=120) for _ in range(2)]
        until(lambda: httpx.get(f"{url}/models/echo/info", timeout=30).json().get("waiting") == 1, 30)
        deploy(url, {"models": [fake(init={"forward_s": 0.11}, **one)], "router": {"num_cpus": 0.2}}, ready=False)
        assert [answer.result().status_code for answer in answers] == [200, 200]
    until(lambda: all(ids.isdisjoint(pids(name)) and bool(pids(name)) for name, ids in before.items()), 120)


def test_scaling_down_loses_nothing(url: str) -> None:
    deploy(url, {"models": [fake(scale={"min_replicas": 3})]})
    until(lambda: len(pids("echo")) == 3)
    fewer = fake(scale={"min_replicas": 1})
    assert run(url, lambda: deploy(url, {"models": [fewer]}, ready=False)) == {"200": COUNT}
    until(lambda: len(pids("echo")) == 1)


def test_a_full_queue_says_when_to_try_again(url: str, tmp_path: Path) -> None:
    scale = {"min_replicas": 1, "max_ongoing_requests": 4, "max_queued_requests": 4}
    gate = Gate(tmp_path)
    deploy(url, {"models": [fake(scale=scale, batch={"max_items": 1}, init=gate.init)]})
    with ExitStack() as first_half:
        first_half.enter_context(gate.closed())
        found = run(url, first_half.close)
    assert set(found) == {"200", "429+"}  # each accepted one was answered, each other one was told when to come again
    assert found["200"] > 8
    assert httpx.post(f"{url}/models/echo", json={"inputs": "x"}, timeout=30).status_code == 200


def test_a_killed_controller_loses_nothing(url: str) -> None:
    deploy(url, {"models": [fake()]})
    controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    pid = ray.get(controller.__ray_call__.remote(lambda _: os.getpid()))
    assert run(url, lambda: kill(pid)) == {"200": COUNT}
    until(lambda: serve.status().applications["pipelines"].status == "RUNNING")


def test_a_killed_router_comes_back_and_says_so_meanwhile(url: str) -> None:
    """Requests that it held are gone with it: Serve's proxy answers them with 500, and cannot ask anybody else.

    Those that come while there is none wait for the next one.
    """
    deploy(url, {"models": [fake()]})
    account, held = Account(), []

    def kill_router() -> None:
        kill(pids("router")[0])
        held.append(account.sent - account.answers.total())

    found = run(url, kill_router, account)
    assert set(found) <= {"200", "500"}
    assert found.get("500", 0) <= max(32, 2 * held[0])  # those that it held, which at this rate are few
    until(lambda: httpx.post(f"{url}/models/echo", json={"inputs": "x"}, timeout=30).status_code == 200)
