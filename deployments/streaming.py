"""A request whose tokens are handed on as they come: from the engine's threads to an asynchronous generator."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from deployments.batch import Batcher
from deployments.errors import PipelineGraphError
from deployments.events import Event
from deployments.work import Done, Work


async def stream(batcher: Batcher, work: Work, ended: Callable[[Done], None]) -> AsyncGenerator[list[Event], None]:
    """Submit ``work`` and yield its events; whoever stops iterating frees its place in the batch.

    Args:
        batcher: of the model.
        work: what is asked.
        ended: told at the end how it went.

    Raises:
        PipelineGraphError: the request failed, before or after its first event.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[list[Event] | None] = asyncio.Queue()

    def emit(events: list[Event]) -> None:
        try:
            loop.call_soon_threadsafe(arrived.put_nowait, events)
        except RuntimeError:  # the replica is going away, and its callers with it
            return

    work.emit = emit
    answer = asyncio.ensure_future(batcher.submit(work))
    answer.add_done_callback(lambda _: arrived.put_nowait(None))
    try:
        while (events := await arrived.get()) is not None:
            while not arrived.empty():
                more = arrived.get_nowait()
                if more is None:
                    arrived.put_nowait(None)
                    break
                events = [*events, *more]
            yield events
        done = await answer
        ended(done)
        if isinstance(done.outcome, PipelineGraphError):
            raise done.outcome
    finally:
        work.leave()
        answer.cancel()
