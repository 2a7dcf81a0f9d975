"""Forms made of other forms: pairs, lists, objects with named parts, chats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.errors import InvalidInputError
from deployments.tasks.forms import Form, MediaOf


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


@dataclass(frozen=True)
class ListOf(Form):
    """One value or a list of values of one form."""

    form: Form

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [self.form.read(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return self.form.read(value, path)


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
