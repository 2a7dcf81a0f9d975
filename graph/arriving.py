"""The events of a streamed answer as they arrive over a handle."""

import asyncio
import contextlib
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import DeadlineExceededError, ReplicaLostError
from deployments.events import Event
from deployments.payload import TaskRequest
from graph.foreign import translated

MOST_LOST = 1
"""Replicas that a request may lose. One that takes them down with it must not go on to the next."""


class ArrivingEvents:
    """The events of one streamed answer (`deployments.events`). Until the first one, it may move to another replica.

    Args:
        handle: that of the model's streams.
        name: of the model, for errors.
        request: what is asked.
        timeout_s: seconds without an event that end it.
    """

    def __init__(self, handle: Any, name: str, request: TaskRequest, timeout_s: float) -> None:
        self._handle, self._name, self._request, self._timeout_s = handle, name, request, timeout_s
        self._retries = MOST_LOST
        self._response = handle.remote(request)

    async def __anext__(self) -> list[Event]:
        """Those that came by now, at least one.

        Raises:
            PipelineGraphError: the request failed.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await self._next()
                    except ReplicaLostError:
                        if not self._retries:
                            raise
                        self._retries -= 1
                        self._response = self._handle.remote(self._request)
        except TimeoutError:
            raise DeadlineExceededError(f"{self._name} gave no token within {self._timeout_s:g} s.") from None

    async def _next(self) -> list[Event]:
        with translated(self._name, self._request.request_id):
            events: list[Event] = await self._response.__anext__()
        self._retries = 0  # what the caller has, another replica would write anew
        return events

    def cancel(self) -> None:
        """Free its place in the batch, unless it never got one: Ray then raises its refusal once more."""
        with contextlib.suppress(BackPressureError, DeploymentUnavailableError, RayActorError):
            self._response.cancel()
