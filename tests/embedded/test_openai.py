"""The packaged SmolLM2 behind the OpenAI routes of a real server, asked by the real client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.serve.cluster import cluster, deploy

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

CHAT: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client(models: dict[str, Path]) -> Iterator[OpenAI]:
    source = str(models["smollm2-135m-instruct"])
    with cluster() as url:
        deploy(url, {"models": [{"name": "chat", "task": "text-generation", "model": source}]})
        with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield client


def test_chat(client: OpenAI) -> None:
    found = client.chat.completions.create(model="chat", messages=CHAT, temperature=0)
    assert found.choices[0].message.content == "The capital of France is Paris."
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.completion_tokens == 8  # the token that ends the message is one of them


def test_stream(client: OpenAI) -> None:
    chunks = client.chat.completions.create(model="chat", messages=CHAT, temperature=0, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in chunks]
    assert "".join(piece or "" for piece in pieces) == "The capital of France is Paris."
    assert len(pieces) > 5


def test_response(client: OpenAI) -> None:
    found = client.responses.create(model="chat", input=CHAT[0]["content"], temperature=0)
    assert (found.output_text, found.status) == ("The capital of France is Paris.", "completed")
    assert found.usage is not None
    assert found.usage.output_tokens == 8


def test_completion(client: OpenAI) -> None:
    found = client.completions.create(
        model="chat", prompt="The capital of France is", temperature=0, max_tokens=8, stop="\n"
    )
    assert (found.choices[0].text, found.choices[0].finish_reason) == (" Paris.", "stop")
