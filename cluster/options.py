"""Model configuration → Ray Serve deployment options. Pure: no Ray call."""

from typing import Any

from deployments.config import ModelConfig, ScaleConfig

# torch's OpenMP threads otherwise spin while they wait, and take the time of other replicas on the machine
_QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}


def serve_options(config: ModelConfig) -> dict[str, Any]:
    """Keyword arguments of ``Deployment.options`` for one model.

    ``scale: {min_replicas: 1, max_replicas: 4}`` becomes an autoscaling config; equal bounds become ``num_replicas``.
    """
    scale, resources = config.scale, config.resources
    actor: dict[str, Any] = {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus,
        "runtime_env": {"env_vars": {**_QUIET_THREADS, "OMP_NUM_THREADS": str(max(1, int(resources.num_cpus)))}},
    }
    if resources.memory_bytes is not None:
        actor["memory"] = resources.memory_bytes
    return {
        "name": config.name,
        "ray_actor_options": actor,
        "max_ongoing_requests": max_ongoing_requests(config),
        "max_queued_requests": scale.max_queued_requests,
        "user_config": config.live_config(),
        "max_constructor_retry_count": 1,  # a model that cannot load once cannot load three times
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        **_replicas(scale),
    }


def max_ongoing_requests(config: ModelConfig) -> int:
    """Requests a replica holds at a time: as configured, else four full batches so that the next one is always there.

    Ray's own default of 5 would cap every batch at 5.
    """
    return config.scale.max_ongoing_requests or 4 * config.batch.max_items


def _replicas(scale: ScaleConfig) -> dict[str, Any]:
    most = scale.max_replicas or max(1, scale.min_replicas)
    if most == scale.min_replicas:
        return {"num_replicas": most}
    return {
        "autoscaling_config": {
            "min_replicas": scale.min_replicas,
            "initial_replicas": max(1, scale.min_replicas),
            "max_replicas": most,
            "target_ongoing_requests": scale.target_ongoing_requests,
            "upscale_delay_s": scale.upscale_delay_s,
            "downscale_delay_s": scale.downscale_delay_s,
        }
    }
