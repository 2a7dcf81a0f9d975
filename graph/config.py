"""The whole configuration: one strict tree, whose mistakes are listed by their path in the file."""

import difflib
from collections import Counter
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from deployments.config import MediaLimits, ModelConfig, StrictModel
from deployments.errors import ConfigError


class FetchConfig(StrictModel):
    """Files that callers name by URL.

    Args:
        enabled: whether URLs are fetched at all (default true).
        allow_private_addresses: whether a URL may lead to a private, loopback or link-local address (default false).
        max_bytes: size of one file (default 50 MiB).
        timeout_s: seconds for one file, redirects and all (default 15).
        max_redirects: hops followed (default 3); each hop's address is checked.
    """

    enabled: bool = True
    allow_private_addresses: bool = False
    max_bytes: int = Field(default=50 * 2**20, ge=1)
    timeout_s: float = Field(default=15, gt=0)
    max_redirects: int = Field(default=3, ge=0, le=20)


class LimitsConfig(StrictModel):
    """Bounds on one request.

    Args:
        max_body_bytes: size of a request body (default 64 MiB).
        max_list_items: inputs in one request (default 10000).
        request_timeout_s: seconds until a caller gets 504, or until an item of a list counts as failed (default 300).
    """

    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    max_list_items: int = Field(default=10_000, ge=1)
    request_timeout_s: float = Field(default=300, gt=0)


class RouterConfig(StrictModel):
    """The ingress router's own deployment.

    Args:
        num_replicas: router processes (>=1, default 1).
        num_cpus: logical CPUs of each (default 0.1: it waits more than it works).
        max_ongoing_requests: requests one router process holds at a time (default 1000).
    """

    num_replicas: int = Field(default=1, ge=1)
    num_cpus: float = Field(default=0.1, ge=0)
    max_ongoing_requests: int = Field(default=1000, ge=1)


class GraphConfig(StrictModel):
    """``args`` of the application in ``serve_config.yaml``.

    Args:
        models: what is served, at least one; see `ModelConfig`.
        limits: bounds on one request; see `LimitsConfig`.
        media: bounds on decoded media; see `MediaLimits`.
        fetch: files named by URL; see `FetchConfig`.
        router: the ingress deployment; see `RouterConfig`.
    """

    models: list[ModelConfig] = Field(min_length=1)
    limits: LimitsConfig = LimitsConfig()
    media: MediaLimits = MediaLimits()
    fetch: FetchConfig = FetchConfig()
    router: RouterConfig = RouterConfig()

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = Counter(model.name or model.task for model in self.models)
        twice = sorted(str(name) for name, count in names.items() if name is not None and count > 1)
        if twice:
            raise ValueError(f"two models are called {', '.join(twice)}: give each its own `name`")
        if "router" in names:
            raise ValueError("no model can be called 'router': that is the ingress deployment's name")
        return self


def read_config(args: dict[str, Any], prefix: str = "args") -> GraphConfig:
    """Validate ``args`` of the application.

    Raises:
        ConfigError: with every mistake at its path, e.g. ``args.models[0].bacth: unknown key; did you mean 'batch'?``.
    """
    try:
        return GraphConfig.model_validate(args)
    except ValidationError as error:
        mistakes = tuple(_sentence(dict(item), prefix) for item in error.errors())
        raise ConfigError("The configuration has mistakes:", mistakes) from None


def _sentence(item: dict[str, Any], prefix: str) -> str:
    """One mistake as ``path: sentence``."""
    location: tuple[str | int, ...] = item["loc"]
    path = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    if item["type"] == "extra_forbidden":
        known = sorted(_keys_at(location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
        return f"{path}: unknown key; {hint}"
    if item["type"] == "missing":
        return f"{path}: missing."
    return f"{path}: {item['msg'].removeprefix('Value error, ').rstrip('.')}."


def _keys_at(location: tuple[str | int, ...]) -> set[str]:
    """Names of the fields of the model at ``location`` in the tree."""
    model: Any = GraphConfig
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        arguments = getattr(annotation, "__args__", ())
        model = next((a for a in (annotation, *arguments) if isinstance(a, type) and issubclass(a, BaseModel)), None)
        if model is None:
            return set()
    return set(model.model_fields)
