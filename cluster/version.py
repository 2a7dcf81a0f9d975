"""Versions of deployments that change only when the deployment itself does.

``serve deploy`` gives every deployment of an application one version: a hash of the import path and of all ``args``.
So a new default parameter of one model would restart the replicas of every model. Here a deployment keeps a version
made from what it alone depends on; Serve then restarts only those whose version changed, and hands a changed
``user_config`` to the running replicas of the others.

Serve has no public setting for it (2.60: ``ray/serve/_private/deploy_utils.py``, ``get_deploy_args`` writes
``deployment_config.version``), so the config object itself keeps the version it was given first. If a later Ray works
differently, deployments restart more often than needed and nothing else changes; ``tests/serve/test_update.py`` would
show it.
"""

import hashlib
import importlib.metadata
import json
from typing import Any

from ray import serve
from ray.serve._private.config import DeploymentConfig


class PinnedDeploymentConfig(DeploymentConfig):
    """A deployment config whose version, once set, stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "version" and self.version is not None:
            return
        super().__setattr__(name, value)


def pin_version(deployment: serve.Deployment, key: dict[str, Any]) -> None:
    """Give ``deployment`` a version made from ``key`` (JSON) and the installed release of this package."""
    config = PinnedDeploymentConfig.model_construct(**dict(deployment._deployment_config))
    stated = json.dumps([importlib.metadata.version("pipeline-graph"), key], sort_keys=True)
    config.version = hashlib.sha256(stated.encode()).hexdigest()[:16]
    deployment._deployment_config = config
