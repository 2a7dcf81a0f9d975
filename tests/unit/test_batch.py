"""The planner: who shares a pipeline call with whom, and that everybody gets their own answer.

``serve.batch`` asks its replica for ``max_ongoing_requests`` when its queue is made, so the tests set up a replica
context as Ray's own unit tests do (``python/ray/serve/tests/unit/test_batching.py``); Ray is not started.
"""

import asyncio
import copy
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve import context
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig
from ray.serve.schema import ReplicaRank

from deployments.batch import Batcher, Done, Work, cut
from deployments.errors import InferenceError, InvalidInputError
from deployments.payload import Tensor

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


def _work(inputs: Any, **parameters: Any) -> Work:
    return Work(inputs, parameters, f"id-{inputs}")


# --- cut


PARAMETERS = st.sampled_from([{}, {"top_k": 1}, {"top_k": 5}, {"top_k": None}, {"a": {"b": [1]}}, {"a": {"b": [2]}}])
WAITING = st.lists(PARAMETERS, min_size=1, max_size=20).map(
    lambda given: [Work(index, dict(parameters), "") for index, parameters in enumerate(given)]
)


@settings(deadline=None)
@given(WAITING, st.integers(1, 8))
def test_batch_is_the_oldest_and_the_next_of_its_parameters(waiting: list[Work], most: int) -> None:
    batch = cut(waiting, most)
    assert batch[0] is waiting[0]
    assert all(work.parameters == batch[0].parameters for work in batch)
    same = [work for work in waiting if work.parameters == waiting[0].parameters]
    assert [work.inputs for work in batch] == [work.inputs for work in same][:most]


def test_worked_example_of_the_docstring() -> None:
    waiting = [_work(index, top_k=5 if index in (1, 3, 5, 7) else 1) for index in range(10)]
    sizes = []
    while waiting:
        batch = cut(waiting, 4)
        sizes.append(len(batch))
        waiting = [work for work in waiting if work not in batch]
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize(
    ("mine", "theirs"), [(1, True), (1, 1.0), (0, False), (0, None), ("1", 1), ([1], [True]), ({"a": 1}, {"a": 1.0})]
)
def test_parameters_that_mean_something_else_never_share_a_batch(mine: Any, theirs: Any) -> None:
    """``1 == True == 1.0`` to Python, but ``top_k=1.0`` is no ``top_k=1`` to text classification."""
    assert len(cut([_work("a", top_k=mine), _work("b", top_k=theirs)], 8)) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_order_of_the_keys_does_not_matter(order: int) -> None:
    other = dict([("a", 1), ("b", 2)][::order])
    assert len(cut([_work("a", a=1, b=2), Work("b", other, "")], 8)) == 2


# --- Batcher


class Model:
    """A model that is busy until it is let go; it notes every batch."""

    def __init__(self, answer: Callable[[list[Any], dict[str, Any]], list[Any]] | None = None) -> None:
        self.batches: list[list[Any]] = []
        self.started = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()
        self._answer = answer or (lambda inputs, _: [f"{one}!" for one in inputs])

    def __call__(self, inputs: list[Any], parameters: dict[str, Any], request_ids: list[str]) -> list[Any]:
        assert request_ids == [f"id-{one}" for one in inputs]
        self.batches.append(inputs)
        self.started.release()
        assert self.free.wait(PATIENCE_S)
        return self._answer(inputs, parameters)

    async def busy(self) -> None:
        """Until the next batch is in the model."""
        assert await asyncio.to_thread(self.started.acquire, timeout=PATIENCE_S)


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


async def _queued(batcher: Batcher, count: int) -> None:
    """Until ``count`` requests wait for the model."""
    while len(batcher._waiting) < count:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0)


async def _submit_while_busy(batcher: Batcher, model: Model, works: list[Work]) -> list[asyncio.Task[Done]]:
    """One request into the model, then ``works`` one after another behind it."""
    model.free.clear()
    tasks = [asyncio.create_task(batcher.submit(_work("first")))]
    await model.busy()
    for count, work in enumerate(works, 1):
        tasks.append(asyncio.create_task(batcher.submit(work)))
        await _queued(batcher, count)
    return tasks


def test_request_alone_runs_at_once_and_alone(runs: Any) -> None:
    async def main() -> None:
        model = Model()
        done = await Batcher(model, 8).submit(_work("a"))
        assert (done.outcome, done.batch_size) == ("a!", 1)
        assert model.batches == [["a"]]
        assert done.queue_s >= 0
        assert done.inference_s >= 0

    runs(main())


def test_what_waits_while_the_model_is_busy_runs_together_each_with_its_own_answer(runs: Any) -> None:
    async def main() -> None:
        model = Model()
        batcher = Batcher(model, 3)
        tasks = await _submit_while_busy(batcher, model, [_work(name) for name in "abcd"])
        model.free.set()
        dones = await asyncio.gather(*tasks)
        assert [done.outcome for done in dones] == ["first!", "a!", "b!", "c!", "d!"]
        assert model.batches == [["first"], ["a", "b", "c"], ["d"]]
        assert [done.batch_size for done in dones] == [1, 3, 3, 3, 1]

    runs(main())


