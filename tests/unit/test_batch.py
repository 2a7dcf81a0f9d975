"""The ``@serve.batch`` edge: hands over at once, answers each caller, survives whoever leaves.

``serve.batch`` asks its replica for ``max_ongoing_requests`` when its queue is made, so the tests set up a replica
context as Ray's own unit tests do (``python/ray/serve/tests/unit/test_batching.py``); Ray is not started.
"""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from ray.serve import context
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig
from ray.serve.schema import ReplicaRank

from deployments.batch import Batcher, Inbox
from deployments.config import MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.errors import ReplicaLostError
from deployments.fake import FakePipeline
from deployments.load import Loaded
from deployments.observe import Observer
from deployments.plan import Limits
from deployments.run import PipelineRunner
from deployments.work import Done, Work

PATIENCE_S = 20


@pytest.fixture(autouse=True)
def _replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_INTERNAL_REPLICA_CONTEXT", None)
    context._set_internal_replica_context(
        replica_id=ReplicaID(unique_id="r", deployment_id=DeploymentID(name="d", app_name="a")),
        servable_object=None,
        _deployment_config=DeploymentConfig(max_ongoing_requests=100),
        rank=ReplicaRank(rank=0, node_rank=0, local_rank=0),
        world_size=1,
    )


class Model(FakePipeline):
    """A model that is busy until it is let go; it notes every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Any]] = []
        self.started = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def forward(self, model_inputs: Any, **parameters: Any) -> Any:
        """See `FakePipeline.forward`."""
        rows = model_inputs["echo"]
        self.batches.append(list(rows) if isinstance(rows, list) else [rows])
        self.started.release()
        assert self.free.wait(PATIENCE_S)
        return super().forward(model_inputs, **parameters)

    async def busy(self) -> None:
        """Until the next batch is in the model."""
        assert await asyncio.to_thread(self.started.acquire, timeout=PATIENCE_S)


@pytest.fixture
def batcher_of() -> Iterator[Callable[[Model], Batcher]]:
    """Makes the batcher of a model; its threads end with the test."""
    engines: list[Engine] = []

    def make(model: Model) -> Batcher:
        runner = PipelineRunner(ModelConfig(name="m", task="fake"), Loaded(model, None), MediaLimits())
        inbox = Inbox()
        engines.append(Engine(runner.stages, Limits(8, 1e9, 0.9), Observer(), inbox.deliver))
        return Batcher(engines[-1], inbox)

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def runs() -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """Runs a coroutine under a deadline.

    Ray's queues look for the event loop when they are deleted, and make one that nobody closes if there is none: so
    they end while theirs is still there.
    """

    async def within(awaitable: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await awaitable
        finally:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    with asyncio.Runner() as runner:
        yield lambda awaitable: runner.run(within(awaitable))
        gc.collect()


def _work(inputs: Any, **parameters: Any) -> Work:
    return Work(inputs, parameters, f"id-{inputs}")


async def _submit_while_busy(batcher: Batcher, model: Model, names: str) -> list[asyncio.Task[Done]]:
    """One request into the model, then ``names`` one after another behind it."""
    model.free.clear()
    tasks = [asyncio.create_task(batcher.submit(_work("first")))]
    await model.busy()
    tasks += [asyncio.create_task(batcher.submit(_work(name))) for name in names]
    while len(batcher.engine._ready) < len(names):  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)
    return tasks


def test_each_caller_gets_the_own_answer(runs: Any, batcher_of: Any) -> None:
    async def main() -> None:
        model = Model()
        batcher = batcher_of(model)
        tasks = await _submit_while_busy(batcher, model, "abc")
        model.free.set()
        dones = await asyncio.gather(*tasks)
        assert [done.outcome["echo"] for done in dones] == ["first", "a", "b", "c"]
        assert model.batches == [["first"], ["a", "b", "c"]]
        assert [done.batch_size for done in dones] == [1, 3, 3, 3]

    runs(main())


def test_caller_who_left_costs_no_compute(runs: Any, batcher_of: Any) -> None:
    async def main() -> None:
        model = Model()
        batcher = batcher_of(model)
        tasks = await _submit_while_busy(batcher, model, "abc")
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        model.free.set()
        assert [(await task).outcome["echo"] for task in (tasks[0], tasks[1], tasks[3])] == ["first", "a", "c"]
        assert model.batches == [["first"], ["a", "c"]]

    runs(main())


def test_caller_who_leaves_a_running_batch_harms_nobody(runs: Any, batcher_of: Any) -> None:
    async def main() -> None:
        model = Model()
        tasks = await _submit_while_busy(batcher_of(model), model, "a")
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        model.free.set()
        assert (await tasks[1]).outcome["echo"] == "a"

    runs(main())


def test_engine_that_can_answer_no_more_keeps_nobody_waiting(
    runs: Any, batcher_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        batcher = batcher_of(Model())
        assert (await batcher.submit(_work("a"))).outcome["echo"] == "a"
        monkeypatch.setattr(batcher.engine, "unwell", lambda: "the model thread ended")
        with pytest.raises(ReplicaLostError, match="the model thread ended"):
            await batcher.submit(_work("b"))

    runs(main())


def test_engine_knows_how_long_its_callers_wait(batcher_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the application tells its replicas, and tells them anew."""
    batcher = batcher_of(Model())
    for seconds in (300.0, 3600.0):
        config = DeploymentConfig(graceful_shutdown_timeout_s=seconds)
        monkeypatch.setattr(context._INTERNAL_REPLICA_CONTEXT, "_deployment_config", config)
        assert batcher.engine.patience_s() == seconds
    monkeypatch.setattr(context, "_INTERNAL_REPLICA_CONTEXT", None)
    assert batcher.engine.patience_s() is None


def test_event_loop_stays_free_while_the_model_runs(runs: Any, batcher_of: Any) -> None:
    """The model waits for what only the event loop can do."""

    async def main() -> None:
        model = Model()
        model.free.clear()
        task = asyncio.create_task(batcher_of(model).submit(_work("a")))
        await model.busy()
        asyncio.get_running_loop().call_soon(model.free.set)
        assert (await task).outcome["echo"] == "a"

    runs(main())
