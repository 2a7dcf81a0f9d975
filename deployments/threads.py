"""What a replica does beside its event loop and its engine: decode media, read texts, compile grammars. No Ray."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from deployments.keys import request_key
from deployments.line import Line
from deployments.media import MediaDecoder, plain
from deployments.room import Room

Result = TypeVar("Result")


class Threads:
    """Threads for each, so that no text waits behind a film, and nobody behind a grammar; used on one event loop.

    Args:
        room: for decoded media; while it is full, none is decoded.
    """

    def __init__(self, room: Room) -> None:
        self._decoding = Line(2, "decode", room)
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="read")
        self._compiling = ThreadPoolExecutor(1, thread_name_prefix="grammar")

    def close(self) -> None:
        """Let go of them."""
        self._decoding.close()
        for threads in (self._reading, self._compiling):
            threads.shutdown(wait=False)

    async def read(self, function: Callable[..., Result], *args: Any) -> Result:
        """``function``, which works on text."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, function, *args)

    async def key(self, inputs: Any, parameters: dict[str, Any]) -> Hashable:
        """Key of a request; hashing media is not for the event loop."""
        if isinstance(inputs, str):
            return request_key(inputs, parameters)
        return await self.read(request_key, inputs, parameters)

    async def compile(self, function: Callable[..., Result], *args: Any) -> Result:
        """``function``, which may take seconds."""
        return await asyncio.get_running_loop().run_in_executor(self._compiling, function, *args)

    async def decode(self, decoder: MediaDecoder, inputs: Any, bulk: bool) -> Any:
        """``inputs`` with its media decoded, those of single requests before those of lists; what has none, at once."""
        return inputs if plain(inputs) else await self._decoding.run(bulk, decoder.decode, inputs)
