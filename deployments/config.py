"""What one model needs: the part of the configuration that reaches its replicas. Units are in the names."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from deployments.device_map import check_placement, read_device_map, read_max_memory
from deployments.old_spelling import hoisted
from deployments.quantization import Quantization, read_quantization
from deployments.resources import GroupConfig, ResourceConfig, ScaleConfig
from deployments.strict import StrictModel
from deployments.tasks import canonical_task

__all__ = [
    "NAME",
    "BatchConfig",
    "CacheConfig",
    "GroupConfig",
    "MediaLimits",
    "ModelConfig",
    "ResourceConfig",
    "ScaleConfig",
    "StrictModel",
]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of a model or a group."""


class MediaLimits(StrictModel):
    """Bounds on decoded images, sounds and films, checked before memory is spent. "All" are those of one input.

    Args:
        max_image_pixels: pixels of one image (default 64 million, at most 2^28: Pillow's own guard stands there).
        max_image_ratio: the longer side of an image over its shorter one (default 200).
        max_total_pixels: pixels of all images (default 256 million).
        max_audio_s: seconds of one sound (default 3600).
        max_total_audio_s: seconds of all sounds (default 7200).
        max_video_s: seconds of one film (default 600).
        max_total_video_s: seconds of all films (default 1200).
        max_frame_pixels: pixels of one frame of a film (default 8847360: 4096 x 2160).
        max_video_frames: frames of one film (default 36000: 600 s at 60 frames a second).
        max_video_pixels: pixels of all frames of one film (default 40000000000: 600 s of full HD at 30 a second).
        max_held_bytes: memory for decoded media of all requests that a replica has not answered yet (default
            2147483648: 2 GiB); while it is used up, no more is decoded.
    """

    max_image_pixels: int = Field(default=64_000_000, ge=1, le=2**28)
    max_image_ratio: float = Field(default=200, ge=1)
    max_total_pixels: int = Field(default=256_000_000, ge=1)
    max_audio_s: float = Field(default=3600, gt=0)
    max_total_audio_s: float = Field(default=7200, gt=0)
    max_video_s: float = Field(default=600, gt=0)
    max_total_video_s: float = Field(default=1200, gt=0)
    max_frame_pixels: int = Field(default=4096 * 2160, ge=1)
    max_video_frames: int = Field(default=36_000, ge=1)
    max_video_pixels: int = Field(default=40_000_000_000, ge=1)
    max_held_bytes: int = Field(default=2**31, ge=1)


class BatchConfig(StrictModel):
    """How requests share batches of the model. Taken over by running replicas.

    Args:
        mode: ``auto`` (what the task and a check at start allow), ``padded`` (inputs of any length), ``equal`` (only
            inputs of one shape) or ``alone``.
        max_items: rows of one batch (>=1, default 32). With 32, a hundred waiting texts of one length run as
            32 + 32 + 32 + 4.
        max_padded_tokens: rows x the longest row of a batch of texts, with the tokens to generate (default 16384).
        max_padded_pixels: the same for images, after the image processor (default 8388608: 167 of 224 x 224, or 8 of
            1024 x 1024).
        max_padded_audio_s: the same for sounds (seconds, default 480: 16 pieces of 30 s).
        max_padding_waste: share of a batch that may be padding, in [0, 1) (default 0.5); within it, the measured cost
            of a forward decides.
        max_new_tokens: tokens that text generation gives to one request (>=1, default: no bound but the model's
            context); who asks for more is refused.
        max_prefix_tokens: of texts that were generated, whose keys and values are kept for prompts that begin the same
            (>=0, default 4096); 0 keeps none.
    """

    mode: Literal["auto", "padded", "equal", "alone"] = "auto"
    max_items: int = Field(default=32, ge=1, le=4096)
    max_padded_tokens: int = Field(default=16384, ge=1)
    max_padded_pixels: int = Field(default=8_388_608, ge=1)
    max_padded_audio_s: float = Field(default=480, gt=0)
    max_padding_waste: float = Field(default=0.5, ge=0, lt=1)
    max_new_tokens: int | None = Field(default=None, ge=1)
    max_prefix_tokens: int = Field(default=4096, ge=0)

    def max_padded(self, unit: Literal["tokens", "pixels", "seconds"]) -> float:
        """The bound in a task's unit."""
        bounds = {
            "tokens": self.max_padded_tokens,
            "pixels": self.max_padded_pixels,
            "seconds": self.max_padded_audio_s,
        }
        return float(bounds[unit])


class CacheConfig(StrictModel):
    """Answers kept for equal requests, in each replica.

    Args:
        max_bytes: memory for answers that are always the same, the least used forgotten first (default 0: none).
        share_running: answer equal requests that arrive while one of them runs with its answer (default true).
    """

    max_bytes: int = Field(default=0, ge=0)
    share_running: bool = True


