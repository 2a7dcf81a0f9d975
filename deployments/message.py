"""The text of an answer → the parts of an assistant's message: content, reasoning, calls of tools. No Ray."""

import dataclasses
import json
from itertools import chain
from typing import Any

from deployments.events import Event, MessagePart, Step

_REASONING = ("reasoning_content", "thinking", "reasoning")
_PIECE = 8  # characters of a whole text that are read at a time: where a call is broken, what came before is told


class MessageReader:
    """Reads one answer as it comes; what it cannot read as it is marked comes as content.

    Args:
        template: a ``response_template`` of transformers.
        prefix: the prompt, of which the template may have written the beginning of the answer.
        tools: that were offered; their schemas decide about the types of arguments.
    """

    def __init__(self, template: dict[str, Any], prefix: str, tools: list[dict[str, Any]] | None) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        self._parser = ResponseParser(template, prefix=prefix, tools=tools)
        self._strips = {
            name: field.get("content_args", {}).get("strip", True) for name, field in template["fields"].items()
        }
        self._calls = bool(tools)
        self._fed = ""
        self._structured = ""  # of a region that is read at its end
        self._held = ""  # white space that is left out where nothing follows
        self._began: str | None = None  # the region whose text began
        self._failed = False
        self.reasoning = ""  # that was read

    def read(self, event: Event) -> Event:
        """``event`` with what its token adds to the message."""
        if not isinstance(event, Step):
            return event
        parts = self.feed(event.token.text)
        if event.finish is not None:
            parts += self.end()
        return dataclasses.replace(event, parts=tuple(parts))

    def whole(self, text: str) -> tuple[MessagePart, ...]:
        """The parts of a finished answer."""
        pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return tuple([part for piece in pieces for part in self.feed(piece)] + self.end())

    def feed(self, text: str) -> list[MessagePart]:
        """What ``text`` adds."""
        if self._failed:
            return _content(text)
        self._fed += text
        try:
            return self._parts(self._parser.feed(text))
        except Exception:  # arguments that are no JSON, and whatever else a model may write
            self._failed = True
            at = self._fed.rfind(self._structured) if self._structured else len(self._fed) - len(text)
            return _content(self._fed[at:])

    def end(self) -> list[MessagePart]:
        """What was held back until it was clear that nothing follows."""
        if self._failed:
            return []
        try:
            return self._parts(self._parser.finalize()[1])
        except Exception:  # cut off within a call
            return _content(self._structured)

    def _parts(self, events: list[dict[str, Any]]) -> list[MessagePart]:
        found: list[MessagePart] = []
        for event in events:
            kind, field = event["type"], event["field"]
            if kind == "region_open":
                self._structured, self._held, self._began = "", "", None
            elif kind == "region_chunk" and event["dirty"]:
                self._structured += event["text"]
            elif kind == "region_chunk":
                found += self._text(field, event["text"])
            elif field == "tool_calls":
                found += self._called(event["value"])
                self._structured = ""
        return found

    def _text(self, field: str, text: str) -> list[MessagePart]:
        if field not in (*_REASONING, "content"):
            return []
        if self._strips.get(field, True):
            text = self._held + text
            if self._began != field:
                text = text.lstrip()
            kept = text.rstrip()
            self._held, text = text[len(kept) :], kept
        if not text:
            return []
        self._began = field
        if field == "content":
            return _content(text)
        self.reasoning += text
        return [MessagePart("reasoning", text)]

    def _called(self, value: Any) -> list[MessagePart]:
        calls = value if isinstance(value, list) else [value]
        if not self._calls:
            return _content(self._structured)
        return [part for call in calls for part in _call(call, self._structured)]


def with_parts(records: Any, reader: MessageReader) -> Any:
    """The record of an answer with the parts of its message, in a list of its own: that of others has none.

    Where the record tells its tokens, ``steps`` has the parts that each of them adds.
    """
    record, *others = records
    if "details" not in record:
        return [{**record, "parts": reader.whole(record["generated_text"])}, *others]
    steps = [reader.feed(token["text"]) for token in record["details"]["tokens"]]
    steps[-1:] = [steps[-1] + reader.end()] if steps else []
    return [{**record, "parts": tuple(chain(*steps)), "steps": tuple(map(tuple, steps))}, *others]


def _call(call: Any, written: str) -> list[MessagePart]:
    """One call; what names no tool is content."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return _content(written)
    arguments = function.get("arguments", function.get("parameters", {}))
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return [MessagePart("tool_call", text, function["name"])]


def _content(text: str) -> list[MessagePart]:
    return [MessagePart("content", text)] if text else []
