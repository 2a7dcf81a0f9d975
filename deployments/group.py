"""The Serve deployment of a group: models that share replicas, each loaded when it is asked for.

A call says which model it means by Serve's ``multiplexed_model_id``, and Serve's routers prefer replicas that have it:
each replica tells the controller which those are, as ``@serve.multiplexed`` would. Which models a replica holds is
decided in `deployments.shelf`.
"""

import asyncio
import ctypes
import gc
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve._private.common import RequestRoutingInfo
from ray.serve.context import _get_global_client

from deployments.config import MediaLimits, ModelConfig
from deployments.errors import PipelineGraphError, UnknownModelError
from deployments.events import Event
from deployments.gate import Gate, guard
from deployments.group_metrics import GroupMetrics
from deployments.held import Bounds
from deployments.load import resolve_model
from deployments.memory import memory_bytes
from deployments.model_ref import ModelReferenceError
from deployments.payload import TaskRequest, TaskResult
from deployments.process import join_logs
from deployments.replica import ModelReplica
from deployments.room import Room
from deployments.saved import saved_bytes
from deployments.several import each
from deployments.shelf import Shelf

logger = logging.getLogger("pipeline_graph.group")


class SharedReplica:
    """One replica of a group.

    Args:
        name: of the group.
        media: bounds on decoded media, as JSON.
    """

    def __init__(self, name: str, media: dict[str, Any]) -> None:
        join_logs()
        self._name, self._media = name, media
        self._gate = Gate()
        self._room = Room(MediaLimits.model_validate(media).max_held_bytes)
        guard(self._gate)
        self._models: dict[str, ModelConfig] = {}
        self._shelf = Shelf(self._load, self._expect, self._tell, self._went)
        self._metrics = GroupMetrics(name)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over the models of the group and their bounds; what did not change stays in memory."""
        before = self._models
        models = [ModelConfig.model_validate(model) for model in user_config["models"]]
        self._models = {str(model.name): model for model in models}
        for name, old in before.items():
            new = self._models.get(name)
            if new is None or new.load_key() != old.load_key():
                self._shelf.drop(name)
        for name, held in self._shelf.held.items():
            if self._models[name].live_config() != before[name].live_config():
                held.reconfigure(self._models[name].live_config())
        self._shelf.rebound(Bounds(**user_config["bounds"]))

    async def _load(self, name: str) -> ModelReplica:
        config = self._models[name]
        model = config.model_dump(mode="json")
        held = await asyncio.to_thread(ModelReplica, model, self._media, self._gate, self._room)
        now = self._models.get(name, config)
        if now.live_config() != config.live_config():  # it changed meanwhile
            held.reconfigure(now.live_config())
        self._metrics.came(name)
        return held

    async def _went(self, name: str) -> None:
        self._metrics.went(name)
        await asyncio.to_thread(_give_back)

    def _expect(self, name: str) -> int:
        config = self._models[name]
        try:
            return 0 if config.task == "fake" else saved_bytes(resolve_model(config))
        except (ModelReferenceError, OSError):  # loading says what is wrong
            return 0

    def _tell(self) -> None:
        """Tell Serve's routers which models are here."""
        replica = serve.get_replica_context().replica_id
        told = RequestRoutingInfo(replica_id=replica, multiplexed_model_ids=self._shelf.names)
        try:
            _get_global_client().record_request_routing_info(told)
        except Exception:  # the controller restarts at times; `check_health` tells it again
            logger.warning("Serve's controller was not told of the models in memory", exc_info=True)

    def check_health(self) -> None:
        """Serve replaces the replica when this raises; it asks every few seconds."""
        self._tell()
        self._metrics.standing(memory_bytes())
        for held in self._shelf.held.values():
            held.check_health(memory=False)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Of all models in memory together; a request takes the mean of theirs."""
        told = [held.record_autoscaling_stats() for held in self._shelf.held.values()]
        each = [one["request_s"] for one in told]
        return {"waiting_s": sum(one["waiting_s"] for one in told), "request_s": sum(each) / len(each) if each else 0.0}

    def _asked(self) -> str:
        """The model that the call means.

        Raises:
            UnknownModelError: it is none of the group.
        """
        name = str(serve.get_multiplexed_model_id())
        if name not in self._models:
            raise UnknownModelError(f"There is no model {name!r} in the group {self._name}.")
        return name

    async def __call__(self, request: TaskRequest) -> TaskResult:
        """Answer one request; see `ModelReplica`.

        Raises:
            ModelUnavailableError: the model cannot be loaded now.
        """
        async with self._shelf.use(self._asked()) as model:
            answer: TaskResult = await model(request)
            return answer

    async def answer_all(self, requests: list[TaskRequest]) -> list[TaskResult | PipelineGraphError]:
        """Answer several items of a list; see `ModelReplica`."""
        async with self._shelf.use(self._asked()) as model:
            return await each(model, requests)

    async def stream(self, request: TaskRequest) -> AsyncGenerator[list[Event], None]:
        """Answer one request token by token; see `ModelReplica`."""
        async with self._shelf.use(self._asked()) as model, aclosing(model.stream(request)) as events:
            async for some in events:
                yield some

    async def info(self) -> dict[str, Any]:
        """What is loaded of a model; nothing where it is not in memory, as nobody's question may load it."""
        held = self._shelf.held.get(str(serve.get_multiplexed_model_id()))
        return {} if held is None else {**await held.info(), "memory_bytes": held.memory_bytes}

    async def about(self) -> dict[str, Any]:
        """The configuration that a model was loaded with; loads it."""
        async with self._shelf.use(self._asked()) as model:
            about: dict[str, Any] = await model.about()
            return about

    async def states(self) -> dict[str, dict[str, Any]]:
        """How each model of the group stands in this replica: its ``state``, and the ``reason`` where it failed."""
        shelf = self._shelf
        return {name: {"state": shelf.state(name), "reason": shelf.record(name).reason} for name in self._models}


def _give_back() -> None:
    """Return freed memory to the system, and on GPUs to other processes."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory; musl has no such thing
        if trim is not None:
            trim(0)
