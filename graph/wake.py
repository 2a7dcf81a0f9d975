"""Models that have scaled to zero: a request brings one up, and says how long that takes, unless its caller waits."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from deployments.errors import ModelUnavailableError

logger = logging.getLogger("ray.serve")

_FIRST_GUESS_S = 30.0  # until a start was seen


class Waker:
    """Starts sleeping models; lives as long as the router's process, so that it learns how long a start takes.

    Args:
        look: reads which models have replicas.
    """

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._waking: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._took_s: dict[str, float] = {}

    def wake(self, name: str, handle: Any) -> ModelUnavailableError:
        """Begin to start a model, if nobody has; call it on the event loop.

        Returns:
            The error that tells the caller when to try again.
        """
        if name not in self._waking:
            self._waking[name] = time.monotonic(), asyncio.get_running_loop().create_task(self._start(name, handle))
        passed_s = time.monotonic() - self._waking[name][0]
        left_s = max(1.0, self._took_s.get(name, _FIRST_GUESS_S) - passed_s)
        return ModelUnavailableError(
            f"{name} was asleep and starts now, for about {math.ceil(left_s)} s; try again then, or send "
            "`X-Wait-For-Model: true` to be answered when it is up.",
            left_s,
        )

    async def _start(self, name: str, handle: Any) -> None:
        """A call that waits for a replica is what makes Serve start one."""
        began_s = time.monotonic()
        try:
            await handle.info.remote()
            self._took_s[name] = time.monotonic() - began_s
            await self._look()  # until it is known to run, a caller would wake it once more, and learn from that
        except Exception as error:  # whatever it is, the next request tries again
            logger.warning("%s could not be woken: %s", name, type(error).__name__)
        finally:
            del self._waking[name]
