"""Reasoning and calls in an answer's text; the oracle is transformers' own ``parse_response``."""

import json
from typing import Any

import pytest

from deployments.chat import ChatFormat
from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.events import Finish, MessagePart, Started, Step, TokenText
from deployments.message import MessageReader, with_parts
from deployments.payload import ChatCall

TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}}},
    }
]
GEMMA: dict[str, Any] = {  # in the manner of Gemma: marks that are special tokens, keys without quotes
    "defaults": {"role": "assistant"},
    "start_anchor": "<|turn>model\n",
    "fields": {
        "thinking": {"open": "<|channel>thought\n", "close": "<channel|>"},
        "tool_calls": {
            "open_pattern": r"<\|tool_call>call:(?P<name>\w+)",
            "close": "<tool_call|>",
            "repeats": True,
            "content": "json",
            "content_args": {"unquoted_keys": True},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close": ["<turn|>"]},
    },
}
PROMPT = "<|turn>user\nHi<turn|>\n<|turn>model\n"
TEXTS = [
    " Hello there. <turn|>",
    "<|channel>thought\n I wonder. <channel|>Hello <turn|>",
    "<|channel>thought\nI wonder.<channel|>" + "<|tool_call>call:weather{days: 3}<tool_call|>" * 2,
    "Let me see.<|tool_call>call:weather{days: 3}<tool_call|><turn|>",
]


def _told(parts: Any) -> dict[str, Any]:
    """The parts in the form of ``parse_response``."""
    found: dict[str, Any] = {"role": "assistant"}
    for part in parts:
        if part.kind == "tool_call":
            call = {"type": "function", "function": {"name": part.name, "arguments": json.loads(part.text)}}
            found.setdefault("tool_calls", []).append(call)
        else:
            name = "thinking" if part.kind == "reasoning" else "content"
            found[name] = found.get(name, "") + part.text
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_whole_and_in_pieces_as_transformers_reads_it(text: str) -> None:
    from transformers.utils.chat_parsing import parse_response

    expected = parse_response(text, GEMMA, prefix=PROMPT, tools=TOOLS)
    assert _told(MessageReader(GEMMA, PROMPT, TOOLS).whole(text)) == expected
    for size in (1, 2, 3, 7, 100):
        reader, parts = MessageReader(GEMMA, PROMPT, TOOLS), []
        for start in range(0, len(text), size):
            parts += reader.feed(text[start : start + size])
        assert _told([*parts, *reader.end()]) == expected, size


def test_beginning_that_the_prompt_wrote() -> None:
    reader = MessageReader(GEMMA, PROMPT + "<|channel>thought\n", None)
    assert _told(reader.whole("I wonder.<channel|>Hello.<turn|>")) == {
        "role": "assistant",
        "thinking": "I wonder.",
        "content": "Hello.",
    }


def test_events_of_a_stream() -> None:
    reader = MessageReader(GEMMA, PROMPT, None)
    started = Started(3)
    assert reader.read(started) is started
    texts = ["Hello", " ", "there", "<turn|>"]
    steps = [Step(index, TokenText(1, text, None, False)) for index, text in enumerate(texts, 1)]
    steps[-1] = Step(4, steps[-1].token, (), Finish("eos_token", 4, 3, None, "", None))
    parts = [reader.read(step).parts for step in steps]  # type: ignore[union-attr]
    assert [[part.text for part in some or ()] for some in parts] == [["Hello"], [], [" there"], []]


class Source:
    """A tokenizer as far as its chat template goes."""

    def __init__(self, template: Any, written: str = "", response_template: Any = None) -> None:
        self.chat_template = template
        self.response_template = response_template
        self._written = written
        self.asked: dict[str, Any] = {}

    def apply_chat_template(self, messages: Any, **arguments: Any) -> str:
        """What it was built with."""
        self.asked = {"messages": messages, **arguments}
        return self._written


class Pipe:
    """A pipeline of text generation with that tokenizer."""

    processor = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


USUAL = "{{ tools }}<think></think><tool_call></tool_call>{{ messages }}{{ mood }}"
CHAT = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}]


def _reader(template: Any = USUAL, written: str = "", tools: Any = TOOLS, **more: Any) -> MessageReader | None:
    parameters = {"tools": tools} if tools else {}
    return ChatFormat(Pipe(Source(template, written, **more))).begin(CHAT, parameters, ChatCall())[2]


def _merged(parts: Any) -> list[tuple[str, str, str]]:
    """Pieces of one kind behind each other as one."""
    found: list[tuple[str, str, str]] = []
    for part in parts:
        if found and found[-1][0] == part.kind != "tool_call":
            found[-1] = (part.kind, "", found[-1][2] + part.text)
        else:
            found.append((part.kind, part.name, part.text))
    return found


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello. ", [("content", "", "Hello. ")]),
        ("<think>\nI see.\n</think>\n\nHello.", [("reasoning", "", "I see."), ("content", "", "Hello.")]),
        (
            '<tool_call>\n{"name": "weather", "arguments": {"days": "3"}}\n</tool_call>',
            [("tool_call", "weather", '{"days": 3}')],
        ),
        ('<tool_call>{"name": "weather", "parameters": {}}</tool_call>', [("tool_call", "weather", "{}")]),
        ("Well <tool_call>{no JSON}</tool_call> so", [("content", "", "Well{no JSON}</tool_call> so")]),
        ("<tool_call>[1]</tool_call>", [("content", "", "[1]")]),
        ('<tool_call>{"name": "wea', [("content", "", '{"name": "wea')]),
        ("<tool_call>", []),
    ],
)
def test_usual_marks(text: str, parts: list[tuple[str, str, str]]) -> None:
    reader = _reader()
    assert reader is not None
    assert _merged(reader.whole(text)) == parts


