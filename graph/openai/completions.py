"""``POST /v1/completions``: text that goes on with a prompt."""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from deployments.events import Finish, MessagePart, Started, Step
from deployments.payload import TaskResult
from graph.dispatch import Dispatcher, Target
from graph.headers import times
from graph.openai import sse
from graph.openai.asked import Asked
from graph.openai.choice import Choice, Wishes
from graph.openai.completion_body import TASKS, CompletionBody, Wanted, wanted_of
from graph.openai.fields import read
from graph.openai.names import Worded, words_of
from graph.openai.scores import plain_logprobs
from graph.openai.several import Merged, Numbered, all_of, begun
from graph.openai.sse import DONE, chunk
from graph.openai.usage import finish_reason, reason_of, usage, usage_of
from graph.openai.whole import whole
from graph.stream import respond


async def answer(asked: Asked) -> Response:
    """The completion, or its stream.

    Raises:
        PipelineGraphError: what the client is told.
    """
    started = time.perf_counter()
    body = read(CompletionBody, await asked.json())
    body.check()
    target = asked.target(body.model, TASKS)
    with words_of({"inputs": "prompt"}):
        wanted = wanted_of(body, target, asked.graph.limits.max_list_items)
    head = {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": target.name,
        "system_fingerprint": None,
    }
    if body.stream:
        sources = await begun([_begun(asked.dispatcher, target, one, asked.request_id) for one in wanted])
        chunks = TextChunks(head, body, wanted)
        return await respond(Merged(sources, range(0, len(sources), body.n)), chunks.told, sse.errors(asked.request_id))
    results = await all_of([_called(asked.dispatcher, target, one, asked.request_id) for one in wanted])
    completion = {
        **head,
        "choices": [
            _choice(index, one, result, body) for index, (one, result) in enumerate(zip(wanted, results, strict=True))
        ],
        "usage": usage_of(results, body.n),
    }
    return JSONResponse(completion, headers=times(results, time.perf_counter() - started))


async def _called(dispatcher: Dispatcher, target: Target, one: Wanted, request_id: str) -> TaskResult:
    with words_of(one.names):
        return await dispatcher.call(target, one.prompt, one.parameters, request_id, one.path != "prompt")


async def _begun(dispatcher: Dispatcher, target: Target, one: Wanted, request_id: str) -> Worded:
    with words_of(one.names):
        return Worded(await dispatcher.stream(target, one.prompt, one.parameters, request_id), one.names)


def _choice(index: int, one: Wanted, result: TaskResult, body: CompletionBody) -> dict[str, Any]:
    """One answer, whole."""
    choice, logprobs = Choice(Wishes(body.stops)), body.logprobs is not None
    told = whole(choice, result, logprobs)
    scores = [one for _, scored in told for one in scored] + choice.scored(last=True)
    text = one.prompt * body.echo + "".join(part.text for part, _ in told)
    reason = finish_reason(reason_of(result), 0, choice.stopped)
    return {
        "index": index,
        "text": text,
        "logprobs": plain_logprobs(scores, 0) if logprobs else None,
        "finish_reason": reason,
    }


class TextChunks:
    """The chunks of one streamed request: texts, how each answer ended, the usage, and ``[DONE]``.

    Args:
        head: what each of them begins with.
        body: of the request.
        wanted: its answers.
    """

    def __init__(self, head: dict[str, Any], body: CompletionBody, wanted: Sequence[Wanted]) -> None:
        self._head, self._body, self._wanted = head, body, wanted
        self._choices = [Choice(Wishes(body.stops)) for _ in wanted]
        self._offsets = [0] * len(wanted)
        self._ends: dict[int, Finish] = {}

    def told(self, events: Sequence[Numbered]) -> Iterator[bytes]:
        """The blocks of the event stream for some events."""
        for number, event in events:
            if isinstance(event, Step):
                yield from self._step(number, event)
            elif isinstance(event, Started) and self._body.echo:
                yield self._chunk(number, self._wanted[number].prompt)
        if events and len(self._ends) == len(self._choices):
            yield from self._last()

    def _step(self, number: int, step: Step) -> Iterator[bytes]:
        choice, finish = self._choices[number], step.finish
        if not (finish is not None and finish.reason == "eos_token"):
            choice.score(step.token, step.top)
        found = choice.push([MessagePart("content", step.token.text)])
        if finish is not None:
            found += choice.end()
        text = "".join(part.text for part in found)
        if finish is not None:
            self._ends[number] = finish
            reason = finish_reason(finish.reason, 0, choice.stopped)
            yield self._chunk(number, text, choice.scored(last=True), reason)
        elif text:
            yield self._chunk(number, text, choice.scored())

    def _chunk(self, number: int, text: str, scored: Sequence[Any] = (), reason: str | None = None) -> bytes:
        scores = None
        if self._body.logprobs is not None:
            scores = plain_logprobs(scored, self._offsets[number])
            self._offsets[number] += sum(len(token.text) for token, _ in scored)
        choice = {"index": number, "text": text, "logprobs": scores, "finish_reason": reason}
        return chunk({**self._head, "choices": [choice], **({"usage": None} if self._body.tells_usage else {})})

    def _last(self) -> Iterator[bytes]:
        ends, self._ends = self._ends, {}
        if self._body.tells_usage:
            prompts = sum(ends[number].input_length for number in range(0, len(ends), self._body.n))
            counted = usage(prompts, sum(end.generated_tokens for end in ends.values()))
            yield chunk({**self._head, "choices": [], "usage": counted})
        yield DONE
