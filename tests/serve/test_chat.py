"""``/v1/chat/completions`` with the real clients of OpenAI and Hugging Face; the oracle is the local pipeline."""

import asyncio
import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
import soundfile
import torch
from huggingface_hub import AsyncInferenceClient, InferenceClient
from openai import AsyncOpenAI, OpenAI

from tests.serve.cluster import deploy, until
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, endless, served
from tests.tiny import samples, scripted

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

CHAT: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who are you?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_completion_tokens": 12}
LOCAL: dict[str, Any] = {"do_sample": False, "max_new_tokens": 12, "return_full_text": False}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": CITY}},
    {"type": "function", "function": {"name": "time"}},
]
PLAIN = "".join(scripted.PLAIN)


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    def model(name: str, source: Path, **more: Any) -> dict[str, Any]:
        return {"name": name, "task": "text-generation", "model": str(source), "resources": {"num_cpus": 0.5}, **more}

    def tiny(name: str, case: str) -> dict[str, Any]:
        return served(case_of(case), checkpoints, name=name)

    script = checkpoints / "scripted"
    script.mkdir(exist_ok=True)
    models = [
        tiny("write", "text-generation-llama"),
        tiny("bare", "text-generation-gpt2"),
        tiny("see", "image-text-to-text-idefics3"),
        tiny("hear", "any-to-any-qwen2-audio"),
        tiny("classify", "text-classification-bert"),
        model("script", scripted.build(script)),
        model("endless", endless(checkpoints), batch={"max_padded_tokens": 10**7}),
    ]
    deploy(url, {"models": models, "limits": {"request_timeout_s": 120}})
    return url


def _text(local: Any, seed: int | None = None, **parameters: Any) -> str:
    if seed is not None:
        torch.manual_seed(seed)
    return str(local(CHAT, return_full_text=False, **parameters)[0]["generated_text"])


