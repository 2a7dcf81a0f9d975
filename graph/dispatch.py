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
    PipelineGraphError,
    UnknownModelError,
)
from deployments.payload import ChatCall, TaskRequest, TaskResult
from deployments.tasks import TASKS, canonical_task
from graph.arriving import ArrivingEvents
from graph.bulk import IN_FLIGHT, calls_of, together
from graph.insist import insist
from graph.readiness import Readiness
from graph.similarity import joined, parts
from graph.target import Target
from graph.wake import Waker

__all__ = ["Dispatcher", "Target"]


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

        async def ready() -> TaskRequest:
            return TaskRequest(await self._fetch(item), parameters, request_id, bulk or self._low, chat)

        answer: TaskResult = await insist(target, ready, target.handle, bulk, self._timeout_s)
        return answer

    async def call_list(
        self, target: Target, items: Sequence[Any], parameters: dict[str, Any], request_id: str
    ) -> list[TaskResult | PipelineGraphError]:
        """Answer every item, in order, a bounded number at a time; an item that fails has its error in its place.

        Raises:
            UnknownModelError, ModelUnavailableError: no item can be answered.
        """
        await self._admit(target)
        outcomes: list[TaskResult | PipelineGraphError | None] = [None] * len(items)
        calls = calls_of(items)

        async def worker() -> None:
            for indices in calls:
                mine = [items[index] for index in indices]
                found = await self._several(target, mine, parameters, request_id)
                for index, outcome in zip(indices, found, strict=True):
                    outcomes[index] = outcome

        # a caller who leaves cancels the group: the other items are not worth their compute
        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT // together(len(items)), len(items))):
                group.create_task(worker())
        return [outcome for outcome in outcomes if outcome is not None]

    async def _several(
        self, target: Target, items: Sequence[Any], parameters: dict[str, Any], request_id: str
    ) -> list[TaskResult | PipelineGraphError]:
        """The outcomes of items that share a call."""

        async def ready() -> list[TaskRequest]:
            return [TaskRequest(item, parameters, request_id, bulk=True) for item in items]

        try:
            if len(items) == 1:
                return [await self.call(target, items[0], parameters, request_id, bulk=True)]
            found: list[Any] = await insist(target, ready, target.handle.answer_all, True, self._timeout_s)
            return found
        except PipelineGraphError as error:
            return [error] * len(items)

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
