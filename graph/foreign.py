"""Ray's errors at the boundary of a handle call → ours."""

import contextlib
import logging
from collections.abc import Iterator

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import MODEL_FAILED, InferenceError, OverloadedError, PipelineGraphError, ReplicaLostError

logger = logging.getLogger("ray.serve")


@contextlib.contextmanager
def translated(name: str, request_id: str) -> Iterator[None]:
    """Foreign errors of a call of model ``name`` become ours."""
    try:
        yield
    except RayTaskError as error:
        raise _translate(error, name, request_id) from None
    except BackPressureError:
        raise OverloadedError(f"{name} has too many requests waiting; try again in a moment.") from None
    except (RayActorError, DeploymentUnavailableError):
        logger.warning("request %s lost a replica of %s", request_id, name)
        raise ReplicaLostError(f"A replica of {name} went away; try again.", 1.0) from None


def _translate(error: RayTaskError, name: str, request_id: str) -> PipelineGraphError:
    """The error that the replica raised, or a constant one for anything unforeseen."""
    cause = error.cause
    if isinstance(cause, PipelineGraphError):
        return cause
    logger.error("request %s failed in %s", request_id, name, exc_info=error)
    return InferenceError(MODEL_FAILED)
