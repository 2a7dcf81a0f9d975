"""What the OpenAI routes share in the document: an operation for all models that serve one, and one for each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from deployments.config import ModelConfig
from deployments.tasks import TASKS
from deployments.tasks.forms import Schema
from graph.accept import JSON
from graph.openapi.build import ref
from graph.openapi.headers import REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE

TAG = "openai"
FAILED: Schema = {
    "description": "An error, with the status that other routes give it.",
    "headers": REQUEST_ID,
    "content": {JSON: {"schema": ref("OpenAIFailure")}},
}

OPENAI_REFUSED: Schema = {
    "401": {
        **FAILED,
        "description": "An API key is needed, or the one sent is not valid.",
        "headers": {**REQUEST_ID, **WWW_AUTHENTICATE},
    },
    "429": {
        **FAILED,
        "description": "The key has no requests left, or the queue is full; try again after `retry-after` seconds.",
        "headers": {**REQUEST_ID, **RETRY_AFTER},
    },
}
"""What keys add, in OpenAI's shape."""


class Route(Protocol):
    """A route behind ``/v1/`` that runs models."""

    @property
    def path(self) -> str:
        """Behind ``/v1/``."""

    @property
    def summary(self) -> str:
        """What it is for."""

    @property
    def serving(self) -> tuple[str, ...]:
        """Tasks of the models that it can ask."""


R = TypeVar("R", bound=Route)


def paths_of(
    routes: Iterable[R], models: Sequence[ModelConfig], described: Callable[[R, list[str], str], Schema]
) -> Schema:
    """The paths of the routes that some of ``models`` serve.

    Args:
        routes: in the order of the document.
        models: of the configuration.
        described: a route, the names of its models and the end of the operation's id → the operation.
    """
    found: Schema = {}
    for route in routes:
        names = [str(model.name) for model in models if _serves(model, route)]
        if names:
            found[f"/v1/{route.path}"] = {"post": described(route, names, "")}
        for name in names:
            found[f"/models/{name}/v1/{route.path}"] = {"post": described(route, [name], f"-{name}")}
    return found


def _serves(model: ModelConfig, route: Route) -> bool:
    spec = TASKS[model.canonical_task]
    return not {spec.name, *spec.also}.isdisjoint(route.serving)


def operation(route: Route, names: list[str], suffix: str, content: Schema, headers: Schema, answers: Schema) -> Schema:
    """One operation.

    Args:
        route: it.
        names: of the models that it can ask.
        suffix: of its id.
        content: of the request, by media type.
        headers: of the answer, as other routes have them; one answer has no items that fail.
        answers: by media type.
    """
    told = {name: header for name, header in headers.items() if name != "x-failed-items"}
    return {
        "operationId": f"openai-{route.path.replace('/', '-')}{suffix}",
        "tags": [TAG],
        "summary": route.summary,
        "description": f"{route.summary} As OpenAI's clients ask for it; models: {', '.join(names)}.",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The answer.", "headers": told, "content": answers},
            "default": FAILED,
        },
    }
