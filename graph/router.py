"""The ingress router: HTTP in, handle calls, HTTP out. Light: no torch in this process.

A request passes ``body.py`` → ``decode.py`` → ``fetch.py`` → ``dispatch.py`` → (replica) → ``encode.py``; an error
passes ``status.py``.
"""

import time
from typing import Any

from ray import serve
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deployments.errors import PipelineGraphError
from deployments.payload import TaskResult
from deployments.tasks import TASKS, TaskSpec, canonical_task, row_for
from graph import catalog
from graph.accept import negotiate
from graph.access.gate import Gate
from graph.access.open import listening_host, refuse_open
from graph.access.view import key_of, seen_by
from graph.body import read_root
from graph.config import GraphConfig
from graph.decode import read_call, read_model
from graph.dispatch import Dispatcher, Target
from graph.encode import encode_beside
from graph.fetch import Fetcher
from graph.headers import times
from graph.metrics import Measured, RouterMetrics
from graph.middleware import HANDLERS, Departure, Guard, RequestId
from graph.openai.routes import routes as openai_routes
from graph.openapi.site import Site
from graph.readiness import Readiness
from graph.stream import answer_stream, wants_stream
from graph.wake import Waker

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
        self._host = listening_host()
        self.metrics, self._readiness = RouterMetrics(), Readiness(self._app_name)
        self._waker = Waker(self._readiness.refresh_replicas)
        self._graph: GraphConfig | None = None
        self._dispatcher: Dispatcher | None = None
        self._fetcher: Fetcher | None = None
        self._gate: Gate | None = None
        self._site: Site  # reconfigure sets it, before the first request

    def check_health(self) -> None:
        """Serve asks every few seconds."""
        self.metrics.standing()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over the configuration: at start, and when ``serve deploy`` brings a new one."""
        graph = GraphConfig.model_validate(user_config)
        refuse_open(graph.access, self._host)
        if self._gate is None:
            self._gate = Gate(graph.access, self.metrics.limited)
        else:
            self._gate.reconfigure(graph.access)
        before, self._fetcher = self._fetcher, Fetcher(graph.fetch, graph.files)
        self._dispatcher = Dispatcher(
            graph.models,
            self._app_name,
            graph.limits.request_timeout_s,
            self._readiness,
            self._fetch,
            self._waker,
        )
        if before is not None:
            await before.close()
        self._graph, self._site = graph, Site(graph)
        self._readiness.start(self._dispatcher.targets.values())

    async def _fetch(self, value: Any) -> Any:
        """By the configuration in force: a list may be under way when it changes."""
        assert self._fetcher is not None, "Serve calls reconfigure before the first request"
        return await self._fetcher.fetch_all(value)

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
                Route("/openapi.json", self.openapi),
                Route("/docs", self.docs),
                *openai_routes(self),
            ],
            middleware=[
                Middleware(Departure),
                Middleware(RequestId),
                Middleware(Measured, door=self),
                Middleware(Guard, door=self),
            ],
            exception_handlers=HANDLERS,
        )

    @property
    def graph(self) -> GraphConfig:
        """The configuration in force."""
        assert self._graph is not None, "Serve calls reconfigure before the first request"
        return self._graph

    @property
    def gate(self) -> Gate:
        """Who may ask."""
        assert self._gate is not None, "Serve calls reconfigure before the first request"
        return self._gate

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the configuration in force."""
        assert self._dispatcher is not None, "Serve calls reconfigure before the first request"
        return self._dispatcher

    def seen_by(self, request: Request) -> Dispatcher:
        """The dispatcher with the models of the caller's key alone, its priority, and its own time limit.

        Raises:
            MalformedRequestError: the header ``X-Request-Timeout`` is no number above 0.
        """
        return seen_by(self.dispatcher, request)

    async def index(self, request: Request) -> Response:
        """Where to go from here."""
        return JSONResponse(catalog.index(self.seen_by(request)))

    async def health(self, _: Request) -> Response:
        """Live: this process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Every model's state; 200 when all are ready, or asleep until somebody asks, else 503."""
        await self._readiness.probe()
        body = catalog.ready(self.dispatcher, self._readiness, self._is_stranger(request))
        return JSONResponse(body, 200 if body["ready"] else 503)

    async def models(self, request: Request) -> Response:
        """Every model with what is known of it."""
        return JSONResponse(await catalog.models(self.seen_by(request), self._readiness))

    async def resolve_query(self, request: Request) -> Response:
        """``?task=`` and ``?model=`` → the model meant, ``&about=true`` with its configuration; for Python clients."""
        return JSONResponse(await catalog.resolve_query(self.seen_by(request), request.query_params))

    async def model_info(self, request: Request) -> Response:
        """One model with what is known of it."""
        dispatcher = self.seen_by(request)
        target = dispatcher.by_name(request.path_params["name"])
        await self._readiness.refresh()
        return JSONResponse(await catalog.describe(dispatcher, target, self._readiness))

    async def model_health(self, request: Request) -> Response:
        """200 when the model has a running replica, or would start one, else 503 with the reason."""
        stranger = self._is_stranger(request)
        target = catalog.probed(self.dispatcher, request.path_params["name"], stranger)
        await self._readiness.probe()
        state = catalog.state(self._readiness.of(target.name), stranger)
        return JSONResponse(state, 200 if state["state"] in catalog.ANSWERS else 503)

    def _is_stranger(self, request: Request) -> bool:
        return self.gate.ring.required and key_of(request) is None

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document of this configuration."""
        return await self._site_for(request).openapi(request)

    async def docs(self, request: Request) -> Response:
        """The same as a page."""
        return await self._site_for(request).docs(request)

    def _site_for(self, request: Request) -> Site:
        key = key_of(request)
        return self._site if key is None or not key.models else self._site.of(key.models)

    async def infer_model(self, request: Request) -> Response:
        """``POST /models/{name}``."""
        dispatcher = self.seen_by(request)
        target = dispatcher.by_name(request.path_params["name"])
        root = await read_root(request, target.spec, self.graph.limits)
        return await self._infer(request, dispatcher, target, row_for(target.spec, root.get("inputs")), root)

    async def infer_task(self, request: Request) -> Response:
        """``POST /tasks/{task}``; ``"model"`` in the body or ``?model=`` picks among several."""
        task = request.path_params["task"]
        dispatcher = self.seen_by(request)
        dispatcher.by_task(task)  # an unknown task is refused before its body is read
        spec = TASKS[canonical_task(task)]
        root = await read_root(request, spec, self.graph.limits)
        model = request.query_params.get("model") or read_model(root)
        return await self._infer(request, dispatcher, dispatcher.by_task(task, model), spec, root)

    async def _infer(
        self, request: Request, dispatcher: Dispatcher, target: Target, spec: TaskSpec, root: dict[str, Any]
    ) -> Response:
        started, request.state.model = time.perf_counter(), target.name
        call = read_call(spec, root, self.graph.limits.max_list_items)
        request_id = request.state.request_id
        if wants_stream(root):
            return await answer_stream(dispatcher, target, call, request_id)
        media_type = negotiate(spec, call.many, request.headers.get("accept", ""))
        outcomes: list[TaskResult | PipelineGraphError]
        if call.many:
            outcomes = await dispatcher.call_list(target, call.items, call.parameters, request_id)
        else:
            outcomes = [await dispatcher.call(target, call.items[0], call.parameters, request_id)]
        results = [outcome for outcome in outcomes if isinstance(outcome, TaskResult)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, PipelineGraphError)]
        if failures and not results:
            raise failures[0]
        merged = {**target.config.parameters, **call.parameters}
        answers = [outcome.output if isinstance(outcome, TaskResult) else outcome for outcome in outcomes]
        answer = await encode_beside(spec, answers, call.many, merged, media_type)
        headers = {**answer.headers, **times(results, time.perf_counter() - started)}
        if failures:
            headers["x-failed-items"] = str(len(failures))
        return Response(answer.body, media_type=answer.media_type, headers=headers)

    # over a handle, for graph/client.py

    async def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Name, task and defaults of the model that a Python client asks for; see `graph.client.pipeline`.

        Raises:
            UnknownModelError: nothing here is called so or serves the task.
        """
        return catalog.resolve(self.dispatcher, task, model)
