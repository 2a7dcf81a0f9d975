"""Prometheus series of one router process, and the middleware that counts."""

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from deployments.series import Series, above_zero, make_all
from graph.middleware import answer_unforeseen

SERIES = (
    Series("requests", "counter", "Requests answered.", tags=("route", "model", "status", "key")),
    Series("request_seconds", "histogram", "Time from a request to the end of its answer.", tags=("route", "model")),
    Series("requests_in_flight", "gauge", "Requests under way in the router.", tags=()),
    Series("rate_limited", "counter", "Requests refused because their key had none left.", tags=("key",)),
)
"""Every series of the router."""
NONE = "none"
"""Value of a tag where there is no such thing: no key, no model, nothing at this path."""
App = Callable[..., Awaitable[None]]


class RouterMetrics:
    """Counts what one router process answers. No tag holds what a caller made up: there are only so many values."""

    def __init__(self) -> None:
        self._made = make_all(SERIES)
        self._running = 0

    def began(self) -> None:
        """A request came in."""
        self._running += 1
        self.standing()

    def ended(self, route: str, model: str, status: str, key: str, seconds: float) -> None:
        """It was answered, or its caller left."""
        self._running -= 1
        self.standing()
        self._made["requests"].inc(tags={"route": route, "model": model, "status": status, "key": key})
        self._made["request_seconds"].observe(above_zero(seconds), tags={"route": route, "model": model})

    def standing(self) -> None:
        """How many requests are under way; said again at times, for Ray forgets a gauge once it is exported."""
        self._made["requests_in_flight"].set(self._running)

    def limited(self, key: str) -> None:
        """The key called ``key`` has no requests left for now."""
        self._made["rate_limited"].inc(tags={"key": key})


class HasMetrics(Protocol):
    """The router."""

    @property
    def metrics(self) -> RouterMetrics:
        """What it counts with."""


class Measured:
    """ASGI middleware: counts every request, and answers those that fail as nobody expected: a caller hears of that.

    Whoever answers leaves the model's name in ``state.model``, and `graph.middleware.Guard` the key in ``state.key``.

    Args:
        app: behind it.
        door: has the metrics.
    """

    def __init__(self, app: App, door: HasMetrics) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics, started, status = self._door.metrics, time.perf_counter(), "left"

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        metrics.began()
        try:
            await self._app(scope, receive, counted)
        except ClientDisconnect:
            raise
        except Exception:  # the outermost handler logs it
            if status == "left":  # else the answer has begun, and breaks off
                await answer_unforeseen(scope)(scope, receive, counted)
            raise
        finally:
            state = scope["state"]
            key = state.get("key")
            seconds = time.perf_counter() - started
            metrics.ended(route_of(scope), state.get("model", NONE), status, NONE if key is None else key.name, seconds)


def route_of(scope: Any) -> str:
    """The path of the route that a request took, with its parameters' names: ``/models/{name}``."""
    if "endpoint" not in scope:
        return NONE
    paths = _paths(scope["app"])
    return paths.get((scope["endpoint"], frozenset(scope["path_params"])), NONE)


@functools.lru_cache(4)
def _paths(app: Starlette) -> dict[tuple[Any, frozenset[str]], str]:
    routes = [route for route in app.routes if isinstance(route, Route)]
    return {(route.endpoint, frozenset(route.param_convertors)): route.path for route in routes}
