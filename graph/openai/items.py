"""The input of a response: a text, or items of a conversation → the messages of a chat.

What belongs to one answer of the assistant stands in several items (reasoning, a message, calls of tools), which become
one message again.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from deployments.payload import MediaKind
from graph.openai.fields import Body, Idle
from graph.openai.messages import called
from graph.openai.parts import (
    FilmPart,
    ImagePart,
    RefusalPart,
    Said,
    Shown,
    SoundLinkPart,
    SoundPart,
    Text,
    TextPart,
    content,
    content_at,
)

_Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Text):
    """Text."""

    idle: ClassVar[Idle] = {"prompt_cache_breakpoint": ()}

    type: Literal["input_text"]


class OutputText(Text):
    """Text that the assistant once wrote; what was told beside it may be given back."""

    idle: ClassVar[Idle] = {"annotations": ([],)}

    type: Literal["output_text"]
    logprobs: list[dict[str, Any]] | None = None


class InputImage(Shown):
    """An image: a ``data:`` URI or an http(s) URL."""

    kind: ClassVar[MediaKind] = "image"
    at: ClassVar[str] = "image_url"
    idle: ClassVar[Idle] = {
        "detail": ("auto", "low", "high", "original"),
        "file_id": (),
        "prompt_cache_breakpoint": (),
    }

    type: Literal["input_image"]
    image_url: str


_OfChats = TextPart | ImagePart | SoundPart | SoundLinkPart | FilmPart  # `transformers serve` takes them here too
ItemPart = Annotated[InputText | OutputText | RefusalPart | InputImage | _OfChats, Field(discriminator="type")]


class MessageItem(Body):
    """A message."""

    idle: ClassVar[Idle] = {"phase": ()}

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ItemPart]
    id: str | None = None
    status: _Status | None = None


class ReasoningText(Body):
    """Reasoning in words."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Body):
    """What the assistant thought before it answered."""

    idle: ClassVar[Idle] = {"summary": ([],), "encrypted_content": ()}

    type: Literal["reasoning"]
    content: list[ReasoningText]
    id: str | None = None
    status: _Status | None = None


class CallItem(Body):
    """A call of a tool; its arguments as JSON."""

    idle: ClassVar[Idle] = {"caller": (), "namespace": (), "async": (False,)}

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: _Status | None = None


class CallOutputItem(Body):
    """What a tool answered."""

    idle: ClassVar[Idle] = {"caller": (), "namespace": ()}

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[ItemPart]
    name: str | None = None
    id: str | None = None
    status: _Status | None = None


_ITEMS = ("message", "reasoning", "function_call", "function_call_output")
_PARTS = (
    *("input_text", "output_text", "refusal", "input_image"),
    *("text", "image_url", "input_audio", "audio_url", "video_url"),
)


def _kind(value: Any) -> str | None:
    """Which form of an item ``value`` means; a message need not say that it is one."""
    kind = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", None)
    return "part" if kind in _PARTS else kind if kind in _ITEMS else None


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[ItemPart, Tag("part")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message=f"an item is an object whose `type` is one of {', '.join(_ITEMS)}",
    ),
]
"""Parts without a message around them are the user's, as in `transformers serve`."""


class Conversation:
    """Messages for a model, in the making.

    Args:
        task: of the model.
    """

    def __init__(self, task: str) -> None:
        self._task = task
        self.messages: list[dict[str, Any]] = []

    def add(self, items: Sequence[Any]) -> None:
        """Items as they stand in ``input``; parts beside each other are one message.

        Raises:
            InvalidInputError: the model cannot be shown a part.
        """
        loose: list[tuple[Said | Shown, str]] = []
        for index, item in enumerate(items):
            path = f"input[{index}]"
            if isinstance(item, Said | Shown):
                loose.append((item, path))
                continue
            self._user(loose)
            loose = []
            self._item(item, path)
        self._user(loose)

    def say(self, role: str, text: str) -> None:
        """A message that is text."""
        self.messages.append({"role": role, "content": content(text, self._task)})

    def _user(self, parts: list[tuple[Said | Shown, str]]) -> None:
        if parts:
            self.messages.append({"role": "user", "content": content(parts, self._task)})

    def _item(self, item: Any, path: str) -> None:
        if isinstance(item, ReasoningItem):
            thought = "".join(part.text for part in item.content)
            self.messages.append({"role": "assistant", "content": self._nothing, "reasoning_content": thought})
        elif isinstance(item, CallItem):
            message = self._answer()
            message.setdefault("tool_calls", []).append(called(item.call_id, item.name, item.arguments))
        elif isinstance(item, CallOutputItem):
            found = content_at(item.output, f"{path}.output", self._task)
            self.messages.append({"role": "tool", "tool_call_id": item.call_id, "content": found})
        else:
            found = content_at(item.content, f"{path}.content", self._task)
            if item.role == "assistant" and self._open and self.messages[-1]["content"] == self._nothing:
                self.messages[-1]["content"] = found
            else:
                self.messages.append({"role": item.role, "content": found})

    @property
    def _nothing(self) -> Any:
        return content("", self._task)

    @property
    def _open(self) -> bool:
        """Whether the last message is the assistant's."""
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"

    def _answer(self) -> dict[str, Any]:
        """The assistant's message that a call belongs to."""
        if not self._open:
            self.messages.append({"role": "assistant", "content": self._nothing})
        return self.messages[-1]
