"""Which models have replicas, from Serve's own status, kept fresh in the background."""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Any

from ray import serve

from deployments.config import ModelConfig
from deployments.errors import ModelUnavailableError
from graph.groups import Groups, ModelState
from graph.target import Target

__all__ = ["ModelState", "Readiness"]

logger = logging.getLogger("ray.serve")

_REFRESH_S = 1.0
_REASON = re.compile(r"ModelLoadError: (?P<reason>[^\n]+)")


class Readiness:
    """The states of one application's deployments.

    Args:
        app_name: the Serve application.
    """

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._states: dict[str, ModelState] = {}
        self._groups = Groups()
        self._task: asyncio.Task[None] | None = None

    def start(self, targets: Iterable[Target] = ()) -> None:
        """Begin to follow Serve's status, and that of those models that share replicas; call it on the event loop."""
        self._groups = Groups(targets)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                self._states = await asyncio.to_thread(self._read)
            except Exception:  # the controller restarts at times; the last known states serve until it is back
                logger.warning("Serve's status cannot be read", exc_info=True)
            await asyncio.sleep(_REFRESH_S)

    def _read(self) -> dict[str, ModelState]:
        application = serve.status().applications.get(self._app_name)
        if application is None:
            return {}
        return {name: _state(deployment) for name, deployment in application.deployments.items()}

    async def refresh(self) -> None:
        """Read the states now."""
        self._states = await asyncio.to_thread(self._read)
        await self._groups.refresh(self.has_replica)

    def of(self, name: str) -> ModelState:
        """State of one model; ``loading`` while nothing is known."""
        group = self._groups.of(name)
        replicas = self._replicas(group or name)
        return self._groups.state(name) if group is not None and replicas.state == "ready" else replicas

    def _replicas(self, deployment: str) -> ModelState:
        return self._states.get(deployment, ModelState("loading"))

    def has_replica(self, deployment: str) -> bool:
        """Whether a replica of the deployment runs."""
        return self._replicas(deployment).replicas > 0

    def require(self, model: ModelConfig) -> None:
        """Refuse a request that would wait for a replica that does not come.

        A model that scales from zero is let through: the request itself brings the replica up.

        Raises:
            ModelUnavailableError: no replica runs; says whether the model loads or has failed.
        """
        name, state = str(model.name), self._replicas(model.deployment)
        if state.replicas > 0 or not self._states:
            return
        if state.state == "failed":
            raise ModelUnavailableError(f"{name} could not be loaded; see /ready for the reason.", 30.0)
        if model.scale.min_replicas > 0:
            raise ModelUnavailableError(f"{name} is loading; try again in a few seconds.", 5.0)

    def asleep(self, model: ModelConfig) -> bool:
        """Whether the model has scaled to zero, so that its first caller waits for a replica to load."""
        return bool(self._states) and model.scale.min_replicas == 0 and not self.has_replica(model.deployment)


# a controller that was started again finds its replicas RECOVERING, and a new configuration makes them UPDATING
_ANSWERING = ("RUNNING", "RECOVERING", "UPDATING")


def _state(deployment: Any) -> ModelState:
    replicas = sum(count for state, count in deployment.replica_states.items() if str(state).endswith(_ANSWERING))
    status = str(getattr(deployment.status, "value", deployment.status))
    if replicas:
        return ModelState("ready", replicas)
    if status in ("UNHEALTHY", "DEPLOY_FAILED"):
        found = _REASON.findall(deployment.message)
        return ModelState("failed", 0, found[-1] if found else "see `serve status` for Serve's message")
    if status == "HEALTHY" and not any(deployment.replica_states.values()):
        return ModelState("asleep")
    return ModelState("loading")
