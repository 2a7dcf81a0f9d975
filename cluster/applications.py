"""The applications of a config file, and which of them are ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployments.errors import ConfigError
from graph.config import GraphConfig

BUILDER = "graph.app:build"
"""``import_path`` of the applications that are ours."""


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


def own_applications(content: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those of the applications in a file that are ours, each with its place among all of them."""
    for index, application in enumerate(content["applications"]):
        if application.get("import_path") == BUILDER:
            yield index, application


def configured(application: dict[str, Any]) -> GraphConfig:
    """The configuration of one of ours.

    Raises:
        ConfigError: with every mistake.
    """
    from graph.resolve import configure

    return configure(application.get("args") or {})
