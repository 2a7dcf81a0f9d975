"""One loaded pipeline and its runs: list of inputs → list of outcomes, each with its own answer or error.

No Ray import, and nothing asynchronous: the caller keeps it on one thread, since pipelines share mutable state
(fast tokenizers' padding and truncation settings among it).
"""

import copy
import logging
from collections.abc import Sequence
from typing import Any

from deployments.blame import explain, explain_parameters
from deployments.config import MediaLimits, ModelConfig
from deployments.errors import InferenceError, PipelineGraphError, RequestError
from deployments.load import Loaded
from deployments.media import MediaDecoder
from deployments.parameters import accepted_names
from deployments.tasks import TASKS
from deployments.tensors import pack_tensors, unpack_tensors

logger = logging.getLogger("pipeline_graph.run")

Outcome = Any  # the pipeline's answer, or a PipelineGraphError


class PipelineRunner:
    """Runs one pipeline.

    Args:
        config: the model's configuration.
        loaded: its pipeline.
        limits: bounds on decoded media.
    """

    def __init__(self, config: ModelConfig, loaded: Loaded, limits: MediaLimits) -> None:
        self.config = config
        self.spec = TASKS[config.canonical_task]
        self.pipe = loaded.pipe
        self.accepted = accepted_names(self.spec)
        self._limits = limits

    @property
    def sampling_rate(self) -> int | None:
        """Of the sound that the model takes (Hz), or None."""
        processor = getattr(self.pipe, "processor", None)
        for part in (self.pipe.feature_extractor, getattr(processor, "feature_extractor", None)):
            rate = getattr(part, "sampling_rate", None)
            if rate is not None:
                return int(rate)
        return None

    def decoder(self) -> MediaDecoder:
        """A decoder for one request; close it after the run."""
        return MediaDecoder(self.sampling_rate, self._limits)

    def run(self, inputs: Sequence[Any], parameters: dict[str, Any], request_ids: Sequence[str]) -> list[Outcome]:
        """Answer every input with the same parameters.

        Inputs that may share a padded batch go through the pipeline together; if that fails, each goes alone, so that
        only the one at fault fails.

        Args:
            inputs: decoded, in the pipeline's call form (>=1).
            parameters: merged call parameters.
            request_ids: one for each input; for the log.

        Returns:
            One outcome for each input, in order.
        """
        parameters = unpack_tensors(parameters)
        try:  # on a copy: some pipelines take keys out of the caller's own dictionaries
            self.pipe._sanitize_parameters(**copy.deepcopy(parameters))
        except Exception as error:
            return [explain_parameters(error)] * len(inputs)
        if len(inputs) > 1 and self.spec.batchable:
            try:
                return self._together(inputs, parameters)
            except Exception as error:
                logger.info("a batch of %d failed (%s); each input runs alone", len(inputs), type(error).__name__)
        return [self._alone(one, parameters, name) for one, name in zip(inputs, request_ids, strict=True)]

    def _together(self, inputs: Sequence[Any], parameters: dict[str, Any]) -> list[Outcome]:
        outputs = self.pipe(list(inputs), batch_size=len(inputs), **copy.deepcopy(parameters))
        if len(outputs) != len(inputs):
            raise InferenceError(f"the pipeline gave {len(outputs)} answers to {len(inputs)} inputs")
        if self.spec.single_is_listed:
            outputs = [[output] if isinstance(output, dict) else output for output in outputs]
        return [pack_tensors(output) for output in outputs]

    def _alone(self, one: Any, parameters: dict[str, Any], request_id: str) -> Outcome:
        try:
            return pack_tensors(self._call(one, copy.deepcopy(parameters)))
        except Exception as error:
            explained = explain(error, *self._lengths(one))
            if not isinstance(explained, RequestError):
                logger.exception("request %s failed in %s", request_id, self.config.name)
            return explained

    def _call(self, one: Any, parameters: dict[str, Any]) -> Any:
        """The pipeline on one input, in the call form of its task."""
        if self.spec.name == "any-to-any" and isinstance(one, dict):
            return self.pipe(**one, **parameters)
        if self.spec.name == "image-text-to-text" and isinstance(one, str):
            return self.pipe(text=one, **parameters)
        return self.pipe(one, **parameters)

    def _lengths(self, one: Any) -> tuple[int | None, int | None]:
        """Tokens of a text input, and positions of the model; None where unknown."""
        tokenizer = getattr(self.pipe, "tokenizer", None)
        config = getattr(getattr(self.pipe, "model", None), "config", None)
        most = getattr(config, "max_position_embeddings", None)
        if tokenizer is None or not isinstance(one, str) or not isinstance(most, int):
            return None, None
        try:
            return len(tokenizer(one)["input_ids"]), most
        except Exception:
            return None, None

    def info(self) -> dict[str, Any]:
        """What is loaded: for ``/models/{name}/info``."""
        model = getattr(self.pipe, "model", None)
        return {
            "architecture": type(model).__name__ if model is not None else type(self.pipe).__name__,
            "dtype": str(getattr(model, "dtype", "none")).removeprefix("torch."),
            "device": str(getattr(self.pipe, "device", "none")),
            "parameters": sorted(self.accepted),
            "batchable": self.spec.batchable,
        }


def failed(outcome: Outcome) -> bool:
    """Whether ``outcome`` is an error rather than an answer."""
    return isinstance(outcome, PipelineGraphError)