def _prompt_tokens(local: Any) -> int:
    return len(local.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"])


def test_answer_is_the_local_pipelines(client: OpenAI, local: Any) -> None:
    completion = client.chat.completions.create(model="write", messages=CHAT, **GREEDY)
    text = _text(local, do_sample=False, max_new_tokens=12)
    assert completion.id.startswith("chatcmpl-")
    assert (completion.object, completion.model) == ("chat.completion", "write")
    (choice,) = completion.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", text)
    assert choice.message.tool_calls is None
    assert choice.logprobs is None
    assert choice.finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == _prompt_tokens(local)
    assert completion.usage.completion_tokens == 12
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 12


def test_stream_is_the_same_in_pieces(client: OpenAI, local: Any) -> None:
    stream = client.chat.completions.create(
        model="write", messages=CHAT, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    first, *middle, end, last = stream
    assert (first.object, first.choices[0].delta.role) == ("chat.completion.chunk", "assistant")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle) == _text(
        local, do_sample=False, max_new_tokens=12
    )
    assert {chunk.choices[0].finish_reason for chunk in (first, *middle)} == {None}
    assert (end.choices[0].finish_reason, end.choices[0].delta.content) == ("length", None)
    assert (last.choices, last.usage.prompt_tokens, last.usage.completion_tokens) == ([], _prompt_tokens(local), 12)
    assert len({chunk.id for chunk in (first, *middle, end, last)}) == 1


def test_async_client(server: str, local: Any) -> None:
    async def ask() -> tuple[Any, str]:
        async with AsyncOpenAI(base_url=f"{server}/models/write/v1", api_key="none", timeout=60) as client:
            whole = client.chat.completions.create(model="whatever", messages=CHAT, **GREEDY)
            stream = await client.chat.completions.create(model="", messages=CHAT, stream=True, **GREEDY)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return (await whole).choices[0].message.content, "".join(pieces)

    whole, pieces = asyncio.run(ask())
    assert whole == pieces == _text(local, do_sample=False, max_new_tokens=12)


def test_sampling_is_the_local_pipelines_for_the_same_seed(client: OpenAI, local: Any) -> None:
    shared = {"temperature": 1.3, "top_p": 0.9}
    more = {"top_k": 40, "min_p": 0.01, "repetition_penalty": 1.2}
    found = client.chat.completions.create(
        model="write", messages=CHAT, seed=7, max_tokens=20, extra_body=more, **shared
    )
    assert found.choices[0].message.content == _text(local, 7, do_sample=True, max_new_tokens=20, **shared, **more)


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_have_the_seeds_that_follow(client: OpenAI, local: Any, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "write", "messages": CHAT, "n": 3, "seed": 5, "max_tokens": 9, "temperature": 1}
    texts, usage = ["", "", ""], None
    if stream:
        for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
            usage = chunk.usage or usage
    else:
        completion = client.chat.completions.create(**asked)
        texts, usage = [choice.message.content or "" for choice in completion.choices], completion.usage
        assert [choice.index for choice in completion.choices] == [0, 1, 2]
    alone = [_text(local, 5 + index, do_sample=True, temperature=1.0, max_new_tokens=9) for index in range(3)]
    assert texts == alone
    assert usage is not None
    assert usage.prompt_tokens == _prompt_tokens(local)
    assert usage.completion_tokens == 27  # none of them ends by itself


def test_a_missing_temperature_is_the_models_own(client: OpenAI, local: Any) -> None:
    found = client.chat.completions.create(model="write", messages=CHAT, seed=3, max_tokens=12)
    assert found.choices[0].message.content == _text(local, 3, max_new_tokens=12)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_ends_the_answer_and_is_no_part_of_it(client: OpenAI, stream: bool) -> None:
    for stop, text in (
        ("STOP", "Hello, "),
        (["nowhere", "o, ST"], "Hell"),
        ("world!?", PLAIN),
        ("d!", "Hello, STOP worl"),
    ):
        asked: dict[str, Any] = {"model": "script", "messages": CHAT, "stop": stop, **GREEDY}
        if stream:
            *chunks, end = client.chat.completions.create(**asked, stream=True)
            found = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            reason = end.choices[0].finish_reason
        else:
            choice = client.chat.completions.create(**asked).choices[0]
            found, reason = choice.message.content or "", choice.finish_reason
        assert (found, reason) == (text, "stop"), stop


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_those_of_the_text(client: OpenAI, local: Any, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "write", "messages": CHAT, "logprobs": True, "top_logprobs": 3, **GREEDY}
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        tokens = [one for chunk in chunks if chunk.choices[0].logprobs for one in chunk.choices[0].logprobs.content]
    else:
        tokens = client.chat.completions.create(**asked).choices[0].logprobs.content
    text = _text(local, do_sample=False, max_new_tokens=12)
    assert "".join(token.token for token in tokens) == text
    assert bytes(byte for token in tokens for byte in token.bytes).decode() == text
    ids = torch.tensor(local(CHAT, return_tensors=True, do_sample=False, max_new_tokens=12)[0]["generated_token_ids"])
    with torch.no_grad():
        scores = torch.log_softmax(local.model(ids[None]).logits[0], -1)
    assert len(tokens) == 12
    for place, token in enumerate(tokens, len(ids) - 12):
        at = scores[place - 1]
        assert token.logprob == pytest.approx(float(at[ids[place]]), abs=1e-4)
        assert [top.logprob for top in token.top_logprobs] == pytest.approx(at.topk(3).values.tolist(), abs=1e-4)


def test_logprobs_end_where_the_text_does(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "script", "messages": CHAT, "logprobs": True, **GREEDY}
    choice = client.chat.completions.create(**asked).choices[0]
    assert [token.token for token in choice.logprobs.content] == list(scripted.PLAIN)
    choice = client.chat.completions.create(**asked, stop="TO").choices[0]
    assert [token.token for token in choice.logprobs.content] == ["Hello", ", ", "STOP"]
    chunks = list(client.chat.completions.create(**asked, stop="TO", stream=True))
    told = [one.token for chunk in chunks if chunk.choices[0].logprobs for one in chunk.choices[0].logprobs.content]
    assert told == ["Hello", ", ", "STOP"]


def test_bias_bans_and_forces_tokens(client: OpenAI, local: Any) -> None:
    first = local.tokenizer(_text(local, do_sample=False, max_new_tokens=12))["input_ids"][0]
    other = local.tokenizer("Z")["input_ids"][0]
    banned = client.chat.completions.create(model="write", messages=CHAT, logit_bias={str(first): -100}, **GREEDY)
    bias = [[[first], -100.0]]
    assert banned.choices[0].message.content == _text(local, do_sample=False, max_new_tokens=12, sequence_bias=bias)
    forced = client.chat.completions.create(model="write", messages=CHAT, logit_bias={str(other): 100}, **GREEDY)
    assert forced.choices[0].message.content == "Z" * 12
    for stream in (False, True):
        asked: dict[str, Any] = {"model": "write", "messages": CHAT, "logit_bias": {"999999": 1}, "stream": stream}
        with pytest.raises(openai.UnprocessableEntityError, match="this model's vocabulary has") as caught:
            client.chat.completions.create(**asked, **GREEDY)
        assert caught.value.param == "logit_bias"


def test_penalties_are_those_of_the_models_own_route(client: OpenAI, server: str, local: Any) -> None:
    penalties = {"frequency_penalty": 1.5, "presence_penalty": 0.5}
    found = client.chat.completions.create(model="write", messages=CHAT, temperature=0, max_tokens=40, **penalties)
    parameters = {**penalties, "do_sample": False, "max_new_tokens": 40, "return_full_text": False}
    native = httpx.post(f"{server}/models/write", json={"inputs": CHAT, "parameters": parameters}, timeout=60).json()
    assert found.choices[0].message.content == native[0]["generated_text"]
    assert found.choices[0].message.content != _text(local, do_sample=False, max_new_tokens=40)


def test_content_in_parts_and_a_conversation_given_back(client: OpenAI, local: Any) -> None:
    parts = [{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}]
    first = client.chat.completions.create(
        model="write",
        messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}],
        **GREEDY,
    )
    joined = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who\nare you?"}]
    assert first.choices[0].message.content == local(joined, **LOCAL)[0]["generated_text"]
    again: list[Any] = [*CHAT, first.choices[0].message, {"role": "user", "content": "And?"}]
    second = client.chat.completions.create(model="write", messages=again, **GREEDY)
    whole = [*CHAT, {"role": "assistant", "content": first.choices[0].message.content}, again[-1]]
    assert second.choices[0].message.content == local(whole, **LOCAL)[0]["generated_text"]


