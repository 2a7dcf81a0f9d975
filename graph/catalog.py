"""What the server says of itself: ``/``, ``/models``, ``/models/{name}/info``, and which model a client means."""

import asyncio
from typing import Any

from deployments.errors import UnknownModelError
from deployments.tasks import ALIASES, TASKS
from graph.dispatch import Dispatcher, Target
from graph.readiness import ModelState, Readiness


def index(dispatcher: Dispatcher) -> dict[str, Any]:
    """The routes, by model."""
    return {
        "models": {
            name: {"task": target.config.task, "url": f"/models/{name}"} for name, target in dispatcher.targets.items()
        },
        "routes": ["/health", "/ready", "/models", "/models/{name}", "/models/{name}/info", "/tasks/{task}"],
    }


def state(found: ModelState) -> dict[str, Any]:
    """A model's state as JSON; the reason only when it failed."""
    body: dict[str, Any] = {"state": found.state, "replicas": found.replicas}
    return {**body, "reason": found.reason} if found.reason else body


async def models(dispatcher: Dispatcher, readiness: Readiness) -> list[dict[str, Any]]:
    """Every model's description."""
    await readiness.refresh()
    return list(
        await asyncio.gather(*(describe(dispatcher, target, readiness) for target in dispatcher.targets.values()))
    )


async def describe(dispatcher: Dispatcher, target: Target, readiness: Readiness) -> dict[str, Any]:
    """Name, task, model, revision, dtype, device, state and accepted parameters of one model.

    Also ``model_id`` and ``pipeline_tag``, the names that the hub uses for the same.
    """
    config = target.config
    live = await dispatcher.info(target)
    return {
        "name": target.name,
        "task": config.task,
        "model": config.model or "default",
        "model_id": config.model or target.name,
        "pipeline_tag": target.spec.name,
        "revision": live.pop("revision", None) or config.revision,
        "dtype": config.dtype,
        "device": config.device or "auto",
        "parameters": sorted(target.spec.parameters),
        "defaults": config.parameters,
        **live,
        **state(readiness.of(target.name)),
    }


def resolve(dispatcher: Dispatcher, task: str | None, model: str | None) -> dict[str, Any]:
    """The model that ``graph.pipeline(task, model)`` means.

    One argument alone may be a task or a model, as people write ``pipeline("sentiment-analysis")`` and
    ``pipeline("my-model")``; a model is meant by its name here or by its source.

    Raises:
        UnknownModelError: there is none.
    """
    target = _find(dispatcher, task, model)
    return {"name": target.name, "task": target.spec.name, "defaults": target.config.parameters}


def _find(dispatcher: Dispatcher, task: str | None, model: str | None) -> Target:
    if task is not None and (task in TASKS or task in ALIASES or task.startswith("translation_")):
        return dispatcher.by_task(task, model)
    wanted = model if model is not None else task
    for target in dispatcher.targets.values():
        if wanted in (target.name, target.config.model):
            return target
    known = ", ".join(f"{name} ({target.spec.name})" for name, target in sorted(dispatcher.targets.items()))
    raise UnknownModelError(f"No model here is called {wanted!r}; known models: {known}.")
