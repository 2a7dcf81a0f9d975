"""An update of a model: its weights are never in memory twice, or if asked, it is never without a replica."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from ray import serve

from tests.serve.cluster import deploy, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
BUSY_S = 8  # each of the old replica's last two: together longer than a start, and less than Serve waits for them


def model(forward_s: float, **scale: Any) -> dict[str, Any]:
    """Another number makes it another model: its replicas are replaced."""
    return {
        "models": [
            {
                "name": "swapped",
                "task": "fake",
                "resources": {"num_cpus": 0.1},
                "init": {"forward_s": forward_s},
                "scale": scale,
            }
        ]
    }


def states() -> dict[str, str]:
    """Of the replicas, by id."""
    details = serve.context._get_global_client().get_serve_details()
    replicas = details["applications"]["pipelines"]["deployments"]["swapped"]["replicas"]
    return {replica["replica_id"]: str(replica["state"]).rpartition(".")[2] for replica in replicas}


def echo(url: str, inputs: str = "x", **parameters: Any) -> httpx.Response:
    return httpx.post(f"{url}/models/swapped", json={"inputs": inputs, "parameters": parameters}, timeout=60)


def waiting(url: str) -> int:
    """Requests that the replica has not begun with."""
    return int(httpx.get(f"{url}/models/swapped/info", timeout=30).json().get("waiting", -1))


def test_the_new_replica_loads_when_the_old_one_has_ended(url: str) -> None:
    deploy(url, model(0.0))
    (old,) = states()
    seen: list[dict[str, str]] = []
    with ThreadPoolExecutor(2) as callers:
        last: list[Future[httpx.Response]] = [callers.submit(echo, url, "first", sleep_s=BUSY_S)]
        last.append(callers.submit(echo, url, "second", sleep_s=BUSY_S + 0.01))  # not in one batch with the first
        until(lambda: waiting(url) > 0, 30)
        deploy(url, model(0.001), ready=False)
        while not all(one.done() for one in last):
            seen.append(states())
        assert [one.result().status_code for one in last] == [200, 200]
    assert any(old in found for found in seen)  # with the new one beside it, in general: Serve starts that at once
    beside = [state for found in seen if old in found for name, state in found.items() if name != old]
    assert "RUNNING" not in beside
    until(lambda: list(states().values()) == ["RUNNING"], 120)
    until(lambda: echo(url).status_code == 200)


def test_with_a_surge_there_is_a_replica_at_any_time(url: str) -> None:
    deploy(url, model(0.0, max_surge_percent=100))
    (old,) = states()
    deploy(url, model(0.001, max_surge_percent=100), ready=False)
    both = False
    while old in (now := states()):
        both |= len(now) == 2
        if "STOPPING" not in now.values():
            assert now[old] == "RUNNING"
        else:
            assert "RUNNING" in now.values()  # the new one, before the old one was asked to stop
        assert echo(url).status_code == 200
    assert both
