"""What ``inputs`` may be, for each task: reading a JSON value into the call form of the pipeline.

A `Form` checks one value and turns every image, sound or film in it into `Media` (or `RemoteMedia` or `LocalMedia`,
which `graph.fetch` gets, or refuses). Values that are decoded already (PIL images, numpy arrays) pass. Beside what it
reads, each form says as JSON Schema what that is in plain JSON. No torch and no network here.
"""

import base64
import dataclasses
import re
import string
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL.Image import Image

from deployments.errors import InvalidInputError
from deployments.payload import Media, MediaKind

Schema = dict[str, Any]
"""A JSON Schema, draft 2020-12."""

_SOME_TEXT = r"\S"
_BASE64 = r"^\s*[A-Za-z0-9+/][A-Za-z0-9+/\s]*=?\s*=?\s*$"
_DATA_URI_BEGINS = "^[Dd][Aa][Tt][Aa]:[^,]*;[Bb][Aa][Ss][Ee]64,"
_DATA_URI = re.compile(r"data:[^,;]*(?:;[^,;]+)*?;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteMedia:
    """A file still to be fetched from ``url`` (http or https)."""

    url: str
    kind: MediaKind
    field: str


@dataclass(frozen=True)
class LocalMedia:
    """A file still to be read from the router's disk, where that is allowed: a ``file:`` URL or an absolute path."""

    source: str
    kind: MediaKind
    field: str


class Form:
    """Root of the forms."""

    says = "a value"

    def is_one(self, value: Any) -> bool:
        """Whether ``value`` is one input, rather than a list of them."""
        return not isinstance(value, list)

    def read(self, value: Any, path: str) -> Any:
        """Check ``value`` and return it in the pipeline's call form.

        Raises:
            InvalidInputError: it is not ``says``; names ``path``.
        """
        return value

    def schema(self) -> Schema:
        """What `read` takes, in plain JSON."""
        return {}

    def _refuse(self, value: Any, path: str) -> InvalidInputError:
        return InvalidInputError(f"`{path}` must be {self.says}, not {_type_name(value)}.", path)


@dataclass(frozen=True)
class Text(Form):
    """A string; ``empty_ok`` where the pipeline has an answer to no text at all."""

    empty_ok: bool = False

    @property
    def says(self) -> str:  # type: ignore[override]
        return "a string" if self.empty_ok else "a non-empty string"

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise self._refuse(value, path)
        if not self.empty_ok and not value.strip():
            raise InvalidInputError(f"`{path}` is empty: this task needs some text.", path)
        return value

    def schema(self) -> Schema:
        return {"type": "string"} if self.empty_ok else {"type": "string", "pattern": _SOME_TEXT}


@dataclass(frozen=True)
class Words(Form):
    """A string, or a list of words where the pipeline takes text that was split beforehand."""

    says = "a string or a list of words"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return value
        return Text(empty_ok=True).read(value, path)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}


@dataclass(frozen=True)
class MediaOf(Form):
    """An image, sound or film: base64, a ``data:`` URI, an http(s) URL, or decoded already."""

    kind: MediaKind

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"{_ARTICLE[self.kind]} as base64, a data: URI or an http(s) URL"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, Media | RemoteMedia | LocalMedia) and value.kind == self.kind:
            return value if value.field == path else dataclasses.replace(value, field=path)
        if isinstance(value, bytes):
            return Media(value, self.kind, path)
        if isinstance(value, str):
            return self._read_string(value, path)
        if self._is_decoded(value):
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {
            "description": f"{self.says[0].upper()}{self.says[1:]}.",
            "type": "string",
            "minLength": 1,
            "anyOf": [
                {"contentEncoding": "base64", "pattern": _BASE64},
                {"pattern": _DATA_URI_BEGINS},
                {"format": "uri", "pattern": "^https?://"},
            ],
        }

    def _read_string(self, value: str, path: str) -> Media | RemoteMedia | LocalMedia:
        if value[:8].lower().startswith(("http://", "https://")):
            return RemoteMedia(value, self.kind, path)
        if value[:5].lower() == "file:":
            return LocalMedia(value, self.kind, path)
        match = _DATA_URI.match(value[:256])
        encoded = value[match.end() :] if match else value
        try:
            data = base64.b64decode(_without_spaces(encoded), validate=True)
        except ValueError:
            data = b""
        if not data and value.startswith("/"):  # only now: the base64 of a JPEG begins with a slash too
            return LocalMedia(value, self.kind, path)
        if not data:
            raise InvalidInputError(f"`{path}` must be {self.says}.", path)
        return Media(data, self.kind, path)

    def _is_decoded(self, value: Any) -> bool:
        if self.kind == "image":
            return isinstance(value, Image)
        if self.kind == "audio":
            return isinstance(value, np.ndarray) or _is_raw_audio(value)
        return isinstance(value, np.ndarray)


@dataclass(frozen=True)
class Labels(Form):
    """Candidate labels: a list of strings, or one string with commas."""

    says = "a list of at least one label, or one string with commas between the labels"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, str) and value.strip():
            value = [label.strip() for label in value.split(",") if label.strip()]
        if isinstance(value, list) and value and all(isinstance(label, str) and label.strip() for label in value):
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        label = {"type": "string", "pattern": _SOME_TEXT}
        return {"anyOf": [{"type": "array", "items": label, "minItems": 1}, {"type": "string", "pattern": r"[^\s,]"}]}


@dataclass(frozen=True)
class Table(Form):
    """A table as columns (``{"name": ["..."]}``) or rows (``[{"name": "..."}]``); cells become strings."""

    says = "a table: an object of equally long columns, or a list of row objects"

    def read(self, value: Any, path: str) -> dict[str, list[str]]:
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            names = dict.fromkeys(name for row in value for name in row)
            value = {name: [row.get(name, "") for row in value] for name in names}
        if not isinstance(value, dict) or not value or not all(isinstance(column, list) for column in value.values()):
            raise self._refuse(value, path)
        if len({len(column) for column in value.values()}) != 1 or not next(iter(value.values())):
            raise InvalidInputError(f"`{path}` must have equally long columns with at least one row.", path)
        return {str(name): [str(cell) for cell in column] for name, column in value.items()}

    def schema(self) -> Schema:
        column = {"type": "array", "minItems": 1}
        columns = {"type": "object", "minProperties": 1, "additionalProperties": column}
        rows = {"type": "array", "minItems": 1, "items": {"type": "object", "minProperties": 1}}
        return {"description": f"{self.says.capitalize()}.", "anyOf": [columns, rows]}


@dataclass(frozen=True)
class Json(Form):
    """An object or a string that the pipeline itself reads."""

    says = "an object or a string"

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict | str) or not value:
            raise self._refuse(value, path)
        return value

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "object", "minProperties": 1}, {"type": "string", "minLength": 1}]}


@dataclass(frozen=True)
class Any_(Form):
    """Whatever the pipeline takes."""


def _without_spaces(text: str) -> str:
    """``text`` without white space: megabytes are copied only where there is some."""
    return "".join(text.split()) if any(space in text for space in string.whitespace) else text


def _is_raw_audio(value: Any) -> bool:
    """The pipelines' ``{"raw": array, "sampling_rate": Hz}``, or ``{"array": ...}`` of datasets."""
    if not isinstance(value, dict) or "sampling_rate" not in value:
        return False
    return any(isinstance(value.get(key), np.ndarray) for key in ("raw", "array"))


def _type_name(value: Any) -> str:
    names = {type(None): "missing", dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "something else")


_ARTICLE: dict[MediaKind, str] = {"image": "an image", "audio": "audio", "video": "a video"}
