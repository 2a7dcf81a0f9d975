"""The whole configuration: one strict tree, whose mistakes are listed by their path in the file."""

import difflib
from collections import Counter
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from deployments.config import NAME, GroupConfig, MediaLimits, ModelConfig, StrictModel
from deployments.errors import ConfigError
from graph.access.config import AccessConfig
from graph.places import Places


class FetchConfig(StrictModel):
    """Files that callers name by URL.

    Args:
        enabled: whether URLs are fetched at all (default true).
        allow: hosts (``data.example``, ``*.example.com``) and networks (``10.1.0.0/16``) that alone are reached, if
            any are listed (default: none, so every public address is). A host is reached only at public addresses, a
            network also where it is private.
        deny: hosts and networks that are never reached, whatever ``allow`` says (default: none).
        ports: ports that a URL may lead to; empty for any (default: 80 and 443).
        allow_private_addresses: whether a URL may lead to a private, loopback or link-local address (default false).
        max_bytes: size of one file (default 50 MiB), before and after a content encoding is undone.
        max_total_bytes: size of all files of one input together (default 200 MiB).
        max_files: files named by one input (default 64).
        timeout_s: seconds for one file, redirects and all (default 15).
        connect_timeout_s: of these, seconds until a connection stands (default 5).
        max_redirects: hops followed (default 3); each hop's address is checked.
        max_concurrent: files fetched at a time by one router process (default 16).
        max_waiting: files that may wait for that before callers get 429 (default 256).
    """

    enabled: bool = True
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ports: tuple[int, ...] = (80, 443)
    allow_private_addresses: bool = False
    max_bytes: int = Field(default=50 * 2**20, ge=1)
    max_total_bytes: int = Field(default=200 * 2**20, ge=1)
    max_files: int = Field(default=64, ge=1)
    timeout_s: float = Field(default=15, gt=0)
    connect_timeout_s: float = Field(default=5, gt=0)
    max_redirects: int = Field(default=3, ge=0, le=20)
    max_concurrent: int = Field(default=16, ge=1)
    max_waiting: int = Field(default=256, ge=0)

    @field_validator("allow", "deny")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Places(value)
        return value


class FilesConfig(StrictModel):
    """Files of the router's machine that callers name by path.

    Args:
        allowed: absolute paths of folders whose files may be read (default: none, so no path is read).
        max_bytes: size of one file (default 50 MiB).
    """

    allowed: tuple[str, ...] = ()
    max_bytes: int = Field(default=50 * 2**20, ge=1)

    @field_validator("allowed")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for folder in value:
            if not Path(folder).is_absolute() or Path(folder).resolve() == Path("/"):
                raise ValueError(f"{folder!r} must be the absolute path of a folder, and not the root")
        return value


class LimitsConfig(StrictModel):
    """Bounds on one request.

    Args:
        max_body_bytes: size of a request body (default 64 MiB).
        body_timeout_s: seconds until a request body must be there, and one more for each 16 KiB of it that came
            (default 30); later, the caller gets 408.
        max_list_items: inputs in one request (default 10000).
        request_timeout_s: seconds until a caller gets 504, or until an item of a list counts as failed (default 300).
    """

    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    body_timeout_s: float = Field(default=30, gt=0)
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
        groups: by name, replicas that several of the models share; see `GroupConfig`.
        limits: bounds on one request; see `LimitsConfig`.
        media: bounds on decoded media; see `MediaLimits`.
        fetch: files named by URL; see `FetchConfig`.
        files: files named by path; see `FilesConfig`.
        router: the ingress deployment; see `RouterConfig`.
        access: API keys; see `AccessConfig`.
    """

    models: list[ModelConfig] = Field(min_length=1)
    groups: dict[str, GroupConfig] = Field(default_factory=dict)
    limits: LimitsConfig = LimitsConfig()
    media: MediaLimits = MediaLimits()
    fetch: FetchConfig = FetchConfig()
    files: FilesConfig = FilesConfig()
    router: RouterConfig = RouterConfig()
    access: AccessConfig = AccessConfig()

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = Counter(model.name or model.task for model in self.models)
        twice = sorted(str(name) for name, count in names.items() if name is not None and count > 1)
        if twice:
            raise ValueError(f"two models are called {', '.join(twice)}: give each its own `name`")
        if "router" in names:
            raise ValueError("no model can be called 'router': that is the ingress deployment's name")
        return self

    @model_validator(mode="after")
    def _known_groups(self) -> Self:
        names = {model.name or model.task for model in self.models} | {"router"}
        used = {model.group for model in self.models} - {None}
        for group in self.groups:
            if not NAME.fullmatch(group):
                raise ValueError(f"a group cannot be called {group!r}: letters, digits, '.', '_' and '-'")
            if group in names:
                raise ValueError(f"the group {group} needs a name that no model and not the router has")
            if group not in used:
                raise ValueError(f"no model is in the group {group}: give some `group: {group}`")
        unknown = sorted(str(group) for group in used - {*self.groups})
        if unknown:
            raise ValueError(f"there is no group {', '.join(unknown)}: describe it under `groups`")
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
        if isinstance(part, int) or part not in model.model_fields:  # an item of a list, a key of a dictionary
            continue
        annotation = model.model_fields[part].annotation
        arguments = getattr(annotation, "__args__", ())
        model = next((a for a in (annotation, *arguments) if isinstance(a, type) and issubclass(a, BaseModel)), None)
        if model is None:
            return set()
    return set(model.model_fields)
