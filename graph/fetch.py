"""Files that callers name by URL, fetched without reaching what a caller must not reach.

Only http and https; every connection, so every redirect's too, is made to an address that was checked just before:
a name that resolves to a private, loopback or link-local address is refused, and cannot change between check and use.
"""

import asyncio
import ipaddress
import socket
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.payload import Media
from deployments.tasks.forms import RemoteMedia
from graph.config import FetchConfig


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to public addresses: resolves, checks, then dials the very address it checked."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(  # type: ignore[override]  # the options are only handed on
        self, host: str, port: int, **options: Any
    ) -> httpcore.AsyncNetworkStream:
        """A connection to ``host``, or ``httpcore.ConnectError`` if any of its addresses is not public."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(_is_public(address) for address in addresses):
            raise httpcore.ConnectError(f"{host} has an address that is not public")
        return await self._inner.connect_tcp(addresses[0], port, **options)

    async def connect_unix_socket(  # type: ignore[override]
        self, path: str, **options: Any
    ) -> httpcore.AsyncNetworkStream:
        """Refused."""
        raise httpcore.ConnectError("unix sockets are not reached from here")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return (mapped or parsed).is_global and not (mapped or parsed).is_multicast


class Fetcher:
    """Fetches `RemoteMedia` under the configured limits."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        transport = httpx.AsyncHTTPTransport(trust_env=False)
        if not config.allow_private_addresses:
            # httpx has no public setting for the network backend of its connection pool
            transport._pool._network_backend = _CheckedBackend()
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=config.timeout_s,
            follow_redirects=True,
            max_redirects=config.max_redirects,
            trust_env=False,
            # no cookies: one caller's must not go out with the next caller's fetch
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def fetch_all(self, value: Any) -> Any:
        """``value`` with every `RemoteMedia` in it replaced by the fetched `Media`.

        Raises:
            InvalidInputError: a URL cannot be fetched; names the field, never what the network said.
            PayloadTooLargeError: a file is over the limit.
        """
        if isinstance(value, RemoteMedia):
            return await self._fetch(value)
        if isinstance(value, dict):
            parts = await asyncio.gather(*(self.fetch_all(part) for part in value.values()))
            return dict(zip(value, parts, strict=True))
        if isinstance(value, list):
            return list(await asyncio.gather(*(self.fetch_all(part) for part in value)))
        return value

    async def _fetch(self, remote: RemoteMedia) -> Media:
        if not self._config.enabled:
            raise InvalidInputError(f"`{remote.field}`: this server fetches no URLs; send the file.", remote.field)
        try:
            if (httpx.URL(remote.url).port or 80) not in range(1, 65536):
                raise httpx.InvalidURL("no such port")
            async with asyncio.timeout(self._config.timeout_s):
                return Media(await self._read(remote), remote.kind, remote.field)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, UnicodeError):
            raise InvalidInputError(
                f"`{remote.field}`: the URL cannot be fetched from this server.", remote.field
            ) from None

    async def _read(self, remote: RemoteMedia) -> bytes:
        async with self._client.stream("GET", remote.url) as response:
            response.raise_for_status()
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > self._config.max_bytes:
                    raise PayloadTooLargeError(
                        f"`{remote.field}`: the file is larger than {self._config.max_bytes} bytes.", remote.field
                    )
        return bytes(body)
