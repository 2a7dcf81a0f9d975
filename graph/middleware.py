"""What every request passes before its route, and how errors become answers."""

import contextlib
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ray.exceptions import RayActorError, TaskCancelledError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from deployments.errors import PipelineGraphError
from graph.access.gate import Gate
from graph.openai.errors import is_openai, openai_body, openai_error
from graph.status import INTERNAL, describe, error_body

logger = logging.getLogger("ray.serve")

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
App = Callable[..., Awaitable[None]]


class Departure:
    """ASGI middleware: a caller who leaves in the middle is nobody's failure, and gets no answer.

    Through Serve's proxy, their leaving shows as an error of Ray; so does the loss of that proxy.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""

        async def heard() -> Any:
            try:
                return await receive()
            except (TaskCancelledError, RayActorError):
                return {"type": "http.disconnect"}

        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, heard if scope["type"] == "http" else receive, send)


class RequestId:
    """ASGI middleware: takes or makes the request id. Serve's proxy sets it, and puts it on the answer itself."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
            scope.setdefault("state", {})["request_id"] = given if _ID.fullmatch(given) else uuid.uuid4().hex
        await self._app(scope, receive, send)


class HasGate(Protocol):
    """The router."""

    @property
    def gate(self) -> Gate:
        """The gate of the configuration in force."""


class Guard:
    """ASGI middleware: lets in who may ask, and leaves the key in ``state.key``.

    Args:
        app: behind it.
        door: has the gate.
    """

    def __init__(self, app: App, door: HasGate) -> None:
        self._app = app
        self._door = door
        self._cors: tuple[tuple[str, ...], App] = ((), self._check)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origins = self._door.gate.access.cors_origins
        if origins != self._cors[0]:
            self._cors = (origins, self._with_cors(origins) if origins else self._check)
        await self._cors[1](scope, receive, send)

    def _with_cors(self, origins: tuple[str, ...]) -> App:
        return CORSMiddleware(
            self._check, origins, allow_methods=["GET", "POST"], allow_headers=["*"], expose_headers=["x-request-id"]
        )

    async def _check(self, scope: Any, receive: Any, send: Any) -> None:
        path = route_path(scope)
        try:
            with self._door.gate.passed(scope["method"], path, Headers(scope=scope)) as key:
                scope["state"]["key"] = key
                await self._app(scope, receive, send)
                return
        except PipelineGraphError as error:
            refusal = answer_error(path, error, scope["state"]["request_id"])
        await refusal(scope, receive, send)


def route_path(scope: Any) -> str:
    """The path below ``route_prefix``, which Serve leaves in the path and names as the root."""
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def answer_error(path: str, error: PipelineGraphError, request_id: str) -> Response:
    """The answer that tells ``error``, in OpenAI's shape on its routes."""
    status, body, headers = (openai_error if is_openai(path) else describe)(error, request_id)
    return JSONResponse(body, status, headers)


async def on_error(request: Request, error: Exception) -> Response:
    """Errors that are ours."""
    assert isinstance(error, PipelineGraphError)
    return answer_error(route_path(request.scope), error, request.state.request_id)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such route, wrong method) in the one error shape."""
    assert isinstance(error, HTTPException)
    message = {
        404: f"There is nothing at {request.url.path}; GET / lists what there is.",
        405: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, error.detail)
    word = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
    request_id = request.state.request_id
    if is_openai(route_path(request.scope)):
        body = openai_body(error.status_code, message, word, request_id)
    else:
        body = error_body(message, word, request_id)
    return JSONResponse(body, error.status_code, error.headers)


async def on_unforeseen(request: Request, error: Exception) -> Response:
    """Everything else: the cause goes to the log alone. Starlette asks also where an answer has begun already."""
    logger.error("request %s failed in the router", request.state.request_id, exc_info=error)
    return answer_unforeseen(request.scope)


def answer_unforeseen(scope: Any) -> Response:
    """The answer to what nobody expected."""
    (status, word, message), request_id = INTERNAL, scope["state"]["request_id"]
    if is_openai(route_path(scope)):
        return JSONResponse(openai_body(status, message, word, request_id), status)
    return JSONResponse(error_body(message, word, request_id), status)


HANDLERS: dict[Any, Any] = {
    PipelineGraphError: on_error,
    HTTPException: on_http_exception,
    Exception: on_unforeseen,
}
"""Starlette's ``exception_handlers``."""
