"""The served twin of ``transformers.pipeline``: the same call, answered by a running graph.

from graph import pipeline

classify = pipeline("text-classification")                              # inside the cluster, over a handle
classify = pipeline("text-classification", url="http://127.0.0.1:8000") # from anywhere, over HTTP
classify("I love this", top_k=2)
for answer in classify(KeyDataset(dataset, "text")): ...                # lazily, in order, as it is read
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from deployments.tasks import TaskSpec
from graph.answers import Errors
from graph.http_transport import HttpTransport
from graph.inputs import as_dataset
from graph.portal import portal
from graph.served import Served
from graph.transport import HandleTransport, Transport


def pipeline(
    task: str | None = None,
    model: str | None = None,
    *,
    url: str | None = None,
    app_name: str = "pipelines",
    timeout_s: float = 300.0,
    headers: dict[str, str] | None = None,
    **parameters: Any,
) -> "ServedPipeline":
    """Make a callable that answers as ``transformers.pipeline(task, model)`` would.

    Args:
        task: a task or alias, or the name of a served model.
        model: which of several models of the task: its name in the configuration, or its source.
        url: address of the graph's HTTP side; default the environment variable ``PIPELINE_GRAPH_URL``, else the
            handle of the application in this Ray cluster.
        app_name: the Serve application, for calls over a handle.
        timeout_s: seconds for one input (>0).
        headers: extra HTTP headers.
        parameters: defaults of the calls, as in ``pipeline()``; what it takes about loading (`graph.served.PLACEMENT`)
            is left to the configuration of the graph.

    Raises:
        TypeError: neither task nor model, or a model that is no name.
        UnknownModelError: nothing served matches.
    """
    transport = _transport(task, model, url, app_name, timeout_s, headers)
    resolved = portal().wait(transport.resolve(task, model))
    return ServedPipeline(transport, resolved, timeout_s, parameters)


async def async_pipeline(
    task: str | None = None,
    model: str | None = None,
    *,
    url: str | None = None,
    app_name: str = "pipelines",
    timeout_s: float = 300.0,
    headers: dict[str, str] | None = None,
    **parameters: Any,
) -> "AsyncServedPipeline":
    """`pipeline` for asynchronous code: ``await classify(text)``, ``async for answer in classify(dataset)``.

    Raises:
        TypeError, UnknownModelError: see `pipeline`.
    """
    transport = _transport(task, model, url, app_name, timeout_s, headers)
    resolved = await portal().join(transport.resolve(task, model))
    return AsyncServedPipeline(transport, resolved, timeout_s, parameters)


def _transport(
    task: Any, model: Any, url: str | None, app_name: str, timeout_s: float, headers: dict[str, str] | None
) -> Transport:
    if task is None and model is None:
        raise TypeError("give a task, a model or both")
    if not isinstance(task, str | None) or not isinstance(model, str | None):
        raise TypeError("task and model must be names: the model itself is loaded by the graph's replicas")
    url = url or os.environ.get("PIPELINE_GRAPH_URL")
    return HttpTransport(url, timeout_s, headers or {}) if url else HandleTransport(app_name, timeout_s)


class ServedPipeline(Served):
    """Calls one served model like a local pipeline."""

    def __call__(self, *args: Any, errors: Errors = "raise", stream: bool = False, **kwargs: Any) -> Any:
        """Answer one input, a list of inputs, or a dataset, with the pipeline's own parameters and return value.

        A generator or a dataset gives `Answers`: an iterator over the answers, in order, that reads ahead as far as
        keeps the replicas busy. ``batch_size`` and ``num_workers`` are taken and left to the graph.

        With ``errors="return"``, an item of a list or a dataset that fails has its error in the place of its answer.
        With ``stream=True``, text generation gives an iterator over the pieces of the new text as they come, or, with
        ``details=True``, over a dictionary for each token; see docs/generation.md.

        Raises:
            RequestError: the input or a parameter is wrong.
            OverloadedError: the model is full, loading or gone; try again. Items of lists and datasets are tried again
                here, for ``timeout_s`` seconds.
            InferenceError: the model failed.
        """
        given, parameters, spec = self._split(args, kwargs)
        dataset = as_dataset(given)
        if dataset is not None:
            return self._answers(spec, dataset, parameters, errors)
        one = self._is_one(given, parameters)
        if stream:
            return self._stream(given, one, parameters)
        if one:
            return portal().wait(self._one(spec, given, parameters))
        with iter(self._answers(spec, given, parameters, errors)) as answers:
            return self._listed(list(answers))

    def _stream(self, given: Any, one: bool, parameters: dict[str, Any]) -> Iterator[Any]:
        self._check_streams(one)
        item = portal().wait(self._read(self._spec, given))
        found = portal().iterate(self._events(item, parameters))
        return (self._wanted(event, parameters) for event in found)


class AsyncServedPipeline(Served):
    """Calls one served model like a local pipeline, from asynchronous code."""

    def __call__(self, *args: Any, errors: Errors = "raise", stream: bool = False, **kwargs: Any) -> Any:
        """`ServedPipeline.__call__`: awaited, or, for a dataset or a stream, iterated with ``async for``."""
        given, parameters, spec = self._split(args, kwargs)
        dataset = as_dataset(given)
        if dataset is not None:
            return self._answers(spec, dataset, parameters, errors)
        one = self._is_one(given, parameters)
        if stream:
            self._check_streams(one)
            return self._stream(given, parameters)
        return portal().join(self._one(spec, given, parameters)) if one else self._list(spec, given, parameters, errors)

    async def _list(self, spec: TaskSpec, given: Any, parameters: dict[str, Any], on_error: Errors) -> Any:
        async with iter(self._answers(spec, given, parameters, on_error)) as answers:
            return self._listed([output async for output in answers])

    async def _stream(self, given: Any, parameters: dict[str, Any]) -> AsyncIterator[Any]:
        item = await portal().join(self._read(self._spec, given))
        async for event in portal().aiterate(self._events(item, parameters)):
            yield self._wanted(event, parameters)
