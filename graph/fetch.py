"""Files that callers name by URL or path, read without reaching what a caller must not reach.

Only http and https; where a URL or a redirect may lead is `graph.dial`'s to decide, which files `graph.files`'s.
Whatever goes wrong on the network, the caller reads one and the same sentence.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx

from deployments.errors import InvalidInputError, OverloadedError, PayloadTooLargeError
from deployments.payload import Media
from deployments.tasks.forms import LocalMedia, RemoteMedia
from graph.config import FetchConfig, FilesConfig
from graph.dial import CheckedBackend
from graph.files import FileReader
from graph.inflate import inflate

_REDIRECTS = (301, 302, 303, 307, 308)
_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
    OSError,  # TimeoutError among them
    ValueError,  # a URL, header or encoding that is none
)


class Fetcher:
    """Fetches `RemoteMedia` and reads `LocalMedia` under the configured limits.

    Args:
        config: for URLs.
        files: for paths.
    """

    def __init__(self, config: FetchConfig, files: FilesConfig = FilesConfig()) -> None:  # noqa: B008 - frozen
        self._config = config
        self._files = FileReader(files)
        self._backend = CheckedBackend(config)
        # httpcore's own pool rather than httpx's client: that takes no network backend, follows redirects by itself,
        # keeps cookies, and undoes a content encoding without a bound
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=config.max_concurrent,
            keepalive_expiry=5,
            network_backend=self._backend,
        )
        self._turns = asyncio.Semaphore(config.max_concurrent)
        self._waiting = self._users = 0
        self._closes = False

    async def close(self) -> None:
        """Close the connections, at the latest when nobody uses them any more; nothing new may be asked of it."""
        self._closes = True
        if not self._users:
            await self._pool.aclose()
            self._backend.close()

    async def fetch_all(self, value: Any) -> Any:
        """``value`` with every `RemoteMedia` and `LocalMedia` in it replaced by the `Media` it names.

        Raises:
            InvalidInputError: one cannot be had; names the field, never what the network or the disk said.
            PayloadTooLargeError: a file, or all of them, are over a limit.
            OverloadedError: too many files are being fetched already.
        """
        named = list(dict.fromkeys(_named(value)))
        if not named:
            return value
        if len(named) > self._config.max_files:
            raise PayloadTooLargeError(
                f"This input names {len(named)} files; at most {self._config.max_files} are fetched for one.",
                named[0].field,
            )
        async with self._use():
            found = await self._get_all(named)
        return _replaced(value, dict(zip(named, found, strict=True)))

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[None]:
        """Not closed meanwhile; who leaves last turns off the light."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._closes:
                await self.close()

    async def _get_all(self, named: list[RemoteMedia | LocalMedia]) -> list[Media]:
        budget = _Budget(self._config.max_total_bytes)
        tasks = [asyncio.ensure_future(self._get(one, budget)) for one in named]
        try:
            return list(await asyncio.gather(*tasks))
        finally:  # of an input that fails, the other files are not worth fetching
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _get(self, named: RemoteMedia | LocalMedia, budget: "_Budget") -> Media:
        if isinstance(named, RemoteMedia) and not self._config.enabled:
            raise InvalidInputError(f"`{named.field}`: this server fetches no URLs; send the file.", named.field)
        async with self._turn():
            if isinstance(named, LocalMedia):
                media = await asyncio.to_thread(self._files.read, named)
                budget.take(len(media.data), named.field)
                return media
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    return Media(await self._follow(named, budget), named.kind, named.field)
            except _FAILURES:
                raise InvalidInputError(
                    f"`{named.field}`: the URL cannot be fetched from this server.", named.field
                ) from None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Until a place among those that are being fetched is free; refused where too many wait for one."""
        if self._turns.locked() and self._waiting >= self._config.max_waiting:
            raise OverloadedError("Too many files are being fetched here; try again in a moment.")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _follow(self, remote: RemoteMedia, budget: "_Budget") -> bytes:
        """The body at the end of the redirects."""
        url = _checked(httpx.URL(remote.url))
        for _ in range(self._config.max_redirects + 1):
            where, asked = _target(url)
            async with self._pool.stream("GET", where, headers=asked, extensions=self._timeouts()) as response:
                headers = {name.lower(): value for name, value in response.headers}
                if response.status not in _REDIRECTS:
                    return await self._read(remote, response, headers, budget)
            url = _redirected(url, headers.get(b"location", b"").decode())
        raise ValueError("too many redirects")

    def _timeouts(self) -> dict[str, Any]:
        most = self._config.timeout_s
        connect = min(most, self._config.connect_timeout_s)
        return {"timeout": {"connect": connect, "read": most, "write": most, "pool": most}}

    async def _read(
        self, remote: RemoteMedia, response: httpcore.Response, headers: dict[bytes, bytes], budget: "_Budget"
    ) -> bytes:
        """The body, as long as it is within the limits."""
        if not 200 <= response.status < 300:
            raise ValueError("an error page is no file")
        most, size, pieces = self._config.max_bytes, 0, []
        announced = headers.get(b"content-length", b"0")
        too_large = PayloadTooLargeError(f"`{remote.field}`: the file is larger than {most} bytes.", remote.field)
        if announced.isdigit() and int(announced) > most:
            raise too_large
        async for piece in inflate(response.aiter_stream(), headers.get(b"content-encoding", b"").decode("ascii")):
            size += len(piece)
            if size > most:
                raise too_large
            budget.take(len(piece), remote.field)
            pieces.append(piece)
        return b"".join(pieces)


class _Budget:
    """Bytes that the files of one input may have together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self, size: int, field: str) -> None:
        self._left -= size
        if self._left < 0:
            raise PayloadTooLargeError(f"The files of this input are larger than {self._most} bytes together.", field)


def _named(value: Any) -> Iterator[RemoteMedia | LocalMedia]:
    if isinstance(value, RemoteMedia | LocalMedia):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _named(part)


def _replaced(value: Any, found: dict[RemoteMedia | LocalMedia, Media]) -> Any:
    if isinstance(value, RemoteMedia | LocalMedia):
        return found[value]
    if isinstance(value, dict):
        return {key: _replaced(part, found) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, found) for part in value]
    return value


def _checked(url: httpx.URL) -> httpx.URL:
    """``url`` if it is one of the kind that is fetched at all.

    Raises:
        ValueError: not http(s), without a host, with a user name or password, or with an impossible port.
    """
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ValueError("no URL of this kind is fetched")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("no such port")
    return url


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads; never from https to http, where anybody on the way could answer.

    Raises:
        ValueError: nowhere that is fetched.
    """
    if not location:
        raise ValueError("a redirect to nowhere")
    target = _checked(url.join(location))
    if url.scheme == "https" and target.scheme != "https":
        raise ValueError("a redirect out of https")
    return target


def _target(url: httpx.URL) -> tuple[httpcore.URL, list[tuple[bytes, bytes]]]:
    """What to ask for, and the headers: the same for every caller and every host."""
    headers = [(b"host", url.netloc), (b"user-agent", b"pipeline-graph"), (b"accept", b"*/*")]
    headers.append((b"accept-encoding", b"identity"))
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path), headers
