"""``POST /v1/rerank``: documents by how well they answer a query, in the form of Cohere and Jina.

A cross-encoder (text-classification with one label) reads each pair of query and document; an embedding model compares
their vectors.
"""

import time
from typing import Any

from pydantic import Field
from starlette.responses import JSONResponse, Response

from deployments.errors import InvalidInputError
from deployments.payload import TaskResult
from graph.dispatch import Target
from graph.headers import times
from graph.openai.asked import Asked
from graph.openai.calls import call_each, call_one, check_count, input_tokens
from graph.openai.fields import Body, read

SERVING = ("text-classification", "feature-extraction", "sentence-similarity")


class RerankBody(Body):
    """The body of a request.

    Args:
        query: what is asked.
        documents: texts, or objects with a ``text``.
        model: by name or source.
        top_n: results to give, the best first (>=1, default all).
        return_documents: repeat each document in its result.
        raw_scores: the cross-encoder's own numbers instead of their sigmoid; cosines are the same either way.
        truncate: cut documents that are too long rather than refuse them.
    """

    query: str
    documents: list[Any]
    model: str | None = None
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = False
    raw_scores: bool = False
    truncate: bool = True


async def rerank(asked: Asked) -> Response:
    """The documents' indexes and scores, the best first."""
    started = time.perf_counter()
    body = read(RerankBody, await asked.json())
    check_count(body.documents, asked.graph.limits.max_list_items, "documents")
    target = asked.target(body.model, SERVING)
    texts = [_text(one, f"documents[{index}]") for index, one in enumerate(body.documents)]
    score = _read_pairs if target.spec.name == "text-classification" else _compare
    scores, results = await score(asked, target, body, texts)
    ranking = sorted(range(len(texts)), key=lambda index: -scores[index])[: body.top_n]
    tokens = input_tokens(results)
    answer = {
        "id": f"rerank-{asked.request_id}",
        "object": "list",
        "model": target.name,
        "results": [
            _result(index, scores[index], texts[index] if body.return_documents else None) for index in ranking
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return JSONResponse(answer, headers=times(results, time.perf_counter() - started))


def _text(document: Any, path: str) -> str:
    """The text of a document: itself, or its ``text``.

    Raises:
        InvalidInputError: it has none, or has other fields, which no model here would read.
    """
    text = document.get("text") if isinstance(document, dict) and set(document) == {"text"} else document
    if isinstance(text, str):
        return text
    raise InvalidInputError(f"`{path}` must be a string, or an object with a `text` and nothing else.", path)


def _result(index: int, score: float, text: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"index": index, "relevance_score": score}
    return found if text is None else {**found, "document": {"text": text}}


async def _read_pairs(
    asked: Asked, target: Target, body: RerankBody, texts: list[str]
) -> tuple[list[float], list[TaskResult]]:
    """Scores of a cross-encoder.

    Raises:
        InvalidInputError: the model is a classifier of several labels.
    """
    pairs = [{"text": body.query, "text_pair": text} for text in texts]
    # with two labels asked for, a classifier shows that it is one
    parameters = {
        "top_k": 2,
        "function_to_apply": "none" if body.raw_scores else "sigmoid",
        "truncation": body.truncate,
    }
    results = await call_each(
        asked,
        target,
        pairs,
        parameters,
        lambda index: {"inputs.text": "query", "inputs": f"documents[{index}]", "parameters": ""},
    )
    if any(len(result.output) != 1 for result in results):
        raise InvalidInputError(
            f"{target.name} tells labels apart; this route is for models with one label, and for embedding models.",
            "model",
        )
    return [result.output[0]["score"] for result in results], results


async def _compare(
    asked: Asked, target: Target, body: RerankBody, texts: list[str]
) -> tuple[list[float], list[TaskResult]]:
    """Cosines of an embedding model."""
    names = {
        "inputs.sentences": "documents",
        "inputs.source_sentence": "query",
        "inputs": "documents",
        "parameters": "",
    }
    item = {"source_sentence": body.query, "sentences": texts}
    result = await call_one(asked, target, item, {"truncate": body.truncate}, names)
    return result.output, [result]
