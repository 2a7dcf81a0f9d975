"""Forms made of other forms: pairs, lists, objects with named parts, chats."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.errors import InvalidInputError
from deployments.tasks.forms import Form, Json, MediaOf, Schema, Text


@dataclass(frozen=True)
class Pair(Form):
    """Two inputs that belong together."""

    form: Form
    says = "a list of exactly two images"

    def is_one(self, value: Any) -> bool:
        return isinstance(value, list) and not any(isinstance(part, list) for part in value)

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise self._refuse(value, path)
        return [self.form.read(part, f"{path}[{index}]") for index, part in enumerate(value)]

    def schema(self) -> Schema:
        return {"type": "array", "items": self.form.schema(), "minItems": 2, "maxItems": 2}


@dataclass(frozen=True)
class ListOf(Form):
    """One value or a list of values of one form."""

    form: Form

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [self.form.read(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return self.form.read(value, path)

    def schema(self) -> Schema:
        return {"anyOf": [self.form.schema(), {"type": "array", "items": self.form.schema(), "minItems": 1}]}


@dataclass(frozen=True)
class Texts(Form):
    """A list of strings that belong to one input."""

    says = "a list of at least one string"

    def read(self, value: Any, path: str) -> list[str]:
        if not isinstance(value, list | tuple) or not value:
            raise self._refuse(value, path)
        return [Text(empty_ok=True).read(text, f"{path}[{index}]") for index, text in enumerate(value)]

    def schema(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1}


@dataclass(frozen=True)
class Fields(Form):
    """An object with named parts. ``bare`` names the part that a value which is no object stands for."""

    required: Mapping[str, Form]
    optional: Mapping[str, Form] = field(default_factory=dict)
    bare: str | None = None

    @property
    def says(self) -> str:  # type: ignore[override]
        return "an object with " + " and ".join(f'"{name}"' for name in self.required)

    @property
    def names(self) -> tuple[str, ...]:
        """All part names."""
        return (*self.required, *self.optional)

    def read(self, value: Any, path: str) -> Any:
        if self.bare is not None and not isinstance(value, dict):
            value = {self.bare: value}
        if not isinstance(value, dict):
            raise self._refuse(value, path)
        for name in self.required:
            if value.get(name) is None:
                raise InvalidInputError(f"`{path}.{name}` is missing: `{path}` must be {self.says}.", f"{path}.{name}")
        for name in value:
            if name not in self.names:
                known = ", ".join(self.names)
                raise InvalidInputError(f"`{path}.{name}` is unknown; `{path}` may have: {known}.", f"{path}.{name}")
        forms = {**self.required, **self.optional}
        return {name: forms[name].read(part, f"{path}.{name}") for name, part in value.items() if part is not None}

    def schema(self) -> Schema:
        forms = {**self.required, **self.optional}
        parts: Schema = {
            "type": "object",
            "properties": {name: form.schema() for name, form in forms.items()},
            "additionalProperties": False,
        }
        # an object of optional parts alone has one at least
        parts |= {"required": [*self.required]} if self.required else {"minProperties": 1}
        return parts if self.bare is None else {"anyOf": [forms[self.bare].schema(), parts]}


@dataclass(frozen=True)
class Questions(Json):
    """A state with questions about it, or its JSON; the images of its ``assets`` are read here.

    Upstream would open whatever an asset names: files of the server and addresses inside of its network.
    """

    def read(self, value: Any, path: str) -> Any:
        value = super().read(value, path)
        if isinstance(value, str):
            value = self._parsed(value, path)
        if not value.get("assets"):
            return value
        assets = value["assets"]
        if not isinstance(assets, dict):
            raise InvalidInputError(f"`{path}.assets` must be an object of images.", f"{path}.assets")
        return {**value, "assets": {name: _asset(one, f"{path}.assets.{name}") for name, one in assets.items()}}

    @staticmethod
    def _parsed(text: str, path: str) -> dict[str, Any]:
        """The object that ``text`` is the JSON of; whatever else it is, upstream would read on its own."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InvalidInputError(
                f'`{path}` must be an object with "state" and "questions", or the JSON of one.', path
            )
        return value


def _asset(value: Any, path: str) -> Any:
    """An image: as the System One API has it, or as anywhere else."""
    if isinstance(value, dict):
        path = f"{path}.data_base64"
        value = value.get("data_base64")
    return MediaOf("image").read(value, path)


@dataclass(frozen=True)
class Chat(Form):
    """Chat messages (``[{"role": ..., "content": ...}]``), or what ``otherwise`` reads.

    With ``media``, the content may be a list of parts, images and other media among them.
    """

    otherwise: Form
    media: bool = False
    says = 'a list of messages with "role" and "content"'

    def is_one(self, value: Any) -> bool:
        return self._is_chat(value) or not isinstance(value, list)

    @staticmethod
    def _is_chat(value: Any) -> bool:
        return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict) and "role" in value[0]

    def read(self, value: Any, path: str) -> Any:
        if not self._is_chat(value):
            return self.otherwise.read(value, path)
        return [self._message(message, f"{path}[{index}]") for index, message in enumerate(value)]

    def _message(self, message: Any, path: str) -> dict[str, Any]:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
            raise InvalidInputError(f'`{path}` must be a message with "role" and "content".', path)
        content = message.get("content")
        if isinstance(content, list) and self.media:
            content = [self._part(part, f"{path}.content[{index}]") for index, part in enumerate(content)]
        elif not isinstance(content, str):
            at = f"{path}.content"
            raise InvalidInputError(f"`{at}` must be a string{' or a list of parts' * self.media}.", at)
        return {**message, "content": content}

    def schema(self) -> Schema:
        text: Schema = {"type": "string"}
        content = {"anyOf": [text, {"type": "array", "items": _part_schema()}]} if self.media else text
        message = {
            "type": "object",
            "properties": {"role": {"type": "string", "examples": ["user"]}, "content": content},
            "required": ["role", "content"],
        }
        return {"anyOf": [self.otherwise.schema(), {"type": "array", "items": message, "minItems": 1}]}

    @staticmethod
    def _part(part: Any, path: str) -> dict[str, Any]:
        """One part of a message's content, in the ``{"type": "image", "image": ...}`` spelling."""
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise InvalidInputError(f'`{path}` must be an object with "type".', path)
        if part["type"] == "text":
            return {"type": "text", "text": part.get("text", "")}
        kind = {"image_url": "image", "image": "image", "audio": "audio", "video": "video"}.get(part["type"])
        if kind is None:
            raise InvalidInputError(f"`{path}.type` must be text, image, audio or video.", f"{path}.type")
        found = [part[key] for key in (kind, "image_url", "url", "base64") if part.get(key) is not None]
        if not found:
            raise InvalidInputError(f'`{path}` needs "{kind}": base64, a data: URI or an http(s) URL.', path)
        source = found[0]["url"] if isinstance(found[0], dict) and "url" in found[0] else found[0]
        return {"type": kind, kind: MediaOf(kind).read(source, f"{path}.{kind}")}  # type: ignore[arg-type]


def _part_schema() -> Schema:
    """One part of a message's content."""
    text = {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
        "required": ["type", "text"],
    }
    media = [
        {
            "type": "object",
            "properties": {"type": {"const": kind}, kind: MediaOf(kind).schema()},  # type: ignore[arg-type]
            "required": ["type", kind],
        }
        for kind in ("image", "audio", "video")
    ]
    return {"anyOf": [text, *media]}
