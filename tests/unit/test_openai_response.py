"""Responses: every field that the OpenAI package can send, conversations in items, and the events of an answer."""

import json
import typing
from typing import Any

import jsonschema
import pytest
from openai.types.responses import Response, ResponseStreamEvent, response_create_params
from pydantic import TypeAdapter

from deployments.config import ModelConfig
from deployments.errors import InferenceError, InvalidParameterError, RateLimitedError, RequestError
from deployments.events import Event, Finish, MessagePart, Started, Step, TokenText
from deployments.tasks import TASKS
from graph.config import GraphConfig
from graph.dispatch import Target
from graph.openai.chat_asked import ChatAsked, asked_of
from graph.openai.fields import LABELS, read
from graph.openai.names import in_words
from graph.openai.response import Made, ResponseEvents, head
from graph.openai.response_body import LOGPROBS, ResponseBody
from graph.openapi import document

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL: dict[str, Any] = {"type": "function", "name": "time", "parameters": SCHEMA, "strict": False}
AS_IN_A_CHAT = {"type": "function", "function": {"name": "time", "description": "", "parameters": SCHEMA}}
FORM = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}

# field → a value, and the parameters that come of it
HONOURED: dict[str, tuple[Any, dict[str, Any]]] = {
    "input": ("Hello.", {}),
    "include": ([LOGPROBS], {"details": True}),
    "instructions": ("Be kind.", {}),
    "max_output_tokens": (5, {"max_new_tokens": 5}),
    "model": ("write", {}),
    "parallel_tool_calls": (False, {}),
    "reasoning": ({"effort": "low"}, {}),
    "stream": (False, {}),
    "temperature": (0, {"do_sample": False}),
    "text": (FORM, {"grammar": {"type": "json", "value": SCHEMA}}),
    "tool_choice": ("auto", {}),
    "tools": ([TOOL], {"tools": [AS_IN_A_CHAT]}),
    "top_p": (0.5, {"top_p": 0.5, "do_sample": True}),
}
WITH_ANOTHER = {"top_logprobs": "include", "stream_options": "stream"}
REFUSED: dict[str, Any] = {
    "access_programs": {"cyber": "standard"},
    "background": True,
    "background_options": {"completion_window": "soonest"},
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "image": {"context_compression": "auto"},
    "max_tool_calls": 3,
    "moderation": {"model": "x"},
    "previous_response_id": "resp_1",
    "prompt": {"id": "pmpt_1"},
    "prompt_cache_options": {"mode": "implicit"},
    "service_tier": "flex",
    "store": True,
    "truncation": "auto",
}


def _target(task: str = "text-generation") -> Target:
    return Target(ModelConfig(name="write", task=task, model="some/model"), TASKS[task], None)


def _asked(root: dict[str, Any], target: Target | None = None) -> ChatAsked:
    body = read(ResponseBody, {"input": "Hello.", **root})
    body.check()
    return asked_of(body.chat(), target or _target())


def test_every_field_is_in_one_of_the_tables() -> None:
    known = {*HONOURED, *WITH_ANOTHER, *REFUSED}
    sent = {
        name
        for one in ("Base", "NonStreaming", "Streaming")
        for name in typing.get_type_hints(getattr(response_create_params, f"ResponseCreateParams{one}"))
    }
    assert sent <= known | LABELS
    assert not known & LABELS


@pytest.mark.parametrize("name", sorted(HONOURED))
def test_field_is_honoured(name: str) -> None:
    value, parameters = HONOURED[name]
    assert _asked({name: value}).calls == [{"return_full_text": False, **parameters}]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"`{name}` is not offered here") as caught:
        _asked({name: REFUSED[name]})
    assert caught.value.field == name


@pytest.mark.parametrize("name", sorted({*HONOURED, *WITH_ANOTHER, *REFUSED, *LABELS} - {"input"}))
def test_null_asks_for_nothing(name: str) -> None:
    assert _asked({name: None}).calls == [{"return_full_text": False}]


