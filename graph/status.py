"""The one table error class → HTTP status, and the one error body."""

import math
from typing import Any

from deployments import errors

# most specific class first on the way up the method resolution order
STATUS: dict[type[errors.PipelineGraphError], tuple[int, str]] = {
    errors.MalformedRequestError: (400, "malformed_request"),
    errors.AuthenticationError: (401, "authentication"),
    errors.UnknownModelError: (404, "unknown_model"),
    errors.NotAcceptableError: (406, "not_acceptable"),
    errors.PayloadTooLargeError: (413, "payload_too_large"),
    errors.UnsupportedMediaError: (415, "unsupported_media"),
    errors.InvalidInputError: (422, "invalid_input"),
    errors.InvalidParameterError: (422, "invalid_parameter"),
    errors.RequestError: (400, "bad_request"),
    errors.RateLimitedError: (429, "rate_limited"),
    errors.OverloadedError: (429, "overloaded"),
    errors.ReplicaLostError: (503, "replica_lost"),
    errors.ModelUnavailableError: (503, "model_unavailable"),
    errors.SlowBodyError: (408, "slow_body"),
    errors.DeadlineExceededError: (504, "deadline_exceeded"),
    errors.MissingDependencyError: (501, "missing_dependency"),
    errors.InferenceError: (500, "inference"),
    errors.ModelLoadError: (500, "model_load"),
    errors.ConfigError: (500, "config"),
    errors.PipelineGraphError: (500, "internal"),
}
INTERNAL = (500, "internal", "The server failed on this request; its log has the cause under this request id.")


def status_of(error: errors.PipelineGraphError) -> tuple[int, str]:
    """HTTP status and the stable word for ``error_type``."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(message: str, error_type: str, request_id: str, field: str | None = None) -> dict[str, Any]:
    """``{"error": sentence, "error_type": word, "request_id": id}``, with ``field`` where one part is at fault."""
    body = {"error": message, "error_type": error_type, "request_id": request_id}
    return body if field is None else {**body, "field": field}


def describe(error: errors.PipelineGraphError, request_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and extra headers of the answer to ``error``."""
    status, word = status_of(error)
    headers = {}
    if isinstance(error, errors.AuthenticationError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.OverloadedError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    body = error_body(str(error), word, request_id, getattr(error, "field", None))
    if isinstance(error, errors.ModelUnavailableError):
        body["estimated_time"] = error.retry_after_s  # seconds; the hub's inference API calls it so
    return status, body, headers
