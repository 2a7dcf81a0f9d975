"""Prepared chunks that wait for the model: those that the planner sees, and behind them the rest of long requests.

A request of very many chunks comes in by parts, each as old as its coming in, as the items of a list do: who asks for
little meanwhile waits for a part, not for the whole.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.work import MANY_CHUNKS, Chunk

_CHUNK_BYTES = 4096  # of a chunk beside its tensors


@dataclass
class _Rest:
    """Chunks of one request that are not in yet, in order; ``held`` bytes of memory."""

    chunks: list[Chunk]
    held: int


class Ready:
    """What waits; its owner locks it, but for the length and `sizes`.

    Args:
        part: chunks of one request that are in at a time (>=1); may be changed at any time.
    """

    def __init__(self, part: int = MANY_CHUNKS) -> None:
        self.part = part
        self.chunks: list[Chunk] = []  # that the planner may take
        self._rests: list[_Rest] = []

    def __len__(self) -> int:
        return len(self.chunks) + sum(len(rest.chunks) for rest in list(self._rests))

    @property
    def held(self) -> int:
        """Bytes of memory that the chunks behind take (>=0)."""
        return sum(rest.held for rest in self._rests)

    def alone(self) -> list[Chunk]:
        """Those in of requests that have nothing behind."""
        parted = {id(rest.chunks[0].work) for rest in self._rests}
        return [chunk for chunk in self.chunks if id(chunk.work) not in parted] if parted else self.chunks

    def waiting(self) -> list[Chunk]:
        """All that somebody still waits for."""
        behind = [chunk for rest in list(self._rests) for chunk in list(rest.chunks)]
        return [chunk for chunk in [*self.chunks, *behind] if not chunk.work.abandoned]

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Take in the chunks of one request."""
        self.chunks += chunks[: self.part]
        if behind := list(chunks[self.part :]):
            self._rests.append(_Rest(behind, sum(map(_bytes, behind))))

    def take(self, chosen: Sequence[Chunk]) -> None:
        """Take out what the model runs now; more of the same requests comes in."""
        ids = set(map(id, chosen))
        self.chunks = [chunk for chunk in self.chunks if id(chunk) not in ids]
        if not self._rests:
            return
        inside = Counter(id(chunk.work) for chunk in self.chunks)
        now = time.perf_counter()
        for rest in self._rests:
            count = max(0, self.part - inside[id(rest.chunks[0].work)])
            for chunk in rest.chunks[:count]:
                chunk.since_s = now
                rest.held -= _bytes(chunk)
            self.chunks += rest.chunks[:count]
            rest.chunks = rest.chunks[count:]
        self._rests = [rest for rest in self._rests if rest.chunks]

    def sweep(self) -> None:
        """Forget what nobody waits for any more."""
        self.chunks = [chunk for chunk in self.chunks if _wanted(chunk)]
        self._rests = [rest for rest in self._rests if _wanted(rest.chunks[0])]


def _wanted(chunk: Chunk) -> bool:
    return not (chunk.work.abandoned or chunk.work.error)


def _bytes(chunk: Chunk) -> int:
    values = chunk.inputs.values() if hasattr(chunk.inputs, "values") else ()
    return _CHUNK_BYTES + sum(int(getattr(value, "nbytes", 0)) for value in values)
