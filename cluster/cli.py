"""The command ``pipeline-graph``: ``check``, ``serve`` or ``export`` a configuration, run a ``batch``, and more."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import start
from cluster.applications import BUILDER, configured, own_applications, read_file
from cluster.plan import cli as planning
from deployments.errors import ConfigError
from graph.jobs import command as batch

__all__ = ["BUILDER", "check_file", "main", "read_file"]
_APART = {"plan": planning.run, "batch": batch.main}


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
    export = commands.add_parser("export", help="print a config file as manifests", description="For a cluster.")
    export.add_argument("config", nargs="?", default="serve_config.yaml", help="default: serve_config.yaml")
    export.add_argument("--kubernetes", action="store_true", required=True, help="for KubeRay: `| kubectl apply -f -`")
    export.add_argument("--image", default="pipeline-graph:0.1.0", help="without -cpu or -cuda; default: %(default)s")
    key = commands.add_parser("key", help="make an API key", description="Make an API key and its entry for `access`.")
    key.add_argument("name", help="for logs and metrics")
    planning.add_arguments(commands.add_parser("plan", help=planning.HELP, description=planning.HELP))
    status = commands.add_parser("status", help="one readable table of the running applications")
    status.add_argument("--address", default=None, help="Ray dashboard, default http://127.0.0.1:8265")
    batch.add_to(commands)
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command != "serve":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if known.command == "status":
        from cluster.status import show

        return show(known.address)
    if known.command == "key":
        return _key(known.name)
    if known.command in _APART:
        return _APART[known.command](known)
    if known.command == "serve":
        return start.serve(Path(known.config), rest)
    try:
        applications = check_file(Path(known.config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if known.command == "export":
        return _export(Path(known.config), known.image)
    print(f"{known.config}: {sum(len(names) for names in applications.values())} models, no mistakes")
    return 0


def check_file(path: Path) -> dict[str, list[str]]:
    """Names of the models of each application in ``path``.

    Raises:
        ConfigError: with every mistake of every application, at its path in the file.
    """
    found: dict[str, list[str]] = {}
    mistakes: list[str] = []
    for index, application in own_applications(read_file(path)):
        try:
            config = configured(application)
            found[application.get("name", "default")] = [str(model.name) for model in config.models]
        except ConfigError as error:
            mistakes += [f"applications[{index}].{mistake}" for mistake in error.mistakes]
    if mistakes:
        raise ConfigError(f"{path} has mistakes:", tuple(mistakes))
    return found


def _key(name: str) -> int:
    """Show a new key once, and the entry that lets it in."""
    from pydantic import ValidationError

    from graph.access.config import KeyConfig
    from graph.access.keys import new_key

    secret, sha256 = new_key()
    try:
        KeyConfig(name=name, sha256=sha256)
    except ValidationError as error:
        print(f"{name!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    print(f"The key, shown this once: {secret}\nIts entry in `access.keys` or in the file `access.keys_file`:")
    print(f"- name: {name}\n  sha256: {sha256}")
    return 0


def _export(config: Path, image: str) -> int:
    """Print the manifests of a file without mistakes; a warning goes beside them."""
    from cluster.export import left_behind, manifests

    for name in left_behind(read_file(config)):
        print(f"{name} lies in a folder of this machine: put it into the image, or name a hub id.", file=sys.stderr)
    print(manifests(config, image), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
