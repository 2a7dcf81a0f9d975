"""The dispatcher as one caller sees it."""

import math

from starlette.requests import Request

from deployments.errors import MalformedRequestError
from graph.access.config import KeyConfig
from graph.dispatch import Dispatcher

TIMEOUT_HEADER = "x-request-timeout"
WAIT_HEADER = "x-wait-for-model"


def key_of(request: Request) -> KeyConfig | None:
    """The key that the request came with, or None where none is needed."""
    found: KeyConfig | None = getattr(request.state, "key", None)
    return found


def seen_by(dispatcher: Dispatcher, request: Request) -> Dispatcher:
    """The models of the caller's key alone, its priority, its time limit, and whether it waits for a model to start.

    Raises:
        MalformedRequestError: the header ``X-Request-Timeout`` is no number above 0.
    """
    key, asked = key_of(request), request.headers.get(TIMEOUT_HEADER)
    timeout_s = None if asked is None else _seconds(asked)
    waits = request.headers.get(WAIT_HEADER, "").lower() in ("true", "1")
    if key is None:
        return dispatcher.narrowed(None, False, timeout_s, waits)
    return dispatcher.narrowed(key.models or None, key.priority == "low", timeout_s, waits)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise MalformedRequestError("The header X-Request-Timeout must be a number of seconds above 0.", TIMEOUT_HEADER)
    return value