def test_other_parameters_wait_for_their_own_batch(runs: Any) -> None:
    async def main() -> None:
        model = Model(lambda inputs, parameters: [(one, parameters) for one in inputs])
        batcher = Batcher(model, 8)
        works = [_work("a", k=1), _work("b", k=2), _work("c", k=1)]
        tasks = await _submit_while_busy(batcher, model, works)
        model.free.set()
        outcomes = [done.outcome for done in await asyncio.gather(*tasks)]
        assert outcomes[1:] == [("a", {"k": 1}), ("b", {"k": 2}), ("c", {"k": 1})]
        assert model.batches == [["first"], ["a", "c"], ["b"]]

    runs(main())


@pytest.mark.parametrize(
    "value", [np.arange(3), Tensor(np.arange(3), "int64"), {"deep": [np.zeros(2)]}], ids=["array", "tensor", "deep"]
)
def test_parameters_that_hold_arrays_are_answered_too(value: Any, runs: Any) -> None:
    """Speaker embeddings are such parameters; two such requests must not stop the replica for everybody."""

    async def main() -> None:
        model = Model()
        batcher = Batcher(model, 8)
        tasks = await _submit_while_busy(
            batcher, model, [_work("a", x=value), _work("b", x=copy.deepcopy(value)), _work("c")]
        )
        model.free.set()
        outcomes = [done.outcome for done in await asyncio.wait_for(asyncio.gather(*tasks), 5)]
        assert outcomes == ["first!", "a!", "b!", "c!"]

    runs(main())


@pytest.mark.parametrize(
    "answer",
    [
        lambda inputs, _: [1 / 0],
        lambda inputs, _: [],
        lambda inputs, _: ["too", "many", "answers"],
        lambda inputs, _: None,
    ],
    ids=["raises", "none", "too-many", "no-list"],
)
def test_failing_batch_fails_its_own_callers_and_the_loop_goes_on(answer: Any, runs: Any) -> None:
    async def main() -> None:
        model = Model(lambda inputs, parameters: answer(inputs, parameters) if parameters else inputs)
        batcher = Batcher(model, 8)
        works = [_work("a", bad=1), _work("b", bad=1), _work("c")]
        tasks = await _submit_while_busy(batcher, model, works)
        model.free.set()
        first, a, b, c = [done.outcome for done in await asyncio.gather(*tasks)]
        assert [type(a), type(b)] == [InferenceError] * 2
        assert "division" not in str(a)
        assert (first, c) == ("first", "c")
        assert (await batcher.submit(_work("d"))).outcome == "d"

    runs(main())


def test_outcome_may_be_an_error_of_one_caller_alone(runs: Any) -> None:
    async def main() -> None:
        wrong = InvalidInputError("wrong")
        model = Model(lambda inputs, _: [wrong if one == "b" else one for one in inputs])
        batcher = Batcher(model, 8)
        tasks = await _submit_while_busy(batcher, model, [_work(name) for name in "abc"])
        model.free.set()
        assert [done.outcome for done in await asyncio.gather(*tasks)] == ["first", "a", wrong, "c"]

    runs(main())


def test_caller_who_left_costs_no_compute(runs: Any) -> None:
    async def main() -> None:
        model = Model()
        batcher = Batcher(model, 8)
        tasks = await _submit_while_busy(batcher, model, [_work(name) for name in "abc"])
        leaving = batcher._waiting[1].future
        while not leaving._callbacks:  # noqa: ASYNC110 - until its caller waits for it; nothing announces that
            await asyncio.sleep(0)
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        model.free.set()
        assert [(await task).outcome for task in (tasks[0], tasks[1], tasks[3])] == ["first!", "a!", "c!"]
        assert model.batches == [["first"], ["a", "c"]]

    runs(main())


def test_caller_who_leaves_a_running_batch_harms_nobody(runs: Any) -> None:
    async def main() -> None:
        model = Model()
        batcher = Batcher(model, 8)
        tasks = await _submit_while_busy(batcher, model, [_work("a")])
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        model.free.set()
        assert (await tasks[1]).outcome == "a!"

    runs(main())


def test_size_of_a_batch_may_change_while_requests_wait(runs: Any) -> None:
    async def main() -> None:
        model = Model()
        batcher = Batcher(model, 1)
        tasks = await _submit_while_busy(batcher, model, [_work(name) for name in "abcd"])
        batcher.max_items = 4
        model.free.set()
        await asyncio.gather(*tasks)
        assert model.batches == [["first"], ["a", "b", "c", "d"]]
        batcher.max_items = 1
        tasks = await _submit_while_busy(batcher, model, [_work(name) for name in "ab"])
        model.free.set()
        await asyncio.gather(*tasks)
        assert model.batches[2:] == [["first"], ["a"], ["b"]]

    runs(main())


def test_model_runs_on_one_thread_of_its_own(runs: Any) -> None:
    async def main() -> None:
        seen: set[int] = set()
        model = Model(lambda inputs, _: [seen.add(threading.get_ident()) or one for one in inputs])
        batcher = Batcher(model, 2)
        await asyncio.gather(*(batcher.submit(_work(index)) for index in range(9)))
        assert len(seen) == 1
        assert threading.get_ident() not in seen

    runs(main())


def test_event_loop_stays_free_while_the_model_runs(runs: Any) -> None:
    """The model waits for what only the event loop can do."""

    async def main() -> None:
        model = Model()
        model.free.clear()
        task = asyncio.create_task(Batcher(model, 2).submit(_work("a")))
        await model.busy()
        asyncio.get_running_loop().call_soon(model.free.set)
        assert (await task).outcome == "a!"

    runs(main())
