"""``/openapi.json`` and ``/docs``: made once, on the first request and beside the event loop."""

import asyncio
import functools
import json
import re
from functools import cached_property

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from deployments.tasks.forms import Schema
from graph.config import GraphConfig
from graph.openapi.document import document
from graph.openapi.page import HEADERS, page

_BASE = re.compile(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", re.ASCII)


class Site:
    """The documentation of one configuration.

    Args:
        graph: the configuration, names and tasks set.
    """

    def __init__(self, graph: GraphConfig) -> None:
        self._graph = graph

    @functools.lru_cache(maxsize=64)  # noqa: B019 - as old as its configuration
    def of(self, models: tuple[str, ...]) -> "Site":
        """The documentation of some of the models, for a key that sees no others."""
        mine = [model for model in self._graph.models if model.name in models]
        return Site(self._graph.model_copy(update={"models": mine}))

    @cached_property
    def _document(self) -> Schema:
        return document(self._graph)

    async def openapi(self, request: Request) -> Response:
        """The document, under the prefix where the caller found it."""
        body = await asyncio.to_thread(self._json, request.scope.get("root_path", ""))
        return Response(body, media_type="application/json")

    def _json(self, prefix: str) -> bytes:
        servers = {"servers": [{"url": prefix or "/"}]}
        return json.dumps({**self._document, **servers}, ensure_ascii=False, separators=(",", ":")).encode()

    async def docs(self, request: Request) -> Response:
        """The page."""
        base = str(request.base_url).rstrip("/")
        if not _BASE.fullmatch(base):  # a Host header of somebody's fancy goes into no command line
            base = "http://127.0.0.1:8000"
        return HTMLResponse(await asyncio.to_thread(self._page, base), headers=HEADERS)

    def _page(self, base: str) -> str:
        return page(self._document, base)
