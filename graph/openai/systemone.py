"""``POST /v1/systemone``: questions about a state, answered with probabilities, as ``transformers serve`` has it."""

import time
from typing import Any

from pydantic import Field
from starlette.responses import JSONResponse, Response

from deployments.errors import PipelineGraphError
from graph.headers import times
from graph.openai.asked import Asked
from graph.openai.calls import call_one, input_tokens, renamed
from graph.openai.fields import Body, read

SERVING = ("decision",)
_NAMES = {"inputs.assets": "assets", "inputs": "questions"}


class SystemOneBody(Body):
    """The body of a request.

    Args:
        state: what is asked about.
        questions: by name; each has a ``type``: ``choice``, ``score`` or ``noul``.
        assets: images by the placeholder in the texts that they replace.
        model: by name or source.
    """

    state: str | dict[str, Any] | list[Any]
    questions: dict[str, dict[str, Any]] = Field(min_length=1, max_length=64)
    assets: dict[str, dict[str, Any]] = Field(default_factory=dict, max_length=4)
    model: str | None = None


async def systemone(asked: Asked) -> Response:
    """The answer to each question."""
    started = time.perf_counter()
    body = read(SystemOneBody, await asked.json())
    target = asked.target(body.model, SERVING)
    try:
        item = target.spec.inputs.read(body.model_dump(include={"state", "questions", "assets"}), "inputs")
    except PipelineGraphError as error:
        raise renamed(error, _NAMES) from None
    result = await call_one(asked, target, item, {}, _NAMES)
    usage = {"input_tokens": input_tokens([result]), "output_tokens": 0}
    answer = {"model": target.name, "answers": result.output, "usage": usage}
    return JSONResponse(answer, headers=times([result], time.perf_counter() - started))
