"""The chunks of a streamed chat completion: the role first, how it ended last, then the usage, then ``[DONE]``."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployments.events import Finish, Started, Step
from graph.openai.chat_message import delta
from graph.openai.choice import Choice
from graph.openai.scores import chat_logprobs
from graph.openai.several import Numbered
from graph.openai.sse import DONE, chunk
from graph.openai.usage import finish_reason, usage
from graph.openai.whole import parts_of


class ChatChunks:
    """The chunks of one request.

    Args:
        head: what each of them begins with.
        choices: one for each answer.
        logprobs: whether they have those of their tokens.
        tells_usage: whether the last chunk has the usage.
    """

    def __init__(self, head: dict[str, Any], choices: Sequence[Choice], logprobs: bool, tells_usage: bool) -> None:
        self._head, self._choices = head, choices
        self._logprobs, self._tells_usage = logprobs, tells_usage
        self._ends: dict[int, Finish] = {}

    def told(self, events: Sequence[Numbered]) -> Iterator[bytes]:
        """The blocks of the event stream for some events."""
        for number, event in events:
            if isinstance(event, Started):
                yield self._chunk(number, {"role": "assistant", "content": ""})
            else:
                yield from self._step(number, event)
        if events and len(self._ends) == len(self._choices):
            yield from self._last()

    def _step(self, number: int, step: Step) -> Iterator[bytes]:
        choice, finish = self._choices[number], step.finish
        if self._logprobs and not (finish is not None and finish.reason == "eos_token"):
            choice.score(step.token, step.top)
        before = choice.calls
        for part, scored in choice.told(parts_of(step), finish is not None):
            scores = chat_logprobs(scored) if self._logprobs and part.kind == "content" else None
            yield self._chunk(number, delta(part, before), scores)
            before += part.kind == "tool_call"
        if finish is not None:
            yield self._end(number, finish)

    def _end(self, number: int, finish: Finish) -> bytes:
        """The last chunk of an answer."""
        self._ends[number] = finish
        choice = self._choices[number]
        left = choice.scored(last=True) if self._logprobs else []  # of tokens that have no text
        reason = finish_reason(finish.reason, choice.calls, choice.stopped)
        return self._chunk(number, {}, chat_logprobs(left) if left else None, reason)

    def _chunk(
        self, number: int, added: dict[str, Any], scores: dict[str, Any] | None = None, reason: str | None = None
    ) -> bytes:
        choice = {"index": number, "delta": added, "logprobs": scores, "finish_reason": reason}
        return chunk({**self._head, "choices": [choice], **({"usage": None} if self._tells_usage else {})})

    def _last(self) -> Iterator[bytes]:
        ends, self._ends = list(self._ends.values()), {}
        if self._tells_usage:
            counted = usage(ends[0].input_length, sum(end.generated_tokens for end in ends))
            yield chunk({**self._head, "choices": [], "usage": counted})
        yield DONE