def test_last_message_is_answered_or_gone_on_with(client: OpenAI, local: Any) -> None:
    chat: list[Any] = [*CHAT, {"role": "assistant", "content": "I am"}]
    for more in (False, True):
        body = {"continue_final_message": more}
        found = client.chat.completions.create(model="write", messages=chat, extra_body=body, **GREEDY)
        expected = local(chat, continue_final_message=more, **LOCAL)[0]["generated_text"]
        assert found.choices[0].message.content == expected


def _message(choices: Any) -> tuple[str, str, list[tuple[str, str]], str]:
    message = choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
    return message.content, getattr(message, "reasoning_content", None), calls, choices[0].finish_reason


def test_tools(client: OpenAI) -> None:
    found = client.chat.completions.create(model="script", messages=CHAT, tools=TOOLS, temperature=0)
    calls = [("weather", '{"city": "Oslo"}'), ("time", "{}")]
    assert _message(found.choices) == ("Oslo is cold.", "They want the weather.", calls, "tool_calls")
    ids = {call.id for call in found.choices[0].message.tool_calls}
    assert len(ids) == 2
    only = client.chat.completions.create(
        model="script", messages=CHAT, tools=TOOLS, temperature=0, parallel_tool_calls=False
    )
    assert _message(only.choices)[2] == calls[:1]
    none = client.chat.completions.create(model="script", messages=CHAT, tools=TOOLS, temperature=0, tool_choice="none")
    assert _message(none.choices) == (PLAIN, None, [], "stop")


def test_tools_in_a_stream(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "script", "messages": CHAT, "tools": TOOLS, "temperature": 0}
    with client.chat.completions.stream(**asked) as stream:
        stream.until_done()
        found = stream.get_final_completion()
    calls = [("weather", '{"city": "Oslo"}'), ("time", "{}")]
    assert _message(found.choices)[0] == "Oslo is cold."
    assert _message(found.choices)[2:] == (calls, "tool_calls")
    chunks = list(client.chat.completions.create(**asked, stream=True))
    reasoning = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks]
    assert "".join(reasoning) == "They want the weather."
    assert len([piece for piece in reasoning if piece]) > 1  # told as it comes


