"""Model or task name → a cached deployment handle, and one call over it."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.config import ModelConfig
from deployments.errors import (
    DeadlineExceededError,
    InferenceError,
    ModelUnavailableError,
    OverloadedError,
    PipelineGraphError,
    UnknownModelError,
)
from deployments.payload import TaskRequest, TaskResult
from deployments.tasks import TASKS, TaskSpec, canonical_task
from graph.readiness import Readiness

logger = logging.getLogger("ray.serve")

# inputs of one request that are under way at a time, so that one long list does not fill a model's queue
_IN_FLIGHT = 64
_RETRY_S = 0.25


@dataclasses.dataclass(frozen=True)
class Target:
    """One configured model."""

    config: ModelConfig
    spec: TaskSpec
    handle: Any

    @property
    def name(self) -> str:
        """Name of the model and of its deployment."""
        return str(self.config.name)


class Dispatcher:
    """Finds models and calls them.

    Args:
        models: the configuration of each; name and task are set.
        app_name: the Serve application they belong to.
        timeout_s: until a call of one item ends with `DeadlineExceededError`.
        readiness: which models have replicas.
        fetch: gets what an item only points to.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        app_name: str,
        timeout_s: float,
        readiness: Readiness,
        fetch: Callable[[Any], Awaitable[Any]],
    ) -> None:
        self._timeout_s = timeout_s
        self._fetch = fetch
        self._readiness = readiness
        # a handle is made once: each new one brings its own metrics and long-polling
        self.targets = {
            str(model.name): Target(
                model, TASKS[model.canonical_task], serve.get_deployment_handle(str(model.name), app_name)
            )
            for model in models
        }

    def by_name(self, name: str) -> Target:
        """The model called ``name``.

        Raises:
            UnknownModelError: names the known ones.
        """
        if name in self.targets:
            return self.targets[name]
        raise UnknownModelError(f"There is no model {name!r} here; known models: {', '.join(sorted(self.targets))}.")

    def by_task(self, task: str, model: str | None = None) -> Target:
        """The first model configured for ``task``, or the one of them called ``model`` (its name or its source).

        Raises:
            UnknownModelError: the task is unknown, or no such model serves it.
        """
        try:
            canonical = canonical_task(task)
        except KeyError as error:
            said = str(error.args[0])
            raise UnknownModelError(
                f"{said[0].upper()}{said[1:].rstrip('.?')}{'?' * said.endswith('?') or '.'}"
            ) from None
        serving = [target for target in self.targets.values() if target.spec.name == canonical]
        if not serving:
            served = ", ".join(sorted({target.spec.name for target in self.targets.values()}))
            raise UnknownModelError(f"No model here serves {canonical}; served tasks: {served}.")
        chosen = [target for target in serving if model in (None, target.name, target.config.model)]
        if not chosen:
            known = ", ".join(target.name for target in serving)
            raise UnknownModelError(f"No model {model!r} serves {canonical} here; those that do: {known}.")
        return chosen[0]

    async def call(
        self, target: Target, item: Any, parameters: dict[str, Any], request_id: str, bulk: bool = False
    ) -> TaskResult:
        """Answer one item.

        Raises:
            PipelineGraphError: what the caller is told.
        """
        self._readiness.require(target.config)
        try:
            async with asyncio.timeout(self._timeout_s):
                request = TaskRequest(await self._fetch(item), parameters, request_id, bulk)
                while True:
                    try:
                        return await self._call(target, request)
                    except OverloadedError as error:
                        if not bulk or isinstance(error, ModelUnavailableError):
                            raise
                        await asyncio.sleep(_RETRY_S)  # an item of a list can wait for the queue
        except TimeoutError:
            raise DeadlineExceededError(f"{target.name} gave no answer within {self._timeout_s:g} s.") from None

    async def call_list(
        self, target: Target, items: Sequence[Any], parameters: dict[str, Any], request_id: str
    ) -> list[TaskResult | PipelineGraphError]:
        """Answer every item, in order, a bounded number at a time; an item that fails has its error in its place.

        Raises:
            UnknownModelError, ModelUnavailableError: no item can be answered.
        """
        self._readiness.require(target.config)
        outcomes: list[TaskResult | PipelineGraphError | None] = [None] * len(items)
        numbered = iter(enumerate(items))

        async def worker() -> None:
            for index, item in numbered:
                try:
                    outcomes[index] = await self.call(target, item, parameters, request_id, bulk=True)
                except PipelineGraphError as error:
                    outcomes[index] = error

        # a caller who leaves cancels the group: the other items are not worth their compute
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_IN_FLIGHT, len(items))):
                group.create_task(worker())
        return [outcome for outcome in outcomes if outcome is not None]

    async def _call(self, target: Target, request: TaskRequest) -> TaskResult:
        """One call over the handle, foreign errors translated at this boundary."""
        try:
            result: TaskResult = await target.handle.remote(request)
        except RayTaskError as error:
            raise _translate(error, target.name, request.request_id) from None
        except BackPressureError:
            raise OverloadedError(f"{target.name} has too many requests waiting; try again in a moment.") from None
        except (RayActorError, DeploymentUnavailableError):
            logger.warning("request %s lost a replica of %s", request.request_id, target.name)
            raise ModelUnavailableError(f"A replica of {target.name} went away; try again.", 1.0) from None
        return result

    async def info(self, target: Target, timeout_s: float = 2.0) -> dict[str, Any]:
        """What a replica of ``target`` says of itself, or nothing if none answers in time."""
        if not self._readiness.has_replica(target.name):
            return {}
        try:
            async with asyncio.timeout(timeout_s):
                answer: dict[str, Any] = await target.handle.info.remote()
                return answer
        except (TimeoutError, RayTaskError, RayActorError, DeploymentUnavailableError, BackPressureError):
            return {}


def _translate(error: RayTaskError, name: str, request_id: str) -> PipelineGraphError:
    """The error that the replica raised, or a constant one for anything unforeseen."""
    cause = error.cause
    if isinstance(cause, PipelineGraphError):
        return cause
    logger.error("request %s failed in %s", request_id, name, exc_info=error)
    return InferenceError("The model failed on this request; the server's log has the cause under this request id.")
