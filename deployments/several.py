"""Several requests in one call of a replica: items of a list, each answered or refused by itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from deployments.errors import MODEL_FAILED, InferenceError, OverloadedError, PipelineGraphError
from deployments.payload import TaskRequest, TaskResult

logger = logging.getLogger("ray.serve")

Answer = Callable[[TaskRequest], Awaitable[TaskResult]]


async def each(answer: Answer, requests: Sequence[TaskRequest]) -> list[TaskResult | PipelineGraphError]:
    """The answers of all, in order, with an error in the place of one that failed.

    Raises:
        OverloadedError: the replica cannot answer now, so that all are to be asked for again.
    """
    return list(await asyncio.gather(*(_outcome(answer, request) for request in requests)))


async def _outcome(answer: Answer, request: TaskRequest) -> TaskResult | PipelineGraphError:
    try:
        return await answer(request)
    except OverloadedError:  # or one of its kinds: a lost replica, a model that cannot be loaded now
        raise
    except PipelineGraphError as error:
        return error
    except Exception:
        logger.exception("request %s failed", request.request_id)
        return InferenceError(MODEL_FAILED)
