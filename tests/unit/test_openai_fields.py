"""Every field that the OpenAI package can send: honoured, of no effect, or refused by name."""

import typing
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from deployments.config import ModelConfig
from deployments.errors import InvalidInputError, InvalidParameterError, PipelineGraphError, RequestError
from deployments.tasks import TASKS
from graph.dispatch import Target
from graph.openai.chat_asked import asked_of
from graph.openai.chat_body import ChatBody
from graph.openai.completion_body import CompletionBody, wanted_of
from graph.openai.fields import LABELS, read
from graph.openai.names import words_of

HELLO = [{"role": "user", "content": "Hello."}]
TOOL = {"type": "function", "function": {"name": "time"}}

# field → a value, and the parameters that come of it
CHAT_HONOURED: dict[str, tuple[Any, dict[str, Any]]] = {
    "messages": (HELLO, {}),
    "model": ("write", {}),
    "frequency_penalty": (0.5, {"frequency_penalty": 0.5}),
    "presence_penalty": (-0.5, {"presence_penalty": -0.5}),
    "logit_bias": ({"7": -5}, {"sequence_bias": [[[7], -5.0]]}),
    "logprobs": (True, {"details": True}),
    "max_completion_tokens": (5, {"max_new_tokens": 5}),
    "max_tokens": (6, {"max_new_tokens": 6}),
    "n": (1, {}),
    "parallel_tool_calls": (False, {}),
    "reasoning_effort": ("low", {}),
    "response_format": ({"type": "json_object"}, {"grammar": {"type": "json_object"}}),
    "seed": (3, {"seed": 3}),
    "stop": ("x", {"stop": ["x"]}),
    "stream": (False, {}),
    "temperature": (0, {"do_sample": False}),
    "tool_choice": ("auto", {}),
    "tools": (
        [TOOL],
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "time", "description": "", "parameters": {"type": "object", "properties": {}}},
                }
            ]
        },
    ),
    "top_p": (0.5, {"top_p": 0.5, "do_sample": True}),
}
CHAT_WITH_ANOTHER = {"top_logprobs": "logprobs", "stream_options": "stream"}
CHAT_REFUSED: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "function_call": "auto",
    "functions": [{"name": "time"}],
    "modalities": ["text", "audio"],
    "moderation": {"model": "x"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_options": {"mode": "implicit"},
    "service_tier": "flex",
    "store": True,
    "verbosity": "low",
    "web_search_options": {},
}
_SHARED = {"model", "frequency_penalty", "presence_penalty", "logit_bias", "max_tokens", "n", "seed", "stop", "stream"}
TEXT_HONOURED: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: CHAT_HONOURED[name] for name in _SHARED | {"temperature", "top_p"}},
    "prompt": ("Hello.", {}),
    "echo": (True, {}),
    "logprobs": (2, {"details": True, "top_n_tokens": 2}),
    "best_of": (1, {}),
}


def _target(task: str = "text-generation", **config: Any) -> Target:
    return Target(ModelConfig(name="write", task=task, model="some/model", **config), TASKS[task], None)


def _chat(root: dict[str, Any], target: Target | None = None) -> Any:
    body = read(ChatBody, {"messages": HELLO, **root})
    body.check()
    return asked_of(body.chat(), target or _target())


def _text(root: dict[str, Any]) -> Any:
    body = read(CompletionBody, {"prompt": "Hello.", **root})
    body.check()
    return wanted_of(body, _target(), 200)


def _names(module: Any, kind: str) -> set[str]:
    return {
        name
        for one in ("Base", "NonStreaming", "Streaming")
        for name in typing.get_type_hints(getattr(module, f"{kind}{one}"))
    }


def test_every_field_of_a_chat_is_in_one_of_the_tables() -> None:
    known = {*CHAT_HONOURED, *CHAT_WITH_ANOTHER, *CHAT_REFUSED}
    assert _names(chat_create_params, "CompletionCreateParams") <= known | LABELS
    assert not known & LABELS


def test_every_field_of_a_completion_is_in_one_of_the_tables() -> None:
    known = {*TEXT_HONOURED, "stream_options", "suffix"}
    assert _names(completion_create_params, "CompletionCreateParams") <= known | LABELS


def test_stops_are_not_for_a_call_that_is_required() -> None:
    """Its arguments would be cut, and no longer be JSON."""
    asked = {"stop": ["}", ","], "tools": [TOOL]}
    assert _chat(asked).calls[0]["stop"] == ["}", ","]
    (call,) = _chat({**asked, "tool_choice": "required"}).calls
    assert "stop" not in call
    assert call["grammar"]


