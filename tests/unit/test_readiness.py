"""States of models from Serve's own status objects, and which requests are let through."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview, ServeStatus

from deployments.config import ModelConfig
from deployments.errors import ModelUnavailableError
from graph import readiness
from graph.look import SharedLook
from graph.readiness import ModelState, Readiness

MESSAGE = (
    "The deployment failed to start 1 times in a row. Error:\nray::ServeReplica() (pid=1)\n"
    '  File "x.py", line 1, in load\ndeployments.errors.ModelLoadError: m: owner/name cannot be loaded: no such model\n'
)


def _deployment(status: str, message: str = "", **replicas: int) -> DeploymentStatusOverview:
    return DeploymentStatusOverview(
        status=DeploymentStatus(status),
        status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
        replica_states={ReplicaState(state): count for state, count in replicas.items()},
        message=message,
    )


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what Serve says of the application ``app``, and reads it."""

    def read(app: str = "app", **deployments: DeploymentStatusOverview) -> Readiness:
        overview = ApplicationStatusOverview(
            status=ApplicationStatus.RUNNING, message="", last_deployed_time_s=0.0, deployments=deployments
        )
        status = ServeStatus(applications={app: overview})
        monkeypatch.setattr(readiness, "serve", SimpleNamespace(status=lambda: status))
        followed = Readiness("app")
        asyncio.run(followed.refresh())
        return followed

    return read


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        (_deployment("HEALTHY", RUNNING=2), ModelState("ready", 2)),
        (_deployment("UPDATING", RUNNING=1, STARTING=1), ModelState("ready", 1)),
        (_deployment("UPDATING", RECOVERING=2), ModelState("ready", 2)),
        (_deployment("UNHEALTHY", "x", RUNNING=1, STOPPING=1), ModelState("ready", 1)),
        (_deployment("UPDATING", STARTING=1), ModelState("loading")),
        (_deployment("UPDATING"), ModelState("loading")),
        (_deployment("HEALTHY"), ModelState("asleep")),
        (_deployment("HEALTHY", STARTING=1), ModelState("loading")),
        (
            _deployment("DEPLOY_FAILED", MESSAGE),
            ModelState("failed", 0, "m: owner/name cannot be loaded: no such model"),
        ),
        (
            _deployment("UNHEALTHY", MESSAGE, STARTING=1),
            ModelState("failed", 0, "m: owner/name cannot be loaded: no such model"),
        ),
    ],
)
def test_state_is_read_from_serves_own_status(deployment: Any, expected: ModelState, follow: Any) -> None:
    followed = follow(m=deployment)
    assert followed.of("m") == expected
    assert followed.has_replica("m") == (expected.state == "ready")


def test_failure_without_a_known_reason_says_where_to_look(follow: Any) -> None:
    assert "serve status" in follow(m=_deployment("DEPLOY_FAILED", "something else")).of("m").reason


def test_only_the_own_application_counts(follow: Any) -> None:
    assert follow(app="other", m=_deployment("HEALTHY", RUNNING=1)).of("m") == ModelState("loading")


def _model(**scale: int) -> ModelConfig:
    return ModelConfig.model_validate({"task": "ner", "name": "m", "scale": scale})


@pytest.mark.parametrize(
    ("deployment", "scale"),
    [
        (_deployment("HEALTHY", RUNNING=1), {}),
        (_deployment("UNHEALTHY", RUNNING=1), {}),
        (_deployment("HEALTHY"), {"min_replicas": 0}),
        (_deployment("UPSCALING", STARTING=1), {"min_replicas": 0}),
    ],
)
def test_request_that_a_replica_will_answer_is_let_through(deployment: Any, scale: Any, follow: Any) -> None:
    follow(m=deployment).require(_model(**scale))


@pytest.mark.parametrize(
    ("deployment", "scale", "says"),
    [
        (_deployment("UPDATING", STARTING=1), {}, "m is loading"),
        (_deployment("DEPLOY_FAILED", MESSAGE), {}, "could not be loaded"),
        (_deployment("DEPLOY_FAILED", MESSAGE), {"min_replicas": 0}, "could not be loaded"),
    ],
)
def test_request_that_no_replica_will_answer_is_refused_at_once(
    deployment: Any, scale: Any, says: str, follow: Any
) -> None:
    with pytest.raises(ModelUnavailableError, match=says) as caught:
        follow(m=deployment).require(_model(**scale))
    assert caught.value.retry_after_s >= 1
    assert "no such model" not in str(caught.value)


def test_model_that_serve_does_not_list_yet_is_loading(follow: Any) -> None:
    with pytest.raises(ModelUnavailableError, match="loading"):
        follow(other=_deployment("HEALTHY", RUNNING=1)).require(_model())