@pytest.mark.parametrize(
    ("root", "field", "says"),
    [
        ({"input": 5}, "input", "valid string"),
        ({"input": []}, "input", "at least 1 item"),
        ({"input": [{"role": "user"}]}, "input[0].content", "is missing"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "'user'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "`type` is one of message, reasoning"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0]", "`type` is one of message, reasoning"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]", "'input_text'"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", "is missing"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            "input[0].content[0].file_id",
            "is unknown",
        ),
        (
            {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]},
            "input[0].encrypted_content",
            "is unknown",
        ),
        ({"input": [{"type": "function_call", "name": "a", "arguments": "{}"}]}, "input[0].call_id", "is missing"),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater than or equal to 1"),
        ({"max_tokens": 5}, "max_tokens", "is unknown; known:"),
        ({"n": 2}, "n", "is unknown"),
        ({"include": ["reasoning.encrypted_content"]}, "include[0]", "'message.output_text.logprobs'"),
        ({"top_logprobs": 2}, "top_logprobs", "needs `include"),
        ({"stream_options": {}}, "stream_options", "`stream: true`"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary", "is unknown"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "is unknown"),
        ({"text": {"format": {"type": "xml"}}}, "text.format", "'json_object'"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "is missing"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "'function'"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "is missing"),
        ({"tools": [{**TOOL, "strict": True}]}, "tools[0].strict", "is not offered where the model is free"),
        ({"tool_choice": "required"}, "tool_choice", "needs `tools`"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "date"}},
            "tool_choice.name",
            "no tool is called so",
        ),
        ({"tools": [TOOL], "tool_choice": "required", "text": FORM}, "tool_choice", "`text.format` and a call"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example"}]}]},
            "input[0].content[0].type",
            "takes text alone",
        ),
    ],
)
def test_mistake_is_named_at_its_place(root: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        _asked(root)
    assert caught.value.field == field
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("root", "raised", "told"),
    [
        ({}, "parameters.max_new_tokens", "max_output_tokens"),
        ({}, "inputs", "input"),
        ({"text": FORM}, "parameters.grammar", "text.format"),
        ({"tools": [TOOL], "tool_choice": "required"}, "parameters.grammar", "tool_choice"),
        ({"reasoning": {"effort": "low"}}, "chat_template_kwargs.reasoning_effort", "reasoning.effort"),
    ],
)
def test_errors_of_the_models_speak_of_these_fields(root: dict[str, Any], raised: str, told: str) -> None:
    names = read(ResponseBody, {"input": "Hello.", **root}).names
    error = in_words(InvalidParameterError(f"`{raised}` is odd.", raised), names)
    assert error.args == (f"`{told}` is odd.", told)