class ModelConfig(StrictModel):
    """One served model; ``task`` or ``model`` is enough.

    Args:
        name: name in the URL and of the deployment (default: the task).
        task: a task of ``pipeline()`` or an alias (default: inferred from the model).
        model: hub id with optional ``@revision``, local directory, ``package:NAME/PATH``, or a GGUF file (default: the
            task's default model).
        revision: branch, tag or commit of a hub model.
        tokenizer, feature_extractor, image_processor, processor: where to load these from, if not from the model.
        parameters: defaults of call parameters.
        voices: of a model that speaks: name → call parameters that make it (default: one, called ``default``).
        init: parameters that the pipeline takes only when it is made (e.g. ``use_fast``).
        model_kwargs: keyword arguments of ``from_pretrained``.
        dtype: ``auto`` (as saved) or a torch dtype such as ``bfloat16``.
        device: ``auto`` (the GPU if the replica has one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        device_map: accelerate's placement of the model's parts: ``auto``, ``balanced``, ``balanced_low_0``,
            ``sequential``, a device, or ``{module: device}``; not together with ``device``.
        max_memory: bounds for accelerate's placement: ``{0: 20GiB, cpu: 60GiB}``.
        offload_folder: where weights that go to the disk are written, if they cannot be read from the model's files.
        quantization: ``none``, ``8bit``, ``4bit``, or the keys of `Quantization` (bitsandbytes).
        tp_plan: ``auto``, or rules of tensor parallelism by module, over the GPUs of a replica.
        attn_implementation: ``eager``, ``sdpa``, ``flash_attention_2`` and others that transformers knows (default:
            its choice).
        packed_linear: on a CPU, keep a copy of float32 linear weights, and of bfloat16 ones where the processor
            multiplies them, laid out for oneDNN (default true); faster, and twice their memory, so only up to 2 GiB.
        trust_remote_code: run Python code that the model repository ships (default false).
        warm_up: run the task's example once before the replica takes requests (default true).
        group: the group of models with which it shares replicas, see `GroupConfig` (default: replicas of its own).
        batch, cache, scale, resources: see `BatchConfig`, `CacheConfig`, `ScaleConfig`, `ResourceConfig`.
    """

    name: str | None = None
    task: str | None = None
    model: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    feature_extractor: str | None = None
    image_processor: str | None = None
    processor: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    voices: dict[str, dict[str, Any]] = Field(default_factory=dict)
    init: dict[str, Any] = Field(default_factory=dict)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    dtype: str = "auto"
    device: str | None = None
    device_map: str | dict[str, Any] | None = None
    max_memory: dict[int | str, int | str] | None = None
    offload_folder: str | None = None
    quantization: Quantization | None = None
    tp_plan: Literal["auto"] | dict[str, str] | None = None
    attn_implementation: str | None = None
    packed_linear: bool = True
    trust_remote_code: bool = False
    warm_up: bool = True
    group: str | None = None
    batch: BatchConfig = BatchConfig()
    cache: CacheConfig = CacheConfig()
    scale: ScaleConfig = ScaleConfig()
    resources: ResourceConfig = ResourceConfig()

    _hoisted = model_validator(mode="before")(hoisted)
    _device_map = field_validator("device_map", mode="before")(read_device_map)
    _max_memory = field_validator("max_memory", mode="before")(read_max_memory)
    _quantization = field_validator("quantization", mode="before")(read_quantization)

    @field_validator("name")
    @classmethod
    def _url_name(cls, value: str | None) -> str | None:
        if value is not None and not NAME.fullmatch(value):
            raise ValueError("must be 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit")
        return value

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                canonical_task(value)
            except KeyError as error:
                raise ValueError(error.args[0]) from None
        return value

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        known = ("auto", "float32", "float16", "bfloat16", "float64")
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}, not {value!r}")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", value):
            raise ValueError(f"must be auto, cpu, cuda or cuda:N, not {value!r}")
        return value

    @model_validator(mode="after")
    def _cross_checks(self) -> Self:
        if self.task is None and self.model is None:
            raise ValueError("give `task`, `model` or both")
        if self.quantization is not None and (self.model or "").partition("@")[0].lower().endswith(".gguf"):
            raise ValueError("a GGUF file has its own quantisation: leave out `quantization`")
        check_placement(self)
        return self

    @property
    def canonical_task(self) -> str:
        """Name of the task's row in the task table; the task must be set."""
        assert self.task is not None, "the task is resolved before a model is deployed"
        return canonical_task(self.task)

    @property
    def deployment(self) -> str:
        """Name of the deployment whose replicas answer for it."""
        return str(self.group or self.name)

    def load_key(self) -> dict[str, Any]:
        """All that needs a new replica when it changes: everything but name, defaults, batching and scaling."""
        return self.model_dump(
            mode="json", exclude={"name", "parameters", "voices", "group", "batch", "cache", "scale"}
        )

    def live_config(self) -> dict[str, Any]:
        """What a running replica takes over without loading again: Serve's ``user_config``."""
        return {
            "parameters": self.parameters,
            "batch": self.batch.model_dump(mode="json"),
            "cache": self.cache.model_dump(mode="json"),
        }
