"""The answers to requests that fail: one body, and for each status the words of ``graph/status.py``."""

from http import HTTPStatus

from deployments import errors
from deployments.errors import PipelineGraphError
from deployments.tasks.forms import Schema
from graph.openapi.build import STRING, closed
from graph.openapi.headers import REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE
from graph.status import INTERNAL, STATUS

_MEANING = {
    400: "The body cannot be read as what it says it is.",
    401: "An API key is needed, or the one sent is not valid.",
    404: "No model here has that name or serves that task.",
    406: "The answer cannot be had as the Accept header asks.",
    408: "The body came more slowly than is waited for; try again.",
    413: "The body, the list or a file in it is larger than this server takes.",
    415: "The body is of a kind that is not read here.",
    422: "An input or a parameter is missing or wrong; `field` names it.",
    429: "The model's queue is full; try again after `retry-after` seconds.",
    500: "The server's fault; its log has the cause under the request's id.",
    501: "An optional package that this request needs is not installed.",
    503: "The model is loading or has failed to load; try again after `retry-after` seconds, or `estimated_time`.",
    504: "No answer within the time limit.",
}
# never raised while a request is served, or the root of those that are
_NOT_SERVED = (errors.ConfigError, errors.ModelLoadError, errors.PipelineGraphError, errors.RequestError)
# raised before any route, and only where keys are configured: ``graph/openapi/keys.py`` adds them
_OF_KEYS = (errors.AuthenticationError, errors.RateLimitedError)


def _words() -> dict[int, list[str]]:
    """Status → every ``error_type`` that comes with it."""
    words: dict[int, list[str]] = {INTERNAL[0]: [INTERNAL[1]]}
    for kind, (status, word) in STATUS.items():
        if kind not in _NOT_SERVED:
            words.setdefault(status, []).append(word)
    return words


def _retryable(status: int) -> bool:
    kinds = [kind for kind, (of_kind, _) in STATUS.items() if of_kind == status]
    return all(issubclass(kind, errors.OverloadedError) for kind in kinds)


def _response(status: int, words: list[str]) -> Schema:
    meaning = _MEANING.get(status, f"{HTTPStatus(status).phrase}.")
    example = {"error": meaning, "error_type": words[0], "request_id": "6f1c…"}
    optional = {"field": STRING, **({"estimated_time": {"type": "number"}} if status == 503 else {})}
    body = closed(optional, error=STRING, error_type={"enum": words}, request_id=STRING)
    more = WWW_AUTHENTICATE if status == 401 else RETRY_AFTER if _retryable(status) else {}
    return {
        "description": meaning,
        "headers": {**REQUEST_ID, **more},
        "content": {"application/json": {"schema": body, "example": example}},
    }


RESPONSES: dict[str, Schema] = {f"Error{status}": _response(status, words) for status, words in _words().items()}


def error_responses(*kinds: type[PipelineGraphError]) -> dict[str, Schema]:
    """Responses of an operation that raises these, and of the unforeseen."""
    statuses = sorted({INTERNAL[0], *(STATUS[kind][0] for kind in kinds)})
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


INFERENCE = tuple(kind for kind in STATUS if kind not in (*_NOT_SERVED, *_OF_KEYS, errors.UnknownModelError))
"""What a call of a model may raise."""
