"""What a configured model needs in memory: weights, key-value cache and activations of a full batch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cluster.plan.empty import Weights, activation_bytes, cache_bytes, count_weights, empty_model
from cluster.plan.gpus import COUNTS, Fit, Gpu, Supply, fit
from cluster.plan.source import Headers, read_headers
from deployments.config import ModelConfig
from deployments.errors import ConfigError
from deployments.load_errors import reason_of
from deployments.model_ref import ModelRef
from deployments.quantization import Quantization
from deployments.saved import is_quantized
from deployments.tasks import TASKS

logger = logging.getLogger("pipeline_graph.plan")

CHOICES: dict[str, tuple[str, Quantization | None]] = {
    "float32": ("float32", None),
    "bfloat16": ("bfloat16", None),
    "8bit": ("bfloat16", Quantization(load_in_8bit=True)),
    "4bit": ("bfloat16", Quantization(load_in_4bit=True)),
}
"""What is compared: dtype and quantisation of each."""
_IMAGE_SIDE = 224  # pixels, where a configuration names none
_PROMPT_TOKENS = 4096  # of prompts that run at once on a GPU, see deployments/stepwise/turns.py


@dataclass(frozen=True)
class Needs:
    """Bytes of one replica.

    Args:
        weights: see `Weights`.
        cache: keys and values of a full batch, or None where the model has none or does not tell without data.
        activations: beside them, at most, of a full batch; or None where the model does not tell without data.
        rows, tokens: of that batch; tokens of the longest row.
        kept: keys and values of prompts that came before (``batch.max_prefix_tokens``), at most.
    """

    weights: Weights
    cache: int | None
    activations: int | None
    rows: int
    tokens: int
    kept: int = 0

    @property
    def total(self) -> int:
        """All of it, as far as it is known."""
        return self.weights.bytes + (self.cache or 0) + self.kept + (self.activations or 0)

    def fit(self, gpu: Gpu) -> Fit:
        """On GPUs of one kind."""
        return fit(self.total, gpu.usable_bytes, self.weights.largest)


class ModelNeeds:
    """A model, planned; nothing of its weights is read.

    Args:
        config: task and name are set.
        ref: where it is.

    Raises:
        PlanError: when something is asked that cannot be told.
    """

    def __init__(self, config: ModelConfig, ref: ModelRef) -> None:
        self.config, self.ref = config, ref

    @cached_property
    def headers(self) -> Headers | None:
        """Of its safetensors files."""
        return read_headers(self.ref)

    @cached_property
    def saved_quantized(self) -> bool:
        """Whether its weights are saved in fewer bits."""
        return is_quantized(self.ref)

    def empty(self, dtype: str | None = None, quantization: Quantization | None = None) -> Any:
        """The model without weights, as configured or in another dtype."""
        if dtype is None:
            dtype, quantization = self.config.dtype, self.config.quantization
        with _quiet():
            return empty_model(self.config, self.ref, dtype, quantization)

    def as_configured(self) -> Needs:
        """What the configuration, as it is, needs."""
        empty = self.empty()
        weights = count_weights(empty)
        if self.saved_quantized and self.headers is not None:
            weights = Weights(weights.parameters, self.headers.bytes, self.headers.bytes)  # as they are saved
        # activations are those of the dtype, however the weights are packed: the meta device has no kernels for that
        plain = self.empty(self.config.dtype) if self.config.quantization is not None else empty
        rows, tokens = self.batch(plain)
        with _quiet():
            cache = cache_bytes(plain, rows, tokens) if self.generates else None
            activations = activation_bytes(plain, self._inputs(plain, rows, tokens))
        # an encoder's states belong to one input, so nothing of them is kept
        kept = 0 if plain.config.is_encoder_decoder else self.config.batch.max_prefix_tokens
        return Needs(weights, cache, activations, rows, tokens, kept * (cache or 0) // (rows * tokens))

    def choices(self) -> Iterator[tuple[str, Weights]]:
        """Weights in each of `CHOICES`; none where they are saved in fewer bits already."""
        if self.saved_quantized or self.ref.gguf_file is not None:
            return
        for name, (dtype, quantization) in CHOICES.items():
            yield name, count_weights(self.empty(dtype, quantization))

    @property
    def generates(self) -> bool:
        """Whether it writes text."""
        return TASKS[self.config.canonical_task].generates

    def batch(self, empty: Any) -> tuple[int, int]:
        """Rows of a full batch, and tokens of each: the bounds of ``batch``, and the model's own context."""
        batch, text = self.config.batch, empty.config.get_text_config(decoder=True)
        context = next(
            (int(getattr(text, name)) for name in _CONTEXT if getattr(text, name, None)), batch.max_padded_tokens
        )
        tokens = max(1, min(batch.max_padded_tokens // batch.max_items, context))
        return min(batch.max_items, max(1, batch.max_padded_tokens // tokens)), tokens

    def _inputs(self, empty: Any, rows: int, tokens: int) -> dict[str, Any]:
        """Tensors without data, of the kind that the model reads."""
        import torch

        name, config = empty.main_input_name, empty.config
        if name == "pixel_values":
            return {name: torch.empty(self._images(config, rows), dtype=empty.dtype, device="meta")}
        if name == "input_values":
            return {name: torch.empty(rows, 16_000, dtype=empty.dtype, device="meta")}
        if self.generates:  # prompts run some at a time
            rows = max(1, min(rows, _PROMPT_TOKENS // tokens))
        given: dict[str, Any] = {"input_ids": torch.zeros(rows, tokens, dtype=torch.long, device="meta")}
        if self.generates and not config.is_encoder_decoder:
            given["use_cache"] = False
        if config.is_encoder_decoder:
            given["decoder_input_ids"] = given["input_ids"][:, :1]
        return given

    def _images(self, config: Any, rows: int) -> tuple[int, int, int, int]:
        vision = getattr(config, "vision_config", config)
        size = getattr(vision, "image_size", _IMAGE_SIDE)
        if not isinstance(size, list | tuple):
            size = (size, size) if isinstance(size, int) else (_IMAGE_SIDE, _IMAGE_SIDE)
        height, width = size
        most = max(1, self.config.batch.max_padded_pixels // (height * width))
        return min(rows, most), getattr(vision, "num_channels", 3), height, width


_CONTEXT = ("max_position_embeddings", "n_positions", "max_target_positions")


def gpus_needed(config: ModelConfig, supply: Supply) -> int:
    """GPUs that a replica of ``config`` needs; as many as there are, eight at most, where they do not hold it.

    Raises:
        ConfigError: with ``tp_plan``, where they do not hold it, or are fewer than two.

    One where it cannot be planned, two with ``tp_plan``: loading then says what is wrong.
    """
    from deployments.load import resolve_model

    ranks, gpu = config.tp_plan is not None, supply.kind
    if ranks and supply.most < 2:
        raise ConfigError(
            f"{config.name} has `tp_plan`, which divides a model over several GPUs of one node, and no node has more "
            f"than one: leave it out; `device_map: auto` uses main memory and the disk beside one {gpu.name}"
        )
    try:
        needs = ModelNeeds(config, resolve_model(config)).as_configured()
    except Exception as error:  # whatever is wrong with one model is no reason to stop the others
        count = 2 if ranks else 1
        logger.warning("%s cannot be planned, so its GPUs are %d: %s", config.name, count, reason_of(error))
        return count
    found = needs.fit(gpu).count
    count = max(found or COUNTS[-1], 2 if ranks else 1)
    if found is not None and count <= supply.most:
        return count
    has = min(COUNTS[-1], supply.most)
    size = f"{config.name} needs {needs.total / 2**30:.1f} GiB, more than {has} x {gpu.name} of one node"
    if ranks:
        raise ConfigError(
            f"{size}: tensor parallelism over several nodes is not built; take larger GPUs, or `device_map: auto`, "
            "which uses the disk"
        )
    logger.warning("%s: what they do not hold goes to main memory and the disk, which is slow", size)
    return has


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice of transformers about models that are not going to run."""
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity()
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(before)
