"""A stream as OpenAI's clients read it: ``data: {...}`` for each chunk, ``data: [DONE]`` at the end."""

from typing import Any

from deployments.errors import PipelineGraphError
from graph.openai.errors import openai_error
from graph.stream import Errors, block

DONE = b"data: [DONE]\n\n"


def chunk(value: dict[str, Any]) -> bytes:
    """One event of the stream; with a space behind the colon, which some clients look for."""
    return block(value).replace(b"data:", b"data: ", 1)


def errors(request_id: str) -> Errors:
    """Errors on the way as events, which the clients raise."""

    def told(error: PipelineGraphError) -> bytes:
        return chunk(openai_error(error, request_id)[1])

    return told
