"""Work that waits for a few threads, that of single requests before that of lists. No Ray."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from deployments.room import Room
from deployments.work import BULK_HANDICAP_S

Result = TypeVar("Result")


class Line:
    """Threads with a line before them; used on one event loop.

    Args:
        threads: how many work at a time.
        name: of the threads.
        room: while it is full, nobody's turn comes.
    """

    def __init__(self, threads: int, name: str, room: Room | None = None) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = room
        if room is not None:
            room.listen(self._roomier)

    def close(self) -> None:
        """Let go of the threads."""
        if self._room is not None:
            self._room.forget(self._roomier)
        self._threads.shutdown(wait=False)

    async def run(self, bulk: bool, function: Callable[..., Result], *args: Any) -> Result:
        """``function`` on one of the threads, in the order of `deployments.work.Work`: lists stand a while behind."""
        loop = self._loop = asyncio.get_running_loop()
        if self._may_begin():
            self._free -= 1
        else:
            turn: asyncio.Future[None] = loop.create_future()
            since = time.perf_counter() + BULK_HANDICAP_S * bulk
            heapq.heappush(self._waiting, (since, next(self._numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # its turn had come
                    self._leave()
                raise
        job = self._threads.submit(function, *args)
        # when the thread is through, whether or not somebody still waits for it
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(job)

    def _may_begin(self) -> bool:
        return self._free > 0 and not (self._room is not None and self._room.full)

    def _leave(self) -> None:
        """One thread is free."""
        self._free += 1
        self._advance()

    def _advance(self) -> None:
        """The first in the line have the threads that are free."""
        while self._waiting and self._may_begin():
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    def _roomier(self) -> None:
        """Told by the room, maybe on another thread; so the line is looked at in a turn of the loop's own."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._advance)
