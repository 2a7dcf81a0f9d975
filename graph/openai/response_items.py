"""The parts of an answer → the items of a response, and the events that tell how they come about."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from deployments.events import MessagePart
from graph.openai.choice import Scored
from graph.openai.scores import chat_logprobs

Told = dict[str, Any]
"""An event without its number."""


class Items:
    """The items of one response, in the order in which the model begins them.

    A new one begins with each call of a tool, and where the kind of the text changes.
    """

    def __init__(self) -> None:
        self.output: list[dict[str, Any]] = []
        self._open = False

    def push(self, part: MessagePart, scored: Sequence[Scored] = ()) -> Iterator[Told]:
        """What ``part`` adds, with the tokens of it that are to be told."""
        if part.kind == "tool_call":
            yield from self._call(part)
            return
        kind = "message" if part.kind == "content" else "reasoning"
        if not (self._open and self._last["type"] == kind):
            yield from self._closed()
            yield from self._begun(kind)
        content = self._last["content"][0]
        content["text"] += part.text
        scores = _scores(scored) if kind == "message" else None
        if scores is not None:
            content["logprobs"] += scores["logprobs"]
        yield self._within(f"{_WORD[kind]}.delta", delta=part.text, **(scores or {}))

    def end(self, status: str, scored: Sequence[Scored] = ()) -> Iterator[Told]:
        """Nothing more comes; an answer without any text is an empty message.

        Args:
            status: ``completed`` or ``incomplete``.
            scored: tokens that have no text.
        """
        if not self.output:
            yield from self._begun("message")
        if self._open and self._last["type"] == "message":
            self._last["content"][0]["logprobs"] += _scores(scored)["logprobs"]
        if self._open:
            yield from self._closed(status)

    @property
    def _last(self) -> dict[str, Any]:
        return self.output[-1]

    def _begun(self, kind: str) -> Iterator[Told]:
        head = {"id": f"{_PREFIX[kind]}_{secrets.token_hex(12)}", "type": kind, "status": "in_progress"}
        yield from self._added({**head, **_MORE[kind], "content": []})
        self._last["content"] = [_copy(_EMPTY[kind])]
        self._open = True
        yield self._within("response.content_part.added", part=_copy(self._last["content"][0]))

    def _closed(self, status: str = "completed") -> Iterator[Told]:
        """End the item whose text was coming."""
        if not self._open:
            return
        self._open = False
        item = self._last
        content, kind = item["content"][0], item["type"]
        scores = {"logprobs": content["logprobs"]} if kind == "message" else {}
        yield self._within(f"{_WORD[kind]}.done", text=content["text"], **scores)
        yield self._within("response.content_part.done", part=_copy(content))
        item["status"] = status
        yield self._item("response.output_item.done")

    def _call(self, part: MessagePart) -> Iterator[Told]:
        yield from self._closed()
        call = {"id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "status": "in_progress"}
        call |= {"call_id": f"call_{secrets.token_hex(12)}", "name": part.name, "arguments": ""}
        yield from self._added(call)
        where = {"item_id": call["id"], "output_index": len(self.output) - 1}
        yield {"type": "response.function_call_arguments.delta", **where, "delta": part.text}
        told = {"name": part.name, "arguments": part.text}
        yield {"type": "response.function_call_arguments.done", **where, **told}
        self.output[-1] |= {"arguments": part.text, "status": "completed"}
        yield self._item("response.output_item.done")

    def _added(self, item: dict[str, Any]) -> Iterator[Told]:
        self.output.append(item)
        yield self._item("response.output_item.added")

    def _item(self, kind: str) -> Told:
        return {"type": kind, "output_index": len(self.output) - 1, "item": _copy(self._last)}

    def _within(self, kind: str, **more: Any) -> Told:
        """An event about the text of the last item."""
        where = {"item_id": self._last["id"], "output_index": len(self.output) - 1, "content_index": 0}
        return {"type": kind, **where, **more}


_WORD = {"message": "response.output_text", "reasoning": "response.reasoning_text"}
_PREFIX = {"message": "msg", "reasoning": "rs"}
_MORE: dict[str, dict[str, Any]] = {"message": {"role": "assistant"}, "reasoning": {"summary": []}}
_EMPTY: dict[str, dict[str, Any]] = {
    "message": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "reasoning": {"type": "reasoning_text", "text": ""},
}


def _copy(value: dict[str, Any]) -> dict[str, Any]:
    """As it is now; what it consists of grows."""
    return {key: [*one] if isinstance(one, list) else one for key, one in value.items()}


def _scores(scored: Sequence[Scored]) -> dict[str, Any]:
    return {"logprobs": chat_logprobs(scored)["content"]}
