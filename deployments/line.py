"""Work that waits for a few threads, that of single requests before that of lists. No Ray."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from deployments.work import BULK_HANDICAP_S

Result = TypeVar("Result")


class Line:
    """Threads with a line before them; used on one event loop.

    Args:
        threads: how many work at a time.
        name: of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False)

    async def run(self, bulk: bool, function: Callable[..., Result], *args: Any) -> Result:
        """``function`` on one of the threads, in the order of `deployments.work.Work`: lists stand a while behind."""
        loop = asyncio.get_running_loop()
        if self._free:
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

    def _leave(self) -> None:
        """One thread is free: the first in the line has it."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
