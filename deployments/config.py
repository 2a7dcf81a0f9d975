"""What one model needs: the part of the configuration that reaches its replicas. Units are in the names."""

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deployments.tasks import canonical_task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StrictModel(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class MediaLimits(StrictModel):
    """Bounds on decoded images, sounds and films, checked before memory is spent.

    Args:
        max_image_pixels: pixels of one image (default 64 million).
        max_audio_s: seconds of one sound (default 3600).
        max_video_s: seconds of one film (default 600).
    """

    max_image_pixels: int = Field(default=64_000_000, ge=1)
    max_audio_s: float = Field(default=3600, gt=0)
    max_video_s: float = Field(default=600, gt=0)


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
        max_padding_waste: share of a batch that may be padding, in [0, 1) (default 0.1).
    """

    mode: Literal["auto", "padded", "equal", "alone"] = "auto"
    max_items: int = Field(default=32, ge=1, le=4096)
    max_padded_tokens: int = Field(default=16384, ge=1)
    max_padded_pixels: int = Field(default=8_388_608, ge=1)
    max_padded_audio_s: float = Field(default=480, gt=0)
    max_padding_waste: float = Field(default=0.1, ge=0, lt=1)

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
        max_bytes: memory for answers (>=0; default 0: none are kept). Only of tasks and settings whose answer is always
            the same; the least used are forgotten first.
        share_running: answer equal requests that arrive while one of them runs with its answer (default true).
    """

    max_bytes: int = Field(default=0, ge=0)
    share_running: bool = True


class ScaleConfig(StrictModel):
    """How many replicas there are, and how full each may get.

    Args:
        min_replicas: replicas kept at any time (>=0, default 1).
        max_replicas: replicas at the busiest (>=1, default: ``min_replicas``, at least 1).
        target_ongoing_requests: requests a replica should have in hand on average; autoscaling adds replicas above
            it (>0, default 16).
        max_ongoing_requests: requests a replica may have in hand, running and waiting (default: four batches).
        max_queued_requests: requests that may wait for a replica before callers get 429 (-1: no limit; default 512).
        upscale_delay_s: seconds of load before replicas are added (default 5).
        downscale_delay_s: seconds of calm before replicas are removed (default 300).
    """

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int | None = Field(default=None, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0)
    max_ongoing_requests: int | None = Field(default=None, ge=1)
    max_queued_requests: int = Field(default=512, ge=-1)
    upscale_delay_s: float = Field(default=5, ge=0)
    downscale_delay_s: float = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})")
        return self


class ResourceConfig(StrictModel):
    """What Ray reserves for each replica.

    Args:
        num_cpus: logical CPUs (>=0, fractions allowed, default 1); torch runs as many threads, at least one.
        num_gpus: GPUs (>=0, default 0); a fraction below 1 shares one GPU, above 1 it must be whole.
        memory_bytes: memory reserved (default: not reserved).
    """

    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    memory_bytes: int | None = Field(default=None, ge=1)

    @field_validator("num_gpus")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"must be whole above 1 (Ray shares only a single GPU), not {value:g}")
        return value


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
        init: parameters that the pipeline takes only when it is made (e.g. ``use_fast``).
        model_kwargs: keyword arguments of ``from_pretrained``.
        dtype: ``auto`` (as saved) or a torch dtype such as ``bfloat16``.
        device: ``auto`` (the GPU if the replica has one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        device_map: accelerate's placement of the model's parts; not together with ``device``.
        quantization: ``none``, ``8bit`` or ``4bit`` (bitsandbytes).
        trust_remote_code: run Python code that the model repository ships (default false).
        warm_up: run the task's example once before the replica takes requests (default true).
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
    init: dict[str, Any] = Field(default_factory=dict)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    dtype: str = "auto"
    device: str | None = None
    device_map: str | dict[str, Any] | None = None
    quantization: Literal["none", "8bit", "4bit"] = "none"
    trust_remote_code: bool = False
    warm_up: bool = True
    batch: BatchConfig = BatchConfig()
    cache: CacheConfig = CacheConfig()
    scale: ScaleConfig = ScaleConfig()
    resources: ResourceConfig = ResourceConfig()

    @field_validator("name")
    @classmethod
    def _url_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
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
        if self.device not in (None, "auto") and self.device_map is not None:
            raise ValueError("give `device` or `device_map`, not both: they conflict")
        return self

    @property
    def canonical_task(self) -> str:
        """Name of the task's row in the task table; the task must be set."""
        assert self.task is not None, "the task is resolved before a model is deployed"
        return canonical_task(self.task)

    def load_key(self) -> dict[str, Any]:
        """All that needs a new replica when it changes: everything but name, defaults, batching and scaling."""
        light = {"name", "parameters", "batch", "cache", "scale"}
        return self.model_dump(mode="json", exclude=light)

    def live_config(self) -> dict[str, Any]:
        """What a running replica takes over without loading again: Serve's ``user_config``."""
        return {
            "parameters": self.parameters,
            "batch": self.batch.model_dump(mode="json"),
            "cache": self.cache.model_dump(mode="json"),
        }