def test_requests_pass_while_nothing_is_known() -> None:
    Readiness("app").require(_model())


@pytest.fixture
def serves(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what Serve says of ``m``, each time it is asked; the last for ever. Gives how often it was asked."""

    def say(*deployments: DeploymentStatusOverview) -> list[str]:
        asked: list[str] = []

        def status() -> ServeStatus:
            now = deployments[min(len(asked), len(deployments) - 1)]
            asked.append(str(now.status))
            overview = ApplicationStatusOverview(
                status=ApplicationStatus.RUNNING, message="", last_deployed_time_s=0.0, deployments={"m": now}
            )
            return ServeStatus(applications={"app": overview})

        monkeypatch.setattr(readiness, "serve", SimpleNamespace(status=status))
        return asked

    return say


def test_a_replica_that_came_since_the_last_look_answers(serves: Any) -> None:
    serves(_deployment("UPDATING", STARTING=1), _deployment("HEALTHY", RUNNING=1))

    async def main() -> None:
        followed = Readiness("app")
        await followed.refresh()
        with pytest.raises(ModelUnavailableError, match="loading"):
            followed.require(_model())
        await followed.settle(_model())
        followed.require(_model())

    asyncio.run(main())


def test_a_model_with_a_replica_is_not_looked_for_again(serves: Any) -> None:
    asked = serves(_deployment("HEALTHY", RUNNING=1))

    async def main() -> None:
        followed = Readiness("app")
        await followed.refresh()
        await followed.settle(_model())

    asyncio.run(main())
    assert len(asked) == 1


def test_the_last_known_state_decides_where_the_controller_tells_nothing(
    serves: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    serves(_deployment("UPDATING", STARTING=1))

    def away() -> Any:
        raise RuntimeError("the controller restarts")

    async def main() -> None:
        followed = Readiness("app")
        await followed.refresh()
        monkeypatch.setattr(readiness, "serve", SimpleNamespace(status=away))
        await followed.settle(_model())
        with pytest.raises(ModelUnavailableError, match="loading"):
            followed.require(_model())

    asyncio.run(main())


def test_however_many_ask_the_controller_is_asked_once(serves: Any) -> None:
    asked = serves(_deployment("UPDATING", STARTING=1))

    async def main() -> None:
        followed = Readiness("app")
        await asyncio.gather(*(followed.refresh() for _ in range(100)))
        assert len(asked) == 1
        await asyncio.gather(*(followed.settle(_model()) for _ in range(100)))
        assert len(asked) == 2

    asyncio.run(main())


def test_two_looks_have_time_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    instant = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await instant(0)

    async def nothing() -> None:
        return

    async def main() -> None:
        look = SharedLook(nothing, 1000.0)
        await look()
        await look()

    monkeypatch.setattr("graph.look.asyncio.sleep", sleep)
    asyncio.run(main())
    assert slept[0] == 0
    assert 900 < slept[1] <= 1000


def test_whoever_asks_during_a_look_gets_the_next_one() -> None:
    """What a look tells that began earlier may be over."""
    began, go, looks = asyncio.Event(), asyncio.Event(), []

    async def slow() -> None:
        looks.append("began")
        began.set()
        await go.wait()

    async def main() -> None:
        look = SharedLook(slow)
        first = asyncio.create_task(look())
        await began.wait()
        others = [asyncio.create_task(look()) for _ in range(3)]
        await asyncio.sleep(0)
        others[0].cancel()  # who leaves takes it from nobody
        go.set()
        await asyncio.gather(first, *others[1:])
        assert len(looks) == 2

    asyncio.run(main())


def test_what_a_look_raises_each_who_asked_gets() -> None:
    async def fails() -> None:
        raise RuntimeError("away")

    async def main() -> None:
        look = SharedLook(fails)
        found = await asyncio.gather(*(look() for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["away"] * 3

    asyncio.run(main())


def test_last_known_state_serves_while_the_controller_is_away(monkeypatch: pytest.MonkeyPatch, follow: Any) -> None:
    followed = follow(m=_deployment("HEALTHY", RUNNING=1))
    asked = threading.Semaphore(0)

    def away() -> Any:
        asked.release()
        raise RuntimeError("the controller restarts")

    monkeypatch.setattr(readiness, "serve", SimpleNamespace(status=away))
    monkeypatch.setattr(readiness, "_REFRESH_S", 0.001)

    async def main() -> None:
        followed.start()
        task = followed._task
        followed.start()
        assert followed._task is task  # one follower, however often it is started
        for _ in range(3):
            assert await asyncio.to_thread(asked.acquire, timeout=20)
        assert not task.done()
        task.cancel()

    asyncio.run(main())
    assert followed.of("m") == ModelState("ready", 1)
