"""The OpenAI routes for chats and texts in the document: what they read and answer is as described."""

from typing import Any

import jsonschema
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from deployments.errors import RequestError
from graph.config import GraphConfig
from graph.openai.chat_body import ChatBody
from graph.openai.completion_body import CompletionBody
from graph.openai.fields import Body, read
from graph.openai.response_body import ResponseBody
from graph.openapi import document

GRAPH = GraphConfig.model_validate(
    {
        "models": [
            {"name": "write", "task": "text-generation"},
            {"name": "see", "task": "image-text-to-text"},
            {"name": "fill", "task": "fill-mask"},
        ]
    }
)
DOCUMENT = document(GRAPH)


def _validator(schema: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def _post(path: str) -> Any:
    return DOCUMENT["paths"][path]["post"]


def test_only_what_is_served_is_described() -> None:
    posts = {path for path, item in DOCUMENT["paths"].items() if "/v1/" in path and "post" in item}
    assert posts == {
        *("/v1/chat/completions", "/v1/completions"),
        *("/models/write/v1/chat/completions", "/models/write/v1/completions", "/models/see/v1/chat/completions"),
        *("/v1/responses", "/models/write/v1/responses", "/models/see/v1/responses"),
    }
    small = document(GraphConfig.model_validate({"models": [{"name": "fill", "task": "fill-mask"}]}))
    assert not [name for name in small["components"]["schemas"] if "Completion" in name or "Message" in name]


BODIES: list[tuple[str, type[Body], dict[str, Any], bool]] = [
    ("chat/completions", ChatBody, {"messages": [{"role": "user", "content": "Hi"}]}, True),
    ("chat/completions", ChatBody, {"messages": [{"role": "user", "content": "Hi"}], "user": "me", "n": None}, True),
    ("chat/completions", ChatBody, {"messages": [{"role": "user", "content": "Hi"}], "store": True}, False),
    ("chat/completions", ChatBody, {"messages": [{"role": "user", "content": "Hi"}], "store": False}, True),
    ("chat/completions", ChatBody, {"messages": [{"role": "user", "content": "Hi"}], "n": 33}, False),
    ("chat/completions", ChatBody, {"messages": []}, False),
    ("chat/completions", ChatBody, {"messages": [{"role": "robot", "content": "Hi"}]}, False),
    (
        "chat/completions",
        ChatBody,
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example"}}]}]},
        True,
    ),
    (
        "chat/completions",
        ChatBody,
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": {"name": "time"}}],
            "tool_choice": {"type": "function", "function": {"name": "time"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        },
        True,
    ),
    (
        "chat/completions",
        ChatBody,
        {"messages": [{"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}]},
        True,
    ),
    ("responses", ResponseBody, {"input": "Hi", "store": False, "text": {"verbosity": "medium"}}, True),
    ("responses", ResponseBody, {"input": "Hi", "store": True}, False),
    ("responses", ResponseBody, {"input": "Hi", "previous_response_id": "resp_1"}, False),
    ("responses", ResponseBody, {"input": []}, False),
    ("responses", ResponseBody, {"input": [{"role": "user", "content": "Hi"}], "include": []}, True),
    ("responses", ResponseBody, {"input": [{"role": "robot", "content": "Hi"}]}, False),
    ("responses", ResponseBody, {"input": [{"type": "item_reference", "id": "msg_1"}]}, False),
    (
        "responses",
        ResponseBody,
        {
            "input": [
                {"type": "input_image", "image_url": "https://a.example", "detail": "auto", "file_id": None},
                {"type": "reasoning", "id": "rs_1", "summary": [], "content": []},
                {"type": "function_call", "call_id": "call_1", "name": "time", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
            ],
            "tools": [{"type": "function", "name": "time", "parameters": None, "strict": None}],
            "tool_choice": {"type": "function", "name": "time"},
            "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        },
        True,
    ),
    ("completions", CompletionBody, {"prompt": "Hi", "logprobs": 3, "suffix": ""}, True),
    ("completions", CompletionBody, {"prompt": ["Hi"], "stop": ["a", "b"]}, True),
    ("completions", CompletionBody, {"prompt": "Hi", "suffix": "end"}, False),
    ("completions", CompletionBody, {"prompt": "Hi", "stop": ""}, False),
    ("completions", CompletionBody, {}, False),
]


@pytest.mark.parametrize(("path", "kind", "body", "good"), BODIES)
def test_schema_and_server_agree(path: str, kind: type[Body], body: dict[str, Any], good: bool) -> None:
    schema = _post(f"/v1/{path}")["requestBody"]["content"]["application/json"]["schema"]
    assert _validator(schema).is_valid(body) == good
    try:
        read(kind, body)
        assert good
    except RequestError:
        assert not good


@pytest.mark.parametrize(
    ("path", "kind"), [("chat/completions", ChatCompletion), ("completions", Completion), ("responses", Response)]
)
def test_examples_are_as_described_and_as_openai_has_them(path: str, kind: Any) -> None:
    operation = _post(f"/v1/{path}")
    asked = operation["requestBody"]["content"]["application/json"]
    _validator(asked["schema"]).validate(asked["example"])
    answered = operation["responses"]["200"]["content"]["application/json"]
    _validator(answered["schema"]).validate(answered["example"])
    kind.model_validate(answered["example"], strict=True)


def test_refusals_of_keys_have_openais_shape() -> None:
    entry = {"name": "me", "sha256": "0" * 64}
    graph = GraphConfig.model_validate(
        {"models": [{"name": "write", "task": "text-generation"}], "access": {"keys": [entry]}}
    )
    paths = document(graph)["paths"]
    for path, item in paths.items():
        for operation in item.values():
            if "/v1/" in path:
                for status in ("401", "429"):
                    schema = operation["responses"][status]["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/OpenAIFailure"}, path
    assert paths["/models/write"]["post"]["responses"]["401"] == {"$ref": "#/components/responses/Error401"}
