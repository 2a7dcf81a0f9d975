"""Servers in processes of their own: the project, Ray's plain example, transformers' own. One at a time."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.errors import BenchmarkError
from benchmarks.settings import Settings

_ROOT = Path(__file__).parents[1]
_START_S = 300
ROOMY = 128
"""``max_ongoing_requests`` of the second application of `serve_batch`: the project's own default."""
COMPUTED: dict[str, Any] = {"cache": {"share_running": False}}
"""Of a model that is compared with something that computes every input: no answer is given twice."""


@contextmanager
def project(
    models: list[dict[str, Any]],
    max_list_items: int = 1024,
    environment: dict[str, str] | None = None,
    **more: dict[str, Any],
) -> Iterator[str]:
    """The project with these models, ``environment`` set for it; gives its URL once all are ready.

    ``more`` are further keys of ``args``, or others than those here.
    """
    args = {
        "models": models,
        "limits": {"max_list_items": max_list_items, "request_timeout_s": 600},
        "router": {"num_cpus": 0},  # logical: so that replicas may reserve every core
        "access": {"open": True},  # HAProxy, where the environment asks for it, listens on more than loopback
        **more,
    }
    application = {"name": "pipelines", "route_prefix": "/", "import_path": "graph.app:build", "args": args}
    with _server("pipeline-graph serve", [application], _is_ready, environment) as url:
        yield url


@contextmanager
def serve_batch(model: Path, settings: Settings) -> Iterator[str]:
    """Ray's example at ``/plain``, and with room for more requests at ``/roomy``."""
    args = {"model": str(model), "threads": max(1, int(settings.num_cpus)), "replicas": settings.replicas}
    applications = [
        {
            "name": name,
            "route_prefix": f"/{name}",
            "import_path": "benchmarks.serve_batch_example:build",
            "args": {**args, **more},
        }
        for name, more in (("plain", {}), ("roomy", {"max_ongoing_requests": ROOMY}))
    ]
    with _server("serve run", applications, _answers) as url:
        yield url


def _is_ready(url: str) -> bool:
    answer = httpx.get(f"{url}/ready", timeout=30)
    failed = [name for name, state in answer.json().get("models", {}).items() if state["state"] == "failed"]
    if failed:
        raise BenchmarkError(f"{', '.join(failed)} could not be loaded: {answer.text}")
    return answer.status_code == 200


def _is_healthy(url: str) -> bool:
    return httpx.get(f"{url}/health", timeout=30).status_code == 200


def _answers(url: str) -> bool:
    routes = ("plain", "roomy")
    return all(httpx.post(f"{url}/{route}", json={"inputs": "yes"}, timeout=30).status_code == 200 for route in routes)


@contextmanager
def transformers_serve(model: Path, *options: str) -> Iterator[str]:
    """``transformers serve`` with this model alone; gives its URL once it answers."""
    port = _free_port()
    command = ["transformers", "serve", str(model), "--port", str(port), "--device", "cpu", *options]
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory(prefix="pipeline-graph-bench-") as folder,
        _process(command, url, lambda url: httpx.get(f"{url}/health", timeout=30).status_code == 200, Path(folder)),
    ):
        yield url


@contextmanager
def _server(
    command: str,
    applications: list[dict[str, Any]],
    ready: Callable[[str], bool],
    environment: dict[str, str] | None = None,
) -> Iterator[str]:
    """Start ``command`` on a config file with these applications, wait until ``ready``, end it in the end."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="pipeline-graph-bench-") as folder:
        config = Path(folder, "config.yaml")
        config.write_text(
            yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": port}, "applications": applications})
        )
        # `local`: never a Ray cluster that happens to run on this machine
        with _process([*command.split(), str(config), "--address=local"], url, ready, Path(folder), environment):
            yield url


@contextmanager
def _process(
    command: list[str],
    url: str,
    ready: Callable[[str], bool],
    folder: Path,
    environment: dict[str, str] | None = None,
) -> Iterator[None]:
    """A program of this environment; its log goes to ``folder``."""
    with Path(folder, "log").open("w+") as log:
        name, *options = command
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(name)), *options],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches it once, from here
        )
        try:
            _wait(process, url, ready, Path(log.name))
            yield
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _wait(process: "subprocess.Popen[bytes]", url: str, ready: Callable[[str], bool], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            if ready(url):
                return
        time.sleep(0.5)
    how = "ended" if process.poll() is not None else f"is not ready after {_START_S} s"
    raise BenchmarkError(f"the server {how}; the end of its log:\n{log.read_text(errors='replace')[-4000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C does; harder if that does not help."""
    for means, patience_s in ((signal.SIGINT, 60), (signal.SIGTERM, 20)):
        if process.poll() is None:
            process.send_signal(means)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its own session: what Ray may have left there
    process.wait()
