"""An answer that came whole, told like one that came token by token."""

from collections.abc import Sequence

from deployments.events import MessagePart, Step
from deployments.payload import TaskResult
from graph.openai.choice import Choice, Pieces
from graph.openai.scores import scored_tokens


def parts_of(step: Step) -> Sequence[MessagePart]:
    """What a token adds; of a model that marks nothing, its text is content."""
    return _content(step.token.text) if step.parts is None else step.parts


def whole(choice: Choice, result: TaskResult, logprobs: bool) -> Pieces:
    """All of an answer.

    Args:
        choice: of the answer, nothing told yet.
        result: has it.
        logprobs: whether its tokens are told; then it has details.
    """
    record = result.output[0]
    if not logprobs:
        parts = record.get("parts")
        return choice.told(_content(record["generated_text"]) if parts is None else parts, last=True)
    tokens, scored = record["details"]["tokens"], scored_tokens(result)
    steps = record.get("steps") or [_content(token["text"]) for token in tokens]
    found: Pieces = []
    for index, parts in enumerate(steps):
        if index < len(scored):  # the end token is not told
            choice.score(*scored[index])
        found += choice.told(parts, last=index == len(steps) - 1)
    return found


def _content(text: str) -> list[MessagePart]:
    return [MessagePart("content", text)]
