"""The parts of an answer → the assistant's message, whole or as the deltas of a stream."""

import secrets
from collections.abc import Sequence
from typing import Any

from deployments.events import MessagePart


def message(parts: Sequence[MessagePart]) -> dict[str, Any]:
    """The assistant's message. Its reasoning has the names that clients read: DeepSeek's, and huggingface_hub's."""
    content, reasoning = (_joined(parts, kind) for kind in ("content", "reasoning"))
    calls = [_call(part) for part in parts if part.kind == "tool_call"]
    found: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else "")}
    if reasoning:
        found |= {"reasoning_content": reasoning, "reasoning": reasoning}
    return {**found, "tool_calls": calls} if calls else found


def delta(part: MessagePart, calls: int) -> dict[str, Any]:
    """What ``part`` adds to the message.

    Args:
        part: any.
        calls: that were told before it.
    """
    if part.kind == "tool_call":
        return {"tool_calls": [{"index": calls, **_call(part)}]}
    if part.kind == "reasoning":
        return {"reasoning_content": part.text, "reasoning": part.text}
    return {"content": part.text}


def _joined(parts: Sequence[MessagePart], kind: str) -> str:
    return "".join(part.text for part in parts if part.kind == kind)


def _call(part: MessagePart) -> dict[str, Any]:
    """A call of a tool, with an id of its own."""
    function = {"name": part.name, "arguments": part.text}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
