"""The ``@serve.batch`` edge of a replica, in front of its engine.

Ray's batching alone fragments: with a wait time it delays every request, and without one it cuts a batch of whatever
came in the same instant. So the edge only hands over what arrived, with no wait, and the planner behind it cuts a batch
each time the model is free. Nothing that a caller sent is looked at inside Ray's queue, whose task does not survive an
exception.
"""

import asyncio

from ray import serve
from ray.serve.context import _get_internal_replica_context

from deployments.engine import Engine
from deployments.errors import ReplicaLostError
from deployments.work import Done, Work

# Ray's queue must never hold requests back: the planner is what waits
_EDGE_BATCHES = 1_000_000


class Batcher:
    """Joins the requests of one replica.

    Args:
        engine: answers them.
        inbox: where the engine delivers.
    """

    def __init__(self, engine: Engine, inbox: "Inbox") -> None:
        self.engine = engine
        engine.patience_s = _patience_s
        self._inbox = inbox
        self._edge = serve.batch(max_batch_size=4096, batch_wait_timeout_s=0, max_concurrent_batches=_EDGE_BATCHES)(
            self._take
        )

    async def submit(self, work: Work) -> Done:
        """Answer ``work``; cancelling the caller takes it out of the queue.

        Raises:
            ReplicaLostError: the engine can answer no more; Serve will replace the replica, and another may answer.
        """
        if (reason := self.engine.unwell()) is not None:
            raise ReplicaLostError(f"The replica that had the request can answer no more ({reason}); try again.")
        try:
            future = await self._edge(work)
            done: Done = await future
        except asyncio.CancelledError:
            work.leave()
            raise
        return done

    def close(self) -> None:
        """End Ray's batching task, which else keeps the engine and all behind it; Ray 2.60 has no public way."""
        queue = self._edge._is_batching_task_alive.__self__._queue
        if queue is not None:
            queue._handle_batch_task.cancel()

    async def _take(self, arrived: "list[Work]") -> "list[asyncio.Future[Done]]":
        """The edge: hand over what arrived, and return at once."""
        loop = self._inbox.loop = asyncio.get_running_loop()
        futures = []
        for work in arrived:
            work.future = loop.create_future()
            futures.append(work.future)
            if not work.abandoned:
                self.engine.submit(work)
        return futures


def _patience_s() -> float | None:
    """Seconds that a caller waits at most: what a replica that goes has to finish its answers (`graph.app.build`)."""
    context = _get_internal_replica_context()
    return None if context is None else context._deployment_config.graceful_shutdown_timeout_s


class Inbox:
    """Brings finished requests from the engine's thread to the event loop."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def deliver(self, finished: list[tuple[Work, Done]]) -> None:
        """Wake the callers, all in one turn of the loop."""
        if self.loop is None:
            return
        try:
            self.loop.call_soon_threadsafe(_settle, finished)
        except RuntimeError:  # the replica is going away, and its callers with it
            return


def _settle(finished: list[tuple[Work, Done]]) -> None:
    for work, done in finished:
        if work.future is not None and not work.future.done():
            work.future.set_result(done)
