"""A list of items → calls of a model: short texts go several to a call, so that what a call costs is paid once."""

from collections.abc import Iterator, Sequence
from typing import Any

IN_FLIGHT = 64
"""Items of one request that are under way at a time, so that one long list does not fill a model's queue."""
_TOGETHER = 8
_CALLS = 4  # at least, of a list that has as many items: they may go to as many replicas
_SHORT = 20_000  # characters


def together(count: int) -> int:
    """How many short texts of a list of ``count`` items (>=1) share a call, in [1, 8]."""
    return min(_TOGETHER, -(-count // _CALLS))


def calls_of(items: Sequence[Any]) -> Iterator[list[int]]:
    """Numbers of the items of each call; whatever is no short text has a call of its own."""
    most, texts = together(len(items)), []
    for index, item in enumerate(items):
        if not (isinstance(item, str) and len(item) <= _SHORT):
            yield [index]
            continue
        texts.append(index)
        if len(texts) == most:
            yield texts
            texts = []
    if texts:
        yield texts