def test_marks_only_where_the_template_has_them() -> None:
    assert _reader("{{ messages }}{{ tools }}") is None
    assert _reader("{{ messages }}<tool_call>", tools=None) is None
    reader = _reader("{{ messages }}<think>", tools=None)
    assert reader is not None
    told = _merged(reader.whole("<think>x</think><tool_call>{}</tool_call>"))
    assert told == [("reasoning", "", "x"), ("content", "", "<tool_call>{}</tool_call>")]


def test_reasoning_that_the_prompt_began() -> None:
    reader = _reader(written="...<think>\n")
    assert reader is not None
    assert _merged(reader.whole("I see.</think>Hi")) == [("reasoning", "", "I see."), ("content", "", "Hi")]


def test_answer_that_a_grammar_makes_is_content_alone() -> None:
    grammar = {"grammar": {"type": "json_object"}, "tools": TOOLS}
    for template, written in ((USUAL, "...<think>\n"), (USUAL, "")):
        begun = ChatFormat(Pipe(Source(template, written))).begin(CHAT, grammar, ChatCall())
        assert begun[2] is None  # nothing is told apart
    own = ChatFormat(Pipe(Source(USUAL, PROMPT + "<|channel>thought\n", GEMMA))).begin(CHAT, grammar, ChatCall())[2]
    assert own is not None
    text = '{"a": "<|channel>thought\\n<|tool_call>call:weather{}<tool_call|>"}'
    assert _told(own.whole(text + "<turn|>")) == {"role": "assistant", "content": text}


def test_own_marks_go_before_the_usual_ones() -> None:
    reader = _reader(written=PROMPT, response_template=GEMMA)
    assert reader is not None
    assert _told(reader.whole("Hello.<turn|>")) == {"role": "assistant", "content": "Hello."}


def test_what_a_template_has_no_place_for_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no chat template"):
        _reader(None)
    with pytest.raises(InvalidParameterError, match="no place for `tools`"):
        _reader("{{ messages }}")
    source = ChatFormat(Pipe(Source(USUAL)))
    for name in ("moood", "messages", "tools"):
        with pytest.raises(InvalidParameterError, match=name):
            source.begin(CHAT, {}, ChatCall({name: "x"}))
    assert source.begin(CHAT, {}, ChatCall({"mood": "x"}))[1]["tokenizer_encode_kwargs"] == {"mood": "x"}


def test_variables_of_the_configuration_are_those_of_the_prompt() -> None:
    source = Source(USUAL)
    parameters = {"tokenizer_encode_kwargs": {"mood": "x", "calm": True}}
    asked = ChatFormat(Pipe(source)).begin(CHAT, parameters, ChatCall({"mood": "y"}))[1]
    assert asked["tokenizer_encode_kwargs"] == {"mood": "y", "calm": True}
    assert (source.asked["mood"], source.asked["calm"]) == ("y", True)


def test_template_for_tools_is_taken_where_there_is_one() -> None:
    both = {"default": "{{ messages }}", "tool_use": USUAL}
    assert _reader(both) is not None
    assert _reader(both, tools=None) is None


def test_developer_is_the_system_where_the_template_knows_none() -> None:
    for template, role in ((USUAL, "system"), (USUAL + "developer", "developer")):
        messages, parameters, _ = ChatFormat(Pipe(Source(template))).begin(CHAT, {}, ChatCall(prefills=True))
        assert messages[0]["role"] == role
        assert parameters["continue_final_message"] is True
    assert CHAT[0]["role"] == "developer"


def test_parts_stand_with_their_tokens_where_these_are_told() -> None:
    texts = ["<think>", "Hm", ".", "</think>", "\n\n", "Hel", "lo"]
    reader = _reader(tools=None)
    assert reader is not None
    record = {"generated_text": "".join(texts), "details": {"tokens": [{"text": text} for text in texts]}}
    (told,) = with_parts([record], reader)
    assert _merged(told["parts"]) == [("reasoning", "", "Hm."), ("content", "", "Hello")]
    assert [[part.text for part in parts] for parts in told["steps"]] == [[], ["Hm"], ["."], [], [], ["Hel"], ["lo"]]


def test_records_of_others_stay_as_they_are() -> None:
    records = [{"generated_text": "Hello.<turn|>"}]
    told = with_parts(records, MessageReader(GEMMA, PROMPT, None))
    assert told[0]["parts"] == (MessagePart("content", "Hello."),)
    assert records == [{"generated_text": "Hello.<turn|>"}]
