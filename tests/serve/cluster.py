"""A real Ray Serve cluster for the tests: start it, deploy configurations, wait for models."""

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve.api import _run  # `serve.run` has no way not to wait

from graph.app import build
from tests.serve.forks import forks
from tests.serve.hooks import setup_worker

ROOT = Path(__file__).parents[2]
# on a busy machine Ray else soon sends requests of a shared model past the replica that has it
_PATIENT = {"RAY_SERVE_MULTIPLEXED_MODEL_ID_MATCHING_TIMEOUT_S": "30"}
PATIENCE_S = 120  # what is awaited comes in a few; the rest is for a machine that is slow and busy


def free_port() -> int:
    """A port that nothing listens on, and that the system gives to nobody who asks for any."""
    while True:
        port = random.SystemRandom().randint(20_000, 30_000)
        with socket.socket() as server, suppress(OSError):
            server.bind(("127.0.0.1", port))
            return port


@contextmanager
def cluster(**resources: int) -> Iterator[str]:
    """Ray with Serve's proxy; gives its URL. Logical CPUs are plenty where placement is not what is tested."""
    port = free_port()
    with forks(f"{ROOT}") as python:
        ray.init(
            address="local",  # never a cluster that happens to run on this machine
            **{"num_cpus": 64, **resources},
            include_dashboard=False,
            namespace="serve",
            log_to_driver=False,
            object_store_memory=512 * 2**20,
            runtime_env={
                "env_vars": {"PYTHONPATH": f"{ROOT}", **_PATIENT},
                "worker_process_setup_hook": setup_worker,
                "py_executable": python,
            },
        )
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield f"http://127.0.0.1:{port}"
        finally:
            serve.shutdown()
            ray.shutdown()


def deploy(url: str, args: dict[str, Any], ready: bool = True, **run: Any) -> None:
    """Deploy ``args`` as the application ``pipelines``; with ``ready``, wait until every model is."""
    _run(build(args), name="pipelines", route_prefix="/", _blocking=False, **run)
    names = {model.get("name") or model.get("task") for model in args["models"]}
    if ready:
        until(lambda: _deployed() and _ready(url, names), 280)


def _deployed() -> bool:
    """Whether Serve has put everything in the place of what ran before under the same names."""
    application = serve.status().applications["pipelines"]
    assert application.status != "DEPLOY_FAILED", application.message
    return application.status == "RUNNING"


def _ready(url: str, names: set[Any]) -> bool:
    try:
        body = httpx.get(f"{url}/ready", timeout=30).json()
    except (httpx.HTTPError, ValueError):
        return False
    if set(body.get("models", ())) != names:
        return False
    failed = {name: state for name, state in body["models"].items() if state["state"] == "failed"}
    assert not failed, failed
    return bool(body["ready"])


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S, every_s: float = 0.2) -> None:
    """Wait for a condition; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(every_s)
