"""Equal requests, one computation: while it runs for whoever asks meanwhile, and afterwards out of a bounded cache.

Only requests whose answer is always the same come here (`PipelineRunner.repeatable`).
"""

import asyncio
import pickle
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from deployments.config import CacheConfig
from deployments.errors import PipelineGraphError
from deployments.work import Done

Source = Literal["none", "shared", "hit"]
"""How a request got its answer: computed, from one that was running, or out of the cache."""
_ENTRY_BYTES = 1024  # of a kept answer beside the answer: its key, its figures and its place


@dataclass
class _Running:
    task: "asyncio.Task[Done]"
    callers: int = 0


class Sharing:
    """Answers of one replica by request key; used on its event loop alone.

    Args:
        config: whether running requests are shared, and how much memory kept answers may take.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._running: dict[tuple[Hashable, bool], _Running] = {}  # by key and whether it stands behind, as bulk does
        self._kept: OrderedDict[Hashable, tuple[Done, int]] = OrderedDict()
        self._bytes = 0
        self.config = config

    def reconfigure(self, config: CacheConfig) -> None:
        """Take over new bounds; answers beyond them are forgotten, and all of them where the defaults changed."""
        self.config = config
        self._kept.clear()
        self._bytes = 0

    async def answer(
        self, key: Hashable, compute: Callable[[], Awaitable[Done]], bulk: bool = False
    ) -> tuple[Done, Source]:
        """The answer of ``key``, computed at most once at a time.

        With ``bulk``, for an item of a list, which stands behind single requests: these do not wait for it. A caller
        who leaves does not end the computation for the others; when all have left, it is cancelled.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0], "hit"
        if not self.config.share_running:
            done = await compute()
            self._keep(key, done)
            return done, "none"
        place = key, bulk and (key, False) not in self._running
        running = self._running.get(place)
        source: Source = "none" if running is None else "shared"
        if running is None:
            running = self._running[place] = _Running(asyncio.ensure_future(self._compute(place, compute)))
        running.callers += 1
        try:
            return await asyncio.shield(running.task), source
        finally:
            running.callers -= 1
            if not running.callers and not running.task.done():
                self._running.pop(place, None)
                running.task.cancel()

    async def _compute(self, place: tuple[Hashable, bool], compute: Callable[[], Awaitable[Done]]) -> Done:
        mine = asyncio.current_task()
        try:
            done = await compute()
            self._keep(place[0], done)
            return done
        finally:
            running = self._running.get(place)
            if running is not None and running.task is mine:
                del self._running[place]

    def _keep(self, key: Hashable, done: Done) -> None:
        if not self.config.max_bytes or isinstance(done.outcome, PipelineGraphError) or key in self._kept:
            return
        size = _ENTRY_BYTES + len(pickle.dumps(done.outcome, protocol=5))
        if size > self.config.max_bytes:
            return
        self._kept[key] = done, size
        self._bytes += size
        while self._bytes > self.config.max_bytes:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
