"""The events of a streamed answer as they arrive over a handle."""

import asyncio
import contextlib
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import DeadlineExceededError
from deployments.events import Event
from deployments.payload import TaskRequest
from graph.foreign import translated


class ArrivingEvents:
    """The events of one streamed answer (`deployments.events`).

    Args:
        handle: that of the model's streams.
        name: of the model, for errors.
        request: what is asked.
        timeout_s: seconds without an event that end it.
    """

    def __init__(self, handle: Any, name: str, request: TaskRequest, timeout_s: float) -> None:
        self._name, self._request_id, self._timeout_s = name, request.request_id, timeout_s
        self._response = handle.remote(request)

    async def __anext__(self) -> list[Event]:
        """Those that came by now, at least one.

        Raises:
            PipelineGraphError: the request failed.
        """
        try:
            with translated(self._name, self._request_id):
                async with asyncio.timeout(self._timeout_s):
                    events: list[Event] = await self._response.__anext__()
        except TimeoutError:
            raise DeadlineExceededError(f"{self._name} gave no token within {self._timeout_s:g} s.") from None
        return events

    def cancel(self) -> None:
        """Free its place in the batch, unless it never got one: Ray then raises its refusal once more."""
        with contextlib.suppress(BackPressureError, DeploymentUnavailableError, RayActorError):
            self._response.cancel()
