"""How a served pipeline reaches its model: what both ways offer, and the one over deployment handles.

The other, over HTTP, is `graph.http_transport`. Everything of both runs on the loop of `graph.portal`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol

from deployments import errors
from deployments.events import Step
from deployments.payload import TaskRequest, TaskResult
from graph.similarity import parts, regrouped
from graph.tgi import step_json


class Transport(Protocol):
    """How a served pipeline reaches its model.

    Args:
        together: texts that one call of a run over a dataset may carry (>=1).
        calls: calls of such a run that are under way at a time (>=1).
    """

    together: int
    calls: int

    async def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Name, task and defaults of the model meant."""

    async def about(self, name: str) -> dict[str, Any]:
        """What the model's replicas say of its configuration."""

    async def infer(self, name: str, items: Sequence[Any], parameters: dict[str, Any], bulk: bool) -> list[Any]:
        """The answer to each item, in order, with an error in the place of one that failed.

        With ``bulk``, they stand behind single requests, and an answer may be as a list of inputs has it.
        """

    async def is_failed(self, name: str) -> bool:
        """Whether the model could not be loaded, so that waiting for it is in vain."""

    def stream(self, name: str, item: Any, parameters: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The events of one answer, as they stand in the event stream over HTTP."""


class HandleTransport:
    """Calls over deployment handles, inside the Ray cluster."""

    together, calls = 8, 32

    def __init__(self, app_name: str, timeout_s: float) -> None:
        import ray
        from ray import serve

        from graph.foreign import translated  # needs Ray, which a caller over HTTP does without

        if not ray.is_initialized():  # otherwise Serve would start a cluster of its own
            ray.init(address="auto", log_to_driver=False)
        self._serve, self._translated = serve, translated
        self._app_name = app_name
        self._timeout_s = timeout_s
        self._handles: dict[str, Any] = {}
        self._groups: dict[str, str] = {}  # of models that share replicas

    def __getstate__(self) -> dict[str, Any]:
        return {"app_name": self._app_name, "timeout_s": self._timeout_s, "groups": self._groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["app_name"], state["timeout_s"])  # type: ignore[misc]
        self._groups = state["groups"]

    def _handle(self, name: str) -> Any:
        if name not in self._handles:
            group = self._groups.get(name)
            handle = self._serve.get_deployment_handle(group or name, self._app_name)
            self._handles[name] = handle if group is None else handle.options(multiplexed_model_id=name)
        return self._handles[name]

    async def resolve(self, task: str | None, model: str | None) -> dict[str, Any]:
        """Ask the router."""
        found: dict[str, Any] = await self._result(
            "the router", self._handle("router").resolve.remote(task, model), self._timeout_s
        )
        if "group" in found:
            self._groups[found["name"]] = found["group"]
        return found

    async def about(self, name: str) -> dict[str, Any]:
        """Ask a replica."""
        found: dict[str, Any] = await self._result(name, self._handle(name).about.remote(), self._timeout_s)
        return found

    async def infer(self, name: str, items: Sequence[Any], parameters: dict[str, Any], bulk: bool) -> list[Any]:
        """Straight to the model's replicas: texts of a dataset in one call, all else item by item."""
        if bulk and all(isinstance(item, str) for item in items):
            return await self._texts(name, items, parameters)
        return list(await asyncio.gather(*(self._outcome(name, item, parameters, bulk) for item in items)))

    async def _texts(self, name: str, texts: Sequence[str], parameters: dict[str, Any]) -> list[Any]:
        requests = [TaskRequest(text, parameters, bulk=True) for text in texts]
        try:
            found = await self._result(name, self._handle(name).answer_all.remote(requests), None)
        except errors.PipelineGraphError as error:
            return [error] * len(texts)
        return [result.output if isinstance(result, TaskResult) else result for result in found]

    async def _outcome(self, name: str, item: Any, parameters: dict[str, Any], bulk: bool) -> Any:
        pieces = parts(item)
        requests = [TaskRequest(piece, parameters, bulk=bulk) for piece in pieces]
        # what waits in bulk may wait long; it is not lost, as a replica that ends says so
        timeout_s = None if bulk else self._timeout_s
        try:
            results = await asyncio.gather(
                *(self._result(name, self._handle(name).remote(request), timeout_s) for request in requests)
            )
        except errors.PipelineGraphError as error:
            return error
        return regrouped([result.output for result in results], [len(pieces)])[0]

    async def is_failed(self, name: str) -> bool:
        """As Serve's status has it."""
        status = await asyncio.to_thread(self._serve.status)
        application = status.applications.get(self._app_name)
        group = self._groups.get(name)
        found = application.deployments.get(group or name) if application is not None else None
        if found is None or str(getattr(found.status, "value", found.status)) == "DEPLOY_FAILED":
            return True
        if group is None:
            return False
        told = await self._handle(name).broadcast("states").results_async(return_exceptions=True)
        return bool(told) and all(isinstance(one, dict) and one.get(name, {}).get("state") == "failed" for one in told)

    async def _result(self, name: str, response: Any, timeout_s: float | None) -> Any:
        try:
            with self._translated(name, ""):
                async with asyncio.timeout(timeout_s):
                    return await response
        except TimeoutError:
            response.cancel()
            raise errors.DeadlineExceededError(f"{name} gave no answer within {timeout_s:g} s.") from None
        except asyncio.CancelledError:
            response.cancel()
            raise

    async def stream(self, name: str, item: Any, parameters: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Straight to a replica; whoever stops iterating frees its place there. No event is waited for too long."""
        handle = self._handle(name).options(stream=True, method_name="stream")
        response = handle.remote(TaskRequest(item, parameters))
        try:
            with self._translated(name, ""):
                steps = aiter(response)
                while (events := await self._in_time(name, anext(steps, None))) is not None:
                    for event in events:
                        if isinstance(event, Step):
                            yield step_json(event, True)
        finally:
            response.cancel()

    async def _in_time(self, name: str, awaited: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await awaited
        except TimeoutError:
            raise errors.DeadlineExceededError(f"{name} gave nothing more within {self._timeout_s:g} s.") from None
