"""Promise 5 where the proxy itself goes. The environment decides the mode of Serve, so each has its own server."""

import asyncio

import httpx
import pytest

from benchmarks.server import project
from tests.chaos.processes import by_kind
from tests.serve.cluster import until
from tests.serve.open_loop import Account, load

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

COUNT, PER_S, HELD = 800, 40, 32
MODEL = {"name": "echo", "task": "fake", "resources": {"num_cpus": 0.1}, "init": {"forward_s": 0.1}}
HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
REFUSED, CUT = {"ConnectError"}, {"RemoteProtocolError", "ReadError"}


def answers(url: str) -> bool:
    try:
        return httpx.post(f"{url}/models/echo", json={"inputs": "x"}, timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(
    ("environment", "victim", "others"), [({}, "proxy", set()), (HAPROXY, "haproxy", {"404"})], ids=["proxy", "haproxy"]
)
def test_a_killed_proxy_comes_back(environment: dict[str, str], victim: str, others: set[str]) -> None:
    """What it held is cut off, and cannot be asked for again by anybody but the caller; later callers are not let in.

    A new HAProxy answers 404 for a moment, before it knows where the applications are.
    """
    with project([MODEL], environment=environment) as url:
        rest = {kind: pids for kind, pids in pids_by_kind().items() if kind not in ("proxy", "proxy's manager", victim)}

        account, held = Account(), []

        async def midway() -> None:
            [process, *_] = by_kind()[victim]
            held.append(account.sent - account.answers.total())
            process.kill()

        asyncio.run(
            load(f"{url}/models/echo", lambda number: {"inputs": f"text {number}"}, COUNT, PER_S, midway, account)
        )
        found = account.answers
        assert account.sent == sum(found.values()) == COUNT
        assert set(found) <= {"200"} | REFUSED | CUT | others
        assert sum(found[name] for name in CUT) <= max(HELD, 2 * held[0])  # those that it held, or was about to
        until(lambda: answers(url), 120)
        assert {kind: pids for kind, pids in pids_by_kind().items() if kind in rest} == rest


def pids_by_kind() -> dict[str, list[int]]:
    return {kind: [process.pid for process in processes] for kind, processes in by_kind().items()}
