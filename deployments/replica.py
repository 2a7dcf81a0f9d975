"""The Serve deployment of one configured model: loads it once, and answers `TaskRequest` with `TaskResult`."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from deployments.batch import Batcher, Work, failed
from deployments.config import BatchConfig, MediaLimits, ModelConfig
from deployments.errors import MissingDependencyError, ModelLoadError, PipelineGraphError, RequestError
from deployments.load import load
from deployments.media import MediaDecoder
from deployments.parameters import merge_parameters
from deployments.payload import StageTimes, TaskRequest, TaskResult
from deployments.run import PipelineRunner
from deployments.warm_up import warm_up_input

logger = logging.getLogger("ray.serve")


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
        self._runner = PipelineRunner(self._config, loaded, MediaLimits.model_validate(media))
        self._defaults = dict(self._config.parameters)
        self._batcher = Batcher(self._runner.run, self._config.batch.max_items)
        self._decoding = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._warm_up()

    def _warm_up(self) -> None:
        """Run the task's example; the replica does not start if the model cannot answer it."""
        if not self._config.warm_up:
            return
        decoder = self._runner.decoder()
        try:
            spec = self._runner.spec
            defaults = {name: value for name, value in self._defaults.items() if name in spec.required}
            parameters = {**spec.example_parameters, **defaults}
            inputs = decoder.decode(warm_up_input(self._runner))
            outcome = self._runner.run([inputs], parameters, ["warm-up"])[0]
        finally:
            decoder.close()
        if isinstance(outcome, RequestError | MissingDependencyError):
            # the example does not suit this very model; callers may still send what does
            logger.warning("%s does not take the warm-up example: %s", self._config.name, outcome)
        elif failed(outcome):
            raise ModelLoadError(f"{self._config.name}: the model failed on the warm-up example; see the log above.")

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over new call defaults and batch limits; the weights stay."""
        self._defaults = dict(user_config["parameters"])
        self._batcher.max_items = BatchConfig.model_validate(user_config["batch"]).max_items

    async def __call__(self, request: TaskRequest) -> TaskResult:
        """Answer one request.

        Raises:
            RequestError: the caller can mend it.
            InferenceError: the model failed on it.
        """
        parameters = merge_parameters(self._runner.spec, self._runner.accepted, self._defaults, request.parameters)
        decoder, started = self._runner.decoder(), time.perf_counter()
        try:
            inputs = await self._decode(decoder, request.inputs)
            decoded = time.perf_counter()
            done = await self._batcher.submit(Work(inputs, parameters, request.request_id))
        finally:
            decoder.close()
        if isinstance(done.outcome, PipelineGraphError):
            raise done.outcome
        return TaskResult(done.outcome, StageTimes(decoded - started, done.queue_s, done.inference_s), done.batch_size)

    async def _decode(self, decoder: MediaDecoder, inputs: Any) -> Any:
        """Media decoded off the event loop; plain text passes at once."""
        if isinstance(inputs, str):
            return inputs
        return await asyncio.get_running_loop().run_in_executor(self._decoding, decoder.decode, inputs)

    async def info(self) -> dict[str, Any]:
        """What is loaded: architecture, dtype, device, revision, parameters accepted, defaults."""
        revision = self._ref.revision if self._ref is not None else None
        commit = getattr(getattr(getattr(self._runner.pipe, "model", None), "config", None), "_commit_hash", None)
        return {
            **self._runner.info(),
            "revision": commit or revision,
            "defaults": self._defaults,
            "max_batch_items": self._batcher.max_items,
        }


def _set_threads(num_cpus: float) -> None:
    """One torch thread for each whole CPU of the replica: more would spin against other replicas."""
    import torch

    torch.set_num_threads(max(1, int(num_cpus)))
