"""The body of a fetched file as it comes in, its content encoding undone a bounded piece at a time."""

import zlib
from collections.abc import AsyncIterable, AsyncIterator

_PIECE = 2**16


class EncodingError(ValueError):
    """Raised for a content encoding that is not undone here, or for data that is not in it."""


async def inflate(pieces: AsyncIterable[bytes], encoding: str) -> AsyncIterator[bytes]:
    """The body of which ``pieces`` are sent, in pieces of 64 KiB at most where it was compressed.

    Args:
        pieces: as they come off the network.
        encoding: the ``content-encoding`` header; ``gzip`` and ``deflate`` are undone. None is asked for, but some
            servers compress whatever they send.

    Raises:
        EncodingError: another encoding, several, or damaged data.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        async for piece in pieces:
            yield piece
        return
    if name not in ("gzip", "x-gzip", "deflate"):
        raise EncodingError("not an encoding that is read here")
    undo = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever header comes
    try:
        async for piece in pieces:
            while piece and not undo.eof:
                yield undo.decompress(piece, _PIECE)
                piece = undo.unconsumed_tail
            if undo.eof:  # what follows is no part of the file, and may have no end
                return
    except zlib.error:
        raise EncodingError("damaged") from None
    raise EncodingError("cut short")