def test_answers_of_tools_are_shown_to_the_model(client: OpenAI, server: str) -> None:
    first = client.chat.completions.create(model="script", messages=CHAT, tools=TOOLS, temperature=0).choices[0].message
    told: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": "cold"} for call in (first.tool_calls or [])[:1]
    ]
    call = first.model_copy(update={"tool_calls": (first.tool_calls or [])[:1]})
    after = client.chat.completions.create(model="script", messages=[*CHAT, call, *told], temperature=0)
    assert after.choices[0].message.content == PLAIN
    asked = {
        "inputs": [
            *CHAT,
            {
                "role": "assistant",
                "content": "Oslo is cold.",
                "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
            },
            *told,
        ]
    }
    native = httpx.post(f"{server}/models/script", json={**asked, "parameters": {"details": True}}, timeout=60).json()
    assert native[0]["details"]["generated_tokens"] == after.usage.completion_tokens


def test_variables_of_the_template(client: OpenAI) -> None:
    plain = client.chat.completions.create(model="script", messages=CHAT, temperature=0)
    body = {"chat_template_kwargs": {"mood": "so be it. "}}
    moody = client.chat.completions.create(model="script", messages=CHAT, temperature=0, extra_body=body)
    assert moody.usage.prompt_tokens > plain.usage.prompt_tokens
    for unread in ({"chat_template_kwargs": {"mud": 1}}, {"chat_template_kwargs": {"messages": 1}}):
        with pytest.raises(openai.UnprocessableEntityError, match="nothing that this model's chat template reads"):
            client.chat.completions.create(model="script", messages=CHAT, extra_body=unread)


def _png() -> str:
    buffer = io.BytesIO()
    samples.picture(2, (40, 72)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_images(client: OpenAI, checkpoints: Path) -> None:
    see = local_pipeline(case_of("image-text-to-text-idefics3"), checkpoints)
    text = {"type": "text", "text": "What is in it?"}
    asked = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png()}"}}, text],
        }
    ]
    found = client.chat.completions.create(model="see", messages=asked, temperature=0, max_tokens=8)  # type: ignore[arg-type]
    chat = [{"role": "user", "content": [{"type": "image", "image": samples.picture(2, (40, 72))}, text]}]
    expected = see(text=chat, return_full_text=False, generate_kwargs={"do_sample": False, "max_new_tokens": 8})
    assert found.choices[0].message.content == expected[0]["generated_text"]
    words = client.chat.completions.create(
        model="see", messages=[{"role": "user", "content": "Who?"}], temperature=0, max_tokens=8
    )
    chat = [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}]
    expected = see(text=chat, return_full_text=False, generate_kwargs={"do_sample": False, "max_new_tokens": 8})
    assert words.choices[0].message.content == expected[0]["generated_text"]


def test_images_are_streamed_and_told_token_by_token(client: OpenAI) -> None:
    url = f"data:image/png;base64,{_png()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is in it?"}]
    asked: dict[str, Any] = {"model": "see", "messages": [{"role": "user", "content": content}], "seed": 3}
    asked |= {"temperature": 1, "max_tokens": 8, "n": 2, "logprobs": True, "frequency_penalty": 0.5}
    whole = client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    for choice in whole.choices:
        assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    told, usage = ["", ""], None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            told[choice.index] += choice.delta.content or ""
        usage = chunk.usage or usage
    assert told == texts
    assert usage == whole.usage


