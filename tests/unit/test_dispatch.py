"""Calls over a handle that tells what it was given: priority, retries, time limits. No Ray runs."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from deployments.errors import DeadlineExceededError, OverloadedError, ReplicaLostError
from deployments.payload import TaskRequest, TaskResult
from graph import dispatch, insist, readiness
from graph.arriving import ArrivingEvents
from graph.config import read_config
from graph.dispatch import Dispatcher
from graph.readiness import Readiness
from graph.resolve import resolve


class Handle:
    """Takes calls; the next outcome is the answer, the last one for ever.

    Args:
        *outcomes: an answer, a list of events, or an error to raise.
    """

    def __init__(self, *outcomes: Any) -> None:
        self.asked: list[TaskRequest] = []
        self._outcomes = outcomes

    def options(self, **_: Any) -> "Handle":
        return self

    def remote(self, request: TaskRequest) -> Any:
        outcome = self._outcomes[min(len(self.asked), len(self._outcomes) - 1)]
        self.asked.append(request)
        return _Events(outcome) if isinstance(outcome, list) else _answer(outcome)


async def _answer(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Events:
    def __init__(self, outcomes: list[Any]) -> None:
        self._outcomes = iter(outcomes)

    async def __anext__(self) -> Any:
        try:
            outcome = next(self._outcomes)
        except StopIteration:
            raise StopAsyncIteration from None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            await asyncio.Event().wait()
        return [outcome]

    def cancel(self) -> None: ...


async def as_it_is(item: Any) -> Any:
    return item


@pytest.fixture
def dispatcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes one that serves ``m`` over a handle."""

    def make(handle: Handle, fetch: Any = as_it_is, timeout_s: float = 60.0) -> Dispatcher:
        monkeypatch.setattr(dispatch.serve, "get_deployment_handle", lambda *_: handle)
        config = resolve(read_config({"models": [{"name": "m", "task": "text-generation"}]}))
        return Dispatcher(config.models, "app", timeout_s, Readiness("app"), fetch)

    return make


async def events_of(source: ArrivingEvents) -> list[Any]:
    found: list[Any] = []
    while True:
        try:
            found += await source.__anext__()
        except StopAsyncIteration:
            return found


@pytest.mark.parametrize("low", [False, True])
def test_what_a_low_key_asks_for_waits_behind_others(dispatcher: Any, low: bool) -> None:
    handle = Handle(TaskResult("answer"), ["event"], TaskResult("answer"))

    async def main() -> None:
        seen = dispatcher(handle).narrowed(None, low, None)
        target = seen.by_name("m")
        await seen.call(target, "x", {}, "id")
        await events_of(await seen.stream(target, "x", {}, "id"))
        await seen.call_list(target, ["x"], {}, "id")

    asyncio.run(main())
    assert [request.bulk for request in handle.asked] == [low, low, True]


def test_a_stream_that_loses_its_replica_before_it_begins_goes_to_another(dispatcher: Any) -> None:
    handle = Handle([ActorDiedError()], ["a", "b"])

    async def main() -> list[Any]:
        served = dispatcher(handle)
        return await events_of(await served.stream(served.by_name("m"), "x", {}, "id"))

    assert asyncio.run(main()) == ["a", "b"]
    assert len(handle.asked) == 2


@pytest.mark.parametrize(
    ("outcomes", "came", "asked"),
    [
        ([["a", ActorDiedError()], ["b"]], ["a"], 1),  # what was told is not told again
        ([[ActorDiedError()], [ActorDiedError()], ["b"]], [], 2),  # nor does it take down a third one
        ([[ActorDiedError()], ["a", ActorDiedError()], ["b"]], ["a"], 2),
    ],
)
def test_a_stream_that_cannot_go_on_fails(dispatcher: Any, outcomes: list[Any], came: list[str], asked: int) -> None:
    handle, found = Handle(*outcomes), []

    async def main() -> None:
        served = dispatcher(handle)
        source = await served.stream(served.by_name("m"), "x", {}, "id")
        while True:
            found.extend(await source.__anext__())

    with pytest.raises(ReplicaLostError):
        asyncio.run(main())
    assert (found, len(handle.asked)) == (came, asked)


def test_items_of_a_list_wait_for_their_files(dispatcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list can be more than what is fetched at a time, and is then not in its own way; a single request is told."""
    monkeypatch.setattr(insist, "_RETRY_S", 0)
    refused: list[str] = []

    async def fetch(item: str) -> str:
        if refused.count(item) < 2:
            refused.append(item)
            raise OverloadedError("too many files")
        return item

    async def main() -> list[Any]:
        served = dispatcher(Handle(TaskResult("answer")), fetch)
        target = served.by_name("m")
        with pytest.raises(OverloadedError):
            await served.call(target, "single", {}, "id")
        return await served.call_list(target, ["a", "b"], {}, "id")

    assert [outcome.output for outcome in asyncio.run(main())] == ["answer", "answer"]
    assert sorted(refused) == ["a", "a", "b", "b", "single"]


def test_the_time_limit_is_for_fetching_too(dispatcher: Any) -> None:
    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        served = dispatcher(Handle(), never).narrowed(None, False, 0.01)
        target = served.by_name("m")
        for asked in (
            served.call(target, "x", {}, "id"),
            served.stream(target, "x", {}, "id"),
            served.fetched("x"),
        ):
            with pytest.raises(DeadlineExceededError):
                await asked

    asyncio.run(main())


def test_a_model_that_came_up_meanwhile_is_not_woken(dispatcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of it may be a second old."""
    states = [{}, {"RUNNING": 1}]

    def status() -> Any:
        deployment = SimpleNamespace(status="HEALTHY", replica_states=states.pop(0), message="")
        return SimpleNamespace(applications={"app": SimpleNamespace(deployments={"m": deployment})})

    monkeypatch.setattr(readiness, "serve", SimpleNamespace(status=status))
    handle = Handle(TaskResult("answer"))

    async def main() -> Any:
        served = dispatcher(handle)
        config = resolve(read_config({"models": [{"name": "m", "task": "fake", "scale": {"min_replicas": 0}}]}))
        served = Dispatcher(config.models, "app", 60.0, served._readiness, as_it_is)
        await served._readiness.refresh()
        assert served._readiness.asleep(config.models[0])
        return await served.call(served.by_name("m"), "x", {}, "id")

    assert asyncio.run(main()).output == "answer"
