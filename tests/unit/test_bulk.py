"""Items of a list that share a call: which do, and that each is answered or refused by itself."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InferenceError, InvalidInputError, PipelineGraphError, ReplicaLostError
from deployments.payload import TaskRequest, TaskResult
from deployments.several import each
from graph import dispatch
from graph.bulk import IN_FLIGHT, calls_of
from graph.config import read_config
from graph.dispatch import Dispatcher
from graph.readiness import Readiness
from graph.resolve import resolve


@given(st.lists(st.one_of(st.text(max_size=3), st.just("a" * 30_000), st.integers()), max_size=100))
def test_every_item_has_one_place_in_one_call(items: list[Any]) -> None:
    calls = list(calls_of(items))
    assert sorted(index for call in calls for index in call) == list(range(len(items)))
    for call in calls:
        assert len(call) <= 8
        assert len(call) == 1 or all(isinstance(items[index], str) and len(items[index]) < 30_000 for index in call)


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (4, 4), (7, 4), (32, 4), (100, 13)])
def test_short_lists_are_spread_over_replicas(count: int, calls: int) -> None:
    assert len(list(calls_of(["a"] * count))) == calls


async def _answer(request: TaskRequest) -> TaskResult:
    number = int(request.inputs)
    if number % 5 == 1:
        raise InvalidInputError(f"{number} is refused")
    if number % 5 == 2:
        raise RuntimeError("secret")
    return TaskResult(number)


def test_one_that_fails_has_its_error_in_its_place() -> None:
    requests = [TaskRequest(f"{number}") for number in range(5)]
    found = asyncio.run(each(_answer, requests))
    assert [one.output for one in (found[0], *found[3:]) if isinstance(one, TaskResult)] == [0, 3, 4]
    assert type(found[1]) is InvalidInputError
    assert type(found[2]) is InferenceError
    assert "secret" not in str(found[2])


def test_a_replica_that_is_lost_answers_none() -> None:
    async def lost(request: TaskRequest) -> TaskResult:
        raise ReplicaLostError("gone", 1.0)

    with pytest.raises(ReplicaLostError):
        asyncio.run(each(lost, [TaskRequest("1"), TaskRequest("2")]))


class _Handle:
    """A replica; the first call of several loses it."""

    def __init__(self) -> None:
        self.several: list[int] = []
        self.alone = self.most = self.now = 0
        self.answer_all = self

    async def remote(self, sent: Any) -> Any:
        if isinstance(sent, TaskRequest):
            self.alone += 1
            return await _answer(sent)
        self.several.append(len(sent))
        if len(self.several) == 1:
            raise ReplicaLostError("gone", 1.0)
        self.now += len(sent)
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= len(sent)
        return await each(_answer, sent)


def test_a_list_is_answered_in_order_whatever_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = _Handle()
    monkeypatch.setattr(dispatch.serve, "get_deployment_handle", lambda *_: handle)

    class Ready(Readiness):
        def require(self, model: Any) -> None:
            """Always."""

    async def fetch(item: Any) -> Any:
        return item

    config = resolve(read_config({"models": [{"name": "m", "task": "text-classification"}]}))
    dispatcher = Dispatcher(config.models, "app", 60.0, Ready("app"), fetch)
    items: list[Any] = [f"{number}" for number in range(300)]
    items[8] = 8  # no text: by itself
    found = asyncio.run(dispatcher.call_list(dispatcher.by_name("m"), items, {}, "id"))
    for number, one in enumerate(found):
        assert isinstance(one, PipelineGraphError) if number % 5 in (1, 2) else one.output == number
    assert handle.alone == 1
    assert sum(handle.several) == 299 + handle.several[0]
    assert handle.most <= IN_FLIGHT
