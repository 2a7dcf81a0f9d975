"""``/v1/responses`` with the real client of OpenAI; the oracles are the local pipeline and the route of chats."""

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.serve.cluster import deploy, until
from tests.serve.described import validate
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, endless, served
from tests.tiny import samples, scripted

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

CHAT: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who are you?"}]
ASKED: dict[str, Any] = {"model": "write", "instructions": "Be kind.", "input": "Who are you?"}
GREEDY: dict[str, Any] = {"temperature": 0, "max_output_tokens": 12}
LOCAL: dict[str, Any] = {"do_sample": False, "max_new_tokens": 12, "return_full_text": False}
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
CITY["additionalProperties"] = False
TOOLS: list[Any] = [
    {"type": "function", "name": "weather", "description": "Of a city.", "parameters": CITY, "strict": False},
    {"type": "function", "name": "time", "parameters": CITY, "strict": False},
]
PLAIN = "".join(scripted.PLAIN)
LOGPROBS: Any = ["message.output_text.logprobs"]


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    script = checkpoints / "scripted-responses"
    script.mkdir(exist_ok=True)
    models: list[dict[str, Any]] = [
        served(case_of("text-generation-llama"), checkpoints, name="write"),
        served(case_of("image-text-to-text-idefics3"), checkpoints, name="see"),
        served(case_of("text-classification-bert"), checkpoints, name="classify"),
    ]
    shared = {"task": "text-generation", "resources": {"num_cpus": 0.5}}
    models.append({"name": "script", "model": str(scripted.build(script)), **shared})
    models.append({"name": "endless", "model": str(endless(checkpoints)), "batch": {"max_padded_tokens": 10**7}})
    models[-1] |= shared
    deploy(url, {"models": models, "limits": {"request_timeout_s": 120}})
    return url


def _text(local: Any, chat: Any = CHAT) -> str:
    return str(local(chat, **LOCAL)[0]["generated_text"])


def _events(client: OpenAI, **asked: Any) -> list[Any]:
    return list(client.responses.create(stream=True, **asked))