SCHEMA = {
    "type": "object",
    "properties": {"sky": {"enum": ["blue", "grey"]}, "sun": {"type": "boolean"}},
    "required": ["sky", "sun"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("model", ["write", "see"])
@pytest.mark.parametrize("stream", [False, True])
def test_form_of_the_answer(client: OpenAI, model: str, stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    asked: dict[str, Any] = {"model": model, "messages": CHAT, "response_format": form, "max_tokens": 200}
    for seed in range(3):
        if stream:
            *chunks, end = client.chat.completions.create(**asked, seed=seed, temperature=1, stream=True)
            text, reason = "".join(one.choices[0].delta.content or "" for one in chunks), end.choices[0].finish_reason
        else:
            choice = client.chat.completions.create(**asked, seed=seed, temperature=1).choices[0]
            text, reason = choice.message.content or "", choice.finish_reason
        assert reason == "stop"
        jsonschema.validate(json.loads(text), SCHEMA)


def test_form_of_the_answer_by_the_inference_client_and_as_an_object(client: OpenAI, server: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
    hub = InferenceClient(model=f"{server}/models/write")
    found = hub.chat_completion(CHAT, response_format=form, max_tokens=200, temperature=1, seed=4)  # type: ignore[arg-type]
    jsonschema.validate(json.loads(found.choices[0].message.content), SCHEMA)
    asked: dict[str, Any] = {"model": "write", "messages": CHAT, "response_format": {"type": "json_object"}}
    any_object = client.chat.completions.create(**asked, max_tokens=400, temperature=1, seed=5).choices[0]
    assert (any_object.message.content or "").startswith("{")
    if any_object.finish_reason == "stop":
        assert isinstance(json.loads(any_object.message.content or ""), dict)
    pattern = {"response_format": {"type": "regex", "value": "(yes|no)"}}
    chosen = client.chat.completions.create(model="write", messages=CHAT, extra_body=pattern)
    assert chosen.choices[0].message.content in ("yes", "no")
    wrong = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nothing"}}}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model="write", messages=CHAT, response_format=wrong)  # type: ignore[arg-type]
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("stream", [False, True])
def test_call_that_is_required(client: OpenAI, stream: bool) -> None:
    city: dict[str, Any] = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
    city["additionalProperties"] = False  # or the answer may be as long as chance has it
    tools = [{"type": "function", "function": {"name": name, "parameters": city}} for name in ("weather", "time")]
    asked: dict[str, Any] = {"model": "script", "messages": CHAT, "tools": tools, "temperature": 1, "seed": 3}
    for choice, names in (("required", {"weather", "time"}), (_named("time"), {"time"})):
        if stream:
            with client.chat.completions.stream(**asked, tool_choice=choice, max_tokens=200) as told:
                found = told.get_final_completion().choices
        else:
            found = client.chat.completions.create(**asked, tool_choice=choice, max_tokens=200).choices
        content, _, calls, reason = _message(found)
        assert reason == "tool_calls"
        assert not content
        ((name, arguments),) = calls
        assert name in names
        assert json.loads(arguments)["city"] in ("Oslo", "Rome")


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def test_sounds(client: OpenAI, checkpoints: Path) -> None:
    hear = local_pipeline(case_of("any-to-any-qwen2-audio"), checkpoints)
    sound, buffer = samples.tone(2, 1.2), io.BytesIO()
    soundfile.write(buffer, sound, samples.SAMPLING_RATE, "FLOAT", format="WAV")
    text = {"type": "text", "text": "Is this the sound of the river?"}
    data = {"data": base64.b64encode(buffer.getvalue()).decode(), "format": "wav"}
    asked: list[Any] = [{"role": "user", "content": [{"type": "input_audio", "input_audio": data}, text]}]
    found = client.chat.completions.create(model="hear", messages=asked, temperature=0, max_tokens=8)
    chat = [{"role": "user", "content": [{"type": "audio", "audio": sound}, text]}]
    expected = hear(text=chat, return_full_text=False, generate_kwargs={"do_sample": False, "max_new_tokens": 8})
    assert found.choices[0].message.content == expected[0]["generated_text"]


REFUSED: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("nobody", {}, 404, "model", "models for this route: bare, endless, hear, script, see, write"),
    ("classify", {}, 422, "model", "classify serves text-classification"),
    ("bare", {}, 422, "messages", "no chat template"),
    ("write", {"tools": TOOLS}, 422, "tools", "no place for `tools`"),
    ("write", {"max_tokens": 1000}, 422, "max_tokens", "1000 new ones"),
    ("write", {"max_completion_tokens": 1000}, 422, "max_completion_tokens", "1000 new ones"),
    ("write", {"messages": [{"role": "user", "content": "a b " * 300}]}, 422, "messages", "context is 512"),
    ("script", {"messages": [{"role": "user"}]}, 422, "messages[0].content", "is missing"),
    (
        "write",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example"}}]}]},
        422,
        "messages[0].content[0].type",
        "takes text alone",
    ),
    (
        "see",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}]}]},
        422,
        "messages[0].content[0].image_url.url",
        "must be a data: URI or an http(s) URL",
    ),
    (
        "see",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a"}}]}
            ]
        },
        422,
        "messages[0].content[0].image_url.url",
        "cannot be fetched",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "more", "status", "param", "says"), REFUSED)
def test_refusals(
    client: OpenAI, model: str, more: dict[str, Any], status: int, param: str, says: str, stream: bool
) -> None:
    asked: dict[str, Any] = {"model": model, "messages": CHAT, "stream": stream, **more}
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**asked)
    assert caught.value.status_code == status
    assert caught.value.param == param
    assert says in caught.value.message
    assert "inputs" not in caught.value.message


