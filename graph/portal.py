"""One event loop on a thread of its own, on which every served pipeline of this process talks to its models.

Synchronous and asynchronous callers, and the runs over datasets, so share one pool of connections, and whoever stops
waiting cancels what runs for him.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

Value = TypeVar("Value")
_CLOSING_S = 5.0
_PATIENCE_S = 5.0
_END = object()


class Portal:
    """A running loop; `portal` gives that of this process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        threading.Thread(target=self.loop.run_forever, name="pipeline-graph", daemon=True).start()
        atexit.register(self._close)

    def start(self, work: Coroutine[Any, Any, Value]) -> "concurrent.futures.Future[Value]":
        """Run ``work``; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def wait(self, work: Coroutine[Any, Any, Value]) -> Value:
        """The result of ``work``; an interrupt cancels it, and waits a moment until it has ended."""
        ended = threading.Event()
        future = self.start(_signalling(work, ended))
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait(_PATIENCE_S)
            raise

    async def join(self, work: Coroutine[Any, Any, Value]) -> Value:
        """The result of ``work``, awaited on another loop; cancelling the caller cancels it."""
        return await asyncio.wrap_future(self.start(work))

    def iterate(self, source: AsyncIterator[Value]) -> Iterator[Value]:
        """What ``source`` gives, for a synchronous caller; whoever stops iterating ends it."""
        try:
            while (value := self.wait(_next(source))) is not _END:
                yield value
        finally:
            self.wait(_closed(source))

    async def aiterate(self, source: AsyncIterator[Value]) -> AsyncIterator[Value]:
        """What ``source`` gives, for a caller on another loop."""
        try:
            while (value := await self.join(_next(source))) is not _END:
                yield value
        finally:
            self.start(_closed(source))

    def at_exit(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await ``closer`` on the loop when the program ends."""
        self._closers.append(closer)

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            self.start(self._run_closers()).result(_CLOSING_S)
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _run_closers(self) -> None:
        for closer in self._closers:
            await closer()


def portal() -> Portal:
    """The loop of this process; a forked child has one of its own."""
    return _portal_of(os.getpid())


@functools.cache
def _portal_of(_pid: int) -> Portal:
    return Portal()


async def _signalling(work: Coroutine[Any, Any, Value], ended: threading.Event) -> Value:
    try:
        return await work
    finally:
        ended.set()


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)


async def _closed(source: AsyncIterator[Any]) -> None:
    if hasattr(source, "aclose"):
        await source.aclose()
