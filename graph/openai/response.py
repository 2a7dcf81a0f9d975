"""``POST /v1/responses``: what a chat answers, as items."""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from deployments.errors import PipelineGraphError
from deployments.events import Event, Started, Step
from graph.dispatch import Target
from graph.headers import times
from graph.openai.asked import Asked
from graph.openai.chat_asked import TASKS, ChatAsked, asked_of
from graph.openai.choice import Choice
from graph.openai.errors import openai_error
from graph.openai.fields import read
from graph.openai.names import Worded, words_of
from graph.openai.response_body import ResponseBody
from graph.openai.response_items import Items, Told
from graph.openai.usage import reason_of, response_usage
from graph.openai.whole import parts_of, whole
from graph.stream import block, respond


async def answer(asked: Asked) -> Response:
    """The response, or its stream.

    Raises:
        PipelineGraphError: what the client is told.
    """
    started = time.perf_counter()
    root = await asked.json()
    body = read(ResponseBody, root)
    body.check()
    target = asked.target(body.model, TASKS)
    with words_of(body.names):
        what = asked_of(body.chat(), target)
        inputs = await asked.dispatcher.fetched(what.inputs)
        made = Made(head(body, root, target), what, body.logprobs)
        if body.stream:
            stream = await asked.dispatcher.stream(target, inputs, what.calls[0], asked.request_id, what.chat)
            events = ResponseEvents(made, asked.request_id)
            return await respond(Worded(stream, what.names), events.told, events.failed)
        result = await asked.dispatcher.call(target, inputs, what.calls[0], asked.request_id, chat=what.chat)
    for part, scored in whole(made.choice, result, made.logprobs):
        list(made.items.push(part, scored))
    list(made.end(reason_of(result)))
    used = result.usage
    counted = used if used is None else response_usage(used.input_tokens, used.output_tokens, used.reasoning_tokens)
    return JSONResponse(made.response(counted), headers=times([result], time.perf_counter() - started))


def head(body: ResponseBody, root: dict[str, Any], target: Target) -> dict[str, Any]:
    """What a response has before its answer: the settings as they were sent, null where the model decides.

    Args:
        body: of the request.
        root: the same as it came; the caller's own labels are given back.
        target: the model.
    """
    labels = root.get("metadata")
    return {
        "id": f"resp_{secrets.token_hex(12)}",
        "object": "response",
        "created_at": int(time.time()),
        "model": target.name,
        "background": False,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": labels if isinstance(labels, dict) else {},
        "parallel_tool_calls": body.parallel_tool_calls,
        "previous_response_id": None,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": body.temperature,
        "text": {"format": {"type": "text"}, **_sent(body.text)},
        "tool_choice": body.tool_choice if isinstance(body.tool_choice, str) else _sent(body.tool_choice) or "auto",
        "tools": [
            {"description": None, "parameters": None, **_sent(tool), "strict": bool(tool.strict)}
            for tool in body.tools or ()
        ],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": "disabled",
    }


def _sent(part: Any) -> dict[str, Any]:
    """An object of the request as it was sent, without what asked for nothing."""
    found: dict[str, Any] = {} if part is None else part.model_dump(by_alias=True, exclude_unset=True)
    return found


class Made:
    """A response in the making.

    Args:
        head: what it has before its answer.
        what: it asks.
        logprobs: whether tokens are told.
    """

    def __init__(self, head: dict[str, Any], what: ChatAsked, logprobs: bool) -> None:
        self.choice, self.items, self.logprobs = Choice(what.wishes), Items(), logprobs
        self._head, self._reason = head, ""

    @property
    def status(self) -> str:
        """How it ended: it is incomplete where it was cut off for its length."""
        return "incomplete" if self._reason == "length" and not self.choice.stopped else "completed"

    def end(self, reason: str | None) -> Iterator[Told]:
        """Nothing more comes; ``reason`` as the model has it."""
        self._reason = reason or ""
        yield from self.items.end(self.status, self.choice.scored(last=True))

    def response(
        self, usage: dict[str, Any] | None, status: str | None = None, error: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The object as it is now."""
        status = status or self.status
        over = status in ("completed", "incomplete")
        return {
            **self._head,
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": self.items.output if over else [],
            "usage": usage if over else None,
        }


class ResponseEvents:
    """The event stream of a response.

    Args:
        made: it.
        request_id: for errors.
    """

    def __init__(self, made: Made, request_id: str) -> None:
        self._made, self._request_id = made, request_id
        self._number = 0

    def told(self, events: Sequence[Event]) -> Iterator[bytes]:
        """The blocks for some events."""
        for event in events:
            for told in self._begun() if isinstance(event, Started) else self._step(event):
                yield self._block(told)

    def failed(self, error: PipelineGraphError) -> bytes:
        """The blocks for an error on the way: the response that failed, and what the clients raise."""
        body = openai_error(error, self._request_id)[1]["error"]
        code = "rate_limit_exceeded" if body["type"] == "rate_limit_error" else "server_error"
        failed = self._made.response(None, "failed", {"code": code, "message": body["message"]})
        told = {"type": "error", "code": body["code"], "message": body["message"], "param": body["param"]}
        return self._block({"type": "response.failed", "response": failed}) + self._block({**told, "error": body})

    def _begun(self) -> Iterator[Told]:
        for kind in ("created", "in_progress"):
            yield {"type": f"response.{kind}", "response": self._made.response(None, "in_progress")}

    def _step(self, step: Step) -> Iterator[Told]:
        choice, finish = self._made.choice, step.finish
        if self._made.logprobs and not (finish is not None and finish.reason == "eos_token"):
            choice.score(step.token, step.top)
        for part, scored in choice.told(parts_of(step), finish is not None):
            yield from self._made.items.push(part, scored)
        if finish is not None:
            yield from self._made.end(finish.reason)
            counted = response_usage(finish.input_length, finish.generated_tokens, finish.reasoning_tokens)
            response = self._made.response(counted)
            yield {"type": f"response.{response['status']}", "response": response}

    def _block(self, told: Told) -> bytes:
        number, self._number = self._number, self._number + 1
        return f"event: {told['type']}\n".encode() + block({**told, "sequence_number": number})
