"""One loaded pipeline with its three stages. No Ray import, and nothing asynchronous."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from deployments.config import BatchConfig, MediaLimits, ModelConfig
from deployments.errors import PipelineGraphError
from deployments.finish import Finisher
from deployments.footprint import weights
from deployments.forward import Forwarder
from deployments.generation import samples
from deployments.load import Loaded
from deployments.media import MediaDecoder
from deployments.observe import Observer
from deployments.parameters import accepted_names
from deployments.plan import Limits
from deployments.prepare import Preparer
from deployments.ranks import Leader
from deployments.room import Room
from deployments.stepwise.turns import Turns
from deployments.tasks import TASKS, TaskSpec, row_for
from deployments.tasks.spec import BatchMode
from deployments.work import Chunk, Outcome, Work

logger = logging.getLogger("pipeline_graph.run")


class PipelineRunner:
    """A pipeline, its stages, and what is known of it.

    Args:
        config: the model's configuration.
        loaded: its pipeline.
        limits: bounds on decoded media.
        observer: is told of every batch.
        room: for decoded media, where it is shared with other models.
    """

    def __init__(
        self,
        config: ModelConfig,
        loaded: Loaded,
        limits: MediaLimits,
        observer: Observer | None = None,
        room: Room | None = None,
    ) -> None:
        self.config = config
        self.spec = TASKS[config.canonical_task]
        self.pipe = loaded.pipe
        self.accepted = accepted_names(self.spec)
        self._limits = limits
        self.room = room or Room(limits.max_held_bytes)
        self._observer = observer or Observer()
        self.forwarder = Forwarder(self.pipe, self.spec, self._observer)
        self.preparer = Preparer(self.pipe, self.spec, self.sampling_rate)
        self.finisher = Finisher(self.pipe, self.spec)
        if self.preparer.steps is not None and isinstance(getattr(self.pipe, "forward", None), Leader):
            self.preparer.steps.reason = "its model runs on several GPUs at once (`tp_plan`)"
        self.mode_reason = ""
        self.checked: tuple[BatchMode, str] = self.preparer.mode, ""
        self._steps_found = ""  # why the model cannot generate step by step
        self.keep_steps()

    def use_batch(self, batch: BatchConfig) -> None:
        """How requests share batches from now on; mode ``auto`` is what the check at start found."""
        mode = batch.mode
        self.preparer.mode, self.mode_reason = self.checked if mode == "auto" else (mode, "configured")
        if self.preparer.steps is not None:
            shared = mode in ("auto", "padded")
            self.preparer.steps.reason = self._steps_found if shared else f"`batch.mode` is `{mode}`"
            self.preparer.steps.max_new_tokens = batch.max_new_tokens

    def keep_steps(self) -> None:
        """Remember what was found out about generating step by step."""
        if self.preparer.steps is not None:
            self._steps_found = self.preparer.steps.reason

    def turns(self) -> Turns | None:
        """The running batch of a model that generates step by step."""
        if self.preparer.steps is None or self._steps_found:
            return None
        return Turns(self.pipe.model, self._observer)

    def row(self, inputs: Any) -> tuple[TaskSpec, frozenset[str]]:
        """The row of the task table that ``inputs`` belong to, and the parameters that a call with them may carry."""
        spec = row_for(self.spec, inputs)
        return spec, self.accepted if spec is self.spec else accepted_names(spec)

    @property
    def stages(self) -> tuple[Preparer, Forwarder, Finisher]:
        """In order."""
        return self.preparer, self.forwarder, self.finisher

    @property
    def sampling_rate(self) -> int | None:
        """Of the sound that the model takes (Hz), or None."""
        processor = getattr(self.pipe, "processor", None)
        for part in (self.pipe.feature_extractor, getattr(processor, "feature_extractor", None)):
            rate = getattr(part, "sampling_rate", None)
            if rate is not None:
                return int(rate)
        return None

    def decoder(self, parameters: dict[str, Any] | None = None) -> MediaDecoder:
        """A decoder for one request with these parameters; close it after the run."""
        return MediaDecoder(self.sampling_rate, self._limits, self.room, parameters)

    def batch_limits(self, batch: BatchConfig) -> Limits:
        """``batch`` in the task's unit."""
        return Limits(
            batch.max_items,
            batch.max_padded(self.spec.unit),
            batch.max_padding_waste,
            max_prefix_tokens=batch.max_prefix_tokens,
        )

    def run(self, inputs: Any, parameters: dict[str, Any], request_id: str = "") -> Outcome:
        """One request through the stages, here and now; for the time before the threads start.

        Args:
            inputs: decoded, in the pipeline's call form.
            parameters: merged call parameters.
            request_id: for the log.

        Returns:
            The pipeline's answer, or a PipelineGraphError.
        """
        work = Work(inputs, parameters, request_id)
        try:
            chunks = self.preparer.prepare(work)
        except PipelineGraphError as error:
            work.error, chunks = error, []
        for chunk in chunks:
            if work.error is None:
                self.forwarder.run([chunk])
        return self._finished(work)

    def run_together(self, inputs: Sequence[Any], parameters: dict[str, Any]) -> tuple[list[Outcome], list[Chunk]]:
        """Several requests in one batch, whatever the planner would say; their outcomes and chunks.

        Raises:
            Exception: as the pipeline raised it.
        """
        works = [Work(one, parameters) for one in inputs]
        chunks = [chunk for work in works for chunk in self.preparer.prepare(work)]
        for group in dict.fromkeys(chunk.group for chunk in chunks):
            members = [chunk for chunk in chunks if chunk.group == group]
            for batch in [members] if group is not None else [[chunk] for chunk in members]:
                self.forwarder.run(batch)
        return [self._finished(work) for work in works], chunks

    def _finished(self, work: Work) -> Outcome:
        outcome = self.finisher.finish(work)
        if work.error is not None:
            logger.error("%s failed on %s", self.config.name, work.request_id or "a trial", exc_info=work.error)
        return outcome

    def repeatable(self, parameters: dict[str, Any]) -> bool:
        """Whether equal requests with these parameters have equal answers."""
        nested = parameters.get("generate_kwargs")
        settings = {**parameters, **(nested if isinstance(nested, dict) else {})}
        return self.spec.deterministic and not samples(self.pipe, settings)

    def info(self) -> dict[str, Any]:
        """What is loaded: for ``/models/{name}/info``."""
        model = getattr(self.pipe, "model", None)
        batching: dict[str, str] = {"mode": self.preparer.mode, "unit": self.spec.unit}
        if self.mode_reason:
            batching["reason"] = self.mode_reason
        if self.preparer.steps is not None:
            batching["generation"] = "batches" if self.preparer.steps.reason else "steps"
            if self.preparer.steps.reason:
                batching["generation_reason"] = self.preparer.steps.reason
            elif self.preparer.steps.media:
                batching["generation_media"] = ", ".join(sorted(self.preparer.steps.media))
        return {
            "architecture": type(model).__name__ if model is not None else type(self.pipe).__name__,
            "dtype": str(getattr(model, "dtype", "none")).removeprefix("torch."),
            "device": str(getattr(self.pipe, "device", "none")),
            "parameters": sorted(self.accepted),
            "batching": batching,
            **weights(model),
            **({"embeddings": self.pipe.about()} if hasattr(self.pipe, "about") else {}),
        }

    def about(self) -> dict[str, Any]:
        """The configuration that the model was loaded with, in plain JSON, and the rate of sound that it takes (Hz)."""
        config = getattr(getattr(self.pipe, "model", None), "config", None)
        return {
            "config": json.loads(json.dumps(config.to_dict(), default=str)) if config is not None else {},
            "name_or_path": str(getattr(config, "_name_or_path", "")),
            "sampling_rate": self.sampling_rate,
        }


def failed(outcome: Outcome) -> bool:
    """Whether ``outcome`` is an error rather than an answer."""
    return isinstance(outcome, PipelineGraphError)
