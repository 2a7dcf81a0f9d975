"""How many replicas of a model, or of a group of models, there are, what Ray reserves for each, and what it holds."""

import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from deployments.strict import StrictModel


class ScaleConfig(StrictModel):
    """How many replicas there are, and how full each may get.

    Args:
        min_replicas: replicas kept at any time (>=0, default 1).
        max_replicas: replicas at the busiest (>=1, default: ``min_replicas``, at least 1).
        target_ongoing_requests: requests in hand of a replica, above which there will be more replicas (default 16).
        target_wait_s: seconds of work waiting in a replica, above which there will be more replicas (default 2).
        max_ongoing_requests: requests a replica may have in hand, running and waiting (default: four batches).
        max_queued_requests: requests that may wait for a replica before callers get 429 (-1: no limit; default 512).
        upscale_delay_s: seconds of load before replicas are added (default 5).
        downscale_delay_s: seconds of calm before replicas are removed (default 300).
        max_surge_percent: replicas that an update may start before it stops old ones, as a share of their number in
            percent, in [0, 100] (default 0: a replica is stopped first, so that nothing is loaded twice at a time).
    """

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int | None = Field(default=None, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0)
    target_wait_s: float = Field(default=2, gt=0)
    max_ongoing_requests: int | None = Field(default=None, ge=1)
    max_queued_requests: int = Field(default=512, ge=-1)
    upscale_delay_s: float = Field(default=5, ge=0)
    downscale_delay_s: float = Field(default=300, ge=0)
    max_surge_percent: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})")
        return self


class ResourceConfig(StrictModel):
    """What Ray reserves for each replica.

    Args:
        num_cpus: logical CPUs (>=0, fractions allowed, default 1); torch runs as many threads, at least one.
        num_gpus: GPUs (>=0; default: as many as the model's placement needs, see docs/large-models.md, and none without
            one); a fraction below 1 shares one GPU, above 1 it must be whole.
        memory_bytes: memory reserved (default: not reserved).
    """

    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory_bytes: int | None = Field(default=None, ge=1)

    @field_validator("num_gpus")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError(f"must be whole above 1 (Ray shares only a single GPU), not {value:g}")
        return value


class GroupConfig(StrictModel):
    """Models that share replicas: each is loaded when it is asked for, and goes when others need its place.

    Args:
        memory: bytes that the weights in a replica may take, or a text such as ``4GiB`` (default: no bound).
        max_models: models that a replica holds at a time (>=1, default: no bound).
        scale, resources: of the replicas, in place of those of the models.
    """

    memory: int | None = Field(default=None, ge=1)
    max_models: int | None = Field(default=None, ge=1)
    scale: ScaleConfig = ScaleConfig()
    resources: ResourceConfig = ResourceConfig()

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = _MEMORY.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is no memory: write bytes, or a text like 4GiB")
        number, kind, binary = found.groups()
        return int(float(number) * (1024 if binary else 1000) ** ("KMG".index(kind.upper()) + 1))

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.memory is None and self.max_models is None:
            raise ValueError("give `memory`, `max_models` or both: how much a replica may hold at a time")
        return self


_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG])(i?)B", re.IGNORECASE)
