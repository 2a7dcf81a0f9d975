"""The builder that ``serve_config.yaml`` names: configuration → Serve application. The only ``.bind()``."""

# No `from __future__ import annotations` here: Ray looks at the builder's real annotation.

from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from cluster.options import serve_options
from cluster.version import pin_version
from deployments.config import ModelConfig
from deployments.errors import ConfigError
from deployments.replica import PipelineReplica
from graph.resolve import configure
from graph.router import Router


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
    except ConfigError as error:
        raise RejectedConfigError(str(error)) from None
    media = config.media.model_dump(mode="json")
    models = [_bind_model(model, media) for model in config.models]
    router = Router.options(  # type: ignore[attr-defined]
        num_replicas=config.router.num_replicas,
        ray_actor_options={"num_cpus": config.router.num_cpus},
        max_ongoing_requests=config.router.max_ongoing_requests,
        user_config=config.model_dump(mode="json"),
    )
    pin_version(router, config.router.model_dump(mode="json"))
    return router.bind(*models)  # type: ignore[no-any-return]


def _bind_model(model: ModelConfig, media: dict[str, Any]) -> serve.Application:
    deployment = PipelineReplica.options(**serve_options(model))  # type: ignore[attr-defined]
    pin_version(deployment, {"load": model.load_key(), "media": media})
    return deployment.bind(model.model_dump(mode="json"), media)  # type: ignore[no-any-return]