def test_roles_that_the_template_refuses_are_the_callers_fault(client: OpenAI, server: str) -> None:
    answer = httpx.post(f"{server}/models/script", json={"inputs": [{"role": "robot", "content": "Hi"}]}, timeout=60)
    assert answer.status_code == 422
    assert "There is no role robot" in answer.json()["error"]


def _generating(server: str) -> int:
    info = httpx.get(f"{server}/models/endless/info", timeout=30).json()
    return int(info.get("generating", -1))  # which a busy replica does not tell


def test_client_who_leaves_frees_the_places_of_all_answers(client: OpenAI, server: str) -> None:
    asked: dict[str, Any] = {"model": "endless", "messages": CHAT, "max_tokens": 200_000, "n": 3, "seed": 1}
    more = {"min_tokens": 200_000, "temperature": 1}
    stream = client.chat.completions.create(**asked, extra_body=more, stream=True)
    until(lambda: bool(next(stream).choices[0].delta.content), every_s=0)
    until(lambda: _generating(server) == 3, every_s=0.01)
    stream.close()
    until(lambda: _generating(server) == 0, 60, 0.01)


def test_error_on_the_way_is_raised_by_the_client(client: OpenAI, server: str) -> None:
    """An answer that fits may not end yet, so that no token is left: found out after the stream has begun."""
    asked: dict[str, Any] = {"model": "write", "stream": True, "temperature": 0.7}
    more = {"response_format": {"type": "regex", "value": "(yes|no)"}, "min_tokens": 50}
    stream = client.chat.completions.create(**asked, messages=CHAT, extra_body=more)
    with pytest.raises(openai.APIError, match="No token both fits `response_format`") as caught:
        list(stream)
    assert caught.value.type == "invalid_request_error"


def test_inference_client(server: str, local: Any) -> None:
    text = _text(local, do_sample=False, max_new_tokens=12)
    for client in (
        InferenceClient(model=f"{server}/models/write"),
        InferenceClient(base_url=f"{server}/models/write/v1"),
    ):
        found = client.chat_completion(CHAT, max_tokens=12, temperature=0, n=1, logprobs=True, top_logprobs=2)
        assert found.choices[0].message.content == text
        assert found.choices[0].finish_reason == "length"
        assert len(found.choices[0].logprobs.content[0].top_logprobs) == 2
        assert found.usage.completion_tokens == 12
        pieces = list(client.chat_completion(CHAT, max_tokens=12, temperature=0, stream=True))
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == text
    by_name = InferenceClient(base_url=f"{server}/v1").chat.completions.create(
        model="write", messages=CHAT, max_tokens=12, temperature=0
    )
    assert by_name.choices[0].message.content == text


def test_inference_client_with_tools(server: str) -> None:
    client = InferenceClient(model=f"{server}/models/script")
    found = client.chat_completion(CHAT, tools=TOOLS, tool_choice="auto", temperature=0, max_tokens=60)
    message = found.choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["weather", "time"]
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}
    assert message.reasoning == "They want the weather."
    assert found.choices[0].finish_reason == "tool_calls"


def test_async_inference_client(server: str, local: Any) -> None:
    async def ask() -> tuple[str, str]:
        async with AsyncInferenceClient(model=f"{server}/models/write") as client:
            whole = await client.chat_completion(CHAT, max_tokens=12, temperature=0)
            stream = await client.chat_completion(CHAT, max_tokens=12, temperature=0, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole.choices[0].message.content, "".join(pieces)

    assert set(asyncio.run(ask())) == {_text(local, do_sample=False, max_new_tokens=12)}


def test_thirty_two_at_once(client: OpenAI, local: Any) -> None:
    def ask(number: int) -> str:
        asked: dict[str, Any] = {"model": "write", "messages": CHAT, "seed": number, "max_tokens": 3 + number}
        asked["temperature"] = float(number % 2)
        if number % 3 == 0:
            chunks = client.chat.completions.create(**asked, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        return client.chat.completions.create(**asked).choices[0].message.content or ""

    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(ask, range(32)))
    for number, answer in enumerate(answers):
        sampled = {"do_sample": True, "temperature": 1.0} if number % 2 else {"do_sample": False}
        assert answer == _text(local, number, max_new_tokens=3 + number, **sampled), number
