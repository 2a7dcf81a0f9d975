"""The operations of the document: one for each route, and of the calls one for each model and each task."""

import json
from collections.abc import Sequence
from typing import Any

from deployments.config import ModelConfig
from deployments.errors import UnknownModelError
from deployments.tasks import TASKS, TaskSpec
from deployments.tasks.forms import Schema
from graph.accept import JSON, answer_types
from graph.openapi.answers import ANSWERS
from graph.openapi.bodies import query, request_content
from graph.openapi.build import STRING, either, ref
from graph.openapi.errors import INFERENCE, error_responses
from graph.openapi.headers import ANSWERED, REQUEST_ID, SEGMENTS, STREAMED
from graph.openapi.raw import RAW
from graph.openapi.requests import title

SERVER = "server"
# with "stream": true; OpenAPI 3.1 has no word for the items of a stream yet
_STREAM: Schema = {"text/event-stream": {"schema": STRING, "x-item-schema": ref("StreamEvent")}}


def call_model(model: ModelConfig) -> Schema:
    """``POST /models/{name}``."""
    spec = TASKS[model.canonical_task]
    defaults = f" Unless the call says otherwise: {json.dumps(model.parameters)}." if model.parameters else ""
    also = [TASKS[name] for name in spec.also]
    tasks = " and ".join([str(model.task), *spec.also])
    about = f"{tasks} with {_source(model)}.{defaults}"
    return _call(spec, f"call-{model.name}", str(model.name), about, [], also=also)


def call_task(spec: TaskSpec, models: Sequence[ModelConfig]) -> Schema:
    """``POST /tasks/{task}``: the same by task."""
    names = [str(model.name) for model in models]
    more = f" Also at `/tasks/{'`, `/tasks/'.join(spec.aliases)}`." if spec.aliases else ""
    choice = {
        "name": "model",
        "in": "query",
        "description": "Which of several models, by its name or its source; default the first.",
        "schema": {**STRING, "examples": names},
    }
    text = f"The first model that serves {spec.name}: {names[0]}.{more}"
    return _call(spec, f"task-{spec.name}", "tasks", text, [choice], UnknownModelError)


def _source(model: ModelConfig) -> str:
    return model.model or "the task's default model"


def _call(
    spec: TaskSpec,
    name: str,
    tag: str,
    text: str,
    choice: list[Schema],
    *raises: Any,
    also: Sequence[TaskSpec] = (),
) -> Schema:
    answered = {"description": "The answer.", "headers": _headers(spec), "content": _answer_content(spec, also)}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": spec.name,
        "description": text,
        "parameters": [*choice, query(spec)],
        "requestBody": {"required": False, "content": request_content(spec, also)},
        "responses": {"200": answered, **error_responses(*INFERENCE, *raises)},
    }


def _answer_content(spec: TaskSpec, also: Sequence[TaskSpec]) -> Schema:
    files: Schema = {name: {"schema": {}} for name in answer_types(spec)}  # the bytes of a file have no schema
    return {
        **files,
        JSON: {
            "schema": either([f"{title(one)}Answer" for one in (spec, *also)]),
            "example": ANSWERS[spec.name].example,
        },
        RAW: {"schema": ref("PipelineValue")},
        **(_STREAM if spec.streams else {}),
    }


def _headers(spec: TaskSpec) -> Schema:
    answered = STREAMED if spec.streams else ANSWERED
    return {**answered, **(SEGMENTS if spec.reply in ("segments", "masks") else {})}


def _get(name: str, tag: str, summary: str, schema: Schema, *raises: Any, media_type: str = JSON) -> Schema:
    answered = {"description": summary, "headers": REQUEST_ID, "content": {media_type: {"schema": schema}}}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {"200": answered, **error_responses(*raises)},
    }


def _or_503(operation: Schema, description: str) -> Schema:
    """The same body with 503: not ready."""
    return {
        **operation,
        "responses": {
            **operation["responses"],
            "503": {**operation["responses"]["200"], "description": description},
        },
    }


def model_info(name: str) -> Schema:
    """``GET /models/{name}/info``."""
    return _get(f"info-{name}", name, "What is loaded, from where, in which state.", ref("Model"))


def model_health(name: str) -> Schema:
    """``GET /models/{name}/health``."""
    return _or_503(
        _get(f"health-{name}", name, "A replica of the model runs.", ref("State")), "None runs; why not, where known."
    )


def server_operations() -> dict[str, Schema]:
    """The routes that are not about one model, by path."""
    which = [
        {"name": name, "in": "query", "description": meaning, "schema": STRING}
        for name, meaning in (("task", "A task, or a model's name."), ("model", "A model's name or source."))
    ]
    live = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
    resolve = _get("resolve", SERVER, "The model that a Python client means.", ref("Resolved"), UnknownModelError)
    return {
        "/": _get("index", SERVER, "Where to go from here.", ref("Index")),
        "/health": _get("health", SERVER, "This process lives.", {**live, "additionalProperties": False}),
        "/ready": _or_503(
            _get("ready", SERVER, "Every model is ready.", ref("Readiness")), "Not every model is ready."
        ),
        "/models": _get("models", SERVER, "Every model.", {"type": "array", "items": ref("Model")}),
        "/resolve": {**resolve, "parameters": which},
        "/openapi.json": _get("openapi", SERVER, "This document.", {"type": "object"}),
        "/docs": _get("docs", SERVER, "This document as a page.", {}, media_type="text/html"),
    }
