"""One call over a handle, repeated where that may help."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from deployments.errors import DeadlineExceededError, ModelUnavailableError, OverloadedError, ReplicaLostError
from graph.arriving import MOST_LOST
from graph.foreign import translated
from graph.target import Target

_RETRY_S = 0.25


async def insist(target: Target, ready: Callable[[], Awaitable[Any]], handle: Any, bulk: bool, timeout_s: float) -> Any:
    """The answer, foreign errors translated at this boundary.

    Args:
        target: the model.
        ready: makes what is sent, a request or several, with their files.
        handle: of the model, or of one of its methods.
        bulk: whether the call can wait for its turn.
        timeout_s: for all of it.

    Raises:
        PipelineGraphError: what the caller is told.
    """
    try:
        async with asyncio.timeout(timeout_s):
            sent, lost = None, 0
            while True:
                try:
                    sent = await ready() if sent is None else sent
                    first = sent[0] if isinstance(sent, list) else sent
                    with translated(target.name, first.request_id):
                        return await handle.remote(sent)
                except ReplicaLostError:
                    lost += 1  # an answer changes nothing, so it may be asked for again
                    if lost > MOST_LOST:
                        raise
                except OverloadedError as error:
                    if not bulk or isinstance(error, ModelUnavailableError):
                        raise
                    await asyncio.sleep(_RETRY_S)  # an item of a list can wait for its turn
    except TimeoutError:
        raise DeadlineExceededError(f"{target.name} gave no answer within {timeout_s:g} s.") from None
