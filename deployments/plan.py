"""The batch planner: which waiting chunks the model runs next. Pure functions.

Called each time the model is free, with all that waits: there is no timer. The oldest chunk always runs, so nobody
starves; its batch is filled with its nearest neighbours in length, so that nobody is padded for a stranger.
"""

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
    """

    max_items: int
    max_padded_cost: float
    max_padding_waste: float


def cut(waiting: Sequence[Item], limits: Limits) -> list[Item]:
    """The next batch.

    The oldest chunk, then others of its group, nearest in size first (older first among equals), for as long as the
    batch stays inside ``limits``. A chunk that is larger than the budget runs alone. With sizes 10, 400, 12, 11 and a
    waste of at most 0.2, the oldest being 10, the batch is 10, 11, 12: 1 - 33/36 is padding.

    Args:
        waiting: in any order (>=1).
        limits: bounds of the batch.

    Returns:
        At least one chunk, oldest first.
    """
    oldest = min(waiting, key=lambda item: item.order)
    batch = [oldest]
    if oldest.group is None or limits.max_items < 2:
        return batch
    mates = [item for item in waiting if item.group == oldest.group and item is not oldest]
    mates.sort(key=lambda item: (abs(item.size - oldest.size), item.order))
    total = longest = oldest.size
    for mate in mates:
        if len(batch) == limits.max_items:
            break
        most = max(longest, mate.size)
        padded = most * (len(batch) + 1)
        if padded > limits.max_padded_cost or waste(total + mate.size, padded) > limits.max_padding_waste:
            continue  # a longer neighbour may not fit where a shorter one, looked at later, does
        batch.append(mate)
        total, longest = total + mate.size, most
    return sorted(batch, key=lambda item: item.order)


def padded_cost(batch: Sequence[Plannable]) -> float:
    """Rows x the longest row."""
    return len(batch) * max(item.size for item in batch)


def padding_waste(batch: Sequence[Plannable]) -> float:
    """Share of padding in the padded cost of ``batch``, in [0, 1)."""
    return waste(sum(item.size for item in batch), padded_cost(batch))


def waste(total: float, padded: float) -> float:
    """Share of ``padded`` that is not ``total``; 0 where nothing costs anything."""
    return 1 - total / padded if padded > 0 else 0.0
