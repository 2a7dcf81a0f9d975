"""The events of a streamed answer as text-generation-inference writes them, and back.

``data:{"index": 1, "token": {"id", "text", "logprob", "special"}, "generated_text": null, "details": null}`` for each
token, the last one with the whole text: what ``InferenceClient.text_generation(stream=True)`` reads.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from deployments.events import Step


def step_json(step: Step, details: bool) -> dict[str, Any]:
    """One token as text-generation-inference has it."""
    found: dict[str, Any] = {"index": step.index, "token": step.token.json(), "generated_text": None, "details": None}
    if step.top:
        found["top_tokens"] = [top.json() for top in step.top]
    if step.finish is not None:
        found["generated_text"] = _generated_text(step)
        if details:
            found["details"] = {
                "finish_reason": step.finish.reason,
                "generated_tokens": step.finish.generated_tokens,
                "input_length": step.finish.input_length,
                "seed": step.finish.seed,
            }
    return found


def _generated_text(step: Step) -> str:
    """As the pipeline has it, the prompt included where it includes it; of a chat, the new text."""
    assert step.finish is not None
    records = step.finish.output
    text = records[0].get("generated_text") if isinstance(records, list) and records else None
    return text if isinstance(text, str) else step.finish.text


def read_events(lines: Iterable[str], error_of: Callable[[dict[str, Any]], Exception]) -> Iterator[dict[str, Any]]:
    """The events in the lines of a stream.

    Raises:
        Exception: ``error_of`` an event that tells an error.
    """
    for line in lines:
        if not line.startswith("data:"):
            continue
        value = json.loads(line.removeprefix("data:"))
        if "error" in value:
            raise error_of(value)
        yield value
