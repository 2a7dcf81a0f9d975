"""Model configuration → Ray Serve deployment options. Pure: no Ray call."""

from collections.abc import Callable, Sequence
from typing import Any

from deployments.config import GroupConfig, ModelConfig, ScaleConfig
from deployments.device_map import gpu_number

# torch's OpenMP threads otherwise spin while they wait, and take the time of other replicas on the machine
_QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}
# what autoscaling averages over; Ray warns at 10 s and less
_LOOK_BACK_S = 10.5
# and how often it hears of it; ten seconds otherwise, too slow for quick growth
QUICK_REPORTS = {
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
# over gRPC (RAY_SERVE_THROUGHPUT_OPTIMIZED) Serve's processes else refuse each other's messages over 4 MB, with a 500
LONG_MESSAGES = {"RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1)}

# Serve replaces a dead proxy after three such looks, and by itself looks every ten seconds
QUICK_PROXY = {"RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2"}


def serve_options(config: ModelConfig) -> dict[str, Any]:
    """Keyword arguments of ``Deployment.options`` for one model.

    ``scale: {min_replicas: 1, max_replicas: 4}`` becomes an autoscaling config; equal bounds become ``num_replicas``.
    """
    scale, resources = config.scale, config.resources
    actor: dict[str, Any] = {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus or 0,
        "runtime_env": {
            "env_vars": {
                **_QUIET_THREADS,
                **LONG_MESSAGES,
                **QUICK_REPORTS,
                "OMP_NUM_THREADS": _threads(resources.num_cpus),
            }
        },
    }
    if resources.memory_bytes is not None:
        actor["memory"] = resources.memory_bytes
    return {
        **_on_one_node(actor),
        "name": config.deployment,
        "ray_actor_options": actor,
        "max_ongoing_requests": max_ongoing_requests(config),
        "max_queued_requests": scale.max_queued_requests,
        "user_config": config.live_config(),
        "max_surge_percent": scale.max_surge_percent,
        "max_constructor_retry_count": 1,  # a model that cannot load once cannot load three times
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        **_replicas(scale),
    }


def group_options(group: GroupConfig, models: Sequence[ModelConfig]) -> dict[str, Any]:
    """Keyword arguments of ``Deployment.options`` for the models of a group; scale and resources are the group's.

    The models are in ``user_config``, so that one may change, come or go while the others stay in memory.
    """
    most = max(max_ongoing_requests(model) for model in models)
    bounds = {"max_bytes": group.memory, "max_models": group.max_models, "max_callers": max(1, most // 2)}
    told = {"models": [model.model_dump(mode="json") for model in models], "bounds": bounds}
    return {**serve_options(models[0]), "max_ongoing_requests": most, "user_config": told}


def _on_one_node(actor: dict[str, Any]) -> dict[str, Any]:
    """A placement group for a replica of several GPUs, so that what waits for them shows, and autoscalers see it."""
    if actor["num_gpus"] <= 1:
        return {}
    names = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    bundle = {resource: float(actor[key]) for resource, key in names.items() if actor.get(key)}
    return {"placement_group_bundles": [bundle], "placement_group_strategy": "STRICT_PACK"}


def with_gpus(config: ModelConfig, supply: Callable[[], Any]) -> ModelConfig:
    """``config`` with the GPUs of a replica, where ``resources.num_gpus`` leaves them to its placement.

    A device or a map that names GPUs needs as many as it names. A map that accelerate makes needs as many as hold the
    weights, the key-value cache and a batch: that is planned, if the cluster has GPUs, and never more than its largest
    node has, for which Ray would wait for ever.

    Args:
        config: task and name are set.
        supply: the GPUs of the cluster (`cluster.plan.gpus.Supply`), or None where it has none; asked only if needed.

    Raises:
        ConfigError: with ``tp_plan``, where no node has enough of them.
    """
    if config.resources.num_gpus is not None:
        return config
    named = [config.device] if config.device_map is None else config.device_map
    count = 0
    if isinstance(named, str) or config.tp_plan is not None:
        there = supply()
        if there is not None:
            from cluster.plan.needs import gpus_needed

            count = gpus_needed(config, there)
    else:
        devices = named.values() if isinstance(named, dict) else named
        count = max((number + 1 for number in map(gpu_number, devices) if number is not None), default=0)
    resources = config.resources.model_copy(update={"num_gpus": float(count)})
    return config.model_copy(update={"resources": resources})


def _threads(num_cpus: float) -> str:
    return str(max(1, int(num_cpus)))


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
            "look_back_period_s": _LOOK_BACK_S,
            "policy": {
                "policy_function": "cluster.scaling:ByWork",
                "policy_kwargs": {"target_wait_s": scale.target_wait_s},
            },
            "upscale_delay_s": scale.upscale_delay_s,
            "downscale_delay_s": scale.downscale_delay_s,
        }
    }
