"""Embeddings and sentence similarity over real HTTP and the handle, with the clients people have.

The oracle is sentence-transformers with the same model in this process, and the local pipeline for token features.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import transformers
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from sentence_transformers import SentenceTransformer

import graph
from deployments.errors import InvalidInputError, InvalidParameterError
from tests.serve.cluster import deploy
from tests.tiny.sentences import EMBEDDERS, LONG, QUERY, TEXT, TEXTS, embedder

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

BY_ID = {spec.id: spec for spec in EMBEDDERS}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    small = {"resources": {"num_cpus": 0.5}}
    models = [
        {"name": "embed", "task": "feature-extraction", "model": str(embedder(BY_ID["unit"], checkpoints)), **small},
        {
            "name": "similar",
            "task": "sentence-similarity",
            "model": str(embedder(BY_ID["dense"], checkpoints)),
            **small,
        },
        {  # its task is told by its files
            "name": "pooled",
            "model": str(embedder(BY_ID["plain"], checkpoints)),
            "parameters": {"pooling": "cls", "normalize": True},
            **small,
        },
    ]
    deploy(url, {"models": models, "limits": {"max_list_items": 1000}})
    return url


@pytest.fixture(scope="module")
def unit(checkpoints: Path) -> Any:
    """sentence-transformers with the model served as ``embed``."""
    return SentenceTransformer(str(embedder(BY_ID["unit"], checkpoints)), device="cpu")


@pytest.fixture(scope="module")
def dense(checkpoints: Path) -> Any:
    """And as ``similar``."""
    return SentenceTransformer(str(embedder(BY_ID["dense"], checkpoints)), device="cpu")


def close(got: Any, want: Any) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def ask(url: str, path: str, inputs: Any, **root: Any) -> httpx.Response:
    return httpx.post(f"{url}/{path}", json={"inputs": inputs, **root}, timeout=60)


CALLS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"normalize": True}, {"normalize_embeddings": True}),
    ({"normalize": True, "prompt_name": "query"}, {"prompt_name": "query"}),
    ({"normalize": True, "dimensions": 8}, {"truncate_dim": 8, "normalize_embeddings": True}),
    ({"normalize": True, "encoding_format": "float", "truncate": True, "truncation_direction": "right"}, {}),
]


@pytest.mark.parametrize(("asked", "same"), CALLS, ids=["unit", "prompt", "dimensions", "everything"])
def test_feature_extraction_of_the_hugging_face_clients(
    server: str, unit: Any, asked: dict[str, Any], same: dict[str, Any]
) -> None:
    model = f"{server}/models/embed"

    async def later(text: Any) -> Any:
        async with AsyncInferenceClient() as client:
            return await client.feature_extraction(text, model=model, **asked)

    for one in (
        InferenceClient().feature_extraction(TEXT, model=model, **asked),
        asyncio.run(later(TEXT)),
    ):
        assert one.dtype == np.float32
        close(one, unit.encode([TEXT], **same))
    for many in (
        InferenceClient().feature_extraction(TEXTS, model=model, **asked),
        asyncio.run(later(TEXTS)),
    ):
        close(many, unit.encode(TEXTS, **same))


def test_without_parameters_the_clients_get_the_features_of_tokens(server: str, checkpoints: Path) -> None:
    local = transformers.pipeline("feature-extraction", model=str(embedder(BY_ID["unit"], checkpoints)), device="cpu")
    close(InferenceClient().feature_extraction(TEXT, model=f"{server}/models/embed"), np.float32(local(TEXT)))


def test_long_texts_over_the_clients(server: str, unit: Any) -> None:
    client, model = InferenceClient(), f"{server}/models/embed"
    close(client.feature_extraction(LONG, model=model, normalize=True, truncate=True), unit.encode([LONG]))
    left = client.feature_extraction(LONG, model=model, normalize=True, truncate=True, truncation_direction="left")
    assert np.abs(left - unit.encode([LONG])).max() > 1e-3
    with pytest.raises(HfHubHTTPError, match=r"has \d+ tokens and this model's embeddings are of at most 40"):
        client.feature_extraction(LONG, model=model, normalize=True)
    with pytest.raises(HfHubHTTPError, match=r"its prompts are .*passage, query"):
        client.feature_extraction(TEXT, model=model, prompt_name="q")


def test_sentence_similarity_of_the_hugging_face_clients(server: str, unit: Any, dense: Any) -> None:
    async def later(model: str) -> Any:
        async with AsyncInferenceClient() as client:
            return await client.sentence_similarity(TEXT, TEXTS, model=model)

    urls = {"models/embed": unit, "models/similar": dense, "tasks/sentence-similarity": dense}
    for path, oracle in urls.items():
        want = oracle.similarity(oracle.encode(TEXT), oracle.encode(TEXTS))[0]
        got = InferenceClient().sentence_similarity(TEXT, TEXTS, model=f"{server}/{path}")
        assert all(type(value) is float for value in got)
        close(got, want)
        close(asyncio.run(later(f"{server}/{path}")), want)


def test_a_model_of_either_task_serves_both(server: str, unit: Any, dense: Any) -> None:
    for name, task in (("embed", "feature-extraction"), ("similar", "sentence-similarity")):
        info = httpx.get(f"{server}/models/{name}/info", timeout=30).json()
        assert info["task"] == task
        assert sorted(info["tasks"]) == ["feature-extraction", "sentence-similarity"]
        assert info["embeddings"]["max_tokens"] == 40
    answer = ask(server, "models/similar", TEXT, normalize=True)
    close(answer.json(), dense.encode([TEXT]))
    picked = ask(server, "tasks/sentence-similarity?model=embed", {"source_sentence": TEXT, "sentences": TEXTS})
    close(picked.json(), unit.similarity(unit.encode(TEXT), unit.encode(TEXTS))[0])
    for path, inputs in (("sentence-similarity", TEXT), ("feature-extraction", {"source_sentence": TEXT})):
        refused = ask(server, f"tasks/{path}", inputs)
        assert (refused.status_code, refused.json()["field"]) == (422, "inputs")


def test_plain_requests(server: str, unit: Any) -> None:
    one = ask(server, "models/embed", TEXT, parameters={"pooling": "auto"})
    close(one.json(), unit.encode([TEXT]))
    encoded = ask(server, "models/embed", TEXTS, encoding_format="base64").json()
    close([np.frombuffer(base64.b64decode(text), "<f4") for text in encoded], unit.encode(TEXTS))
    (alone,) = ask(server, "models/embed", TEXT, encoding_format="base64").json()
    close(np.frombuffer(base64.b64decode(alone), "<f4"), unit.encode(TEXT))
    lists = ask(server, "models/embed", [{"source_sentence": TEXT, "sentences": TEXTS}] * 2).json()
    close(lists, [unit.similarity(unit.encode(TEXT), unit.encode(TEXTS))[0]] * 2)


def test_a_configured_default_counts_and_a_call_overrides_it(server: str, checkpoints: Path) -> None:
    local = transformers.pipeline("feature-extraction", model=str(embedder(BY_ID["plain"], checkpoints)), device="cpu")
    features = np.asarray(local(TEXT))[0]
    close(ask(server, "models/pooled", TEXT).json(), [features[0] / np.linalg.norm(features[0])])
    close(ask(server, "models/pooled", TEXT, normalize=False).json(), [features[0]])
    close(ask(server, "models/pooled", TEXT, pooling="none", normalize=False).json(), [features])


@pytest.mark.parametrize(
    ("root", "field"),
    [
        ({"pooling": "maen"}, "parameters.pooling"),
        ({"dimensions": 33}, "parameters.dimensions"),
        ({"dimensions": 0}, "parameters.dimensions"),
        ({"prompt_name": "qury"}, "parameters.prompt_name"),
        ({"prompt_name": "query", "prompt": "x"}, "parameters.prompt"),
        ({"normalize": "yes"}, "parameters.normalize"),
        ({"encoding_format": "base64", "pooling": "none"}, "parameters.encoding_format"),
        ({"normalise": True}, "parameters.normalise"),
    ],
)
def test_what_cannot_be_is_refused_by_name(server: str, root: dict[str, Any], field: str) -> None:
    answer = ask(server, "models/embed", TEXT, **root)
    assert (answer.status_code, answer.json()["error_type"], answer.json()["field"]) == (
        422,
        "invalid_parameter",
        field,
    )


def test_too_many_sentences_and_one_too_long(server: str) -> None:
    many = ask(server, "models/embed", {"source_sentence": TEXT, "sentences": ["a"] * 1001})
    assert (many.status_code, many.json()["field"]) == (413, "inputs.sentences")
    sentences = [f"dog {index}" for index in range(700)]
    sentences[600] = LONG
    long = ask(server, "models/embed", {"source_sentence": TEXT, "sentences": sentences})
    assert (long.status_code, long.json()["field"]) == (422, "inputs.sentences[600]")


def test_a_list_of_hundreds_comes_in_order_and_in_batches(server: str, unit: Any) -> None:
    sentences = [f"the {index} dogs of {'London ' * (index % 5)}" for index in range(700)]
    answer = ask(server, "models/embed", {"source_sentence": TEXT, "sentences": sentences})
    close(answer.json(), unit.similarity(unit.encode(TEXT), unit.encode(sentences))[0])
    assert int(answer.headers["x-batch-size"]) > 4


@pytest.mark.parametrize("over", ["http", "handle"])
def test_the_python_client(server: str, unit: Any, dense: Any, over: str) -> None:
    url = server if over == "http" else None
    embed = graph.pipeline("feature-extraction", model="embed", url=url)
    close(embed(TEXT, normalize=True), unit.encode(TEXT))
    close(embed(TEXTS, prompt=QUERY), unit.encode(TEXTS, prompt_name="query"))
    assert embed(TEXT, normalize=True, return_tensors=True).shape == (32,)
    compare = graph.pipeline("sentence-similarity", url=url)
    assert (compare.task, compare.name) == ("sentence-similarity", "similar")
    want = dense.similarity(dense.encode(TEXT), dense.encode(TEXTS))[0]
    close(compare({"source_sentence": TEXT, "sentences": TEXTS}), want)
    close(compare(TEXT, TEXTS), want)
    close(compare(source_sentence=TEXT, sentences=TEXTS), want)
    sentences = TEXTS * 100
    assert len(compare(TEXT, sentences)) == 300
    chosen = graph.pipeline("sentence-similarity", "embed", url=url)
    assert (chosen.task, chosen.name) == ("sentence-similarity", "embed")
    close(embed({"source_sentence": TEXT, "sentences": TEXTS}), chosen(TEXT, TEXTS))
    with pytest.raises(InvalidParameterError, match="this model's vectors have 32"):
        embed(TEXT, dimensions=64)
    with pytest.raises(InvalidInputError, match=r"sentences\[1\]"):
        compare(TEXT, [TEXT, LONG])


def test_the_pipelines_own_form_over_http(server: str, unit: Any) -> None:
    kind = "application/vnd.pipeline+json"
    body = json.dumps({"inputs": TEXT, "parameters": {"normalize": True}})
    answer = httpx.post(f"{server}/models/embed", content=body, headers={"accept": kind}, timeout=60)
    close(answer.json(), unit.encode(TEXT))
