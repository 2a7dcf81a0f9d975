"""Model or task name → a cached deployment handle, and one call over it."""

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.config import ModelConfig
from deployments.errors import (
    DeadlineExceededError,
    ModelUnavailableError,
    OverloadedError,
    PipelineGraphError,
    ReplicaLostError,
    UnknownModelError,
)
from deployments.payload import ChatCall, TaskRequest, TaskResult
from deployments.tasks import TASKS, canonical_task
from graph.arriving import MOST_LOST, ArrivingEvents
from graph.foreign import translated
from graph.readiness import Readiness
from graph.similarity import joined, parts
from graph.target import Target
from graph.wake import Waker

__all__ = ["Dispatcher", "Target"]

# inputs of one request that are under way at a time, so that one long list does not fill a model's queue
_IN_FLIGHT = 64
_RETRY_S = 0.25


class Dispatcher:
    """Finds models and calls them.

    Args:
        models: the configuration of each; name and task are set.
        app_name: the Serve application they belong to.
        timeout_s: until a call of one item ends with `DeadlineExceededError`.
        readiness: which models have replicas.
        fetch: gets what an item only points to.
        waker: starts models that have scaled to zero.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        app_name: str,
        timeout_s: float,
        readiness: Readiness,
        fetch: Callable[[Any], Awaitable[Any]],
        waker: Waker | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._fetch = fetch
        self._readiness = readiness
        self._waker = waker or Waker(readiness.refresh_replicas)
        self._low = self._waits = False
        # a handle is made once: each new one brings its own metrics and long-polling
        self.targets = {
            str(model.name): Target(model, TASKS[model.canonical_task], _handle(model, app_name)) for model in models
        }

    def narrowed(
        self, models: Collection[str] | None, low: bool, timeout_s: float | None, waits: bool = False
    ) -> "Dispatcher":
        """The same with some of the models only.

        Args:
            models: their names; None for all.
            low: whether its calls wait behind those of others, as items of a list do.
            timeout_s: shorter than the configured one; None, or a longer one, leaves that.
            waits: whether its calls are held while a model starts that has scaled to zero.
        """
        if models is None and not low and timeout_s is None and not waits:
            return self
        twin = copy.copy(self)
        if models is not None:
            twin.targets = {name: target for name, target in self.targets.items() if name in models}
        twin._low, twin._waits = low, waits
        twin._timeout_s = min(self._timeout_s, timeout_s or math.inf)
        return twin

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
        serving += [target for target in self.targets.values() if canonical in target.spec.also]
        if not serving:
            served = ", ".join(sorted({task for target in self.targets.values() for task in target.tasks}))
            raise UnknownModelError(f"No model here serves {canonical}; served tasks: {served}.")
        chosen = [target for target in serving if model in (None, target.name, target.config.model)]
        if not chosen:
            known = ", ".join(target.name for target in serving)
            raise UnknownModelError(f"No model {model!r} serves {canonical} here; those that do: {known}.")
        return chosen[0]

    async def _admit(self, target: Target) -> None:
        """Refuse a call that nobody would answer soon.

        Raises:
            ModelUnavailableError: no replica runs; says when to try again.
        """
        await self._readiness.settle(target.config)
        self._readiness.require(target.config)
        if not self._waits and self._readiness.asleep(target.config):
            raise self._waker.wake(target.name, target.handle)

    async def fetched(self, item: Any) -> Any:
        """``item`` with the files that it only points to; for one that is called several times.

        Raises:
            RequestError: one cannot be had.
            DeadlineExceededError: they do not come in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._fetch(item)
        except TimeoutError:
            raise DeadlineExceededError(f"The files of this request did not come in {self._timeout_s:g} s.") from None

    async def call(
        self,
        target: Target,
        item: Any,
        parameters: dict[str, Any],
        request_id: str,
        bulk: bool = False,
        chat: ChatCall | None = None,
    ) -> TaskResult:
        """Answer one item.

        Raises:
            PipelineGraphError: what the caller is told.
        """
        await self._admit(target)
        if len(pieces := parts(item)) > 1:
            return joined(await self.call_list(target, pieces, parameters, request_id))
        try:
            async with asyncio.timeout(self._timeout_s):
                request, lost = None, 0
                while True:
                    try:
                        if request is None:
                            fetched = await self._fetch(item)
                            request = TaskRequest(fetched, parameters, request_id, bulk or self._low, chat)
                        return await self._call(target, request)
                    except ReplicaLostError:
                        lost += 1  # an answer changes nothing, so it may be asked for again
                        if lost > MOST_LOST:
                            raise
                    except OverloadedError as error:
                        if not bulk or isinstance(error, ModelUnavailableError):
                            raise
                        await asyncio.sleep(_RETRY_S)  # an item of a list can wait for its turn
        except TimeoutError:
            raise DeadlineExceededError(f"{target.name} gave no answer within {self._timeout_s:g} s.") from None

    async def call_list(
        self, target: Target, items: Sequence[Any], parameters: dict[str, Any], request_id: str
    ) -> list[TaskResult | PipelineGraphError]:
        """Answer every item, in order, a bounded number at a time; an item that fails has its error in its place.

        Raises:
            UnknownModelError, ModelUnavailableError: no item can be answered.
        """
        await self._admit(target)
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

    async def stream(
        self, target: Target, item: Any, parameters: dict[str, Any], request_id: str, chat: ChatCall | None = None
    ) -> ArrivingEvents:
        """Answer one item token by token.

        Raises:
            PipelineGraphError: what the caller is told; iterating raises it too.
        """
        await self._admit(target)
        request = TaskRequest(await self.fetched(item), parameters, request_id, self._low, chat)
        return ArrivingEvents(target.streaming, target.name, request, self._timeout_s)

    async def _call(self, target: Target, request: TaskRequest) -> TaskResult:
        """One call over the handle, foreign errors translated at this boundary."""
        with translated(target.name, request.request_id):
            result: TaskResult = await target.handle.remote(request)
        return result

    async def info(self, target: Target, timeout_s: float = 10.0, method: str = "info") -> dict[str, Any]:
        """What a replica of ``target`` says of itself (``info``, ``about``), or nothing if none answers in time."""
        if not self._readiness.has_replica(target.config.deployment):
            return {}
        try:
            async with asyncio.timeout(timeout_s):
                answer: dict[str, Any] = await getattr(target.handle, method).remote()
                return answer
        except (TimeoutError, RayTaskError, RayActorError, DeploymentUnavailableError, BackPressureError):
            return {}


def _handle(model: ModelConfig, app_name: str) -> Any:
    """A handle to the replicas that answer for ``model``; those that it shares are told which model is meant."""
    handle = serve.get_deployment_handle(model.deployment, app_name)
    return handle if model.group is None else handle.options(multiplexed_model_id=str(model.name))