def test_items_of_one_answer_are_one_message() -> None:
    def call(name: str, arguments: str = "{}") -> dict[str, Any]:
        return {"type": "function_call", "call_id": f"call_{name}", "name": name, "arguments": arguments}

    thought = {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    said = {
        "type": "message",
        "id": "msg",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Cold.", "annotations": [], "logprobs": []}],
    }
    output = {"type": "function_call_output", "call_id": "call_a", "output": [{"type": "input_text", "text": "noon"}]}
    user = {"role": "user", "content": "Hi"}
    asked = _asked(
        {
            "instructions": "Be kind.",
            "input": [user, thought, call("a", '{"x": 1}'), call("b"), said, output, said, said, call("c"), thought],
        }
    )
    assert [message["role"] for message in asked.inputs] == [
        *("system", "user", "assistant", "tool", "assistant", "assistant", "assistant")
    ]
    first = asked.inputs[2]
    assert (first["reasoning_content"], first["content"]) == ("Hm.", "Cold.")
    assert [one["function"]["arguments"] for one in first["tool_calls"]] == [{"x": 1}, {}]
    assert asked.inputs[3] == {"role": "tool", "tool_call_id": "call_a", "content": "noon"}
    assert asked.inputs[4] == {"role": "assistant", "content": "Cold."}
    assert [one["function"]["name"] for one in asked.inputs[5]["tool_calls"]] == ["c"]
    assert asked.inputs[6] == {"role": "assistant", "content": "", "reasoning_content": "Hm."}


def test_parts_without_a_message_are_the_users() -> None:
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": "https://a.example/b"}]
    (message,) = _asked({"input": parts}, _target("image-text-to-text")).inputs
    assert message["role"] == "user"
    assert message["content"][0] == {"type": "text", "text": "What is it?"}
    assert (message["content"][1]["type"], message["content"][1]["image"].field) == ("image", "input[1].image_url")


GRAPH = GraphConfig.model_validate({"models": [{"name": "write", "task": "text-generation"}]})
COMPONENTS = document(GRAPH)["components"]


def _events(root: dict[str, Any], *events: Event, error: Any = None) -> list[dict[str, Any]]:
    """The events of a stream, each as the document and the OpenAI package have it."""
    body = read(ResponseBody, {"input": "Hello.", **root})
    made = Made(head(body, root, _target()), asked_of(body.chat(), _target()), body.logprobs)
    stream = ResponseEvents(made, "request")
    text = b"".join(stream.told(events)) + (stream.failed(error) if error is not None else b"")
    blocks = [block.split("\n") for block in text.decode().split("\n\n")[:-1]]
    found = [json.loads(data.removeprefix("data:")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [one["type"] for one in found]
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    schema = {"$ref": "#/components/schemas/OpenAIResponseChunk", "components": COMPONENTS}
    for one in found:
        jsonschema.Draft202012Validator(schema).validate(one)
        TypeAdapter(ResponseStreamEvent).validate_python(one)
    return found


def _step(text: str, *parts: MessagePart, ends: str = "") -> Step:
    finish = Finish(ends, 4, 5, None, text, None) if ends else None
    return Step(1, TokenText(1, text, -0.5, False), (), finish, parts or None)


def test_events_of_a_text() -> None:
    found = _events({"metadata": {"a": "b"}}, Started(5), _step("a"), _step("b", ends="eos_token"))
    assert [one["type"].removeprefix("response.") for one in found] == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert found[0]["response"]["status"] == "in_progress"
    response = found[-1]["response"]
    Response.model_validate(response, strict=True)
    assert (response["id"], response["metadata"]) == (found[0]["response"]["id"], {"a": "b"})
    assert (response["status"], response["error"], response["incomplete_details"]) == ("completed", None, None)
    assert found[-2]["item"] == response["output"][0]
    assert response["output"][0]["content"][0]["text"] == "ab"
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (5, 4)


def test_events_of_reasoning_and_calls() -> None:
    found = _events(
        {"tools": [TOOL]},
        Started(5),
        _step("<think>a", MessagePart("reasoning", "a")),
        _step("b", MessagePart("reasoning", "b")),
        _step("c", MessagePart("tool_call", "{}", "time"), MessagePart("tool_call", '{"x": 1}', "time")),
        _step("d", MessagePart("content", "d"), ends="stop_sequence"),
    )
    thought, first, second, message = found[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "ab"}]
    assert [one["arguments"] for one in (first, second)] == ["{}", '{"x": 1}']
    assert first["call_id"] != second["call_id"]
    assert message["content"][0]["text"] == "d"
    done = [one for one in found if one["type"] == "response.output_item.done"]
    assert [one["item"] for one in done] == [thought, first, second, message]
    assert [one["output_index"] for one in done] == [0, 1, 2, 3]
    assert {one["item"]["status"] for one in done} == {"completed"}


def test_answer_that_was_cut_off_is_incomplete() -> None:
    found = _events({}, Started(5), _step("a"), _step("b", ends="length"))
    assert found[-1]["type"] == "response.incomplete"
    response = found[-1]["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == found[-2]["item"]["status"] == "incomplete"
    stopped = _events({"stop": "b"}, Started(5), _step("a"), _step("bc", ends="length"))
    assert stopped[-1]["type"] == "response.completed"
    assert stopped[-1]["response"]["output"][0]["content"][0]["text"] == "a"


def test_answer_without_text_is_an_empty_message() -> None:
    (message,) = _events({}, Started(5), _step("", ends="eos_token"))[-1]["response"]["output"]
    assert (message["status"], message["content"][0]["text"]) == ("completed", "")


def test_tokens_are_told_with_their_text() -> None:
    found = _events({"include": [LOGPROBS]}, Started(5), _step("a"), _step("b"), _step("", ends="eos_token"))
    deltas = [one for one in found if one["type"] == "response.output_text.delta"]
    assert [[token["token"] for token in one["logprobs"]] for one in deltas] == [["a"], ["b"]]
    text = found[-1]["response"]["output"][0]["content"][0]
    assert [token["token"] for token in text["logprobs"]] == ["a", "b"]
    assert text["logprobs"][0] == {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}


@pytest.mark.parametrize(
    ("error", "code"),
    [(InferenceError("It failed."), "server_error"), (RateLimitedError("Slow down."), "rate_limit_exceeded")],
)
def test_error_on_the_way_is_told_twice(error: Exception, code: str) -> None:
    *_, failed, raised = _events({}, Started(5), _step("a"), error=error)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": code, "message": str(error)}
    assert raised["error"]["message"] == str(error)  # which the clients look for
