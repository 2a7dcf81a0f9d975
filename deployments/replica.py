"""The Serve deployment of one configured model: loads it once, and answers `TaskRequest` with `TaskResult`."""

import asyncio
import time
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from deployments.batch import Batcher, Inbox
from deployments.config import BatchConfig, CacheConfig, MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.errors import PipelineGraphError
from deployments.keys import value_key
from deployments.load import load
from deployments.media import MediaDecoder
from deployments.metrics import Metrics
from deployments.parameters import merge_parameters
from deployments.payload import StageTimes, TaskRequest, TaskResult
from deployments.run import PipelineRunner
from deployments.share import Sharing
from deployments.warm_up import warm_up
from deployments.work import Done, Work


@serve.deployment
class PipelineReplica:
    """One replica of a model.

    Args:
        config: the model's configuration as JSON; name and task are set.
        media: bounds on decoded media, as JSON.

    Raises:
        ModelLoadError: the model cannot be loaded or cannot answer the task's example.
    """

    def __init__(self, config: dict[str, Any], media: dict[str, Any]) -> None:
        self._config = ModelConfig.model_validate(config)
        _set_threads(self._config.resources.num_cpus)
        loaded = load(self._config)
        self._ref = loaded.ref
        self._metrics = Metrics(str(self._config.name))
        self._runner = PipelineRunner(self._config, loaded, MediaLimits.model_validate(media), self._metrics)
        self._defaults = dict(self._config.parameters)
        self._decoding = ThreadPoolExecutor(2, thread_name_prefix="decode")
        if self._config.warm_up:
            warm_up(self._runner, self._defaults)
        self._runner.use_mode(self._config.batch.mode)
        self._sharing = Sharing(self._config.cache)
        inbox, limits = Inbox(), self._runner.batch_limits(self._config.batch)
        self._engine = Engine(self._runner.stages, limits, self._metrics, inbox.deliver)
        self._batcher = Batcher(self._engine, inbox)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over new call defaults, batch limits and cache; the weights stay."""
        batch = BatchConfig.model_validate(user_config["batch"])
        self._defaults = dict(user_config["parameters"])
        self._engine.limits = self._runner.batch_limits(batch)
        self._runner.use_mode(batch.mode)
        self._sharing.reconfigure(CacheConfig.model_validate(user_config["cache"]))

    def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        reason = self._engine.unwell()
        if reason is not None:
            raise RuntimeError(f"{self._config.name} can answer no more: {reason}")

    async def __call__(self, request: TaskRequest) -> TaskResult:
        """Answer one request.

        Raises:
            RequestError: the caller can mend it.
            InferenceError: the model failed on it.
        """
        parameters = merge_parameters(self._runner.spec, self._runner.accepted, self._defaults, request.parameters)
        decode_s = 0.0

        async def compute() -> Done:
            nonlocal decode_s
            decoder, started = self._runner.decoder(), time.perf_counter()
            try:
                inputs = await self._decode(decoder, request.inputs)
                decode_s = time.perf_counter() - started
                return await self._batcher.submit(Work(inputs, parameters, request.request_id, request.bulk))
            finally:
                decoder.close()

        if self._runner.repeatable(parameters):
            done, source = await self._sharing.answer(await self._key(request.inputs, parameters), compute)
        else:
            done, source = await compute(), "none"
        if source != "none":
            self._metrics.shared()
        if isinstance(done.outcome, PipelineGraphError):
            raise done.outcome
        times = StageTimes() if source == "hit" else StageTimes(decode_s, *done.stages_s)
        return TaskResult(done.outcome, times, done.batch_size, done.padding_waste, source)

    async def _key(self, inputs: Any, parameters: dict[str, Any]) -> Hashable:
        """Key of a request; hashing media is not for the event loop."""
        if isinstance(inputs, str):
            return value_key([inputs, parameters])
        return await asyncio.get_running_loop().run_in_executor(self._decoding, value_key, [inputs, parameters])

    async def _decode(self, decoder: MediaDecoder, inputs: Any) -> Any:
        """Media decoded off the event loop; plain text passes at once."""
        if isinstance(inputs, str):
            return inputs
        return await asyncio.get_running_loop().run_in_executor(self._decoding, decoder.decode, inputs)

    async def info(self) -> dict[str, Any]:
        """What is loaded, from where, with which defaults; how it batches, and what waits."""
        revision = self._ref.revision if self._ref is not None else None
        commit = getattr(getattr(getattr(self._runner.pipe, "model", None), "config", None), "_commit_hash", None)
        limits = self._runner.forwarder.limits(self._engine.limits)
        return {
            **self._runner.info(),
            "revision": commit or revision,
            "defaults": self._defaults,
            "waiting": self._engine.waiting,
            "max_batch_items": limits.max_items,
            "max_padded_cost": limits.max_padded_cost,
            "max_padding_waste": limits.max_padding_waste,
        }


def _set_threads(num_cpus: float) -> None:
    """One torch thread for each whole CPU of the replica: more would spin against other replicas."""
    import torch

    torch.set_num_threads(max(1, int(num_cpus)))
