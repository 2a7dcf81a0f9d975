"""The OpenAI routes for vectors, ranks and sound in the document: there where a model serves them, and readable."""

from typing import Any

import jsonschema
import pytest

from graph.config import GraphConfig
from graph.openai.embeddings import EmbeddingsBody
from graph.openai.fields import Body, read
from graph.openai.rerank import RerankBody
from graph.openai.speech import SpeechBody
from graph.openai.systemone import SystemOneBody
from graph.openapi import document

SERVED = {
    "feature-extraction": {"embeddings", "rerank"},
    "sentence-similarity": {"embeddings", "rerank"},
    "text-classification": {"rerank"},
    "automatic-speech-recognition": {"audio/transcriptions", "audio/translations"},
    "text-to-audio": {"audio/speech"},
    "decision": {"systemone"},
    "fill-mask": set(),
}


def described(*tasks: str) -> Any:
    return document(GraphConfig.model_validate({"models": [{"name": f"my-{task}", "task": task} for task in tasks]}))


@pytest.mark.parametrize("task", SERVED)
def test_only_what_is_served_is_there(task: str) -> None:
    paths = {path for path, item in described(task)["paths"].items() if "/v1/" in path and "post" in item}
    mine = {path for path in paths if path.rpartition("/v1/")[2] not in ("chat/completions", "completions")}
    assert mine == {f"{prefix}/v1/{path}" for prefix in ("", f"/models/my-{task}") for path in SERVED[task]}


def test_every_field_says_what_it_is() -> None:
    paths = described(*SERVED)["paths"]
    for path in set().union(*SERVED.values()):
        (content,) = paths[f"/v1/{path}"]["post"]["requestBody"]["content"].values()
        for name, schema in content["schema"]["properties"].items():
            assert schema["description"], (path, name)


def test_the_examples_are_what_they_are_of() -> None:
    found = described(*SERVED)
    for path in set().union(*SERVED.values()):
        operation = found["paths"][f"/v1/{path}"]["post"]
        contents = [operation["requestBody"]["content"], operation["responses"]["200"]["content"]]
        for content in contents:
            for said in content.values():
                if "example" in said:
                    schema = {**said["schema"], "components": found["components"]}
                    jsonschema.Draft202012Validator(schema).validate(said["example"])


BODIES: list[tuple[str, type[Body], dict[str, Any], bool]] = [
    ("embeddings", EmbeddingsBody, {"model": "a", "input": "b"}, True),
    ("embeddings", EmbeddingsBody, {"model": "a", "input": ["b"], "dimensions": 3, "encoding_format": "base64"}, True),
    ("embeddings", EmbeddingsBody, {"model": "a"}, False),
    ("embeddings", EmbeddingsBody, {"model": "a", "input": "b", "dimensions": 0}, False),
    ("embeddings", EmbeddingsBody, {"model": "a", "input": "b", "stream": True}, False),
    ("rerank", RerankBody, {"model": "a", "query": "b", "documents": ["c", {"text": "d"}], "top_n": 1}, True),
    ("rerank", RerankBody, {"model": "a", "query": "b"}, False),
    ("rerank", RerankBody, {"model": "a", "query": "b", "documents": ["c"], "top_n": "1"}, False),
    ("audio/speech", SpeechBody, {"model": "a", "input": "b", "voice": "c", "response_format": "pcm"}, True),
    ("audio/speech", SpeechBody, {"model": "a", "input": "b", "voice": {"id": "c"}}, True),
    ("audio/speech", SpeechBody, {"model": "a", "input": "b"}, False),
    ("systemone", SystemOneBody, {"model": "a", "state": "b", "questions": {"c": {"type": "noul"}}}, True),
    ("systemone", SystemOneBody, {"model": "a", "state": "b", "questions": {}}, False),
    ("systemone", SystemOneBody, {"model": "a", "questions": {"c": {"type": "noul"}}}, False),
]


@pytest.mark.parametrize(("path", "kind", "body", "good"), BODIES)
def test_schema_and_server_agree(path: str, kind: type[Body], body: dict[str, Any], good: bool) -> None:
    (content,) = described(*SERVED)["paths"][f"/v1/{path}"]["post"]["requestBody"]["content"].values()
    assert jsonschema.Draft202012Validator(content["schema"]).is_valid(body) == good
    try:
        read(kind, body)
        assert good
    except Exception:
        assert not good
