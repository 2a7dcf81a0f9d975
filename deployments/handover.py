"""An update that does not have a model's weights in memory twice: the new replica waits until the old one has ended."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

from ray import serve

from deployments.config import ModelConfig

logger = logging.getLogger("ray.serve")

_LOOK_S = 0.2
_MOST_S = 120.0  # whoever answers for longer still, up to `limits.request_timeout_s`, is loaded beside


def await_the_old(config: ModelConfig) -> None:
    """Wait while a replica of this deployment, that an update replaces, still answers its last requests.

    Serve asks an old replica to stop and starts the new one in the same moment; the old one ends once it has answered
    what it has in hand. Call it before anything is loaded. One that comes because of the load, or in the place of one
    that is unwell, waits for nobody: callers wait for it. With ``scale.max_surge_percent`` there is nothing to wait
    for: room for both is what that asks for.
    """
    if config.scale.max_surge_percent:
        return
    context = serve.get_replica_context()
    with ThreadPoolExecutor(1) as aside:  # Ray does not like to be asked on an actor's event loop
        aside.submit(_wait, context.app_name, context.deployment).result()


def _wait(app_name: str, deployment: str) -> None:
    until = time.monotonic() + _MOST_S
    while time.monotonic() < until:
        try:
            if not _replaces(app_name, deployment):
                return
        except Exception:  # without an answer of the controller, what is there to wait for
            logger.warning("%s: Serve's status cannot be read", deployment, exc_info=True)
            return
        time.sleep(_LOOK_S)


def _replaces(app_name: str, deployment: str) -> bool:
    """Whether an update is under way, and old replicas are on their way out."""
    found = serve.status().applications[app_name].deployments[deployment]
    updating = str(getattr(found.status, "value", found.status)) == "UPDATING"
    return updating and any(count for state, count in found.replica_states.items() if str(state).endswith("STOPPING"))
