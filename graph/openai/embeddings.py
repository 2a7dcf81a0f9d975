"""``POST /v1/embeddings``: one vector for each text."""

import base64
import time
from typing import Any, Literal

import numpy as np
from pydantic import Field
from starlette.responses import JSONResponse, Response

from deployments.errors import InvalidInputError
from deployments.payload import TaskResult
from graph.dispatch import Target
from graph.headers import times
from graph.openai.asked import Asked
from graph.openai.calls import call_each, check_count, input_tokens
from graph.openai.fields import Body, read

SERVING = ("feature-extraction", "sentence-similarity")
_IDS = "`{}` is a list of token ids; send text: ids of another tokenizer would be other words to this model."


class EmbeddingsBody(Body):
    """The body of a request.

    Args:
        input: a text, or a list of them.
        model: by name or source.
        encoding_format: numbers, or base64 of little-endian float32.
        dimensions: numbers of each vector that stay (>=1, default all).
        truncate: cut texts that are too long rather than refuse them; not OpenAI's.
    """

    input: Any
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    truncate: bool = False


async def embeddings(asked: Asked) -> Response:
    """The vectors, in the order of the texts."""
    started = time.perf_counter()
    body = read(EmbeddingsBody, await asked.json())
    texts = _texts(body.input, asked.graph.limits.max_list_items)
    target = asked.target(body.model, SERVING)
    several = isinstance(body.input, list)
    results = await call_each(
        asked,
        target,
        texts,
        _parameters(target, body),
        lambda index: {"inputs": f"input[{index}]" if several else "input", "parameters": ""},
    )
    tokens = input_tokens(results)
    answer = {
        "object": "list",
        "data": [_row(index, result, body.encoding_format) for index, result in enumerate(results)],
        "model": target.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return JSONResponse(answer, headers=times(results, time.perf_counter() - started))


def _texts(given: Any, most: int) -> list[str]:
    """The texts of ``input``.

    Raises:
        InvalidInputError: it is neither text nor a list of texts.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list):
        raise InvalidInputError("`input` must be a string or a list of strings.", "input")
    check_count(texts, most, "input")
    for index, text in enumerate(texts):
        if isinstance(text, int) and not isinstance(text, bool):
            raise InvalidInputError(_IDS.format("input"), "input")
        if isinstance(text, list):
            raise InvalidInputError(_IDS.format(f"input[{index}]"), f"input[{index}]")
        if not isinstance(text, str):
            raise InvalidInputError(f"`input[{index}]` must be a string.", f"input[{index}]")
    return texts


def _parameters(target: Target, body: EmbeddingsBody) -> dict[str, Any]:
    """Of the call: sentence embeddings, pooled as the configuration has it, else as the model's authors do."""
    configured = target.config.parameters.get("pooling")
    given: dict[str, Any] = {
        "pooling": "auto" if configured in (None, "none") else configured,
        "encoding_format": "base64",  # a third of the numbers' size on the way; what the client gets is made here
        "return_tensors": False,
    }
    if body.dimensions is not None:
        given["dimensions"] = body.dimensions
    if body.truncate:
        given["truncate"] = True
    return given


def _row(index: int, result: TaskResult, encoding_format: str) -> dict[str, Any]:
    vector = result.output
    if encoding_format == "float":
        vector = np.frombuffer(base64.b64decode(vector), "<f4").tolist()
    return {"object": "embedding", "index": index, "embedding": vector}
