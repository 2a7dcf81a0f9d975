"""Several answers to one request: calls beside each other, or their streams merged."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from deployments.events import Event
from graph.stream import EventSource

T = TypeVar("T")
S = TypeVar("S", bound=EventSource[Any])
Numbered = tuple[int, Event]
"""The number of a stream, from 0, and an event of it."""


_AT_A_TIME = 64


async def all_of(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The outcomes in order, 64 under way at a time. One that fails, or a caller who leaves, ends the others.

    Raises:
        PipelineGraphError: as the first that failed.
    """
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def in_turn(call: Coroutine[Any, Any, T]) -> T:
        async with turns:
            return await call

    tasks = [asyncio.ensure_future(in_turn(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        for call in calls:
            call.close()  # which never had their turn


async def begun(calls: Sequence[Coroutine[Any, Any, S]]) -> list[S]:
    """As `all_of`, of streams: where one fails, the places of those that began are free again."""
    sources: list[S] = []

    async def noted(call: Coroutine[Any, Any, S]) -> S:
        source = await call
        sources.append(source)
        return source

    try:
        return await all_of([noted(call) for call in calls])
    except BaseException:
        for call in calls:
            call.close()
        for source in sources:
            source.cancel()
        raise


class Merged:
    """Streams as one.

    Args:
        sources: at least one.
        begins: numbers of those that must be accepted before it begins. The others may be as long in the queue as the
            first ones take.
    """

    def __init__(self, sources: Sequence[EventSource[Event]], begins: Sequence[int] = (0,)) -> None:
        self._sources = sources
        self._begins = begins
        self._next: dict[int, asyncio.Future[list[Event]]] = {}
        self._begun = False

    async def __anext__(self) -> list[Numbered]:
        """Those that came by now, at least one.

        Raises:
            PipelineGraphError: one of the streams failed.
        """
        if not self._begun:
            self._begun = True
            self._next = {number: self._ask(number) for number in range(len(self._sources))}
            await asyncio.wait([self._next[number] for number in self._begins], return_when=asyncio.FIRST_EXCEPTION)
        while self._next:
            await asyncio.wait(self._next.values(), return_when=asyncio.FIRST_COMPLETED)
            if events := self._arrived():
                return events
        raise StopAsyncIteration

    def cancel(self) -> None:
        """Free the places of all."""
        for waiting in self._next.values():
            waiting.cancel()
        for source in self._sources:
            source.cancel()

    def _ask(self, number: int) -> "asyncio.Future[list[Event]]":
        asked = asyncio.ensure_future(self._sources[number].__anext__())
        asked.add_done_callback(_noticed)
        return asked

    def _arrived(self) -> list[Numbered]:
        found: list[Numbered] = []
        for number in [number for number, waiting in self._next.items() if waiting.done()]:
            arrived = self._next.pop(number)
            try:
                found += [(number, event) for event in arrived.result()]
            except StopAsyncIteration:
                continue
            self._next[number] = self._ask(number)
        return found


def _noticed(done: "asyncio.Future[list[Event]]") -> None:
    """An error of a stream that nobody asks any more is no news."""
    if not done.cancelled():
        done.exception()
