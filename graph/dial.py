"""Connections for fetched URLs: a name is looked up once, all its addresses are checked, and one of them is dialled.

It is the one way out: every URL and every redirect passes `CheckedBackend.connect_tcp`, so nothing can change between
the check and the connection.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from graph.config import FetchConfig
from graph.places import Address, Places, is_public, read_address

# addresses of one name that are tried: enough for a host with IPv6 and IPv4, and no more than a caller's name server
# could make the server wait for
_MOST_ATTEMPTS = 3


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to where ``config`` lets a URL lead.

    Args:
        config: its ports, ``allow``, ``deny`` and ``allow_private_addresses``.
    """

    def __init__(self, config: FetchConfig) -> None:
        self._ports = frozenset(config.ports)
        self._allow, self._deny = Places(config.allow), Places(config.deny)
        self._private = config.allow_private_addresses
        self._inner = httpcore.AnyIOBackend()
        # threads of its own: a name server that does not answer must not hold up whatever else the process looks up
        self._lookups = ThreadPoolExecutor(config.max_concurrent, thread_name_prefix="lookup")

    def close(self) -> None:
        """Let go of the threads; a look-up that is under way ends by itself."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def connect_tcp(  # type: ignore[override]  # the options are only handed on
        self, host: str, port: int, **options: Any
    ) -> httpcore.AsyncNetworkStream:
        """A connection to ``host``.

        Raises:
            httpcore.ConnectError: the port, the name or any of its addresses is not allowed, or none answers.
        """
        addresses = await self._addresses(host, port)
        last: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses[:_MOST_ATTEMPTS]:
            try:
                return await self._inner.connect_tcp(address, port, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses of ``host``, every one of them allowed; looked up once."""
        if (self._ports and port not in self._ports) or self._deny.has_host(host):
            raise httpcore.ConnectError("this port or host is not allowed")
        found = await asyncio.get_running_loop().run_in_executor(self._lookups, _look_up, host, port)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # one address that is not allowed among others is how a name is made to point into a private network
        if not all(self._allowed(host, read_address(address)) for address in addresses):
            raise httpcore.ConnectError("this address is not allowed")
        return addresses

    def _allowed(self, host: str, address: Address) -> bool:
        if self._deny.has_address(address):
            return False
        if self._allow.has_address(address):
            return True
        named = not self._allow or self._allow.has_host(host)
        return named and (self._private or is_public(address))

    async def connect_unix_socket(  # type: ignore[override]
        self, path: str, **options: Any
    ) -> httpcore.AsyncNetworkStream:
        """Refused."""
        raise httpcore.ConnectError("unix sockets are not reached from here")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _look_up(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
