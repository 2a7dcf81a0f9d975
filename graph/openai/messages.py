"""The messages of a chat → what the pipelines take."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from deployments.errors import InvalidInputError
from graph.openai.fields import Body, Idle
from graph.openai.parts import Part, content_at


class CalledFunction(Body):
    """What was called, and with which arguments, as JSON."""

    name: str
    arguments: str | dict[str, Any]


class Called(Body):
    """A call that the assistant made."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Body):
    """One message. The assistant's may be given back as it came."""

    idle: ClassVar[Idle] = {"refusal": (), "audio": (), "function_call": (), "annotations": ([],)}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def plain(self, task: str, path: str) -> dict[str, Any]:
        """The message for a model of ``task``; its files are not fetched yet.

        Raises:
            InvalidInputError: it has no content, or the model cannot be shown a part of it.
        """
        if self.content is None and not self.tool_calls:
            raise InvalidInputError(f"`{path}.content` is missing.", f"{path}.content")
        calls = [called(call.id, call.function.name, call.function.arguments) for call in self.tool_calls or ()]
        found = {
            "role": self.role,
            "content": content_at(self.content or "", f"{path}.content", task),
            "name": self.name,
            "tool_calls": calls or None,
            "tool_call_id": self.tool_call_id,
            "reasoning_content": self.reasoning_content or self.reasoning or None,
        }
        return {name: value for name, value in found.items() if value is not None}


def chat(messages: Sequence[Message], task: str) -> list[dict[str, Any]]:
    """``messages`` for a model of ``task``.

    Raises:
        InvalidInputError: names the message at fault.
    """
    return [message.plain(task, f"messages[{index}]") for index, message in enumerate(messages)]


def called(call_id: str, name: str, arguments: str | dict[str, Any]) -> dict[str, Any]:
    """A call as chat templates have it: arguments as an object."""
    read: Any = arguments
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):
            read = json.loads(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": read}}
