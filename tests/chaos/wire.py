"""One HTTP connection that can be as slow, as short or as rude as a caller likes."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

_PATIENCE_S = 120.0
_SMALL_BUFFER = 4096


@dataclass
class Answer:
    """What came back: status, headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class Wire:
    """A connection to the server of ``url``; opened by `dial`."""

    def __init__(self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = urlsplit(url).netloc
        self._reader, self._writer = reader, writer
        self._state = h11.Connection(h11.CLIENT)

    async def write(self, data: bytes) -> None:
        """Bytes as they are; a server that has gone is found out when its answer is read."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """The head of a POST."""
        sent = {"host": self._host, "content-type": "application/json", **headers}
        return self._state.send(h11.Request(method="POST", target=path, headers=list(sent.items()))) or b""

    def data(self, data: bytes) -> bytes:
        """A piece of the body, in its framing."""
        return self._state.send(h11.Data(data=data)) or b""

    def end(self) -> bytes:
        """The end of the body."""
        return self._state.send(h11.EndOfMessage()) or b""

    async def events(self, pause_s: float = 0.0, piece: int = 2**16) -> Any:
        """h11's events of the answer, read ``piece`` bytes at a time with a pause before each.

        Raises:
            ConnectionError: the server hung up in the middle.
            TimeoutError: nothing came for two minutes.
        """
        while True:
            try:
                event = self._state.next_event()
            except h11.RemoteProtocolError as error:
                raise ConnectionResetError(str(error)) from None
            if event is h11.NEED_DATA:
                await asyncio.sleep(pause_s)
                async with asyncio.timeout(_PATIENCE_S):
                    self._state.receive_data(await self._reader.read(piece))
                continue
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            yield event
            if isinstance(event, h11.EndOfMessage):
                return

    async def answer(self, pause_s: float = 0.0, piece: int = 2**16) -> Answer:
        """The whole answer; see `events`."""
        found, body = Answer(0, {}), []
        async for event in self.events(pause_s, piece):
            if isinstance(event, h11.Response):
                found.status = event.status_code
                found.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
        found.body = b"".join(body)
        return found

    async def leave(self, abruptly: bool) -> None:
        """Hang up; ``abruptly`` with a reset, as a process does that is killed."""
        if abruptly:
            raw = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


async def dial(url: str, slow_reader: bool = False) -> Wire:
    """Connect; with ``slow_reader``, little is read ahead on this side of the network."""
    where = urlsplit(url)
    raw = socket.socket()
    raw.setblocking(False)
    if slow_reader:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
    await asyncio.get_running_loop().sock_connect(raw, (where.hostname, where.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=_SMALL_BUFFER if slow_reader else 2**16)
    return Wire(url, reader, writer)
