"""The keys that are valid now, and finding whose a secret is."""

import hashlib
import hmac
import logging
import os
import secrets
import time
from pathlib import Path

from deployments.errors import ConfigError
from graph.access.config import VARIABLE, AccessConfig, KeyConfig, read_keys_file, read_variable

logger = logging.getLogger("ray.serve")

_LOOK_S = 1.0  # between two looks at the file


def new_key() -> tuple[str, str]:
    """A key of 256 random bits, and its SHA-256: with so many, nothing slower than that is needed to hide it."""
    key = f"pg-{secrets.token_urlsafe(32)}"
    return key, digest(key)


def digest(key: str) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _fixed(access: AccessConfig) -> tuple[KeyConfig, ...]:
    """Keys that stay until the next configuration: its own, and those of the environment."""
    return (*access.keys, *read_variable(os.environ.get(VARIABLE, "")))


def needs_key(access: AccessConfig) -> bool:
    """Whether callers need a key. A file that has become empty locks everybody out, rather than letting all in."""
    return access.keys_file is not None or bool(_fixed(access))


class KeyRing:
    """Keys from the configuration, its file and the environment.

    Args:
        access: the configuration.

    Raises:
        ConfigError: the file or the variable has mistakes, or two keys have one name.
    """

    def __init__(self, access: AccessConfig) -> None:
        self._fixed = _fixed(access)
        self.required = needs_key(access)
        self._path = Path(access.keys_file) if access.keys_file is not None else None
        self._stamp = self._look()
        self._looked_s = time.monotonic()
        self._keys = self._read()

    def find(self, secret: str) -> KeyConfig | None:
        """The key that ``secret`` is, in a time that says nothing of the others."""
        self._refresh()
        wanted, found = digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, wanted):
                found = key
        return found

    def _refresh(self) -> None:
        """Read the file again if it changed; if it has mistakes, the keys stay as they were."""
        now = time.monotonic()
        if self._path is None or now - self._looked_s < _LOOK_S:
            return
        self._looked_s, stamp = now, self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
            logger.info("API keys read again: %d", len(self._keys))
        except ConfigError as error:
            logger.error("API keys stay as they were: %s", error)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)

    def _read(self) -> tuple[KeyConfig, ...]:
        keys = (*self._fixed, *(read_keys_file(self._path) if self._path is not None else ()))
        names = [key.name for key in keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"access: two keys are called {', '.join(twice)}.")
        return keys
