"""The Serve deployment of one configured model: loads it once, and answers `TaskRequest` with `TaskResult`.

Several models that share replicas: `deployments.group`.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from typing import Any

import ray

from deployments.batch import Batcher, Inbox
from deployments.chat import ChatFormat
from deployments.config import BatchConfig, CacheConfig, MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.errors import InvalidParameterError, PipelineGraphError
from deployments.events import Event, Step
from deployments.gate import Gate
from deployments.handover import await_the_old
from deployments.load import load
from deployments.memory import memory_bytes
from deployments.message import MessageReader
from deployments.metrics import Metrics
from deployments.parameters import merge_parameters
from deployments.payload import StageTimes, TaskRequest, TaskResult, Usage
from deployments.process import join_logs, set_threads
from deployments.room import Room
from deployments.run import PipelineRunner
from deployments.several import each
from deployments.share import Sharing
from deployments.streaming import stream
from deployments.threads import Threads
from deployments.traces import record_stages
from deployments.warm_up import warm_up
from deployments.work import Done, Work


class ModelReplica:
    """One replica of a model; `graph.app` deploys it by its path.

    Args:
        config: the model's configuration as JSON; name and task are set.
        media: bounds on decoded media, as JSON.
        gate: where other models may be built in this process.
        room: for decoded media, where other models of this process share it.

    Raises:
        ModelLoadError: the model cannot be loaded or cannot answer the task's example.
    """

    def __init__(
        self, config: dict[str, Any], media: dict[str, Any], gate: Gate | None = None, room: Room | None = None
    ) -> None:
        join_logs()
        self._config = ModelConfig.model_validate(config)
        set_threads(self._config.resources.num_cpus)
        if gate is None:  # one of a group is loaded when it is asked for, whoever goes meanwhile
            await_the_old(self._config)
        loaded = load(self._config)
        self._ref = loaded.ref
        self._load_s, self.memory_bytes = loaded.seconds, loaded.memory_bytes
        self._metrics = Metrics(str(self._config.name))
        self._metrics.loaded(loaded.seconds, loaded.weight_bytes)
        self._runner = PipelineRunner(self._config, loaded, MediaLimits.model_validate(media), self._metrics, room)
        self._defaults = dict(self._config.parameters)
        self._format = ChatFormat(self._runner.pipe)
        if self._config.warm_up:
            warm_up(self._runner, self._defaults)
        self._runner.use_batch(self._config.batch)
        self._sharing = Sharing(self._config.cache)
        inbox, limits = Inbox(), self._runner.batch_limits(self._config.batch)
        turns = self._runner.turns()
        if gate is not None:
            gate.hold_stages(self._runner.stages, turns)
        self._engine = Engine(self._runner.stages, limits, self._metrics, inbox.deliver, turns)
        self._batcher = Batcher(self._engine, inbox)
        self._threads = Threads(self._runner.room)  # last: a shared room would keep those of a failed start

    async def close(self) -> None:
        """Let go of the model and of the threads; nobody may wait for an answer any more."""
        self._batcher.close()
        await asyncio.to_thread(self._engine.close)
        self._threads.close()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over new call defaults, batch limits and cache; the weights stay."""
        batch = BatchConfig.model_validate(user_config["batch"])
        self._defaults = dict(user_config["parameters"])
        self._engine.limits = self._runner.batch_limits(batch)
        self._runner.use_batch(batch)
        self._sharing.reconfigure(CacheConfig.model_validate(user_config["cache"]))

    def check_health(self, memory: bool = True) -> None:
        """Serve replaces the replica when this raises; it asks every few seconds, so the gauges are set here too."""
        self._metrics.standing(self._engine.waiting, self._engine.generating, memory_bytes() if memory else {})
        reason = self._engine.unwell()
        if reason is not None:
            raise RuntimeError(f"{self._config.name} can answer no more: {reason}")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to the policy (`cluster.scaling`): seconds of work that wait here, and of one request."""
        return self._engine.work()

    async def __call__(self, request: TaskRequest) -> TaskResult:
        """Answer one request.

        Raises:
            RequestError: the caller can mend it.
            InferenceError: the model failed on it.
        """
        parameters = merge_parameters(*self._runner.row(request.inputs), self._defaults, request.parameters)
        asked, parameters, reader = await self._chat(request, parameters)
        decode_s = 0.0

        async def compute() -> Done:
            nonlocal decode_s
            grammar = await self._compile(parameters)
            decoder, started = self._runner.decoder(parameters), time.perf_counter()
            try:
                inputs = await self._threads.decode(decoder, asked, request.bulk)
                decode_s = time.perf_counter() - started
                work = Work(inputs, parameters, request.request_id, request.bulk, grammar=grammar)
                return await self._batcher.submit(work)
            finally:
                decoder.close()

        if self._runner.repeatable(parameters):
            key = await self._threads.key(asked, parameters)
            done, source = await self._sharing.answer(key, compute, request.bulk)
        else:
            done, source = await compute(), "none"
        if source == "none":
            self._metrics.tokens(done.usage)
            record_stages(done, str(self._config.name))
        else:
            self._metrics.shared()
        if isinstance(done.outcome, PipelineGraphError):
            raise done.outcome
        times = StageTimes() if source == "hit" else StageTimes(decode_s, *done.stages_s)
        output, usage = done.outcome, done.usage
        if reader is not None:
            output, usage = await self._threads.read(self._format.told, output, usage, reader)
        return TaskResult(output, times, done.batch_size, done.padding_waste, source, usage)

    async def answer_all(self, requests: list[TaskRequest]) -> list[TaskResult | PipelineGraphError]:
        """Answer several items of a list, each by itself; see `deployments.several`."""
        return await each(self, requests)

    async def stream(self, request: TaskRequest) -> AsyncGenerator[list[Event], None]:
        """Answer one request token by token, a transcript piece by piece.

        For calls over ``handle.options(stream=True, method_name="stream")``.

        Yields:
            Events as they come, see `deployments.events`. Whoever stops iterating frees its place in the batch.

        Raises:
            RequestError: the caller can mend it.
            InferenceError: the model failed on it.
        """
        runner = self._runner
        if not runner.spec.streams and runner.finisher.hearer is None:
            raise InvalidParameterError(f"`stream` is for answers in text, not for {runner.spec.name}.", "stream")
        parameters = merge_parameters(runner.spec, runner.accepted, self._defaults, request.parameters)
        asked, parameters, reader = await self._chat(request, parameters)
        grammar = await self._compile(parameters)
        decoder = runner.decoder(parameters)
        try:
            decoded = await self._threads.decode(decoder, asked, request.bulk)
            work = Work(decoded, parameters, request.request_id, request.bulk, grammar=grammar)
            events = stream(self._batcher, work, lambda done: record_stages(done, str(self._config.name)))
            try:
                async for some in events:
                    self._count(work, some)
                    yield some if reader is None else [await self._read(reader, event) for event in some]
            finally:
                await events.aclose()
        finally:
            decoder.close()

    def _count(self, work: Work, events: list[Event]) -> None:
        """Of a stream, when its first token came, and at its end how many there were."""
        for event in events:
            if isinstance(event, Step) and event.index == 1:
                self._metrics.first_token(time.perf_counter() - work.arrived_s)
            if isinstance(event, Step) and event.finish is not None:
                self._metrics.tokens(Usage(event.finish.input_length, event.finish.generated_tokens))

    async def _chat(
        self, request: TaskRequest, parameters: dict[str, Any]
    ) -> tuple[Any, dict[str, Any], MessageReader | None]:
        """Inputs and parameters for the pipeline, and what reads the answer of a chat as a message."""
        if request.chat is None:
            return request.inputs, parameters, None
        return await self._threads.read(self._format.begin, request.inputs, parameters, request.chat)

    async def _read(self, reader: MessageReader, event: Event) -> Event:
        """``event`` with the parts that it adds, the last one with the tokens of the reasoning."""
        event = reader.read(event)
        if isinstance(event, Step) and event.finish is not None and reader.reasoning:
            tokens = await self._threads.read(self._format.tokens, reader.reasoning)
            return dataclasses.replace(event, finish=dataclasses.replace(event.finish, reasoning_tokens=tokens))
        return event

    async def _compile(self, parameters: dict[str, Any]) -> Any:
        """The grammar that the answer is to fit, compiled beside other callers' requests."""
        steps, grammar = self._runner.preparer.steps, parameters.get("grammar")
        if steps is None or grammar is None:
            return None
        return await self._threads.compile(steps.compile, grammar)

    async def info(self) -> dict[str, Any]:
        """What is loaded, from where, with which defaults; how it batches, and what waits."""
        revision = self._ref.revision if self._ref is not None else None
        commit = getattr(getattr(getattr(self._runner.pipe, "model", None), "config", None), "_commit_hash", None)
        limits = self._runner.forwarder.limits(self._engine.limits)
        return {
            **self._runner.info(),
            "revision": commit or revision,
            "load_seconds": round(self._load_s, 3),
            "defaults": self._defaults,
            "gpus": ray.get_runtime_context().get_accelerator_ids().get("GPU", []),
            "waiting": self._engine.waiting,
            "generating": self._engine.generating,
            "max_batch_items": limits.max_items,
            "max_padded_cost": limits.max_padded_cost,
            "max_padding_waste": limits.max_padding_waste,
        }

    async def about(self) -> dict[str, Any]:
        """The model's own configuration; for the attributes of the Python client."""
        return self._runner.about()