def test_answer_is_the_local_pipelines(client: OpenAI, server: str, local: Any) -> None:
    found = client.responses.create(**ASKED, **GREEDY, metadata={"mine": "yes"})
    prompt = len(local.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"])
    assert found.id.startswith("resp_")
    assert (found.object, found.model, found.instructions) == ("response", "write", "Be kind.")
    assert found.output_text == _text(local)
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (prompt, 12, prompt + 12)
    assert (found.metadata, found.temperature, found.max_output_tokens) == ({"mine": "yes"}, 0, 12)
    validate(server, "/v1/responses", found.to_dict())
    completion = client.chat.completions.create(model="write", messages=CHAT, temperature=0, max_tokens=12)
    assert completion.choices[0].message.content == found.output_text


def test_answer_that_ends_by_itself_is_complete(client: OpenAI, server: str) -> None:
    found = client.responses.create(model="script", input="Hi", temperature=0)
    assert (found.status, found.incomplete_details, found.output_text) == ("completed", None, PLAIN)
    validate(server, "/models/script/v1/responses", found.to_dict())


def test_stream_is_the_same_in_pieces(client: OpenAI, local: Any) -> None:
    found = _events(client, **ASKED, **GREEDY)
    deltas = [event.delta for event in found if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == found[-1].response.output_text == _text(local)
    assert (found[0].type, found[1].type) == ("response.created", "response.in_progress")
    assert (found[-1].type, found[-1].response.status) == ("response.incomplete", "incomplete")
    assert found[-1].response.usage.output_tokens == 12
    assert [event.sequence_number for event in found] == list(range(len(found)))


def test_streaming_helper(client: OpenAI) -> None:
    with client.responses.stream(model="script", input="Hi", temperature=0) as stream:
        told = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert told == final.output_text == PLAIN
    assert final.status == "completed"


def test_async_client(server: str, local: Any) -> None:
    async def ask() -> tuple[str, str, str]:
        async with AsyncOpenAI(base_url=f"{server}/models/write/v1", api_key="none", timeout=60) as client:
            asked = {**ASKED, "model": "whatever", **GREEDY}
            whole = client.responses.create(**asked)
            stream = await client.responses.create(**asked, stream=True)
            pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            async with client.responses.stream(**asked) as helped:
                last = [event async for event in helped][-1]
            return (await whole).output_text, "".join(pieces), last.response.output_text

    assert set(asyncio.run(ask())) == {_text(local)}


@pytest.mark.parametrize("stream", [False, True])
def test_sampling_is_that_of_chats(client: OpenAI, stream: bool) -> None:
    more = {"seed": 7, "top_k": 40, "frequency_penalty": 0.5}
    shared: dict[str, Any] = {"model": "write", "temperature": 1.3, "top_p": 0.9, "extra_body": more}
    expected = client.chat.completions.create(messages=CHAT, max_tokens=20, **shared).choices[0].message.content
    asked = {**ASKED, **shared, "max_output_tokens": 20}
    found = _events(client, **asked)[-1].response if stream else client.responses.create(**asked)
    assert found.output_text == expected


def test_conversation_given_back(client: OpenAI, local: Any) -> None:
    asked: list[Any] = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Who are you?"}]
    first = client.responses.create(model="write", input=asked, include=LOGPROBS, **GREEDY)
    assert first.output_text == _text(local)
    more = [*asked, *first.output, {"role": "user", "content": [{"type": "input_text", "text": "And?"}]}]
    second = client.responses.create(model="write", input=more, **GREEDY)
    whole = [*CHAT, {"role": "assistant", "content": first.output_text}, {"role": "user", "content": "And?"}]
    assert second.output_text == _text(local, whole)


def _kinds(response: Any) -> list[str]:
    return [item.type for item in response.output]


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_reasoning(client: OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "script", "input": "Weather?", "tools": TOOLS, "temperature": 0}
    if stream:
        with client.responses.stream(**asked) as told:
            found: Any = told.get_final_response()
    else:
        found = client.responses.create(**asked)
    assert _kinds(found) == ["reasoning", "function_call", "function_call", "message"]
    thought, weather, time, _ = found.output
    assert thought.content[0].text == "They want the weather."
    assert (weather.name, json.loads(weather.arguments), time.name) == ("weather", {"city": "Oslo"}, "time")
    assert (found.output_text, found.status) == ("Oslo is cold.", "completed")
    assert found.usage.output_tokens_details.reasoning_tokens == 2  # of which it has one for each half
    chat = client.chat.completions.create(
        model="script",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[{"type": "function", "function": {"name": "weather"}}],
        temperature=0,
    )
    assert found.usage.output_tokens == chat.usage.completion_tokens
    only = client.responses.create(**asked, parallel_tool_calls=False)
    assert _kinds(only) == ["reasoning", "function_call", "message"]
    none = client.responses.create(**asked, tool_choice="none")
    assert (_kinds(none), none.output_text) == (["message"], PLAIN)


def test_answers_of_tools_are_shown_to_the_model(client: OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "Weather?"}]
    first = client.responses.create(model="script", input=asked, tools=TOOLS, temperature=0, parallel_tool_calls=False)
    (call,) = [item for item in first.output if item.type == "function_call"]
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "cold"}
    after = client.responses.create(model="script", input=[*asked, *first.output, told], temperature=0)
    assert after.output_text == PLAIN
    message: Any = {
        "role": "assistant",
        "content": "Oslo is cold.",
        "reasoning_content": "They want the weather.",
        "tool_calls": [{"id": call.call_id, "function": {"name": "weather", "arguments": call.arguments}}],
    }
    chat = [*asked, message, {"role": "tool", "tool_call_id": call.call_id, "content": "cold"}]
    same = client.chat.completions.create(model="script", messages=chat, temperature=0)
    assert same.usage is not None
    assert after.usage is not None
    assert (same.choices[0].message.content, same.usage.prompt_tokens) == (PLAIN, after.usage.input_tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_call_that_is_required(client: OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "script", "input": "Hi", "tools": TOOLS, "temperature": 1, "seed": 3}
    asked["extra_body"] = {"seed": asked.pop("seed")}
    for choice, names in (("required", {"weather", "time"}), ({"type": "function", "name": "time"}, {"time"})):
        if stream:
            found = _events(client, **asked, tool_choice=choice, max_output_tokens=200)[-1].response
        else:
            found = client.responses.create(**asked, tool_choice=choice, max_output_tokens=200)
        (call,) = found.output
        assert (call.type, found.status) == ("function_call", "completed")
        assert call.name in names
        jsonschema.validate(json.loads(call.arguments), CITY)


SCHEMA = {
    "type": "object",
    "properties": {"sky": {"enum": ["blue", "grey"]}, "sun": {"type": "boolean"}},
    "required": ["sky", "sun"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("model", ["write", "see"])
@pytest.mark.parametrize("stream", [False, True])
def test_form_of_the_answer(client: OpenAI, model: str, stream: bool) -> None:
    form = {"format": {"type": "json_schema", "name": "weather", "schema": SCHEMA, "strict": True}}
    asked: dict[str, Any] = {**ASKED, "model": model, "text": form, "temperature": 1, "extra_body": {"seed": 2}}
    asked["max_output_tokens"] = 200
    found = _events(client, **asked)[-1].response if stream else client.responses.create(**asked)
    assert found.status == "completed"
    jsonschema.validate(json.loads(found.output_text), SCHEMA)


def test_images(client: OpenAI, checkpoints: Path) -> None:
    see = local_pipeline(case_of("image-text-to-text-idefics3"), checkpoints)
    buffer = io.BytesIO()
    samples.picture(2, (40, 72)).save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    image, text = {"type": "input_image", "image_url": url, "detail": "auto"}, "What is in it?"
    asked: Any = [{"role": "user", "content": [image, {"type": "input_text", "text": text}]}]
    chat = [
        {
            "role": "user",
            "content": [{"type": "image", "image": samples.picture(2, (40, 72))}, {"type": "text", "text": text}],
        }
    ]
    expected = see(text=chat, return_full_text=False, generate_kwargs={"do_sample": False, "max_new_tokens": 8})
    for given in (asked, asked[0]["content"]):
        found = client.responses.create(model="see", input=given, temperature=0, max_output_tokens=8)
        assert found.output_text == expected[0]["generated_text"]
    last = _events(client, model="see", input=asked, temperature=0, max_output_tokens=8)[-1].response
    assert last.output_text == expected[0]["generated_text"]


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_those_of_chats(client: OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {**ASKED, **GREEDY, "include": LOGPROBS, "top_logprobs": 3}
    response = _events(client, **asked)[-1].response if stream else client.responses.create(**asked)
    tokens = response.output[0].content[0].logprobs
    chat: dict[str, Any] = {"model": "write", "messages": CHAT, "temperature": 0, "max_tokens": 12}
    same = client.chat.completions.create(**chat, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert [(one.token, one.logprob) for one in tokens] == [(one.token, one.logprob) for one in same]
    assert [len(one.top_logprobs) for one in tokens] == [3] * 12


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_leave_out_reasoning_calls_and_their_marks(client: OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "script", "input": "Hi", "tools": TOOLS, "temperature": 0, "include": LOGPROBS}
    for stop, told in ((None, list(scripted.SAYS)), (" cold", ["Oslo", " is ", "cold."][:2]), ("is", ["Oslo", " is "])):
        more = {"extra_body": {"stop": stop}} if stop else {}
        response = _events(client, **asked, **more)[-1].response if stream else client.responses.create(**asked, **more)
        message = next(item for item in response.output if item.type == "message")
        assert [one.token for one in message.content[0].logprobs] == told
    chat: dict[str, Any] = {"model": "script", "messages": CHAT, "temperature": 0, "logprobs": True}
    chat["tools"] = [{"type": "function", "function": {"name": "weather"}}]
    if stream:
        chunks = list(client.chat.completions.create(**chat, stream=True))
        tokens = [one for chunk in chunks if chunk.choices[0].logprobs for one in chunk.choices[0].logprobs.content]
    else:
        tokens = client.chat.completions.create(**chat).choices[0].logprobs.content
    assert [one.token for one in tokens] == list(scripted.SAYS)


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"model": "nobody"}, 404, "model", "models for this route: endless, script, see, write"),
    ({"model": "classify"}, 422, "model", "classify serves text-classification"),
    ({"previous_response_id": "resp_1"}, 422, "previous_response_id", "not offered here"),
    ({"store": True}, 422, "store", "not offered here"),
    ({"background": True}, 422, "background", "not offered here"),
    ({"tools": TOOLS}, 422, "tools", "no place for `tools`"),
    ({"max_output_tokens": 1000}, 422, "max_output_tokens", "1000 new ones"),
    ({"input": "a b " * 300}, 422, "input", "context is 512"),
    ({"reasoning": {"effort": "low"}}, 422, "reasoning.effort", "nothing that this model's chat template reads"),
    (
        {"model": "see", "input": [{"type": "input_image", "image_url": "/etc/passwd"}]},
        422,
        "input[0].image_url",
        "must be a data: URI or an http(s) URL",
    ),
    (
        {"model": "see", "input": [{"type": "input_image", "image_url": "http://127.0.0.1/a"}]},
        422,
        "input[0].image_url",
        "cannot be fetched",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("more", "status", "param", "says"), REFUSED)
def test_refusals(client: OpenAI, more: dict[str, Any], status: int, param: str, says: str, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "write", "input": "Hi", "stream": stream, **more}
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(**asked)
    assert (caught.value.status_code, caught.value.param) == (status, param)
    assert says in caught.value.message
    assert "inputs" not in caught.value.message


def test_error_on_the_way_is_raised_by_the_client(client: OpenAI) -> None:
    """An answer that fits may not end yet, so that no token is left: found out after the stream has begun."""
    form: Any = {"format": {"type": "json_schema", "name": "a", "schema": {"const": "yes"}}}
    stream = client.responses.create(
        model="write", input="Hi", text=form, extra_body={"min_tokens": 50}, temperature=0.7, stream=True
    )
    told: list[Any] = []
    with pytest.raises(openai.APIError, match=r"No token both fits `text\.format`"):
        told.extend(stream)
    assert (told[0].type, told[-1].type) == ("response.created", "response.failed")
    with pytest.raises(openai.UnprocessableEntityError, match=r"No token both fits `text\.format`"):
        client.responses.create(model="write", input="Hi", text=form, extra_body={"min_tokens": 50}, temperature=0.7)


def test_nothing_is_kept_that_could_be_asked_for(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve("resp_1")
    assert (caught.value.code, caught.value.type) == ("not_found", "not_found_error")
    assert "There is nothing at /v1/responses/resp_1" in caught.value.message


def test_client_who_leaves_frees_its_place(client: OpenAI, server: str) -> None:
    more = {"min_tokens": 200_000, "seed": 1}
    stream = client.responses.create(
        model="endless", input="Hi", max_output_tokens=200_000, temperature=1, extra_body=more, stream=True
    )
    until(lambda: next(stream).type == "response.output_text.delta", 60, 0)
    until(lambda: _generating(server) == 1, 60, 0.01)
    stream.close()
    until(lambda: _generating(server) == 0, 60, 0.01)


def _generating(server: str) -> int:
    info = httpx.get(f"{server}/models/endless/info", timeout=30).json()
    return int(info.get("generating", -1))  # which a busy replica does not tell