@pytest.mark.parametrize("name", sorted(CHAT_HONOURED))
def test_field_of_a_chat_is_honoured(name: str) -> None:
    value, parameters = CHAT_HONOURED[name]
    assert _chat({name: value}).calls == [{"return_full_text": False, **parameters}]


@pytest.mark.parametrize("name", sorted(TEXT_HONOURED))
def test_field_of_a_completion_is_honoured(name: str) -> None:
    value, parameters = TEXT_HONOURED[name]
    assert [one.parameters for one in _text({name: value})] == [{"return_full_text": False, **parameters}]


@pytest.mark.parametrize("name", sorted(CHAT_REFUSED))
def test_field_of_a_chat_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"`{name}` is not offered here") as caught:
        _chat({name: CHAT_REFUSED[name]})
    assert caught.value.field == name


def test_suffix_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameterError, match="`suffix` is not offered here"):
        _text({"suffix": "end"})
    assert _text({"suffix": ""})


@pytest.mark.parametrize("name", sorted({*CHAT_HONOURED, *CHAT_WITH_ANOTHER, *CHAT_REFUSED, *LABELS} - {"messages"}))
def test_null_asks_for_nothing(name: str) -> None:
    assert _chat({name: None}).calls == [{"return_full_text": False}]


@pytest.mark.parametrize(
    ("name", "value"),
    [("user", "me"), ("metadata", {"a": "b"}), ("store", False), ("service_tier", "auto"), ("modalities", ["text"])],
)
def test_labels_and_what_asks_for_nothing_change_nothing(name: str, value: Any) -> None:
    assert _chat({name: value}).calls == [{"return_full_text": False}]


@pytest.mark.parametrize(
    ("root", "field", "says"),
    [
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"temperature": True}, "temperature", "valid number"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 33}, "n", "less than or equal to 32"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"stop": ""}, "stop", "at least 1 character"),
        ({"stop": ["a", ""]}, "stop[1]", "at least 1 character"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a", "match pattern"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "less than or equal to 100"),
        ({"top_logprobs": 2}, "top_logprobs", "needs `logprobs: true`"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "`stream: true`"),
        ({"stream": True, "stream_options": {"unheard": 1}}, "stream_options.unheard", "is unknown"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "differ"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "is missing"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "'user'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "valid string"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0]", "'image_url'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
            "is missing",
        ),
        ({"messages": [{"role": "user", "content": "x", "mood": 1}]}, "messages[0].mood", "is unknown"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "'function'"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "is missing"),
        ({"tools": [{"type": "function", "function": {"name": "a", "strict": True}}]}, "tools[0].function.strict", ""),
        ({"tool_choice": "required"}, "tool_choice", "needs `tools`"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "date"}}},
            "tool_choice.function.name",
            "no tool is called so",
        ),
        ({"tool_choice": "perhaps", "tools": [TOOL]}, "tool_choice", "'auto'"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "'json_object'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "is missing"),
        ({"continue_final_message": True}, "continue_final_message", "last one is none"),
        ({"temprature": 1}, "temprature", "is unknown; known: model,"),
    ],
)
def test_mistake_is_named_at_its_place(root: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        _chat(root)
    assert caught.value.field == field
    assert says in caught.value.message
    assert f"`{field}" in caught.value.message
    assert "http" not in caught.value.message  # no address of pydantic's


def test_value_that_was_sent_is_in_no_error() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        _chat({"messages": [{"role": "user", "content": {"secret": "xyzzy"}}]})
    assert "xyzzy" not in caught.value.message


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ({"prompt": [1, 2]}, "token ids"),
        ({"prompt": [[1], [2]]}, "token ids"),
        ({"prompt": []}, "prompt"),
        ({"best_of": 2}, "`best_of`"),
        ({"echo": True, "logprobs": 1}, "`logprobs`"),
        ({"stream": True, "prompt": ["a"] * 5, "n": 8}, "32 answers at most"),
        ({"prompt": ["a"] * 101, "n": 2}, "asks for 202 answers; at most 200"),
        ({"prompt": ["a", ""]}, r"`prompt\[1\]` is empty"),
    ],
)
def test_completions_refuse(root: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        _text(root)


def test_seeds_follow_each_other() -> None:
    assert [call["seed"] for call in _chat({"n": 3, "seed": 5}).calls] == [5, 6, 7]
    assert [one.parameters["seed"] for one in _text({"prompt": ["a", "b"], "n": 2, "seed": 5})] == [5, 6, 5, 6]
    assert [one.path for one in _text({"prompt": ["a", "b"], "n": 2})] == ["prompt[0]"] * 2 + ["prompt[1]"] * 2


def test_temperature_of_nothing_is_greedy_whatever_else_is_set() -> None:
    asked = _chat({"temperature": 0, "top_p": 0.5, "top_k": 5, "min_p": 0.1})
    assert asked.calls == [{"return_full_text": False, "do_sample": False}]
    asked = _chat({"temperature": 0.5, "top_k": -1})
    assert asked.calls == [{"return_full_text": False, "do_sample": True, "temperature": 0.5, "top_k": 0}]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("sent", "grammar"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "json_object", "value": SCHEMA}, {"type": "json", "value": SCHEMA}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
            {"type": "json", "value": SCHEMA},
        ),
        ({"type": "regex", "value": "a+"}, {"type": "regex", "value": "a+"}),
    ],
)
def test_form_of_the_answer_is_a_grammar(sent: dict[str, Any], grammar: Any) -> None:
    assert _chat({"response_format": sent}).calls[0].get("grammar") == grammar


