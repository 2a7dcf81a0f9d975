"""The bytes of a request's body, bounded in number and in time."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.requests import Request

from deployments.errors import PayloadTooLargeError, SlowBodyError, UnsupportedMediaError
from graph.config import LimitsConfig

# slower than this for long is nobody's network: each slow body holds one of the router's requests
_LEAST_BYTES_PER_S = 16 * 2**10


def refuse_encoded(request: Request) -> None:
    """Compressed bodies are not read.

    Raises:
        UnsupportedMediaError: this is one.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise UnsupportedMediaError(f"Content-Encoding {encoding!r} is not read here; send the body as it is.")


async def read_pieces(request: Request, limits: LimitsConfig) -> AsyncGenerator[bytes, None]:
    """The body as it comes.

    Raises:
        PayloadTooLargeError: it is over ``limits.max_body_bytes``; it is not read further.
        ClientDisconnect: the caller left.
        SlowBodyError: it takes more than ``limits.body_timeout_s``, and a second for each 16 KiB of it.
    """
    most = limits.max_body_bytes
    announced, count = request.headers.get("content-length", "0"), 0
    refusal = PayloadTooLargeError(f"The body is larger than {most} bytes, the most that is taken.")
    if not (announced.isascii() and announced.isdigit()) or int(announced) > most:
        raise refusal
    clock, coming = asyncio.get_running_loop(), request.stream()
    began_s = clock.time()
    while True:
        try:
            async with asyncio.timeout_at(began_s + limits.body_timeout_s + count / _LEAST_BYTES_PER_S):
                piece = await anext(coming)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise SlowBodyError(
                f"Of the body, {count} bytes came in {clock.time() - began_s:.0f} s; send it faster."
            ) from None
        count += len(piece)
        if count > most:
            raise refusal
        yield piece


async def joined(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """All pieces, copied once; one that is all there is, not at all."""
    found = [piece async for piece in pieces if piece]
    return found[0] if len(found) == 1 else b"".join(found)


async def read_bytes(request: Request, limits: LimitsConfig) -> bytes:
    """The whole body.

    Raises:
        UnsupportedMediaError: it is compressed.
        PayloadTooLargeError, SlowBodyError: see `read_pieces`.
    """
    refuse_encoded(request)
    return await joined(read_pieces(request, limits))
