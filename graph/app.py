"""The builder that ``serve_config.yaml`` names: configuration → Serve application. The only ``.bind()``."""

# No `from __future__ import annotations` here: Ray looks at the builder's real annotation.

from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from cluster.options import LONG_MESSAGES, QUICK_REPORTS, group_options, serve_options, with_gpus
from cluster.plan.capacity import gpu_of_cluster
from cluster.version import pin_version
from deployments.config import GroupConfig, ModelConfig
from deployments.errors import ConfigError
from graph.resolve import configure
from graph.router import Router

# by their paths, so that neither the builder nor Serve's controller loads torch: a replica imports its class itself
_REPLICA = serve.deployment(name="model")("deployments.replica.ModelReplica")  # type: ignore[arg-type]
_GROUP_REPLICA = serve.deployment(name="group")("deployments.group.SharedReplica")  # type: ignore[arg-type]


class RejectedConfigError(RayServeException):
    """Raised for a configuration with mistakes.

    Of Ray's own kind, because for those ``serve status`` shows the message alone, and for others a traceback.
    """


def build(args: dict[str, Any]) -> serve.Application:
    """Build the application from ``args`` of the config file.

    Raises:
        RejectedConfigError: the configuration has mistakes, listed with their paths.
    """
    try:
        config = configure(args)
        reserved = [with_gpus(model, gpu_of_cluster) for model in config.models]
    except ConfigError as error:
        raise RejectedConfigError(str(error)) from None
    media = config.media.model_dump(mode="json")
    # who goes finishes what it has; Ray's own 20 s would cut off longer answers, and with the router any answer at all
    patience = {"graceful_shutdown_timeout_s": config.limits.request_timeout_s}
    bound = [_bind_model(model, media, patience) for model in reserved if model.group is None]
    for name, group in config.groups.items():
        bound.append(_bind_group(group, [model for model in reserved if model.group == name], media, patience))
    router = Router.options(  # type: ignore[attr-defined]
        num_replicas=config.router.num_replicas,
        ray_actor_options={
            "num_cpus": config.router.num_cpus,
            "runtime_env": {"env_vars": {**LONG_MESSAGES, **QUICK_REPORTS}},
        },
        max_ongoing_requests=config.router.max_ongoing_requests,
        max_surge_percent=100,  # the next one is there before the last one goes: it holds no weights
        **patience,
        user_config=config.model_dump(mode="json"),
    )
    pin_version(router, config.router.model_dump(mode="json"))
    return router.bind(*bound)  # type: ignore[no-any-return]


def _bind_model(model: ModelConfig, media: dict[str, Any], patience: dict[str, float]) -> serve.Application:
    deployment = _REPLICA.options(**serve_options(model), **patience)
    pin_version(deployment, {"load": model.load_key(), "media": media})
    return deployment.bind(model.model_dump(mode="json"), media)  # type: ignore[no-any-return]


def _bind_group(
    group: GroupConfig, models: list[ModelConfig], media: dict[str, Any], patience: dict[str, float]
) -> serve.Application:
    deployment = _GROUP_REPLICA.options(**group_options(group, models), **patience)
    pin_version(deployment, {"resources": group.resources.model_dump(mode="json"), "media": media})
    return deployment.bind(models[0].deployment, media)
