"""``POST /v1/chat/completions``."""

import secrets
import time
from typing import Any

from starlette.responses import JSONResponse, Response

from deployments.payload import TaskResult
from graph.dispatch import Target
from graph.headers import times
from graph.openai import sse
from graph.openai.asked import Asked
from graph.openai.chat_asked import TASKS, ChatAsked, asked_of
from graph.openai.chat_body import ChatBody
from graph.openai.chat_message import message
from graph.openai.chat_stream import ChatChunks
from graph.openai.choice import Choice, Wishes
from graph.openai.fields import read
from graph.openai.names import Worded, words_of
from graph.openai.scores import chat_logprobs
from graph.openai.several import Merged, all_of, begun
from graph.openai.usage import finish_reason, reason_of, usage_of
from graph.openai.whole import whole
from graph.stream import respond


async def answer(asked: Asked) -> Response:
    """The completion, or its stream.

    Raises:
        PipelineGraphError: what the client is told.
    """
    started = time.perf_counter()
    body = read(ChatBody, await asked.json())
    body.check()
    target = asked.target(body.model, TASKS)
    with words_of(body.names):
        what = asked_of(body.chat(), target)
        inputs = await asked.dispatcher.fetched(what.inputs)
        if body.stream:
            return await _stream(asked, body, target, what, inputs)
        call = asked.dispatcher.call
        results = await all_of([call(target, inputs, each, asked.request_id, chat=what.chat) for each in what.calls])
    completion = {
        **head(target, "chat.completion"),
        "choices": [_choice(index, result, what.wishes, body.logprobs) for index, result in enumerate(results)],
        "usage": usage_of(results, len(results)),
    }
    return JSONResponse(completion, headers=times(results, time.perf_counter() - started))


def head(target: Target, kind: str) -> dict[str, Any]:
    """What a completion and its chunks begin with."""
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": target.name,
        "system_fingerprint": None,
    }


async def _stream(asked: Asked, body: ChatBody, target: Target, what: ChatAsked, inputs: Any) -> Response:
    sources = await begun(
        [asked.dispatcher.stream(target, inputs, each, asked.request_id, what.chat) for each in what.calls]
    )
    choices = [Choice(what.wishes) for _ in what.calls]
    chunks = ChatChunks(head(target, "chat.completion.chunk"), choices, body.logprobs, body.tells_usage)
    return await respond(
        Merged([Worded(source, what.names) for source in sources]), chunks.told, sse.errors(asked.request_id)
    )


def _choice(index: int, result: TaskResult, wishes: Wishes, logprobs: bool) -> dict[str, Any]:
    """One answer, whole."""
    choice = Choice(wishes)
    told = whole(choice, result, logprobs)
    reason = finish_reason(reason_of(result), choice.calls, choice.stopped)
    scores = [one for _, scored in told for one in scored] + choice.scored(last=True)
    return {
        "index": index,
        "message": message([part for part, _ in told]),
        "logprobs": chat_logprobs(scores) if logprobs else None,
        "finish_reason": reason,
    }
