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
