"""The command ``pipeline-graph``: ``check`` a configuration, ``serve`` it, show its ``status``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.errors import ConfigError

_BUILDER = "graph.app:build"
_EXAMPLE = """
Serving at http://{host}:{port} as soon as the models are loaded (GET /ready says when). A first request:

    curl http://{host}:{port}/models/{name} -d '{body}'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pipeline-graph", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in (
        ("check", "list every mistake in a config file, without starting anything"),
        ("serve", "check a config file, then `serve run` it; further options go to `serve run`"),
    ):
        command = commands.add_parser(name, help=says, description=says)
        command.add_argument("config", nargs="?", default="serve_config.yaml", help="default: serve_config.yaml")
    status = commands.add_parser("status", help="one readable table of the running applications")
    status.add_argument("--address", default=None, help="Ray dashboard, default http://127.0.0.1:8265")
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command != "serve":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if known.command == "status":
        return _status(known.address)
    try:
        applications = check_file(Path(known.config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if known.command == "check":
        print(f"{known.config}: {sum(len(names) for names in applications.values())} models, no mistakes")
        return 0
    return _serve(known.config, rest)


def read_file(path: Path) -> dict[str, Any]:
    """The config file as ``serve run`` reads it.

    Raises:
        ConfigError: there is no such file, it is not YAML, or not the shape that Ray Serve takes.
    """
    import yaml
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold an object with `applications`.")
    try:
        ServeDeploySchema.model_validate(content)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"{path} is not a Ray Serve config:", tuple(mistakes)) from None
    return content


def check_file(path: Path) -> dict[str, list[str]]:
    """Names of the models of each application in ``path``.

    Raises:
        ConfigError: with every mistake of every application, at its path in the file.
    """
    from graph.resolve import configure

    found: dict[str, list[str]] = {}
    mistakes: list[str] = []
    for index, application in enumerate(read_file(path)["applications"]):
        if application.get("import_path") != _BUILDER:
            continue
        try:
            config = configure(application.get("args") or {})
            found[application.get("name", "default")] = [str(model.name) for model in config.models]
        except ConfigError as error:
            mistakes += [f"applications[{index}].{mistake}" for mistake in error.mistakes]
    if mistakes:
        raise ConfigError(f"{path} has mistakes:", tuple(mistakes))
    return found


def _serve(config: str, rest: list[str]) -> int:
    """Hand over to ``serve run``, in this very process, so that signals reach it."""
    http = read_file(Path(config)).get("http_options") or {}
    address = {"host": http.get("host", "127.0.0.1"), "port": http.get("port", 8000)}
    print(_EXAMPLE.format(**address, **_first_request(config)), flush=True)
    command = [str(Path(sys.executable).with_name("serve")), "run", config, *rest]
    os.execv(command[0], command)


def _first_request(config: str) -> dict[str, str]:
    """Name and body of a request that suits the first model whose example is plain JSON."""
    import json

    from deployments.tasks import TASKS
    from graph.resolve import configure

    for application in read_file(Path(config))["applications"]:
        if application.get("import_path") != _BUILDER:
            continue
        for model in configure(application.get("args") or {}).models:
            spec = TASKS[model.canonical_task]
            if isinstance(spec.example, str):
                parameters = {"parameters": dict(spec.example_parameters)} if spec.required else {}
                return {"name": str(model.name), "body": json.dumps({"inputs": spec.example, **parameters})}
    return {"name": "NAME", "body": '{"inputs": ...}'}


def _status(address: str | None) -> int:
    # Ray protects the dashboard of a local cluster with a token, and reads it only when told to
    if (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    client = ServeSubmissionClient(address or os.environ.get("RAY_DASHBOARD_ADDRESS", "http://127.0.0.1:8265"))
    details = client.get_serve_details()
    print(f"{'APPLICATION':<16}{'DEPLOYMENT':<28}{'STATUS':<14}{'REPLICAS':<10}MESSAGE")
    healthy = True
    for app_name, application in details["applications"].items():
        for name, deployment in application["deployments"].items():
            running = sum(replica["state"] == "RUNNING" for replica in deployment["replicas"])
            healthy = healthy and deployment["status"] == "HEALTHY"
            message = (deployment["message"].strip().splitlines() or [""])[-1][:80]
            print(f"{app_name:<16}{name:<28}{deployment['status']:<14}{running:<10}{message}")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
