"""Configuration and task table → the OpenAPI 3.1 document of this very server. Light: no torch, no transformers."""

import importlib.metadata

from deployments.config import ModelConfig
from deployments.tasks import TASKS
from deployments.tasks.forms import Schema
from graph.config import GraphConfig
from graph.openapi import openai_audio, openai_text, raw, shapes, states
from graph.openapi.answers import answer_schema
from graph.openapi.bodies import form_schema
from graph.openapi.errors import RESPONSES
from graph.openapi.keys import with_keys
from graph.openapi.openai_operation import TAG
from graph.openapi.operations import SERVER, call_model, call_task, model_health, model_info, server_operations
from graph.openapi.requests import parameters_schema, request_schema, title

_ABOUT = """Models of Hugging Face `transformers.pipeline()`, batched and served.

Requests and answers have the wire format of the Hugging Face inference API; with
`Accept: application/vnd.pipeline+json` an answer is what `pipeline()` returns, types kept. A list of inputs is answered
by a list, with an error in the place of each item that failed. Parameters may also stand beside `inputs`. What a body
is, its first bytes decide, and its Content-Type only where they say nothing. Under `/v1`, and under
`/models/{name}/v1`, stand the routes that OpenAI's clients ask, in OpenAI's formats."""


def document(graph: GraphConfig) -> Schema:
    """The document for ``graph``, in which names and tasks are set."""
    tasks = _by_task(graph.models)
    return with_keys(
        graph.access,
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Pipeline Graph",
                "version": importlib.metadata.version("pipeline-graph"),
                "description": _ABOUT,
            },
            "tags": [{"name": name} for name in _tags(graph.models)],
            "paths": _paths(graph.models, tasks),
            "components": {"schemas": _schemas(graph, tasks), "responses": RESPONSES},
        },
    )


def _tags(models: list[ModelConfig]) -> list[str]:
    return [*(str(model.name) for model in models), "tasks", TAG, SERVER]


def _by_task(models: list[ModelConfig]) -> dict[str, list[ModelConfig]]:
    """The models of each task, those configured for it first, as the dispatcher has them."""
    tasks: dict[str, list[ModelConfig]] = {}
    for model in models:
        tasks.setdefault(model.canonical_task, []).append(model)
    for model in models:
        for task in TASKS[model.canonical_task].also:
            tasks.setdefault(task, []).append(model)
    return tasks


def _paths(models: list[ModelConfig], tasks: dict[str, list[ModelConfig]]) -> Schema:
    paths: Schema = {}
    for model in models:
        name = str(model.name)
        paths[f"/models/{name}"] = {"post": call_model(model)}
        paths[f"/models/{name}/info"] = {"get": model_info(name)}
        paths[f"/models/{name}/health"] = {"get": model_health(name)}
    for task, serving in tasks.items():
        paths[f"/tasks/{task}"] = {"post": call_task(TASKS[task], serving)}
    paths |= openai_text.paths(models) | openai_audio.paths(models)
    return {**paths, **{path: {"get": operation} for path, operation in server_operations().items()}}


def _schemas(graph: GraphConfig, tasks: dict[str, list[ModelConfig]]) -> Schema:
    schemas: Schema = {}
    for task, serving in tasks.items():
        spec = TASKS[task]
        configured = {name for model in serving for name in model.parameters}
        required = frozenset(spec.required) - configured
        schemas[f"{title(spec)}Request"] = request_schema(spec, required, graph.limits.max_list_items)
        schemas[f"{title(spec)}Parameters"] = parameters_schema(spec, required)
        schemas[f"{title(spec)}Form"] = form_schema(spec)
        schemas[f"{title(spec)}Answer"] = answer_schema(task)
    schemas["RawRequest"] = {
        "description": "As the JSON request of the task, with values of `$type` where JSON has none.",
        "type": "object",
        "additionalProperties": {"$ref": "#/components/schemas/PipelineValue"},
    }
    schemas |= openai_text.schemas(graph.models) | openai_audio.schemas(graph.models)
    return {**schemas, **shapes.COMPONENTS, **raw.COMPONENTS, **states.COMPONENTS}
