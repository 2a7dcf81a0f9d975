"""What ``inputs`` may be, for each task: reading a JSON value into the call form of the pipeline.

A `Form` checks one value and turns every image, sound or film in it into `Media` (or `RemoteMedia`, to be fetched).
Values that are decoded already (PIL images, numpy arrays) pass. No torch and no network here.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL.Image import Image

from deployments.errors import InvalidInputError
from deployments.payload import Media, MediaKind

_DATA_URI = re.compile(r"data:[^,;]*(?:;[^,;]+)*?;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteMedia:
    """A file still to be fetched from ``url`` (http or https)."""

    url: str
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


@dataclass(frozen=True)
class Words(Form):
    """A string, or a list of words where the pipeline takes text that was split beforehand."""

    says = "a string or a list of words"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return value
        return Text(empty_ok=True).read(value, path)


@dataclass(frozen=True)
class MediaOf(Form):
    """An image, sound or film: base64, a ``data:`` URI, an http(s) URL, or decoded already."""

    kind: MediaKind

    @property
    def says(self) -> str:  # type: ignore[override]
        return f"{_ARTICLE[self.kind]} as base64, a data: URI or an http(s) URL"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, Media | RemoteMedia) and value.kind == self.kind:
            return value
        if isinstance(value, bytes):
            return Media(value, self.kind, path)
        if isinstance(value, str):
            return self._read_string(value, path)
        if self._is_decoded(value):
            return value
        raise self._refuse(value, path)

    def _read_string(self, value: str, path: str) -> Media | RemoteMedia:
        if value.startswith(("http://", "https://")):
            return RemoteMedia(value, self.kind, path)
        match = _DATA_URI.match(value[:256])
        encoded = value[match.end() :] if match else value
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not data:
            # never a local path: what the server's disk holds is not the caller's to read
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


@dataclass(frozen=True)
class Json(Form):
    """An object or a string that the pipeline itself reads."""

    says = "an object or a string"

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict | str) or not value:
            raise self._refuse(value, path)
        return value


@dataclass(frozen=True)
class Any_(Form):
    """Whatever the pipeline takes."""


def _is_raw_audio(value: Any) -> bool:
    """The pipelines' ``{"raw": array, "sampling_rate": Hz}``, or ``{"array": ...}`` of datasets."""
    if not isinstance(value, dict) or "sampling_rate" not in value:
        return False
    return any(isinstance(value.get(key), np.ndarray) for key in ("raw", "array"))


def _type_name(value: Any) -> str:
    names = {type(None): "missing", dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "something else")


_ARTICLE: dict[MediaKind, str] = {"image": "an image", "audio": "audio", "video": "a video"}
