"""The ingress router: HTTP in, handle calls, HTTP out. Light: no torch in this process.

A request passes ``decode.py`` → ``fetch.py`` → ``dispatch.py`` → (replica) → ``encode.py``; an error passes
``status.py``.
"""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from ray import serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deployments.errors import PayloadTooLargeError, PipelineGraphError
from deployments.payload import TaskResult
from graph import catalog
from graph.config import GraphConfig
from graph.decode import read_body, read_call
from graph.dispatch import Dispatcher, Target
from graph.encode import encode
from graph.fetch import Fetcher
from graph.headers import times
from graph.readiness import Readiness
from graph.status import INTERNAL, describe, error_body

logger = logging.getLogger("ray.serve")

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
ROUTER_NAME = "router"


@serve.deployment(name=ROUTER_NAME)
@serve.ingress()
class Router:
    """The one ingress deployment.

    Args:
        *models: handles of the model deployments; they bind the models into the application, and calls go over
            handles made by name, so that a model added later needs no new router.
    """

    def __init__(self, *models: Any) -> None:
        del models
        self._app_name = serve.get_replica_context().app_name
        self._readiness = Readiness(self._app_name)
        self._graph: GraphConfig | None = None
        self._dispatcher: Dispatcher | None = None
        self._fetcher: Fetcher | None = None

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over the configuration: at start, and when ``serve deploy`` brings a new one."""
        graph = GraphConfig.model_validate(user_config)
        before, self._fetcher = self._fetcher, Fetcher(graph.fetch)
        self._dispatcher = Dispatcher(
            graph.models,
            self._app_name,
            graph.limits.request_timeout_s,
            self._readiness,
            self._fetcher.fetch_all,
        )
        if before is not None:
            await before.close()
        self._graph = graph
        self._readiness.start()

    def __serve_build_asgi_app__(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.index),
                Route("/health", self.health),
                Route("/ready", self.ready),
                Route("/models", self.models),
                Route("/resolve", self.resolve_query),
                Route("/models/{name}", self.infer_model, methods=["POST"]),
                Route("/models/{name}/info", self.model_info),
                Route("/models/{name}/health", self.model_health),
                Route("/tasks/{task}", self.infer_task, methods=["POST"]),
            ],
            middleware=[Middleware(RequestId)],
            exception_handlers={
                PipelineGraphError: _on_error,
                HTTPException: _on_http_exception,
                Exception: _on_unforeseen,
            },
        )

    @property
    def graph(self) -> GraphConfig:
        """The configuration in force."""
        assert self._graph is not None, "Serve calls reconfigure before the first request"
        return self._graph

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the configuration in force."""
        assert self._dispatcher is not None, "Serve calls reconfigure before the first request"
        return self._dispatcher

    async def index(self, _: Request) -> Response:
        """Where to go from here."""
        return JSONResponse(catalog.index(self.dispatcher))

    async def health(self, _: Request) -> Response:
        """Live: this process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Every model's state; 200 when all are ready, else 503."""
        await self._readiness.refresh()
        states = {name: catalog.state(self._readiness.of(name)) for name in self.dispatcher.targets}
        ready = all(state["state"] == "ready" for state in states.values())
        return JSONResponse({"ready": ready, "models": states}, 200 if ready else 503)

    async def models(self, _: Request) -> Response:
        """Every model with what is known of it."""
        return JSONResponse(await catalog.models(self.dispatcher, self._readiness))

    async def resolve_query(self, request: Request) -> Response:
        """``?task=`` and ``?model=`` → the model meant; for the Python client."""
        query = request.query_params
        return JSONResponse(catalog.resolve(self.dispatcher, query.get("task"), query.get("model")))

    async def model_info(self, request: Request) -> Response:
        """One model with what is known of it."""
        target = self.dispatcher.by_name(request.path_params["name"])
        return JSONResponse(await catalog.describe(self.dispatcher, target, self._readiness))

    async def model_health(self, request: Request) -> Response:
        """200 when the model has a running replica, else 503 with the reason."""
        target = self.dispatcher.by_name(request.path_params["name"])
        await self._readiness.refresh()
        state = catalog.state(self._readiness.of(target.name))
        return JSONResponse(state, 200 if state["state"] == "ready" else 503)

    async def infer_model(self, request: Request) -> Response:
        """``POST /models/{name}``."""
        target = self.dispatcher.by_name(request.path_params["name"])
        return await self._infer(request, target, await self._root(request))

    async def infer_task(self, request: Request) -> Response:
        """``POST /tasks/{task}``; ``"model"`` in the body or ``?model=`` picks among several."""
        task = request.path_params["task"]
        self.dispatcher.by_task(task)  # an unknown task is refused before its body is read
        root = await self._root(request)
        model = request.query_params.get("model") or root.get("model")
        return await self._infer(request, self.dispatcher.by_task(task, model), root)

    async def _root(self, request: Request) -> dict[str, Any]:
        """The body's JSON object, read under the size limit."""
        most = self.graph.limits.max_body_bytes
        body = bytearray()
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) <= most:
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    break
        if len(body) > most or not announced.isdigit() or int(announced) > most:
            raise PayloadTooLargeError(f"The body is larger than {most} bytes, the most that is taken.")
        return read_body(bytes(body), request.headers.get("content-type", ""))

    async def _infer(self, request: Request, target: Target, root: dict[str, Any]) -> Response:
        started = time.perf_counter()
        call = read_call(target.spec, root, self.graph.limits.max_list_items)
        request_id = request.state.request_id
        outcomes: list[TaskResult | PipelineGraphError]
        if call.many:
            outcomes = await self.dispatcher.call_list(target, call.items, call.parameters, request_id)
        else:
            outcomes = [await self.dispatcher.call(target, call.items[0], call.parameters, request_id)]
        results = [outcome for outcome in outcomes if isinstance(outcome, TaskResult)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, PipelineGraphError)]
        if failures and not results:
            raise failures[0]
        merged = {**target.config.parameters, **call.parameters}
        answers = [outcome.output if isinstance(outcome, TaskResult) else outcome for outcome in outcomes]
        body, content_type = encode(target.spec, answers, call.many, merged, request.headers.get("accept", ""))
        headers = times(results, time.perf_counter() - started)
        if failures:
            headers["x-failed-items"] = str(len(failures))
        return Response(body, media_type=content_type, headers=headers)

    # over a handle, for graph/client.py

    async def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Name, task and defaults of the model that a Python client asks for; see `graph.client.pipeline`.

        Raises:
            UnknownModelError: nothing here is called so or serves the task.
        """
        return catalog.resolve(self.dispatcher, task, model)


class RequestId:
    """ASGI middleware: takes or makes the request id. Serve's proxy sets it, and puts it on the answer itself."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
            scope.setdefault("state", {})["request_id"] = given if _ID.fullmatch(given) else uuid.uuid4().hex
        await self._app(scope, receive, send)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PipelineGraphError)
    status, body, headers = describe(error, request.state.request_id)
    return JSONResponse(body, status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such route, wrong method) in the one error shape."""
    assert isinstance(error, HTTPException)
    message = {
        404: f"There is nothing at {request.url.path}; GET / lists what there is.",
        405: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, error.detail)
    word = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
    return JSONResponse(error_body(message, word, request.state.request_id), error.status_code, error.headers)


async def _on_unforeseen(request: Request, error: Exception) -> Response:
    status, word, message = INTERNAL
    logger.error("request %s failed in the router", request.state.request_id, exc_info=error)
    return JSONResponse(error_body(message, word, request.state.request_id), status)
