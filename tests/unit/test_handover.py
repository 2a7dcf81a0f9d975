"""For whom a new replica waits before it loads; a real update: ``tests/serve/test_handover.py``."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.schema import DeploymentStatusOverview

from deployments import handover


@pytest.mark.parametrize(
    ("status", "replicas", "waits"),
    [
        ("UPDATING", {"STOPPING": 1, "STARTING": 1}, True),
        ("UPDATING", {"RUNNING": 1, "STARTING": 1}, False),
        ("UPSCALING", {"STOPPING": 1, "STARTING": 1}, False),  # callers wait for it, and one that goes for its own
        ("UNHEALTHY", {"STOPPING": 1, "STARTING": 1}, False),
        ("HEALTHY", {"STOPPING": 1, "STARTING": 1}, False),
    ],
)
def test_only_an_update_waits_for_those_that_go(
    status: str, replicas: dict[str, int], waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = DeploymentStatusOverview(
        status=DeploymentStatus(status),
        status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
        replica_states={ReplicaState(state): count for state, count in replicas.items()},
        message="",
    )
    told = SimpleNamespace(applications={"app": SimpleNamespace(deployments={"m": overview})})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        overview.replica_states.clear()  # they have gone meanwhile

    monkeypatch.setattr(handover, "serve", SimpleNamespace(status=lambda: told))
    monkeypatch.setattr(handover, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep))
    found: Any = handover._wait("app", "m")
    assert found is None
    assert len(slept) == waits
