"""The OpenAI routes for chats and texts in the document, and those that list the models."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.config import ModelConfig
from deployments.tasks.forms import Schema
from graph.accept import JSON
from graph.openai import chat_asked, chat_body, completion_body, response_body
from graph.openai.fields import LABELS, Body
from graph.openapi.build import STRING, listed, ref
from graph.openapi.headers import REQUEST_ID, STREAMED
from graph.openapi.openai_operation import FAILED, TAG, operation, paths_of
from graph.openapi.openai_response import RESPONSE, RESPONSES
from graph.openapi.openai_written import ANSWERS, CHAT, TEXT

_REF = "#/components/schemas/OpenAI{model}"


@dataclass(frozen=True)
class _Route:
    """A route that generates text.

    Args:
        path: behind ``/v1/``.
        summary: what it is for.
        serving: tasks of the models that it can ask.
        body: what it reads.
        own: schemas of fields that the body's types do not tell.
        example: of the body, apart from the model.
        answer: name of the component of what it gives; its chunks are called so too.
        given: an example of the answer.
    """

    path: str
    summary: str
    serving: tuple[str, ...]
    body: type[Body]
    own: Schema
    example: Schema
    answer: str
    given: Schema


_ROUTES = (
    _Route(
        "chat/completions",
        "The assistant's message in a chat.",
        chat_asked.TASKS,
        chat_body.ChatBody,
        {},
        {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 8},
        "OpenAIChatCompletion",
        CHAT,
    ),
    _Route(
        "completions",
        "A text that goes on with a prompt.",
        completion_body.TASKS,
        completion_body.CompletionBody,
        {"prompt": {"anyOf": [STRING, listed(STRING, minItems=1)]}},
        {"prompt": "The capital of France is", "max_tokens": 8},
        "OpenAICompletion",
        TEXT,
    ),
    _Route(
        "responses",
        "The items that answer a conversation.",
        chat_asked.TASKS,
        response_body.ResponseBody,
        {},
        {"input": "What is the capital of France?", "max_output_tokens": 16},
        "OpenAIResponse",
        RESPONSE,
    ),
)


def paths(models: Sequence[ModelConfig]) -> Schema:
    """The paths for all of ``models`` and for each of them."""
    found: Schema = _listing("", "")
    for name in (str(model.name) for model in models):
        found |= _listing(f"/models/{name}", f"-{name}")
    return found | paths_of(_ROUTES, models, _operation)


def schemas(models: Sequence[ModelConfig]) -> Schema:
    """The components that `paths` refers to."""
    known: Schema = {**ANSWERS, **RESPONSES}
    for route in _ROUTES:
        known |= {f"OpenAI{name}": one for name, one in _read(route)["$defs"].items()}
    found: Schema = {}
    text = repr(paths(models))
    while more := {name: one for name, one in known.items() if name not in found and f"/{name}'" in text}:
        found |= more
        text = repr(more)
    return found


def _read(route: _Route) -> Schema:
    """The schema of its body; any field may be null that may be left out, and those without effect are there too."""
    found = route.body.model_json_schema(ref_template=_REF)
    return {**_full(found), "$defs": {name: _full(one) for name, one in found["$defs"].items()}}


def _full(schema: Schema) -> Schema:
    if "properties" not in schema:
        return schema
    idle = schema.get("x-idle", {})
    required = schema.get("required", ())
    properties = {name: one if name in required else _or_null(one) for name, one in schema["properties"].items()}
    for name, values in idle.items():
        properties[name] = {"description": "Only with a value that asks for nothing.", "enum": [None, *values]}
    return {**{name: one for name, one in schema.items() if name != "x-idle"}, "properties": properties}


def _or_null(schema: Schema) -> Schema:
    known = {name: value for name, value in schema.items() if name not in ("title", "default")}
    if {"type": "null"} in known.get("anyOf", []):
        return known
    return {"anyOf": [*known.get("anyOf", [known]), {"type": "null"}]}


def _operation(route: _Route, names: list[str], suffix: str) -> Schema:
    example = {"model": names[0], **route.example}
    answers = {
        JSON: {"schema": ref(route.answer), "example": route.given},
        "text/event-stream": {"schema": STRING, "x-item-schema": ref(f"{route.answer}Chunk")},
    }
    content = {JSON: {"schema": _request(route, names), "example": example}}
    return operation(route, names, suffix, content, STREAMED, answers)


def _request(route: _Route, names: list[str]) -> Schema:
    """The fields of a body, with those that the types do not tell."""
    given = _read(route)
    properties = {**given["properties"], **route.own}
    for name in sorted(LABELS):
        properties[name] = {"description": "Of the caller's own; changes nothing."}
    properties["model"] = {**STRING, "description": "By name or source.", "examples": names}
    required = given["required"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _listing(prefix: str, suffix: str) -> Schema:
    """The routes that list the models."""
    every = _get(f"openai-models{suffix}", "The models, as OpenAI lists them.", "OpenAIModels")
    one = _get(f"openai-model{suffix}", "One model, by its name or its source.", "OpenAIModel")
    parameter = {"name": "model", "in": "path", "required": True, "schema": STRING}
    return {
        f"{prefix}/v1/models": {"get": every},
        f"{prefix}/v1/models/{{model}}": {"get": {**one, "parameters": [parameter]}},
    }


def _get(name: str, summary: str, schema: str) -> Schema:
    answered = {"description": summary, "headers": REQUEST_ID, "content": {JSON: {"schema": ref(schema)}}}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "responses": {"200": answered, "default": FAILED},
    }
