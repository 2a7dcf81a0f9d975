"""``pipeline-graph serve``: ``serve run`` for a checked file, with a word on what will wait and what loads."""

import ipaddress
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.applications import configured, own_applications
from cluster.options import LONG_MESSAGES, QUICK_PROXY
from cluster.plan import cli as planning
from deployments.config import ModelConfig
from deployments.errors import ConfigError
from deployments.progress import FOLDER
from graph.config import GraphConfig

_EXAMPLE = """
Loading; each model is told of when it is ready, and {logs} has the logs. A first request then:

    curl http://{host}:{port}{prefix}/models/{name} -d '{body}'
"""
# every line that a replica logs, each request among them, would else be shown here; Ray's own switch
_QUIET = {"RAY_LOG_TO_DRIVER": "0"}


def serve(config: Path, rest: Sequence[str]) -> int:
    """Check a file, then hand over to ``serve run``; the exit status is 2 for mistakes.

    It runs in this very process, so that signals reach it and nothing is imported twice.

    Args:
        config: the file.
        rest: further options of ``serve run``.
    """
    # before Ray is imported; for the proxy and Serve's controller too, which are none of ours
    for name, value in {**LONG_MESSAGES, **QUICK_PROXY, **_QUIET}.items():
        os.environ.setdefault(name, value)
    from cluster.cli import check_file

    try:
        check_file(config)
        content, closed = _for_this_machine(config)
        _tell(content, config, rest)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if closed:
        return _serve_run([str(config), *rest])
    with tempfile.NamedTemporaryFile("w", prefix="pipeline-graph-", suffix=".yaml") as file:
        json.dump(content, file)  # which is YAML
        file.flush()
        return _serve_run([file.name, *rest])


def _for_this_machine(config: Path) -> tuple[dict[str, Any], bool]:
    """The content of a file, and whether that is as it stands there.

    Where it says nothing of the host, nobody but this machine is let in; Ray itself would let in everybody.
    """
    from cluster.cli import read_file

    content = read_file(config)
    http = content.get("http_options") or {}
    return {**content, "http_options": {"host": "127.0.0.1", **http}}, "host" in http


def _tell(content: dict[str, Any], config: Path, rest: Sequence[str]) -> None:
    """What to ask of it, what will wait, and from now on what loads.

    Raises:
        ConfigError: it would be open to the network without keys.
    """
    http = content["http_options"]
    host, port = str(http["host"]), http.get("port", 8000)
    ours = list(_ours(content))
    _refuse_open([found for _, found in ours], host)
    prefix = ours[0][0].rstrip("/") if ours else ""
    models = [model for _, found in ours for model in found.models]
    print(
        _EXAMPLE.format(host=_in_url(host), port=port, prefix=prefix, logs=_logs(), **_first_request(models)),
        flush=True,
    )
    planning.warn(config, rest)
    url = f"http://{_in_url({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host))}:{port}{prefix}"
    _announce(url, [str(model.name) for model in ours[0][1].models] if ours else [])


def _in_url(host: str) -> str:
    """``host`` as it stands in a URL: an IPv6 address in brackets."""
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def _announce(url: str, names: list[str]) -> None:
    """Begin to tell of what loads; it ends by itself, and takes the folder with it."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="pipeline-graph-")
    told = subprocess.Popen([sys.executable, "-m", "cluster.announce", url, os.environ[FOLDER], *names])
    threading.Thread(target=told.wait, daemon=True).start()  # so that nothing of it is left


def _serve_run(arguments: list[str]) -> int:
    from ray.serve.scripts import cli

    cli.main(args=["run", *arguments], prog_name="serve")  # ends with `sys.exit`
    return 0


def _ours(content: dict[str, Any]) -> Iterator[tuple[str, GraphConfig]]:
    """Each of the applications that are ours: where it is, and its configuration."""
    for _, application in own_applications(content):
        yield str(application.get("route_prefix") or "/"), configured(application)


def _refuse_open(ours: list[GraphConfig], host: str) -> None:
    """As each router does when it starts; here before anything is loaded."""
    from graph.access.open import refuse_open

    for config in ours:
        refuse_open(config.access, host)


def _logs() -> Path:
    """Where the replicas' logs will be, unless Ray runs elsewhere already."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "session_latest", "logs", "serve")


def _first_request(models: list[ModelConfig]) -> dict[str, str]:
    """Name and body of a request that suits the first model whose example is plain JSON."""
    from deployments.tasks import TASKS

    for model in models:
        spec = TASKS[model.canonical_task]
        if isinstance(spec.example, str):
            parameters = {"parameters": dict(spec.example_parameters)} if spec.required else {}
            return {"name": str(model.name), "body": json.dumps({"inputs": spec.example, **parameters})}
    return {"name": "NAME", "body": '{"inputs": ...}'}
