"""How the models stand that share replicas, as these replicas tell it; asked when somebody asks, never in between."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.held import State
from graph.target import Target

logger = logging.getLogger("ray.serve")

_PATIENCE_S = 2.0
Told = Mapping[str, Mapping[str, Any]]
"""Of one replica: see ``SharedReplica.states``."""


@dataclass(frozen=True)
class ModelState:
    """How one model stands.

    Args:
        state: ``ready`` with a running replica that has it, ``failed`` when it could not be loaded, ``asleep`` when it
            is loaded as soon as somebody asks for it, else ``loading``.
        replicas: running replicas that have it.
        reason: why it failed, in one sentence; empty otherwise.
    """

    state: State
    replicas: int = 0
    reason: str = ""


class Groups:
    """The models that share replicas.

    Args:
        targets: of all models.
    """

    def __init__(self, targets: Iterable[Target] = ()) -> None:
        shared = [target for target in targets if target.config.group is not None]
        self._group = {target.name: target.config.deployment for target in shared}
        self._handles = {target.config.deployment: target.handle for target in shared}
        self._told: dict[str, list[Told]] = {}

    def of(self, name: str) -> str | None:
        """The group of a model, or None where it has replicas of its own."""
        return self._group.get(name)

    def state(self, name: str) -> ModelState:
        """How a model stands in a group that has replicas."""
        return merged([told[name] for told in self._told.get(self._group[name], ()) if name in told])

    async def refresh(self, has_replica: Callable[[str], bool]) -> None:
        """Ask every replica of the groups that have any."""
        asked = [group for group in self._handles if has_replica(group)]
        for group, told in zip(asked, await asyncio.gather(*map(self._ask, asked)), strict=True):
            if told:
                self._told[group] = told

    async def _ask(self, group: str) -> list[Told]:
        try:
            response = self._handles[group].broadcast("states")
            found = await response.results_async(timeout_s=_PATIENCE_S, return_exceptions=True)
        except Exception as error:  # whatever keeps replicas from answering, the last known states serve
            logger.warning("the replicas of %s do not say what they hold: %s", group, type(error).__name__)
            return []
        return [told for told in found if isinstance(told, dict)]


def merged(told: list[Mapping[str, Any]]) -> ModelState:
    """The state of a model of which every replica has its own."""
    states: list[State] = [one["state"] for one in told]
    if "ready" in states:
        return ModelState("ready", states.count("ready"))
    if "loading" in states:
        return ModelState("loading")
    reason = next((str(one["reason"]) for one in told if one["state"] == "failed"), "")
    return ModelState("failed", 0, reason) if reason else ModelState("asleep")
