"""Which models have replicas, from Serve's own status, kept fresh in the background."""

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from ray import serve

from deployments.config import ModelConfig
from deployments.errors import ModelUnavailableError

logger = logging.getLogger("ray.serve")

State = Literal["ready", "loading", "failed"]
_REFRESH_S = 1.0
_REASON = re.compile(r"ModelLoadError: (?P<reason>[^\n]+)")


@dataclass(frozen=True)
class ModelState:
    """How one deployment stands.

    Args:
        state: ``ready`` with a running replica, ``failed`` when Serve gave up, else ``loading``.
        replicas: running replicas.
        reason: why it failed, in one sentence; empty otherwise.
    """

    state: State
    replicas: int = 0
    reason: str = ""


class Readiness:
    """The states of one application's deployments.

    Args:
        app_name: the Serve application.
    """

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._states: dict[str, ModelState] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow Serve's status; call it on the event loop."""
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

    def of(self, name: str) -> ModelState:
        """State of one model; ``loading`` while nothing is known."""
        return self._states.get(name, ModelState("loading"))

    def has_replica(self, name: str) -> bool:
        """Whether a replica of the model runs."""
        return self.of(name).replicas > 0

    def require(self, model: ModelConfig) -> None:
        """Refuse a request that would wait for a replica that does not come.

        A model that scales from zero is let through: the request itself brings the replica up.

        Raises:
            ModelUnavailableError: no replica runs; says whether the model loads or has failed.
        """
        name = str(model.name)
        state = self.of(name)
        if state.replicas > 0 or not self._states:
            return
        if state.state == "failed":
            raise ModelUnavailableError(f"{name} could not be loaded; see /ready for the reason.", 30.0)
        if model.scale.min_replicas > 0:
            raise ModelUnavailableError(f"{name} is loading; try again in a few seconds.", 5.0)


def _state(deployment: Any) -> ModelState:
    replicas = sum(count for state, count in deployment.replica_states.items() if str(state).endswith("RUNNING"))
    status = str(getattr(deployment.status, "value", deployment.status))
    if replicas:
        return ModelState("ready", replicas)
    if status in ("UNHEALTHY", "DEPLOY_FAILED"):
        found = _REASON.findall(deployment.message)
        return ModelState("failed", 0, found[-1] if found else "see `serve status` for Serve's message")
    return ModelState("loading")
