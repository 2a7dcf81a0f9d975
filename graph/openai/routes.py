"""Which function answers which OpenAI route, and their errors in OpenAI's shape."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deployments.errors import PipelineGraphError
from graph.config import GraphConfig
from graph.dispatch import Dispatcher
from graph.openai import chat, completions, models, response
from graph.openai.asked import Asked
from graph.openai.embeddings import embeddings
from graph.openai.errors import openai_body, openai_error
from graph.openai.rerank import rerank
from graph.openai.speech import speech
from graph.openai.systemone import systemone
from graph.openai.transcriptions import transcriptions, translations
from graph.status import INTERNAL

logger = logging.getLogger("ray.serve")

Answer = Callable[[Asked], Awaitable[Response]]
GETS: dict[str, Answer] = {"models": models.listed, "models/{model:path}": models.one}
POSTS: dict[str, Answer] = {
    "chat/completions": chat.answer,
    "completions": completions.answer,
    "responses": response.answer,
    "embeddings": embeddings,
    "rerank": rerank,
    "systemone": systemone,
    "audio/transcriptions": transcriptions,
    "audio/translations": translations,
    "audio/speech": speech,
}


class Door(Protocol):
    """What the router has, read anew for each request."""

    @property
    def graph(self) -> GraphConfig:
        """The configuration in force."""

    def seen_by(self, request: Request) -> Dispatcher:
        """The dispatcher as the caller sees it."""


def routes(door: Door) -> list[Route]:
    """All routes, for all models and for a named one."""
    return [
        Route(f"{prefix}/v1/{path}", _endpoint(door, answer), methods=[method])
        for prefix in ("", "/models/{name}")
        for method, answers in (("GET", GETS), ("POST", POSTS))
        for path, answer in answers.items()
    ]


def _endpoint(door: Door, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request_id = request.state.request_id
        try:
            asked = Asked(request, door.graph, door.seen_by(request), request.path_params.get("name"))
            return await answer(asked)
        except PipelineGraphError as error:
            status, body, headers = openai_error(error, request_id)
            return JSONResponse(body, status, headers)
        except Exception as error:
            status, word, message = INTERNAL
            logger.error("request %s failed in the router", request_id, exc_info=error)
            return JSONResponse(openai_body(status, message, word, request_id), status)

    return endpoint
