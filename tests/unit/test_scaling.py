"""The autoscaling policy on Ray's own context and delays, the cost it is told, and waking models that sleep."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentID
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig, AutoscalingContext
from starlette.requests import Request

from cluster.options import serve_options
from cluster.scaling import EACH, WAITING, ByWork, work_s
from deployments.config import ModelConfig
from deployments.cost import ForwardCost
from deployments.errors import ModelUnavailableError
from graph.access.view import seen_by
from graph.dispatch import Dispatcher
from graph.status import describe
from graph.wake import Waker


def config(**scale: Any) -> AutoscalingConfig:
    model = ModelConfig.model_validate({"name": "m", "task": "fake", "scale": {"max_replicas": 8, **scale}})
    return AutoscalingConfig.model_validate(serve_options(model)["autoscaling_config"])


def context(settings: AutoscalingConfig, running: int, requests: float, queued: float, **told: Any) -> Any:
    return AutoscalingContext(
        deployment_id=DeploymentID("m"),
        deployment_name="m",
        app_name="a",
        current_num_replicas=running,
        target_num_replicas=running,
        running_replicas=[],
        total_num_requests=requests,
        total_queued_requests=queued,
        aggregated_metrics=told,
        raw_metrics=None,
        capacity_adjusted_min_replicas=settings.min_replicas,
        capacity_adjusted_max_replicas=settings.max_replicas,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=settings,
    )


def wanted(running: int, requests: float, queued: float = 0, **told: Any) -> float:
    settings = config(target_ongoing_requests=10, target_wait_s=2)
    return ByWork(2)(context(settings, running, requests, queued, **told))[0]


@pytest.mark.parametrize(
    ("running", "requests", "queued", "told", "expected"),
    [
        (1, 0, 0, {}, 0),
        (1, 10, 0, {}, 1),
        (1, 35, 0, {}, 3.5),
        (2, 10, 0, {WAITING: {"a": 3.0, "b": 5.0}}, 4),  # few requests, much work
        (2, 60, 0, {WAITING: {"a": 0.1, "b": 0.1}}, 6),  # many requests, little work
        (1, 1, 8, {WAITING: {"a": 2.0}, EACH: {"a": 0.5}}, 3),  # 2 s here and 8 x 0.5 s on the way
        (1, 1, 8, {WAITING: {"a": 2.0}, EACH: {}}, 1),
    ],
)
def test_replicas_follow_requests_and_work(
    running: int, requests: float, queued: float, told: Any, expected: float
) -> None:
    assert wanted(running, requests, queued, **told) == pytest.approx(expected)


def test_work_is_what_waits_in_replicas_and_for_them() -> None:
    assert work_s({WAITING: {"a": 3, "b": 1}, EACH: {"a": 0.5, "b": 0.5}}, 8) == 8
    assert work_s({}, 100) == 0


def test_the_first_replica_comes_at_once_and_the_last_goes_after_the_delay() -> None:
    """Through Ray's own wrapper, as the controller calls it."""
    settings = config(min_replicas=0, downscale_delay_s=0, upscale_delay_s=1000)
    policy = _apply_autoscaling_config(ByWork(2))
    assert policy(context(settings, 0, 1, 1))[0] == 1
    assert policy(context(settings, 0, 0, 0))[0] == 0
    assert policy(context(settings, 1, 0, 0))[0] == 0
    slow = config(min_replicas=0, downscale_delay_s=1000)
    assert policy(context(slow, 1, 0, 0))[0] == 1


def test_serve_is_told_of_the_policy() -> None:
    settings = config(target_wait_s=7)
    assert settings.policy.policy_kwargs == {"target_wait_s": 7}
    assert settings.policy.get_policy()(**settings.policy.policy_kwargs)._target_wait_s == 7
    assert settings.look_back_period_s > 10


def test_seconds_for_what_waits_follow_what_forwards_have_cost() -> None:
    cost = ForwardCost()
    assert (cost.seconds_for([5], 8), cost.row_s) == (0.0, 0.0)
    for padded in (10, 20, 30, 40, 50, 60):  # 0.1 s and 0.01 s a token, two rows each
        cost.note(padded, 0.1 + 0.01 * padded, 2)
    assert cost.seconds_for([10, 20, 30], 2) == pytest.approx(2 * 0.1 + 0.01 * 60)
    assert cost.seconds_for([], 2) == 0
    assert 0.1 <= cost.row_s <= 0.4


class Handle:
    """Of a model that starts when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.up = asyncio.Event()
        self.info = SimpleNamespace(remote=self.call)

    async def call(self) -> dict[str, Any]:
        self.calls += 1
        await self.up.wait()
        return {}


async def nothing() -> None:
    """A look that shows nothing new."""


def test_a_model_is_woken_only_once_until_it_is_known_to_run() -> None:
    """The one that asks in between does not make the next estimate that of a model that is up."""

    async def main() -> None:
        known = asyncio.Event()

        async def look() -> None:
            await known.wait()

        waker, handle = Waker(look), Handle()
        waker.wake("m", handle)
        task = waker._waking["m"][1]
        handle.up.set()
        for _ in range(10):
            await asyncio.sleep(0)
        waker.wake("m", handle)
        assert (handle.calls, waker._waking["m"][1]) == (1, task)
        known.set()
        await task
        assert waker._waking == {}

    asyncio.run(main())


def test_a_model_is_woken_once_and_the_next_estimate_is_what_it_took() -> None:
    async def main() -> None:
        waker, handle = Waker(nothing), Handle()
        first, second = waker.wake("m", handle), waker.wake("m", handle)
        assert 20 < second.retry_after_s <= first.retry_after_s <= 30
        await asyncio.sleep(0)
        assert handle.calls == 1
        handle.up.set()
        await waker._waking["m"][1]
        handle.up.clear()
        again = waker.wake("m", handle)
        assert again.retry_after_s == 1.0  # it took no time at all, and nobody is told to come back at once
        await asyncio.sleep(0)
        assert handle.calls == 2
        handle.up.set()

    asyncio.run(main())


def test_a_model_that_cannot_be_woken_is_tried_again() -> None:
    class Broken(Handle):
        async def call(self) -> dict[str, Any]:
            self.calls += 1
            raise RuntimeError("gone")

    async def main() -> None:
        waker, handle = Waker(nothing), Broken()
        for count in (1, 2):
            waker.wake("m", handle)
            await waker._waking["m"][1]
            assert handle.calls == count

    asyncio.run(main())


def test_who_is_told_that_a_model_loads_is_told_how_long() -> None:
    status, body, headers = describe(ModelUnavailableError("m starts", 11.4), "id")
    assert (status, body["estimated_time"], headers["retry-after"]) == (503, 11.4, "12")


@pytest.mark.parametrize(
    ("value", "waits"), [(None, False), ("true", True), ("1", True), ("false", False), ("", False)]
)
def test_the_header_says_who_waits(value: str | None, waits: bool) -> None:
    sent = [] if value is None else [(b"x-wait-for-model", value.encode())]
    dispatcher = object.__new__(Dispatcher)
    dispatcher._waits, dispatcher._low, dispatcher._timeout_s, dispatcher.targets = False, False, 300, {}
    seen = seen_by(dispatcher, Request({"type": "http", "headers": sent, "state": {}}))
    assert seen._waits is waits
