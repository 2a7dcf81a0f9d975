"""Errors as OpenAI's clients read them, ``{"error": {"message", "type", "param", "code"}}``, statuses as elsewhere."""

import re
from typing import Any

from deployments.errors import PipelineGraphError
from graph.status import describe

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ROUTES = re.compile(r"(/models/[^/]+)?/v1/")


def is_openai(path: str) -> bool:
    """Whether a path is one of OpenAI's routes."""
    return _ROUTES.match(path) is not None


def openai_error(error: PipelineGraphError, request_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and extra headers; ``code`` is the word that other routes call ``error_type``."""
    status, body, headers = describe(error, request_id)
    return status, openai_body(status, body["error"], body["error_type"], request_id, body.get("field")), headers


def openai_body(status: int, message: str, code: str, request_id: str, param: str | None = None) -> dict[str, Any]:
    """The body of an error.

    Args:
        status: of HTTP; decides the ``type``.
        message: a sentence.
        code: a stable word.
        request_id: as in the header.
        param: the field at fault.
    """
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}, "request_id": request_id}
