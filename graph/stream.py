"""Server-sent events: a streamed answer on its way to an HTTP client.

A comment comes every 15 s in which no other bytes do; an error that happens on the way is
``data:{"error": sentence, "error_type": word}``.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from starlette.responses import StreamingResponse

from deployments.errors import InvalidInputError, InvalidParameterError, PipelineGraphError
from deployments.events import Event, Started
from graph.decode import Call
from graph.dispatch import Dispatcher, Target
from graph.status import describe
from graph.tgi import step_json

KEEP_ALIVE_S = 15.0
_KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


E = TypeVar("E")


class EventSource(Protocol[E]):
    """Events as they come, in lists; raises PipelineGraphError where the request fails."""

    async def __anext__(self) -> list[E]:
        """The next ones."""

    def cancel(self) -> None:
        """Nobody listens any more."""


Formatter = Callable[[Sequence[E]], Iterable[bytes]]
Errors = Callable[[PipelineGraphError], bytes]


def wants_stream(root: dict[str, Any]) -> bool:
    """Whether a request asks for a stream.

    Raises:
        InvalidParameterError: ``stream`` is neither true nor false.
    """
    asked = root.get("stream")
    if asked is not None and not isinstance(asked, bool):  # a typed body may have an array here
        raise InvalidParameterError("`stream` must be true or false.", "stream")
    return bool(asked)


async def answer_stream(dispatcher: Dispatcher, target: Target, call: Call, request_id: str) -> StreamingResponse:
    """The response to ``"stream": true`` in the Hugging Face wire format.

    Raises:
        PipelineGraphError: the request was refused.
    """
    if not target.spec.streams:
        raise InvalidParameterError(f"`stream` is for answers in text, not for {target.spec.name}.", "stream")
    if call.many:
        raise InvalidInputError("`stream` takes one input, not a list.", "inputs")
    source = await dispatcher.stream(target, call.items[0], call.parameters, request_id)
    details = bool({**target.config.parameters, **call.parameters}.get("details"))
    return await respond(source, tgi_blocks(details), tgi_error(request_id))


async def respond(source: EventSource[E], told: Formatter[E], failed: Errors) -> StreamingResponse:
    """The response to a request for a stream.

    Args:
        source: its events. The first list is awaited here, so that a request that is refused has its own status.
        told: events → blocks of the event stream.
        failed: an error on the way → the block that tells it.

    Raises:
        PipelineGraphError: the request was refused.
    """
    try:
        first = await source.__anext__()
    except BaseException:
        source.cancel()
        raise
    body = _body(source, first, told, failed)
    return StreamingResponse(body, media_type="text/event-stream", headers=_HEADERS)


async def _body(source: EventSource[E], first: list[E], told: Formatter[E], failed: Errors) -> AsyncIterator[bytes]:
    waiting: asyncio.Future[list[E]] | None = None
    try:
        yield b"".join(told(first)) or _KEEP_ALIVE  # so that the headers go out now
        silent_at = time.monotonic() + KEEP_ALIVE_S
        while True:
            waiting = waiting or asyncio.ensure_future(source.__anext__())
            await asyncio.wait({waiting}, timeout=max(0.0, silent_at - time.monotonic()))
            if time.monotonic() >= silent_at:
                yield _KEEP_ALIVE
                silent_at = time.monotonic() + KEEP_ALIVE_S
            if not waiting.done():
                continue
            arrived, waiting = waiting, None
            try:
                events = arrived.result()
            except StopAsyncIteration:
                return
            except PipelineGraphError as error:
                yield failed(error)
                return
            if blocks := b"".join(told(events)):  # tokens may come that give no text yet
                yield blocks
                silent_at = time.monotonic() + KEEP_ALIVE_S
    finally:  # also when the client leaves
        if waiting is not None:
            waiting.cancel()
        source.cancel()


def block(value: Any) -> bytes:
    """One event of the stream."""
    return f"data:{json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))}\n\n".encode(
        errors="replace"
    )


def tgi_blocks(details: bool) -> Formatter[Event]:
    """Events as text-generation-inference writes them; with ``details``, the last one tells how it ended."""
    return lambda events: [block(step_json(event, details)) for event in events if not isinstance(event, Started)]


def tgi_error(request_id: str) -> Errors:
    """Errors in the one shape of this server, which is text-generation-inference's with more in it."""
    return lambda error: block(describe(error, request_id)[1])
