"""Before any route: whose key is it, and has it requests left."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers

from deployments.errors import AuthenticationError, RateLimitedError
from graph.access.config import AccessConfig, KeyConfig
from graph.access.keys import KeyRing

_OPEN = re.compile(r"/health|/ready|/models/[^/]+/health")


class Gate:
    """Checks of one router process. What is counted stays when the configuration changes.

    Args:
        access: the configuration.
        limited: is told the name of a key that has no requests left.

    Raises:
        ConfigError: see `KeyRing`.
    """

    def __init__(self, access: AccessConfig, limited: Callable[[str], None] = lambda _: None) -> None:
        self._limited = limited
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._running: Counter[str] = Counter()
        self.reconfigure(access)

    def reconfigure(self, access: AccessConfig) -> None:
        """Take over other keys."""
        self.ring = KeyRing(access)
        self.access = access

    @contextmanager
    def passed(self, method: str, path: str, headers: Headers) -> Iterator[KeyConfig | None]:
        """While a request runs; gives its key, or None where none is needed and none of ours was sent.

        Args:
            method: of the request.
            path: the same, below the prefix of the application.
            headers: the same.

        Raises:
            AuthenticationError: no key, or one that is not valid.
            RateLimitedError: it has no requests left for now.
        """
        if not self.ring.required:
            yield None
            return
        secret = _secret(headers)
        key = self.ring.find(secret) if secret else None
        if is_open(method, path):
            yield key
            return
        if key is None:
            raise AuthenticationError(
                "This API key is not valid here."
                if secret
                else "An API key is needed: send it as `Authorization: Bearer KEY`."
            )
        try:
            self._count(key)
        except RateLimitedError:
            self._limited(key.name)
            raise
        self._running[key.name] += 1
        try:
            yield key
        finally:
            self._running[key.name] -= 1

    def _count(self, key: KeyConfig) -> None:
        if key.concurrent is not None and self._running[key.name] >= key.concurrent:
            raise RateLimitedError(f"The key {key.name} has {key.concurrent} requests running, the most it may.")
        if key.requests_per_minute is None:
            return
        limit = RateLimitItemPerMinute(key.requests_per_minute)
        if not self._limiter.hit(limit, key.name):
            left_s = self._limiter.get_window_stats(limit, key.name).reset_time - time.time()
            raise RateLimitedError(
                f"The key {key.name} has used its {key.requests_per_minute} requests of this minute.",
                float(max(1, math.ceil(left_s))),
            )


def is_open(method: str, path: str) -> bool:
    """Whether a route answers without a key: health, which probes ask. A model may be called ``health``, too."""
    return method.upper() in ("GET", "HEAD") and _OPEN.fullmatch(path) is not None


def _secret(headers: Headers) -> str:
    """The key in ``Authorization: Bearer`` or ``X-API-Key``."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
