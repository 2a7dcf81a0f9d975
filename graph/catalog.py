"""What the server says of itself: ``/``, ``/models``, ``/models/{name}/info``, and which model a client means."""

import asyncio
from collections.abc import Mapping
from typing import Any

from deployments.errors import ModelUnavailableError, UnknownModelError
from deployments.tasks import ALIASES, TASKS, canonical_task
from graph.dispatch import Dispatcher, Target
from graph.openai.routes import GETS, POSTS
from graph.readiness import ModelState, Readiness

ANSWERS = ("ready", "asleep")
"""States of models that answer, at once or after they have started."""


def index(dispatcher: Dispatcher) -> dict[str, Any]:
    """The routes, by model."""
    return {
        "models": {
            name: {"task": target.config.task, "url": f"/models/{name}"} for name, target in dispatcher.targets.items()
        },
        "routes": [
            *("/health", "/ready", "/models", "/models/{name}", "/models/{name}/info", "/tasks/{task}"),
            *("/openapi.json", "/docs"),
            *(f"{prefix}/v1/{path}" for prefix in ("", "/models/{name}") for path in (*GETS, *POSTS)),
        ],
    }


def state(found: ModelState, stranger: bool = False) -> dict[str, Any]:
    """A model's state as JSON; the reason only when it failed, and not for ``stranger``s, who came without a key."""
    body: dict[str, Any] = {"state": found.state, "replicas": found.replicas}
    return {**body, "reason": found.reason} if found.reason and not stranger else body


def ready(dispatcher: Dispatcher, readiness: Readiness, stranger: bool) -> dict[str, Any]:
    """The state of every model, and whether all answer."""
    states = {name: state(readiness.of(name), stranger) for name in dispatcher.targets}
    return {"ready": all(one["state"] in ANSWERS for one in states.values()), "models": states}


def probed(dispatcher: Dispatcher, name: str, stranger: bool) -> Target:
    """The model called ``name``.

    Raises:
        UnknownModelError: there is none; names the known ones, but not to a ``stranger``.
    """
    if stranger and name not in dispatcher.targets:
        raise UnknownModelError(f"There is no model {name!r} here.")
    return dispatcher.by_name(name)


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
        "tasks": list(target.tasks),
        "model": config.model or "default",
        "model_id": config.model or target.name,
        "pipeline_tag": target.spec.name,
        "revision": live.pop("revision", None) or config.revision,
        "dtype": config.dtype,
        "device": config.device or "auto",
        "parameters": sorted(target.spec.parameters | target.spec.added),
        "defaults": config.parameters,
        **({"group": config.group} if config.group is not None else {}),
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
    if task is not None and (task in TASKS or task in ALIASES or task.startswith("translation_")):
        target = dispatcher.by_task(task, model)
        asked = canonical_task(task)
    else:
        target = _find(dispatcher, task, model)
        asked = target.spec.name
    found = {"name": target.name, "task": asked, "defaults": target.config.parameters}
    return found if target.config.group is None else {**found, "group": target.config.group}


async def resolve_query(dispatcher: Dispatcher, query: Mapping[str, str]) -> dict[str, Any]:
    """`resolve` for the fields of a query; with ``about``, what a replica says of the model's configuration.

    Raises:
        UnknownModelError: there is none.
        ModelUnavailableError: no replica says anything.
    """
    found = resolve(dispatcher, query.get("task"), query.get("model"))
    if "about" in query:
        # a model that shares replicas may have to be loaded for that
        found["about"] = await dispatcher.info(dispatcher.by_name(found["name"]), 60.0, "about")
        if not found["about"]:
            raise ModelUnavailableError(f"No replica of {found['name']} answers; try again in a few seconds.")
    return found


def _find(dispatcher: Dispatcher, task: str | None, model: str | None) -> Target:
    wanted = model if model is not None else task
    for target in dispatcher.targets.values():
        if wanted in (target.name, target.config.model):
            return target
    known = ", ".join(f"{name} ({target.spec.name})" for name, target in sorted(dispatcher.targets.items()))
    raise UnknownModelError(f"No model here is called {wanted!r}; known models: {known}.")