def test_call_that_is_required_is_a_grammar() -> None:
    other = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    named = _chat({"tools": [TOOL, other], "tool_choice": {"function": {"name": "weather"}}})
    call = {"name": {"const": "weather"}, "arguments": SCHEMA}
    assert named.calls[0]["grammar"]["value"]["properties"] == call
    assert named.wishes.forced
    required = _chat({"tools": [TOOL, other], "tool_choice": "required"})
    assert len(required.calls[0]["grammar"]["value"]["anyOf"]) == 2
    assert len(required.calls[0]["tools"]) == 2
    assert "tools" not in _chat({"tools": [TOOL], "tool_choice": "none"}).calls[0]
    with pytest.raises(InvalidParameterError, match="exclude each other"):
        _chat({"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}})


def test_variables_of_the_template_are_told_apart() -> None:
    asked = _chat({"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "high"})
    assert asked.chat.variables == {"enable_thinking": False, "reasoning_effort": "high"}


def test_settings_of_a_model_for_pictures_stand_in_an_object() -> None:
    see = _target("image-text-to-text", parameters={"generate_kwargs": {"max_new_tokens": 9, "top_k": 3}})
    asked = _chat({"temperature": 0, "max_tokens": 5}, see)
    assert asked.calls == [
        {"return_full_text": False, "generate_kwargs": {"top_k": 3, "do_sample": False}, "max_new_tokens": 5}
    ]
    assert _chat({}, see).calls[0]["generate_kwargs"] == {"max_new_tokens": 9, "top_k": 3}


def test_messages_of_a_conversation_with_tools() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "time", "arguments": '{"zone": "CET"}'}}
    broken = {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{"}}
    asked = _chat(
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call, broken]},
                {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "noon"}]},
                {"role": "assistant", "content": "Noon.", "reasoning": "So it is."},
            ]
        }
    )
    _, called, told, said = asked.inputs
    assert called["content"] == ""
    assert [one["function"]["arguments"] for one in called["tool_calls"]] == [{"zone": "CET"}, "{"]
    assert told == {"role": "tool", "tool_call_id": "call_1", "content": "noon"}
    assert said == {"role": "assistant", "content": "Noon.", "reasoning_content": "So it is."}


@pytest.mark.parametrize(
    ("raised", "message", "field"),
    [
        (InvalidInputError("`inputs` has 9 tokens.", "inputs"), "`messages` has 9 tokens.", "messages"),
        (
            InvalidInputError("`inputs` is long; shorten it, or send the parameter `truncate`.", "inputs"),
            "`messages` is long; shorten it.",
            "messages",
        ),
        (
            InvalidParameterError("`parameters.grammar` is not offered here.", "parameters.grammar"),
            "`tool_choice` is not offered here.",
            "tool_choice",
        ),
        (
            InvalidParameterError("`parameters.generate_kwargs.top_k` is odd.", "parameters.generate_kwargs.top_k"),
            "`top_k` is odd.",
            "top_k",
        ),
    ],
)
def test_errors_of_the_models_speak_of_these_fields(raised: PipelineGraphError, message: str, field: str) -> None:
    with pytest.raises(type(raised)) as caught, words_of({"inputs": "messages", "grammar": "tool_choice"}):
        raise raised
    assert (caught.value.args) == (message, field)
