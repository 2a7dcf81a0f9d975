"""The batch planner: which waiting chunks the model runs next. Pure functions.

Called each time the model is free, with all that waits: there is no timer. What waits is divided into the batches that
take the least time together, by the measured cost of a forward (`deployments.cost`); the batch with the oldest chunk
runs. So nobody starves, and nobody is padded for a stranger unless a forward of its own would cost more.
"""

import heapq
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Plannable(Protocol):
    """What the planner looks at; see `deployments.work.Chunk`."""

    @property
    def size(self) -> float:
        """Cost alone, in the task's unit (>=0)."""

    @property
    def group(self) -> Hashable:
        """Equal for chunks that may share a batch; None for one that shares with nobody."""

    @property
    def order(self) -> tuple[float, int]:
        """Sorts oldest first."""


Item = TypeVar("Item", bound=Plannable)


@dataclass(frozen=True)
class Limits:
    """Bounds of one batch.

    Args:
        max_items: rows (>=1).
        max_padded_cost: rows x the longest row, in the task's unit (>0). With 16384 tokens, 32 rows of 512 fit, or
            128 of 128.
        max_padding_waste: share of the padded cost that may be padding, in [0, 1).
        forward_cost: padded cost that takes as long as a forward takes beside its rows (>=0); None where it is not
            known yet, which counts as a quarter of the mean row. On a CPU it is some 14 tokens for MiniLM, on a GPU
            thousands.
        max_prefix_tokens: kept of texts that were generated, for prompts that begin the same (>=0).
    """

    max_items: int
    max_padded_cost: float
    max_padding_waste: float
    forward_cost: float | None = None
    max_prefix_tokens: int = 0


_LOOKED_AT = 256  # chunks nearest in size to the oldest; more would cost more time to plan than they save


def cut(waiting: Sequence[Item], limits: Limits) -> list[Item]:
    """The next batch.

    The chunks of the oldest one's group, sorted by size, are divided into runs of neighbours so that the sum of
    ``forward_cost + rows x longest row`` is least; the run with the oldest chunk is the batch. A chunk that is larger
    than the budget runs alone. With sizes 10, 400, 12, 11, the oldest being 10, and a forward that costs as much as 14
    tokens, the batch is 10, 11, 12: its padding costs 3 tokens, two more forwards would cost 28.

    Args:
        waiting: in any order (>=1).
        limits: bounds of the batch.

    Returns:
        At least one chunk, oldest first.
    """
    oldest = min(waiting, key=lambda item: item.order)
    if oldest.group is None or limits.max_items < 2:
        return [oldest]
    mates = [item for item in waiting if item.group == oldest.group]
    if len(mates) > _LOOKED_AT:
        mates = heapq.nsmallest(_LOOKED_AT, mates, key=lambda item: (abs(item.size - oldest.size), item.order))
    mates.sort(key=lambda item: (item.size, item.order))
    first, last = _run_of(mates.index(oldest), [item.size for item in mates], limits)
    return sorted(mates[first:last], key=lambda item: item.order)


def _run_of(position: int, sizes: Sequence[float], limits: Limits) -> tuple[int, int]:
    """The run ``sizes[first:last]`` that holds ``position`` when ascending ``sizes`` are divided at the least cost."""
    count = len(sizes)
    if sizes[0] == sizes[-1]:  # as those of images are: the fullest batches, without a look at the others
        most = limits.max_padded_cost / sizes[0] if sizes[0] > 0 else math.inf
        rows = int(max(1, min(limits.max_items, most)))
        first = position // rows * rows
        return first, min(count, first + rows)
    per_forward = limits.forward_cost
    if per_forward is None:
        per_forward = sum(sizes) / count / 4
    most_padded, most_waste = limits.max_padded_cost, limits.max_padding_waste
    least = [0.0] * (count + 1)  # of dividing all from here on
    ends = [0] * count
    for first in reversed(range(count)):
        shortest = total = sizes[first]
        best, end = per_forward + shortest + least[first + 1], first + 1
        for last in range(first + 2, min(count, first + limits.max_items) + 1):
            longest = sizes[last - 1]
            total += longest
            padded = (last - first) * longest
            # beyond the second bound, letting the first run by itself would cost less
            if padded > most_padded or longest - shortest > per_forward:
                break
            if padded > 0 and 1 - total / padded > most_waste:
                continue  # more of the longest may bring it under the bound again
            cost = per_forward + padded + least[last]
            if cost <= best:  # of equal divisions the one with the fullest batch first
                best, end = cost, last
        least[first], ends[first] = best, end
    first = 0
    while ends[first] <= position:
        first = ends[first]
    return first, ends[first]


def padded_cost(batch: Sequence[Plannable]) -> float:
    """Rows x the longest row."""
    return len(batch) * max(item.size for item in batch)


def padding_waste(batch: Sequence[Plannable]) -> float:
    """Share of padding in the padded cost of ``batch``, in [0, 1)."""
    return waste(sum(item.size for item in batch), padded_cost(batch))


def waste(total: float, padded: float) -> float:
    """Share of ``padded`` that is not ``total``; 0 where nothing costs anything."""
    return 1 - total / padded if padded > 0 else 0.0
