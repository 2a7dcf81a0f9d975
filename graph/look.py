"""A look at something costly that many ask for: taken once for all who ask, and not too often."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class SharedLook:
    """Looks in turn. Whoever asks gets one that began after they asked, so nobody is told what was true before.

    Args:
        look: takes one.
        every_s: at least so many seconds lie between the beginnings of two (default 0).
    """

    def __init__(self, look: Callable[[], Awaitable[None]], every_s: float = 0.0) -> None:
        self._look, self._every_s = look, every_s
        self._turn = asyncio.Lock()
        self._began_s = -every_s - 1.0
        self._next: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Wait for the next look, with all who ask until it begins. What it raises, each of them gets."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_task(self._in_turn())
            self._next.add_done_callback(_noticed)
        await asyncio.shield(self._next)  # one caller who leaves ends it for nobody

    async def _in_turn(self) -> None:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._began_s + self._every_s - time.monotonic()))
            self._next, self._began_s = None, time.monotonic()
            await self._look()


def _noticed(done: asyncio.Task[None]) -> None:
    """An error that nobody waits for any more is no news."""
    if not done.cancelled():
        done.exception()
