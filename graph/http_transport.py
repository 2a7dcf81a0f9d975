"""How a served pipeline reaches its model over HTTP, types kept by ``application/vnd.pipeline+json``."""

import asyncio
import functools
import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from deployments import errors
from deployments.codec import MEDIA_TYPE, from_json, to_json
from deployments.payload import Media
from graph.portal import portal
from graph.status import STATUS
from graph.tgi import read_events

_UNKNOWN = STATUS[errors.UnknownModelError][1]
# what a proxy answers by itself, when it does not reach the router, or not yet, or has lost it
_FOREIGN: dict[int, type[errors.PipelineGraphError]] = {
    404: errors.ModelUnavailableError,
    429: errors.OverloadedError,
    500: errors.ReplicaLostError,
    502: errors.ReplicaLostError,
    503: errors.ModelUnavailableError,
    504: errors.ReplicaLostError,
}


class HttpTransport:
    """Calls over HTTP, and one pool of connections for each server.

    Args:
        url: address of the server.
        timeout_s: of one item (>0).
        headers: of every request.
    """

    together, calls = 32, 8

    def __init__(self, url: str, timeout_s: float, headers: dict[str, str]) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"x-wait-for-model": "true", **headers}  # as the local pipeline loads before it answers

    @property
    def _client(self) -> httpx.AsyncClient:
        return _http_client(self._url, os.getpid())  # a forked child must not share its parent's connections

    async def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Ask ``GET /resolve``."""
        asked = {key: value for key, value in (("task", task), ("model", model)) if value is not None}
        found: dict[str, Any] = await self._get("/resolve", asked)
        return found

    async def about(self, name: str) -> dict[str, Any]:
        """Ask ``GET /resolve`` with ``about``."""
        found: dict[str, Any] = (await self._get("/resolve", {"model": name, "about": "true"}))["about"]
        return found

    async def is_failed(self, name: str) -> bool:
        """Ask ``GET /models/{name}/health``."""
        try:
            response = await self._client.get(f"/models/{name}/health", headers=self._headers, timeout=self._timeout_s)
            found = response.json()
        except (httpx.TransportError, ValueError):
            return False
        return isinstance(found, dict) and (found.get("state") == "failed" or found.get("error_type") == _UNKNOWN)

    async def _get(self, path: str, query: dict[str, str]) -> Any:
        return _answer(await self._client.get(path, params=query, headers=self._headers, timeout=self._timeout_s))

    async def infer(self, name: str, items: Sequence[Any], parameters: dict[str, Any], bulk: bool) -> list[Any]:
        """One request; a single item, or one that could not be answered in company, has one of its own."""
        try:
            if len(items) == 1:
                return [_answer(await self._post(name, items[0], parameters, self._timeout_s))]
            response = await self._post(name, list(items), parameters, self._timeout_s * len(items))
            return _listed(_answer(response), int(response.headers.get("x-failed-items", 0)))
        except (errors.OverloadedError, errors.DeadlineExceededError) as error:
            return [error] * len(items)
        except (errors.PipelineGraphError, TypeError, ValueError) as error:  # the latter: there is no JSON form of it
            if len(items) == 1:
                return [error]
            return [(await self.infer(name, [item], parameters, bulk))[0] for item in items]
        except httpx.TimeoutException:
            said = f"{name} gave no answer within {self._timeout_s:g} s."
            return [errors.DeadlineExceededError(said)] * len(items)
        except httpx.TransportError as error:
            if not bulk:
                raise
            said = f"{self._url} cannot be reached ({type(error).__name__})."
            return [errors.ModelUnavailableError(said)] * len(items)

    async def _post(self, name: str, item: Any, parameters: dict[str, Any], timeout_s: float) -> httpx.Response:
        if isinstance(item, str | list):
            body, content_type = _body(item, parameters)
        else:  # files and images take long to write down
            body, content_type = await asyncio.to_thread(_body, item, parameters)
        headers = {**self._headers, **content_type, "accept": MEDIA_TYPE}
        return await self._client.post(f"/models/{name}", **body, headers=headers, timeout=timeout_s)

    async def stream(self, name: str, item: Any, parameters: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One request, whose answer is read as it comes."""
        body = json.dumps({"inputs": to_json(item), "parameters": to_json(parameters), "stream": True}, allow_nan=False)
        headers = {**self._headers, "content-type": MEDIA_TYPE}
        timeout = httpx.Timeout(self._timeout_s)
        sent: dict[str, Any] = {"content": body.encode(), "headers": headers, "timeout": timeout}
        async with self._client.stream("POST", f"/models/{name}", **sent) as response:
            if not response.is_success:
                await response.aread()
                _answer(response)
            async for line in response.aiter_lines():
                for event in read_events([line], _told_error):
                    yield event


def _answer(response: httpx.Response) -> Any:
    """The value in a good answer; the error of a bad one, of the class that the server raised."""
    if response.is_success:
        return from_json(response.json())
    try:
        error = _told_error(response.json())
    except (ValueError, KeyError, TypeError):
        kind = _FOREIGN.get(response.status_code, errors.PipelineGraphError)
        error = kind(f"{response.url.host} itself answers {response.status_code} {response.reason_phrase}; try again.")
    raise error


def _listed(answers: list[Any], failed: int) -> list[Any]:
    """The answers of a list, of which ``failed`` tell an error."""
    if not failed:
        return answers
    return [
        _told_error(answer) if isinstance(answer, dict) and {"error", "error_type"} <= answer.keys() else answer
        for answer in answers
    ]


def _body(item: Any, parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """One call for ``httpx``, with the header that it does not set: a file as it is, in a form; else typed JSON."""
    if not isinstance(item, Media):
        root = {"inputs": to_json(item), "parameters": to_json(parameters)}
        return {"content": json.dumps(root, allow_nan=False).encode()}, {"content-type": MEDIA_TYPE}
    typed = json.dumps(to_json(parameters), allow_nan=False).encode()
    file = ("inputs", item.data, "application/octet-stream")
    return {"files": {"inputs": file, "parameters": ("parameters", typed, MEDIA_TYPE)}}, {}


def _told_error(body: dict[str, Any]) -> errors.PipelineGraphError:
    """The error that a body tells, of the class that the server raised."""
    message, word = str(body["error"]), str(body["error_type"])
    kind = next((cls for cls, (_, name) in STATUS.items() if name == word), errors.PipelineGraphError)
    return kind(message)


@functools.cache
def _http_client(url: str, _pid: int) -> httpx.AsyncClient:
    """One connection pool for each server, however many served pipelines use it; closed when the program ends."""
    client = httpx.AsyncClient(base_url=url)
    portal().at_exit(client.aclose)
    return client
