"""``/v1/embeddings`` with the ``openai`` package, and ``/v1/rerank``. The oracle is sentence-transformers."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from tests.serve.cluster import deploy
from tests.serve.described import validate
from tests.serve.served import case_of, served
from tests.tiny.sentences import EMBEDDERS, LONG, TEXT, TEXTS, embedder, reranker

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

SPECS = {spec.id: spec for spec in EMBEDDERS}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    small = {"resources": {"num_cpus": 0.5}}
    models = [
        {"name": "embed", "task": "feature-extraction", "model": str(embedder(SPECS["unit"], checkpoints)), **small},
        {
            "name": "pooled",
            "task": "feature-extraction",
            "model": str(embedder(SPECS["plain"], checkpoints)),
            "parameters": {"pooling": "cls", "normalize": True},
            **small,
        },
        {"name": "cross", "task": "text-classification", "model": str(reranker(checkpoints)), **small},
        served(case_of("text-classification-bert"), checkpoints, name="classify"),
    ]
    deploy(url, {"models": models, "limits": {"max_list_items": 400}})
    return url


@pytest.fixture(scope="module")
def client(server: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def unit(checkpoints: Path) -> Any:
    return SentenceTransformer(str(embedder(SPECS["unit"], checkpoints)), device="cpu")


@pytest.fixture(scope="module")
def cross(checkpoints: Path) -> Any:
    return CrossEncoder(str(reranker(checkpoints)), device="cpu", activation_fn=torch.nn.Sigmoid())


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"user": "me"}])
def test_embeddings(server: str, client: openai.OpenAI, unit: Any, asked: dict[str, Any]) -> None:
    async def later() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as other:
            return await other.embeddings.create(model="embed", input=TEXTS, **asked)

    for answer in (client.embeddings.create(model="embed", input=TEXTS, **asked), asyncio.run(later())):
        assert (answer.object, answer.model) == ("list", "embed")
        assert [(row.object, row.index) for row in answer.data] == [("embedding", index) for index in range(3)]
        vectors = [row.embedding for row in answer.data]
        if asked.get("encoding_format") == "base64":  # then the client leaves it as it is
            vectors = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in vectors]
        close(vectors, unit.encode(TEXTS))
        tokens = sum(len(unit.tokenizer(text).input_ids) for text in TEXTS)
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_one_text_and_fewer_dimensions(client: openai.OpenAI, unit: Any) -> None:
    (row,) = client.embeddings.create(model="embed", input=TEXT, dimensions=8).data
    close(row.embedding, unit.encode(TEXT, truncate_dim=8, normalize_embeddings=True))
    with pytest.raises(
        openai.UnprocessableEntityError, match="`dimensions` is 4000; this model's vectors have 32"
    ) as no:
        client.embeddings.create(model="embed", input=TEXT, dimensions=4000)
    assert no.value.body["param"] == "dimensions"


def test_the_configured_pooling_is_kept(client: openai.OpenAI, checkpoints: Path) -> None:
    plain = SentenceTransformer(str(embedder(SPECS["plain"], checkpoints)), device="cpu")
    (row,) = client.embeddings.create(model="pooled", input=TEXT).data
    first = plain.encode(TEXT, output_value="token_embeddings")[0].numpy()
    close(row.embedding, first / np.linalg.norm(first))


def test_the_answers_are_as_described(server: str) -> None:
    for asked in ({}, {"encoding_format": "base64"}):
        body = {"model": "embed", "input": TEXTS, **asked}
        validate(server, "/v1/embeddings", httpx.post(f"{server}/v1/embeddings", json=body, timeout=60).json())


def test_under_the_path_of_a_model_its_name_does_not_matter(server: str, unit: Any) -> None:
    there = openai.OpenAI(base_url=f"{server}/models/embed/v1", api_key="none")
    (row,) = there.embeddings.create(model="text-embedding-3-small", input=TEXT).data
    close(row.embedding, unit.encode(TEXT))


def test_a_bad_text_is_named(client: openai.OpenAI, unit: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=r"`input\[1\]` has \d+ tokens .* at most 40") as error:
        client.embeddings.create(model="embed", input=[TEXT, LONG])
    assert error.value.body["param"] == "input[1]"
    with pytest.raises(openai.UnprocessableEntityError, match=r"`input` has \d+ tokens"):
        client.embeddings.create(model="embed", input=LONG)
    (row,) = client.embeddings.create(model="embed", input=LONG, extra_body={"truncate": True}).data
    close(row.embedding, unit.encode(LONG))


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "embed"}, 422, "`input` is missing."),
    ({"model": "embed", "input": []}, 422, "`input` is an empty list."),
    ({"model": "embed", "input": [1, 2]}, 422, "`input` is a list of token ids; send text"),
    ({"model": "embed", "input": ["a", [1, 2]]}, 422, "`input[1]` is a list of token ids; send text"),
    ({"model": "embed", "input": ["a", None]}, 422, "`input[1]` must be a string."),
    ({"model": "embed", "input": {"a": 1}}, 422, "`input` must be a string or a list of strings."),
    ({"model": "embed", "input": ["a"] * 401}, 413, "`input` has 401 items; at most 400 are taken."),
    ({"model": "embed", "input": "a", "dimensions": 0}, 422, "`dimensions` is wrong"),
    ({"model": "embed", "input": "a", "encoding_format": "int8"}, 422, "`encoding_format` is wrong"),
    ({"model": "embed", "input": "a", "prompt": "b"}, 422, "`prompt` is unknown"),
    ({"model": "cross", "input": "a"}, 422, "cross serves text-classification; this route is for"),
    ({"model": "other", "input": "a"}, 404, "There is no model 'other' here"),
    ({"input": "a"}, 422, "`model` is missing; models for this route: embed, pooled."),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD)
def test_bad_requests_for_embeddings(server: str, body: dict[str, Any], status: int, says: str) -> None:
    answer = httpx.post(f"{server}/v1/embeddings", json=body, timeout=60)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text


def rerank(server: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server}/v1/rerank", json=body, timeout=60)


QUERY = "Is the food good in London?"
DOCUMENTS = [*TEXTS, "London", "the cat is red", LONG * 2]


@pytest.mark.parametrize("as_object", [False, True])
def test_rerank_with_a_cross_encoder(server: str, cross: Any, as_object: bool) -> None:
    documents: list[Any] = [{"text": text} for text in DOCUMENTS] if as_object else DOCUMENTS
    answer = rerank(server, model="cross", query=QUERY, documents=documents, return_documents=as_object).json()
    validate(server, "/v1/rerank", answer)
    read = [len(cross.tokenizer(QUERY, text, truncation=True).input_ids) for text in DOCUMENTS]
    assert answer["usage"] == {"prompt_tokens": sum(read), "total_tokens": sum(read)}
    want = cross.rank(QUERY, DOCUMENTS)
    assert [result["index"] for result in answer["results"]] == [row["corpus_id"] for row in want]
    close([result["relevance_score"] for result in answer["results"]], [row["score"] for row in want])
    if as_object:
        texts = [result["document"] for result in answer["results"]]
        assert texts == [{"text": DOCUMENTS[row["corpus_id"]]} for row in want]
    else:
        assert {*answer["results"][0]} == {"index", "relevance_score"}


def test_rerank_with_raw_scores_and_few_results(server: str, cross: Any) -> None:
    answer = rerank(server, model="cross", query=QUERY, documents=TEXTS, top_n=2, raw_scores=True).json()
    raw = cross.predict([(QUERY, text) for text in TEXTS], activation_fn=torch.nn.Identity())
    best = np.argsort(-raw)[:2]
    assert [result["index"] for result in answer["results"]] == best.tolist()
    close([result["relevance_score"] for result in answer["results"]], raw[best])


def test_rerank_with_an_embedding_model(server: str, unit: Any) -> None:
    texts = [f"{text} {number}" for number in range(100) for text in TEXTS]
    answer = rerank(server, model="embed", query=QUERY, documents=texts).json()
    cosines = (unit.encode(texts) @ unit.encode(QUERY)).tolist()
    scores = {result["index"]: result["relevance_score"] for result in answer["results"]}
    assert len(scores) == 300
    close([scores[index] for index in range(300)], cosines)
    given = [result["relevance_score"] for result in answer["results"]]
    assert given == sorted(given, reverse=True)


BAD_RANKS: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "classify", "query": "a", "documents": ["b", "c"]}, 422, "classify tells labels apart"),
    ({"model": "cross", "query": "a", "documents": []}, 422, "`documents` is an empty list."),
    ({"model": "cross", "query": "a", "documents": ["a", 1]}, 422, "`documents[1]` must be a string, or an object"),
    ({"model": "cross", "query": "a", "documents": [{"title": "b"}]}, 422, "`documents[0]` must be a string"),
    ({"model": "cross", "query": "a", "documents": ["a"] * 401}, 413, "`documents` has 401 items"),
    ({"model": "cross", "documents": ["a"]}, 422, "`query` is missing."),
    ({"model": "cross", "query": "a", "documents": ["a"], "top_n": 0}, 422, "`top_n` is wrong"),
    ({"model": "cross", "query": "a", "documents": ["a"], "max_tokens_per_doc": 9}, 422, "`max_tokens_per_doc` is unk"),
    ({"model": "cross", "query": "a", "documents": ["b", LONG * 8], "truncate": False}, 422, "`documents[1]` has"),
    ({"model": "embed", "query": "a", "documents": ["b", LONG], "truncate": False}, 422, "`documents[1]` has"),
    ({"model": "embed", "query": LONG, "documents": ["b"], "truncate": False}, 422, "`query` has"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD_RANKS)
def test_bad_requests_for_rerank(server: str, body: dict[str, Any], status: int, says: str) -> None:
    answer = rerank(server, **body)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text
