"""The ``@serve.batch`` edge and the planner behind it.

Ray's batching alone fragments: with a wait time it delays every request, and without one it cuts a batch of whatever
came in the same instant. So the edge only hands over what arrived, with no wait, and the planner cuts a batch each
time the model is free: alone, a request waits for nothing; under load, batches fill up by themselves.
Nothing that a caller sent is looked at inside Ray's queue, whose task does not survive an exception.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray import serve

from deployments.errors import InferenceError
from deployments.payload import Tensor
from deployments.run import Outcome, failed

logger = logging.getLogger("pipeline_graph.batch")

# Ray's queue must never hold requests back: the planner is what waits
_EDGE_BATCHES = 1_000_000


@dataclass(eq=False)
class Work:
    """One prepared input on its way through the model.

    Args:
        inputs: decoded, in the pipeline's call form.
        parameters: merged call parameters.
        request_id: for the log.
        key: made from the parameters; requests of equal key may share a batch.
    """

    inputs: Any
    parameters: dict[str, Any]
    request_id: str
    key: object = None
    arrived_s: float = field(default_factory=time.perf_counter)
    future: "asyncio.Future[Done] | None" = None

    def __post_init__(self) -> None:
        self.key = parameters_key(self.parameters)


@dataclass(frozen=True)
class Done:
    """An outcome with its figures (seconds)."""

    outcome: Outcome
    queue_s: float
    inference_s: float
    batch_size: int


def cut(waiting: Sequence[Work], max_items: int) -> list[Work]:
    """The next batch: the oldest request and those after it with equal parameters, at most ``max_items``.

    transformers takes parameters per call, so only requests with equal parameters share one. With six waiting
    requests of ``top_k=1``, four of ``top_k=5`` between them and ``max_items=4``, three cuts give 4, 4 and 2 when the
    oldest has ``top_k=1``.
    """
    oldest = waiting[0]
    return [work for work in waiting if work.key == oldest.key][:max_items]


def parameters_key(value: Any) -> Any:
    """Something that is equal only for parameters that mean the same: ``1``, ``1.0`` and ``True`` differ."""
    if isinstance(value, dict):
        return "dict", tuple(sorted((repr(key), parameters_key(part)) for key, part in value.items()))
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(parameters_key(part) for part in value)
    if isinstance(value, Tensor):
        return "tensor", value.dtype, parameters_key(value.array)
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.tobytes()
    return type(value).__name__, repr(value)


class Batcher:
    """Joins the requests of one replica into pipeline calls.

    Args:
        run: answers a batch: (inputs, parameters, request ids) → outcomes; called on one thread of its own.
        max_items: requests in one call (>=1); may be changed at any time.
    """

    def __init__(self, run: Callable[[list[Any], dict[str, Any], list[str]], list[Outcome]], max_items: int) -> None:
        self.max_items = max_items
        self._run = run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiting: list[Work] = []
        self._loop_task: asyncio.Task[None] | None = None
        self._edge = serve.batch(max_batch_size=4096, batch_wait_timeout_s=0, max_concurrent_batches=_EDGE_BATCHES)(
            self._take
        )

    @property
    def thread(self) -> ThreadPoolExecutor:
        """The model's thread: whatever touches the pipeline runs there."""
        return self._thread

    async def submit(self, work: Work) -> Done:
        """Answer ``work``; cancelling the caller takes it out of the queue."""
        future = await self._edge(work)
        done: Done = await future
        return done

    async def _take(self, arrived: "list[Work]") -> "list[asyncio.Future[Done]]":
        """The edge: hand over what arrived, and return at once."""
        loop = asyncio.get_running_loop()
        futures = []
        for work in arrived:
            work.future = loop.create_future()
            futures.append(work.future)
        self._waiting.extend(arrived)
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = loop.create_task(self._serve_waiting())
        return futures

    async def _serve_waiting(self) -> None:
        """Run batches until nothing waits."""
        while self._drop_abandoned():
            batch = cut(self._waiting, self.max_items)
            chosen = set(map(id, batch))
            self._waiting = [work for work in self._waiting if id(work) not in chosen]
            await self._answer(batch)

    def _drop_abandoned(self) -> bool:
        """Forget callers who left; whether anybody still waits."""
        self._waiting = [work for work in self._waiting if work.future is not None and not work.future.done()]
        return bool(self._waiting)

    async def _answer(self, batch: list[Work]) -> None:
        started = time.perf_counter()
        arguments = [work.inputs for work in batch], batch[0].parameters, [work.request_id for work in batch]
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, *arguments)
            if len(outcomes) != len(batch):
                raise InferenceError(f"{len(outcomes)} outcomes for {len(batch)} inputs")
        except Exception:  # whatever it is, it must not end the loop: every caller would hang
            logger.exception("a batch of %d failed as a whole", len(batch))
            outcomes = [InferenceError("The model failed; the server's log has the cause.")] * len(batch)
        spent = time.perf_counter() - started
        for work, outcome in zip(batch, outcomes, strict=True):
            if work.future is not None and not work.future.done():
                work.future.set_result(Done(outcome, started - work.arrived_s, spent, len(batch)))


__all__ = ["Batcher", "Done", "Work", "cut", "failed"]
