"""The served twin of ``transformers.pipeline``: the same call, answered by a running graph.

from graph import pipeline

classify = pipeline("text-classification")                              # inside the cluster, over a handle
classify = pipeline("text-classification", url="http://127.0.0.1:8000") # from anywhere, over HTTP
classify("I love this", top_k=2)
"""

import atexit
import functools
import json
import os
from collections import deque
from typing import Any, Protocol

import httpx

from deployments import errors
from deployments.codec import MEDIA_TYPE, from_json, to_json
from deployments.payload import TaskRequest
from deployments.tasks import TASKS
from deployments.tensors import pack_tensors, unpack_tensors
from graph.arguments import load_media, split_arguments
from graph.decode import read_item
from graph.encode import join
from graph.status import STATUS

_IN_FLIGHT = 64  # items of one list under way at a time


class Transport(Protocol):
    """How a served pipeline reaches its model."""

    def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Name, task and defaults of the model meant."""

    def infer(self, name: str, items: list[Any], parameters: dict[str, Any]) -> list[Any]:
        """The answer to each item, in order."""


def pipeline(
    task: str | None = None,
    model: str | None = None,
    *,
    url: str | None = None,
    app_name: str = "pipelines",
    timeout_s: float = 300.0,
    headers: dict[str, str] | None = None,
) -> "ServedPipeline":
    """Make a callable that answers as ``transformers.pipeline(task, model)`` would.

    Args:
        task: a task or alias, or the name of a served model.
        model: which of several models of the task: its name in the configuration, or its source.
        url: address of the graph's HTTP side; default the environment variable ``PIPELINE_GRAPH_URL``, else the
            handle of the application in this Ray cluster.
        app_name: the Serve application, for calls over a handle.
        timeout_s: seconds for one call (>0).
        headers: extra HTTP headers.

    Raises:
        TypeError: neither task nor model.
        UnknownModelError: nothing served matches.
    """
    if task is None and model is None:
        raise TypeError("give a task, a model or both")
    url = url or os.environ.get("PIPELINE_GRAPH_URL")
    transport: Transport = HttpTransport(url, timeout_s, headers or {}) if url else HandleTransport(app_name, timeout_s)
    return ServedPipeline(transport, transport.resolve(task, model))


class ServedPipeline:
    """Calls one served model like a local pipeline.

    Args:
        transport: over which the model is reached.
        resolved: name, task and defaults of the model.
    """

    def __init__(self, transport: Transport, resolved: dict[str, Any]) -> None:
        self.name: str = resolved["name"]
        self.task: str = resolved["task"]
        self._spec = TASKS[self.task]
        self._defaults: dict[str, Any] = resolved["defaults"]
        self._transport = transport

    def __repr__(self) -> str:
        return f"ServedPipeline(task={self.task!r}, name={self.name!r})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one input or a list of inputs, with the pipeline's own parameters and return value.

        Raises:
            RequestError: the input or a parameter is wrong.
            OverloadedError: the model is full, loading or gone; try again.
            InferenceError: the model failed.
        """
        given, parameters = split_arguments(self._spec, args, kwargs)
        one = self._is_one(given, parameters)
        items = [self._item(item) for item in ([given] if one else given)]
        if not items:
            return []
        answers = self._transport.infer(self.name, items, pack_tensors(parameters))
        outputs = [unpack_tensors(answer) for answer in answers]
        return outputs[0] if one else join(self._spec, outputs, {**self._defaults, **parameters})

    def _item(self, given: Any) -> Any:
        """One input with its files read, checked as the server checks what comes over HTTP."""
        return read_item(self._spec.inputs, load_media(self._spec.inputs, given), {}, "inputs")

    def _is_one(self, given: Any, parameters: dict[str, Any]) -> bool:
        if parameters.get("is_split_into_words") and isinstance(given, list):
            return not isinstance(given[0], list)
        if isinstance(given, tuple) and self.task == "keypoint-matching":
            return True
        return self._spec.inputs.is_one(given)


class HandleTransport:
    """Calls over deployment handles, inside the Ray cluster."""

    def __init__(self, app_name: str, timeout_s: float) -> None:
        import ray
        from ray import serve

        if not ray.is_initialized():  # otherwise Serve would start a cluster of its own
            ray.init(address="auto", log_to_driver=False)
        self._serve = serve
        self._app_name = app_name
        self._timeout_s = timeout_s
        self._handles: dict[str, Any] = {}

    def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Ask the router."""
        router = self._serve.get_deployment_handle("router", self._app_name)
        found: dict[str, Any] = _result(router.resolve.remote(task, model), self._timeout_s)
        return found

    def infer(self, name: str, items: list[Any], parameters: dict[str, Any]) -> list[Any]:
        """Straight to the model's replicas, a bounded number of items under way."""
        if name not in self._handles:
            self._handles[name] = self._serve.get_deployment_handle(name, self._app_name)
        handle, waiting, outputs = self._handles[name], deque[Any](), []
        for item in items:
            if len(waiting) >= _IN_FLIGHT:
                outputs.append(_result(waiting.popleft(), self._timeout_s).output)
            waiting.append(handle.remote(TaskRequest(item, parameters)))
        outputs += [_result(response, self._timeout_s).output for response in waiting]
        return outputs


class HttpTransport:
    """Calls over HTTP, types kept by ``application/vnd.pipeline+json``."""

    def __init__(self, url: str, timeout_s: float, headers: dict[str, str]) -> None:
        self._client = _http_client(url.rstrip("/"))
        self._timeout_s = timeout_s
        self._headers = headers

    def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Ask ``GET /resolve``."""
        asked = {key: value for key, value in (("task", task), ("model", model)) if value is not None}
        response = self._client.get("/resolve", params=asked, headers=self._headers, timeout=self._timeout_s)
        found: dict[str, Any] = self._answer(response)
        return found

    def infer(self, name: str, items: list[Any], parameters: dict[str, Any]) -> list[Any]:
        """One request for each item, so that each is limited, batched and refused by itself."""
        return [self._infer_one(name, item, parameters) for item in items]

    def _infer_one(self, name: str, item: Any, parameters: dict[str, Any]) -> Any:
        body = json.dumps({"inputs": to_json(item), "parameters": to_json(parameters)}, allow_nan=False)
        headers = {**self._headers, "content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
        response = self._client.post(f"/models/{name}", content=body.encode(), headers=headers, timeout=self._timeout_s)
        return self._answer(response)

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        """The value in a good answer; the error of a bad one, of the class that the server raised."""
        if response.is_success:
            return from_json(response.json())
        try:
            body = response.json()
            message, word = str(body["error"]), str(body["error_type"])
        except (ValueError, KeyError, TypeError):
            raise errors.PipelineGraphError(f"{response.status_code} {response.reason_phrase}") from None
        kind = next((cls for cls, (_, name) in STATUS.items() if name == word), errors.PipelineGraphError)
        raise kind(message)


@functools.cache
def _http_client(url: str) -> httpx.Client:
    """One connection pool for each server, however many served pipelines use it; closed when the program ends."""
    client = httpx.Client(base_url=url)
    atexit.register(client.close)
    return client


def _result(response: Any, timeout_s: float) -> Any:
    """The value of a handle's response; our own errors as they were raised, without Ray's wrapping."""
    from ray.exceptions import RayTaskError

    try:
        return response.result(timeout_s=timeout_s)
    except RayTaskError as error:
        if isinstance(error.cause, errors.PipelineGraphError):
            raise error.cause from None
        raise
    except TimeoutError:
        raise errors.DeadlineExceededError(f"no answer within {timeout_s:g} s") from None
