"""Text generation over HTTP with the real InferenceClient, and over handles: whole, told in detail, streamed."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import torch
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError, UnknownError

from deployments.errors import InvalidParameterError
from graph import pipeline
from tests.serve.cluster import deploy, until
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, endless, served
from tests.tiny import samples

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PROMPT = "Once upon a time"
GREEDY: dict[str, Any] = {"max_new_tokens": 10, "do_sample": False}
LONG: dict[str, Any] = {"max_new_tokens": 120, "do_sample": False}
ENDLESS: dict[str, Any] = {"max_new_tokens": 200_000, "min_new_tokens": 200_000, "do_sample": False}


BUFFER = io.BytesIO()
samples.pictures()[0].save(BUFFER, "PNG")
PICTURE = f"data:image/png;base64,{base64.b64encode(BUFFER.getvalue()).decode()}"
CONTENT = [{"type": "image", "image": PICTURE}, {"type": "text", "text": "What is in it?"}]
CHAT: list[dict[str, Any]] = [{"role": "user", "content": CONTENT}]
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    def model(case: str, name: str, **more: Any) -> dict[str, Any]:
        return served(case_of(case), checkpoints, name=name, **more)

    models = [
        {
            "name": "endless",
            "task": "text-generation",
            "model": str(endless(checkpoints)),
            "resources": {"num_cpus": 0.5},
        },
        model("text-generation-llama", "write"),
        model("text-generation-llama", "small", batch={"max_items": 1, "max_new_tokens": 400}),
        model("text-generation-gpt2", "gpt2"),
        model("text-classification-bert", "classify"),
        model("image-text-to-text-llava", "describe"),
        {
            "name": "narrow",
            "task": "text-generation",
            "model": str(endless(checkpoints)),
            "resources": {"num_cpus": 0.5},
            "scale": {"max_ongoing_requests": 1, "max_queued_requests": 1},
            "batch": {"max_items": 1},
        },
    ]
    deploy(url, {"models": models, "limits": {"request_timeout_s": 120}})
    return url


@pytest.fixture
def client(server: str) -> InferenceClient:
    return InferenceClient(model=f"{server}/models/write")


def _text(local: Any, prompt: str = PROMPT, **parameters: Any) -> str:
    torch.manual_seed(parameters.pop("seed", 0))
    return str(local(prompt, **parameters)[0]["generated_text"])


def test_text(client: InferenceClient, local: Any) -> None:
    assert client.text_generation(PROMPT, **GREEDY) == _text(local, **GREEDY)


def test_every_parameter_of_the_client_that_means_something(client: InferenceClient, local: Any) -> None:
    shared = {"do_sample": True, "temperature": 1.5, "top_k": 50, "top_p": 0.9, "typical_p": 0.95}
    shared |= {"repetition_penalty": 1.2, "max_new_tokens": 20, "return_full_text": False, "seed": 42}
    assert client.text_generation(PROMPT, **shared) == _text(local, **shared)
    told = client.text_generation(PROMPT, details=True, decoder_input_details=True, top_n_tokens=2, **shared)
    assert told.generated_text == _text(local, **shared)
    assert told.details.seed == 42
    assert len(told.details.top_tokens) == 20
    assert len(told.details.prefill) == len(local.tokenizer(PROMPT)["input_ids"])
    assert client.text_generation(PROMPT, best_of=1, watermark=False, frequency_penalty=0.0, **GREEDY)
    assert client.text_generation(PROMPT, truncate=2, return_full_text=False, **GREEDY) == _text(
        local,
        local.tokenizer.decode(local.tokenizer(PROMPT)["input_ids"][-2:]),
        return_full_text=False,
        **GREEDY,
    )


def test_details(client: InferenceClient, local: Any) -> None:
    told = client.text_generation(PROMPT, details=True, return_full_text=False, **GREEDY)
    assert told.generated_text == _text(local, return_full_text=False, **GREEDY)
    assert told.details.finish_reason == "length"
    assert told.details.generated_tokens == len(told.details.tokens) == 10
    assert "".join(token.text for token in told.details.tokens) == told.generated_text
    assert all(token.logprob <= 0 and token.special is False for token in told.details.tokens)
    stopped = client.text_generation(PROMPT, details=True, stop=[told.details.tokens[3].text], **LONG)
    assert stopped.details.finish_reason == "stop_sequence"


def test_stream(client: InferenceClient, local: Any) -> None:
    pieces = list(client.text_generation(PROMPT, stream=True, **GREEDY))
    assert len(pieces) == 10
    assert "".join(pieces) == _text(local, return_full_text=False, **GREEDY)


def test_stream_with_details(client: InferenceClient, local: Any) -> None:
    *steps, last = client.text_generation(PROMPT, stream=True, details=True, seed=7, max_new_tokens=10, top_n_tokens=2)
    assert {(step.generated_text, step.details) for step in steps} == {(None, None)}
    assert [step.index for step in (*steps, last)] == list(range(1, len(steps) + 2))
    assert len(last.top_tokens) == 2
    assert last.generated_text == _text(local, max_new_tokens=10, seed=7)
    assert last.generated_text == PROMPT + "".join(step.token.text for step in (*steps, last))
    assert (last.details.seed, last.details.generated_tokens) == (7, len(steps) + 1)
    assert last.details.input_length == len(local.tokenizer(PROMPT)["input_ids"])


def test_async_client(server: str, local: Any) -> None:
    async def ask() -> tuple[Any, Any, list[str]]:
        async with AsyncInferenceClient(model=f"{server}/models/write") as client:
            whole = await client.text_generation(PROMPT, **GREEDY)
            told = await client.text_generation(PROMPT, details=True, **GREEDY)
            pieces = [piece async for piece in await client.text_generation(PROMPT, stream=True, **GREEDY)]
            return whole, told, pieces

    whole, told, pieces = asyncio.run(ask())
    assert whole == told.generated_text == PROMPT + "".join(pieces) == _text(local, **GREEDY)


def test_thirty_two_at_once_streamed_and_not(client: InferenceClient, local: Any) -> None:
    def ask(number: int) -> str:
        prompt = f"{number} dogs " * (1 + number % 5)
        parameters = {"do_sample": bool(number % 2), "seed": number, "max_new_tokens": 5 + number}
        if number % 3:
            return prompt + "".join(client.text_generation(prompt, stream=True, **parameters))
        return str(client.text_generation(prompt, **parameters))

    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(ask, range(32)))
    for number, answer in enumerate(answers):
        prompt = f"{number} dogs " * (1 + number % 5)
        parameters = {"do_sample": bool(number % 2), "seed": number, "max_new_tokens": 5 + number}
        assert answer == _text(local, prompt, **parameters)


def test_chat_is_streamed_as_its_new_text(server: str, local: Any) -> None:
    chat = [{"role": "user", "content": "Who are you?"}]
    body = {"inputs": chat, "parameters": GREEDY, "stream": True}
    with httpx.stream("POST", f"{server}/models/write", json=body, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        events = [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]
    content = local(chat, **GREEDY)[0]["generated_text"][-1]["content"]
    assert "".join(event["token"]["text"] for event in events) == content == events[-1]["generated_text"]
    assert events[-1]["details"] is None


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("write", {"inputs": PROMPT, "parameters": {"max_new_tokens": 1000}}, "1000 new ones"),
        ("write", {"inputs": "a b " * 300}, "this model's context is 512"),
        ("write", {"inputs": PROMPT, "parameters": {"grammar": {"type": "regex", "value": "["}}}, "grammar"),
        ("write", {"inputs": PROMPT, "parameters": {"num_beams": 2}}, "num_beams"),
        ("describe", {"inputs": CHAT, "parameters": {"max_new_tokens": 2000}}, "2000 new ones"),
        ("write", {"inputs": [PROMPT, PROMPT]}, "one input"),
        ("small", {"inputs": PROMPT, "parameters": {"max_new_tokens": 401}}, "at most 400"),
        ("classify", {"inputs": PROMPT}, "answers in text"),
        ("write", {"inputs": PROMPT, "stream": "yes"}, "true or false"),
    ],
)
def test_stream_that_is_refused_has_its_status(server: str, name: str, body: dict[str, Any], says: str) -> None:
    answer = httpx.post(f"{server}/models/{name}", json={"stream": True, **body}, timeout=60)
    assert answer.status_code == 422
    assert says in answer.json()["error"]


def test_client_tells_what_was_refused_and_does_not_try_again(client: InferenceClient) -> None:
    for stream in (False, True):
        with pytest.raises((HfHubHTTPError, UnknownError), match=r"`parameters\.best_of` is not offered here"):
            list(client.text_generation(PROMPT, best_of=3, stream=stream, **GREEDY))


def _generating(server: str, name: str) -> int:
    info = httpx.get(f"{server}/models/{name}/info", timeout=30).json()
    return int(info.get("generating", -1))  # which a busy replica does not tell


def test_client_who_leaves_mid_stream_frees_the_place(server: str) -> None:
    """The answer would take minutes."""
    body = {"inputs": PROMPT, "parameters": ENDLESS, "stream": True}
    with httpx.stream("POST", f"{server}/models/endless", json=body, timeout=60) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data:"))  # httpx hangs up where it is dropped
        assert json.loads(next(lines)[5:])["index"] == 1
        until(lambda: _generating(server, "endless") == 1, 60, 0.01)
    until(lambda: _generating(server, "endless") == 0, 60, 0.01)


def test_client_who_leaves_without_a_stream_frees_the_place(server: str) -> None:
    body = {"inputs": PROMPT, "parameters": ENDLESS}

    async def leave() -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            asked = asyncio.create_task(http.post(f"{server}/models/endless", json=body))
            await asyncio.to_thread(until, lambda: _generating(server, "endless") == 1, 60, 0.01)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

    asyncio.run(leave())
    until(lambda: _generating(server, "endless") == 0, 60, 0.01)


def test_info_tells_the_mode(server: str) -> None:
    for name in ("write", "gpt2"):
        assert httpx.get(f"{server}/models/{name}/info", timeout=30).json()["batching"]["generation"] == "steps"


@pytest.mark.parametrize("over", ["http", "handle"])
def test_python(server: str, local: Any, over: str) -> None:
    write = pipeline("write", url=server if over == "http" else None)
    new = _text(local, return_full_text=False, **GREEDY)
    pieces = write(PROMPT, stream=True, **GREEDY)
    assert isinstance(pieces, Iterator)
    assert "".join(pieces) == new
    *_, last = write(PROMPT, stream=True, details=True, **GREEDY)
    assert last["generated_text"] == PROMPT + new
    assert last["details"]["finish_reason"] == "length"
    assert write(PROMPT, **GREEDY) == local(PROMPT, **GREEDY)
    with pytest.raises(InvalidParameterError, match="num_beams"):
        next(write(PROMPT, stream=True, num_beams=2))
    left = pipeline("endless", url=server if over == "http" else None)(PROMPT, stream=True, **ENDLESS)
    assert isinstance(next(left), str)
    until(lambda: _generating(server, "endless") == 1, 60, 0.01)
    left.close()
    until(lambda: _generating(server, "endless") == 0, 60, 0.01)


def _events(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]


@pytest.mark.parametrize("parameters", [{}, {"return_full_text": False}])
def test_picture_is_told_of_token_by_token(server: str, checkpoints: Path, parameters: dict[str, Any]) -> None:
    describe = local_pipeline(case_of("image-text-to-text-llava"), checkpoints)
    part = {"type": "image", "image": samples.pictures()[0]}
    chat = [{"role": "user", "content": [part, CONTENT[1]]}]
    (record,) = describe(text=chat, return_full_text=False, generate_kwargs=GREEDY)
    body = {"inputs": CHAT, "parameters": {"generate_kwargs": GREEDY, **parameters}}
    events = _events(f"{server}/models/describe", body)
    assert "".join(event["token"]["text"] for event in events) == record["generated_text"]
    assert events[-1]["generated_text"] == record["generated_text"]
    answer = httpx.post(f"{server}/models/describe", json=body, timeout=60).json()
    told = answer[0]["generated_text"]
    assert (told if parameters else told[-1]["content"]) == record["generated_text"]
    info = httpx.get(f"{server}/models/describe/info", timeout=30).json()
    assert info["batching"]["generation"] == "steps"


@pytest.mark.parametrize("over", ["http", "handle"])
def test_picture_in_python(server: str, over: str) -> None:
    describe = pipeline("describe", url=server if over == "http" else None)
    chat = [{"role": "user", "content": [{"type": "image", "image": samples.pictures()[0]}, CONTENT[1]]}]
    pieces = list(describe(chat, stream=True, max_new_tokens=6, generate_kwargs={"do_sample": False}))
    (record,) = describe(chat, max_new_tokens=6, return_full_text=False, generate_kwargs={"do_sample": False})
    assert "".join(pieces) == record["generated_text"]


def test_client_gets_what_fits_a_grammar(client: InferenceClient) -> None:
    asked = {"grammar": {"type": "json", "value": PERSON}, "do_sample": True, "max_new_tokens": 200}
    for seed in range(4):
        told = client.text_generation(PROMPT, details=True, return_full_text=False, seed=seed, **asked)
        assert told.details.finish_reason == "eos_token"
        jsonschema.validate(json.loads(told.generated_text), PERSON)
        pieces = client.text_generation(PROMPT, stream=True, seed=seed, **asked)
        assert "".join(pieces) == told.generated_text


@pytest.mark.parametrize("stream", [True, False])
def test_full_model_says_when_to_try_again(server: str, stream: bool) -> None:
    """One runs, one waits, and the third is told to come again."""
    body = {"inputs": PROMPT, "parameters": ENDLESS}

    async def ask() -> httpx.Response:
        url = f"{server}/models/narrow"
        async with (
            httpx.AsyncClient(timeout=60) as http,
            http.stream("POST", url, json={**body, "stream": True}) as first,
        ):
            assert await anext(first.aiter_lines())
            tasks = [asyncio.create_task(http.post(url, json={**body, "stream": stream})) for _ in range(3)]
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            return done.pop().result()

    refused = asyncio.run(ask())
    assert refused.status_code == 429
    assert refused.json()["error_type"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    until(lambda: _generating(server, "narrow") == 0, 60, 0.01)
