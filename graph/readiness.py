"""Which models have replicas, from Serve's own status, kept fresh in the background.

It may be a second old, so it is read anew before anybody is told that there is no replica.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterable
from typing import Any

from ray import serve

from deployments.config import ModelConfig
from deployments.errors import ModelUnavailableError
from graph.groups import Groups, ModelState
from graph.look import SharedLook
from graph.target import Target

__all__ = ["ModelState", "Readiness"]

logger = logging.getLogger("ray.serve")

_REFRESH_S = 1.0
_SELDOM_S = 0.25  # for strangers and for refusals, however many there are, the controller is not asked more often
_PATIENCE_S = 2.0
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
        self._look = SharedLook(self._read_replicas)
        self._look_at_all = SharedLook(self._read_all)
        self._look_seldom, self._look_at_all_seldom = (
            SharedLook(look, _SELDOM_S) for look in (self._look, self._look_at_all)
        )
        self._task: asyncio.Task[None] | None = None

    def start(self, targets: Iterable[Target] = ()) -> None:
        """Begin to follow Serve's status, and that of those models that share replicas; call it on the event loop."""
        self._groups = Groups(targets)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # the controller restarts at times; the last known states serve until it is back
                logger.warning("Serve's status cannot be read", exc_info=True)
            await asyncio.sleep(_REFRESH_S)

    def _read(self) -> dict[str, ModelState]:
        application = serve.status().applications.get(self._app_name)
        if application is None:
            return {}
        return {name: _state(deployment) for name, deployment in application.deployments.items()}

    async def _read_replicas(self) -> None:
        self._states = await asyncio.to_thread(self._read)

    async def _read_all(self) -> None:
        await self._look()
        await self._groups.refresh(self.has_replica)

    async def refresh(self) -> None:
        """Read the states now; those who ask at the same time share it."""
        await self._look_at_all()

    async def probe(self) -> None:
        """The same for routes that need no key."""
        await self._look_at_all_seldom()

    async def refresh_replicas(self) -> None:
        """Which models have replicas, and nothing else; where nobody tells, the last known states stay."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_PATIENCE_S):
                await self._look_seldom()

    async def settle(self, model: ModelConfig) -> None:
        """Before a request is refused for want of a replica: look whether that is still so."""
        if self._states and not self.has_replica(model.deployment):
            await self.refresh_replicas()

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
