"""``/v1/completions`` with the real OpenAI client; the oracle is the local pipeline."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from openai import AsyncOpenAI, OpenAI

from tests.serve.cluster import deploy
from tests.tiny import CASES, checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PROMPTS = ["Once upon a time", "The dog of the house", "Why"]
LLAMA = next(case for case in CASES if case.id == "text-generation-llama")
SEE = next(case for case in CASES if case.id == "image-text-to-text-llava")


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    models = [
        {
            "name": name,
            "task": case.task,
            "model": str(checkpoint(case, checkpoints)),
            "resources": {"num_cpus": 0.5},
        }
        for name, case in (("write", LLAMA), ("see", SEE))
    ]
    deploy(url, {"models": models})
    return url


def _text(local: Any, prompt: str, seed: int = 0, **parameters: Any) -> str:
    torch.manual_seed(seed)
    return str(local(prompt, return_full_text=False, **parameters)[0]["generated_text"])


def _greedy(local: Any, prompt: str, most: int = 9) -> str:
    return _text(local, prompt, do_sample=False, max_new_tokens=most)


def test_text(client: OpenAI, local: Any) -> None:
    found = client.completions.create(model="write", prompt=PROMPTS[0], max_tokens=9, temperature=0)
    assert found.id.startswith("cmpl-")
    assert found.object == "text_completion"
    (choice,) = found.choices
    assert (choice.text, choice.finish_reason, choice.logprobs) == (_greedy(local, PROMPTS[0]), "length", None)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(local.tokenizer(PROMPTS[0])["input_ids"])
    assert found.usage.completion_tokens == 9
    echoed = client.completions.create(model="write", prompt=PROMPTS[0], max_tokens=9, temperature=0, echo=True)
    assert echoed.choices[0].text == PROMPTS[0] + choice.text


def test_a_model_that_is_alone_needs_no_name(client: OpenAI, local: Any) -> None:
    found = client.completions.create(model="dummy", prompt="Why", max_tokens=9, temperature=0)
    assert (found.model, found.choices[0].text) == ("write", _greedy(local, "Why"))


@pytest.mark.parametrize("stream", [False, True])
def test_several_prompts_and_answers(client: OpenAI, local: Any, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "write", "prompt": PROMPTS, "n": 2, "seed": 4, "temperature": 1, "max_tokens": 7}
    texts, usage, reasons = [""] * 6, None, set()
    if stream:
        for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
                reasons |= {choice.finish_reason}
            usage = chunk.usage or usage
        assert reasons == {None, "length"}
    else:
        found = client.completions.create(**asked)
        texts, usage = [choice.text for choice in found.choices], found.usage
    sampled = {"do_sample": True, "temperature": 1.0, "max_new_tokens": 7}
    assert texts == [_text(local, prompt, 4 + index, **sampled) for prompt in PROMPTS for index in (0, 1)]
    assert usage is not None
    assert usage.prompt_tokens == sum(len(local.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS)
    assert usage.completion_tokens == 42


def test_async_stream_with_echo_and_stop(server: str, local: Any) -> None:
    whole = _greedy(local, PROMPTS[1], 30)
    stop = whole[10:13]
    assert stop not in whole[:10]

    async def ask() -> tuple[list[Any], Any]:
        async with AsyncOpenAI(base_url=f"{server}/models/write/v1", api_key="none", timeout=60) as client:
            asked: dict[str, Any] = {
                "model": "x",
                "prompt": PROMPTS[1],
                "max_tokens": 30,
                "temperature": 0,
                "stop": stop,
            }
            stream = await client.completions.create(**asked, echo=True, stream=True)
            return [chunk async for chunk in stream], await client.completions.create(**asked)

    chunks, found = asyncio.run(ask())
    assert "".join(chunk.choices[0].text for chunk in chunks) == PROMPTS[1] + whole[:10]
    assert (found.choices[0].text, found.choices[0].finish_reason) == (whole[:10], "stop")
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client: OpenAI, local: Any, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "write", "prompt": PROMPTS[0], "max_tokens": 9, "temperature": 0, "logprobs": 2}
    if stream:
        parts = [chunk.choices[0].logprobs for chunk in client.completions.create(**asked, stream=True)]
    else:
        parts = [client.completions.create(**asked).choices[0].logprobs]
    tokens = [one for part in parts for one in part.tokens]
    offsets = [one for part in parts for one in part.text_offset]
    logprobs = [one for part in parts for one in part.token_logprobs]
    tops = [one for part in parts for one in part.top_logprobs]
    text = _greedy(local, PROMPTS[0])
    assert "".join(tokens) == text
    assert all(text.startswith(token, offset) for token, offset in zip(tokens, offsets, strict=True))
    ids = torch.tensor(
        local(PROMPTS[0], return_tensors=True, do_sample=False, max_new_tokens=9)[0]["generated_token_ids"]
    )
    with torch.no_grad():
        scores = torch.log_softmax(local.model(ids[None]).logits[0], -1)
    expected = [float(scores[place - 1, ids[place]]) for place in range(len(ids) - 9, len(ids))]
    assert logprobs == pytest.approx(expected, abs=1e-4)
    for token, logprob, top in zip(tokens, logprobs, tops, strict=True):
        assert top.get(token, logprob) == pytest.approx(logprob)


def test_refusals_name_the_prompt(client: OpenAI) -> None:
    for prompt, param in (("a b " * 300, "prompt"), (["Why", "a b " * 300], "prompt[1]"), (["Why", ""], "prompt[1]")):
        for stream in (False, True):
            with pytest.raises(openai.UnprocessableEntityError) as caught:
                client.completions.create(model="write", prompt=prompt, stream=stream)
            assert caught.value.param == param
            assert f"`{param}`" in caught.value.message
    with pytest.raises(openai.UnprocessableEntityError, match="see serves image-text-to-text"):
        client.completions.create(model="see", prompt="Why")
