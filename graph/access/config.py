"""The ``access`` part of the configuration."""

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator

from deployments.config import StrictModel
from deployments.errors import ConfigError

VARIABLE = "PIPELINE_GRAPH_API_KEYS"
"""Environment variable with keys: ``name:sha256``, several with commas between."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


class KeyConfig(StrictModel):
    """One API key. The key itself stands nowhere: ``pipeline-graph key NAME`` makes one and prints this entry.

    Args:
        name: for logs and metrics; letters, digits, ``.``, ``_`` and ``-``.
        sha256: of the key, 64 hexadecimal digits.
        models: names of the models that it may use, and sees; empty for all (default).
        requests_per_minute: more get 429, counted in each router process (default: no limit).
        concurrent: requests at a time, streams included; more get 429 (default: no limit).
        priority: ``low`` waits behind others as items of a list do (default ``normal``).
    """

    name: str
    sha256: str = Field(repr=False)
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent: int | None = Field(default=None, ge=1)
    priority: Literal["normal", "low"] = "normal"

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("must be 1 to 64 letters, digits, '.', '_' or '-'")
        return value

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        if not _DIGEST.fullmatch(value):
            raise ValueError("must be the SHA-256 of a key, 64 hexadecimal digits; `pipeline-graph key NAME` prints it")
        return value


class AccessConfig(StrictModel):
    """Who may ask.

    With keys from anywhere, every route but ``/health``, ``/ready`` and ``/models/{name}/health`` needs one. Without,
    the server answers everybody, and starts only where nobody but this machine reaches it.

    Args:
        keys: see `KeyConfig` (default: none).
        keys_file: a YAML file with a list of such entries; read again when it changes, so that keys come and go
            without a restart. On the router's machine (default: none).
        open: start without keys where others reach the server (default false).
        cors_origins: origins whose pages may call this server from a browser, or ``*`` (default: none).
    """

    keys: tuple[KeyConfig, ...] = ()
    keys_file: str | None = None
    open: bool = False
    cors_origins: tuple[str, ...] = ()


_ENTRIES = TypeAdapter(tuple[KeyConfig, ...])


def read_keys_file(path: Path) -> tuple[KeyConfig, ...]:
    """The entries of a keys file.

    Raises:
        ConfigError: it cannot be read, or has mistakes; nothing of its content is in the message.
    """
    try:
        content: Any = yaml.safe_load(path.read_text())
        return _ENTRIES.validate_python(content or ())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise ConfigError(f"access.keys_file: {path} cannot be read as YAML.") from None
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, found["loc"]))
        raise ConfigError(f"access.keys_file: {path}: {where or 'the file'}: {found['msg']}.") from None


def read_variable(text: str) -> tuple[KeyConfig, ...]:
    """The entries of `VARIABLE`.

    Raises:
        ConfigError: it is not of the form ``name:sha256,name:sha256``.
    """
    entries = [entry.strip().partition(":") for entry in text.split(",") if entry.strip()]
    try:
        return tuple(KeyConfig(name=name, sha256=digest) for name, _, digest in entries)
    except ValidationError:
        raise ConfigError(f"{VARIABLE} must be name:sha256, several with commas between.") from None
