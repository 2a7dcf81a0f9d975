"""What API keys add to the document: how they are sent, and the answers to those who have none or ask too often."""

from typing import Any

from deployments.errors import AuthenticationError, RateLimitedError
from deployments.tasks.forms import Schema
from graph.access.config import AccessConfig
from graph.access.gate import is_open
from graph.access.keys import needs_key
from graph.openai.errors import is_openai
from graph.openapi.errors import error_responses
from graph.openapi.openai_operation import OPENAI_REFUSED


def with_keys(access: AccessConfig, document: Schema) -> Schema:
    """``document``, which has all errors, as it is with this ``access``."""
    if not needs_key(access):
        responses = {name: one for name, one in document["components"]["responses"].items() if name != "Error401"}
        return {**document, "components": {**document["components"], "responses": responses}}
    shared = error_responses(AuthenticationError, RateLimitedError)

    def guarded(path: str, item: dict[str, Any]) -> dict[str, Any]:
        refused = OPENAI_REFUSED if is_openai(path) else shared
        return {
            method: operation
            if is_open(method, path)
            else {**operation, "security": [{"key": []}], "responses": {**refused, **operation["responses"]}}
            for method, operation in item.items()
        }

    schemes = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        **document,
        "paths": {path: guarded(path, item) for path, item in document["paths"].items()},
        "components": {**document["components"], "securitySchemes": schemes},
    }
