"""Keys and values of the rows of a running batch: one slot a row, all rows ending at the same column.

Upstream's cache grows by copying itself at every token. Here a step writes one column in place, a row that joins is
copied into its slot once, and a row that leaves is overwritten by the last one.

    columns   0    start            end      capacity
    row 0     .    [. . k k k k k k]           a row begins at its own first column; what is before it is masked
    row 1     .    [k k k k k k k k]
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DummyLayer, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from deployments.device_map import input_device
from deployments.stepwise.prefixes import States

ROUND, LEAST_ROWS = 64, 4
"""Buffers grow to a multiple of so many columns, and to so many rows at least."""


class _Geometry:
    """Where the live rows stand in the buffers of every layer."""

    def __init__(self) -> None:
        self.rows = self.columns = 0  # capacity
        self.start = self.end = 0  # columns in use


class _SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's buffers, ``(rows, heads, columns, size)``; reads and writes where the geometry says.

    A layer with a sliding window keeps all its columns, too: its mask goes by the distance of columns.
    """

    def __init__(self, geometry: _Geometry, sliding: bool) -> None:
        super().__init__()
        self.is_sliding = sliding
        self._at = geometry

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = self._zeros(key_states), self._zeros(value_states)
        self.is_initialized = True

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        # zeros, as a masked column of garbage could still be infinite, and infinity times zero is no number
        return like.new_zeros(self._at.rows, like.shape[1], self._at.columns, like.shape[3])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        at, count, end = self._at, key_states.shape[0], self._at.end + key_states.shape[2]
        self.keys[:count, :, at.end : end] = key_states
        self.values[:count, :, at.end : end] = value_states
        return self.keys[:count, :, at.start : end], self.values[:count, :, at.start : end]

    def get_seq_length(self) -> int:
        return self._at.end - self._at.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def moved(self, count: int, start: int, end: int, new_end: int) -> None:
        """Into buffers of the geometry's new capacity: columns ``start`` to ``end`` come to end at ``new_end``."""
        for name in ("keys", "values") if self.is_initialized else ():
            old = getattr(self, name)
            new = self._zeros(old)
            new[:count, :, new_end - (end - start) : new_end] = old[:count, :, start:end]
            setattr(self, name, new)

    def take(self, slot: int, other: "_SlotLayer", row: int, length: int) -> None:
        """Copy the last ``length`` columns of a row of ``other`` into ``slot``."""
        if not self.is_initialized:
            self.lazy_initialization(other.keys, other.values)
        end, theirs = self._at.end, other._at.end
        for mine, given in ((self.keys, other.keys), (self.values, other.values)):
            mine[slot, :, : end - length] = 0
            mine[slot, :, end - length : end] = given[row, :, theirs - length : theirs]

    def states(self, row: int, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of some columns of a row, each of shape (heads, columns, size)."""
        return self.keys[row, :, begin:end].clone(), self.values[row, :, begin:end].clone()

    def put(self, row: int, begin: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write `states` into a row, from column ``begin`` on."""
        if not self.is_initialized:
            self.lazy_initialization(keys[None], values[None])
        self.keys[row, :, begin : begin + keys.shape[1]] = keys
        self.values[row, :, begin : begin + keys.shape[1]] = values

    def copy_row(self, source: int, target: int) -> None:
        """Overwrite a row by another."""
        for buffer in (self.keys, self.values):
            buffer[target] = buffer[source]


class SlotCache(Cache):  # type: ignore[misc]
    """The cache of some rows of a model.

    Args:
        model: whose configuration says which layers there are.
    """

    def __init__(self, model: Any) -> None:
        self._at = _Geometry()
        template = DynamicCache(config=model.config)
        super().__init__(
            layers=[
                layer if type(layer) is DummyLayer else _SlotLayer(self._at, layer.is_sliding)
                for layer in template.layers
            ]
        )
        self._device = input_device(model)
        self.firsts: list[int] = []  # column at which each row begins
        self._firsts_tensor: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """Live rows."""
        return len(self.firsts)

    @property
    def width(self) -> int:
        """Columns in use."""
        return self._at.end - self._at.start

    def begin(self, lengths: Sequence[int]) -> None:
        """Rows of these lengths are about to be filled, from column 0 on; call it on an empty cache."""
        most = max(lengths)
        self._at.rows, self._at.columns = len(lengths), most
        self.firsts = [most - length for length in lengths]
        self._firsts_tensor = None

    def states(self, row: int, begin: int, end: int) -> States:
        """Of a row's tokens from ``begin`` to ``end``, copied."""
        first = self.firsts[row]
        return [layer.states(row, first + begin, first + end) for layer in self._slots()]

    def put(self, row: int, states: States) -> None:
        """Give a row its first tokens' states; `advance` over them when all rows have theirs."""
        for layer, (keys, values) in zip(self._slots(), states, strict=True):
            layer.put(row, self.firsts[row], keys, values)

    def mask(self, count: int) -> torch.Tensor | None:
        """``(rows, columns in use + count)``, 1 where a row has a token; None where all have one everywhere."""
        if all(first == self._at.start for first in self.firsts):
            return None
        columns = torch.arange(self._at.start, self._at.end + count, device=self._device)
        return (columns >= self._column_of_first()).long()

    def positions(self, count: int) -> torch.Tensor:
        """Position of each of the next ``count`` tokens in its own text, ``(rows, count)``; 0 in the padding."""
        columns = torch.arange(self._at.end, self._at.end + count, device=self._device)
        return (columns - self._column_of_first()).clamp_(min=0)

    def _column_of_first(self) -> torch.Tensor:
        if self._firsts_tensor is None:
            self._firsts_tensor = torch.tensor(self.firsts, device=self._device)[:, None]
        return self._firsts_tensor

    def advance(self, count: int) -> None:
        """``count`` columns were filled."""
        self._at.end += count

    def reserve(self, rows: int, left: int, right: int, ahead: int) -> None:
        """Make room.

        Args:
            rows: slots needed.
            left: columns needed up to the end, for the longest row.
            right: columns needed behind the end now.
            ahead: columns that will be needed behind it at most, some of which are taken along when the buffers move.
        """
        at = self._at
        left = max(left, self.width)
        if rows <= at.rows and left <= at.end and at.end + right <= at.columns:
            return
        start, end = at.start, at.end
        if rows > at.rows:
            at.rows = max(rows, LEAST_ROWS, min(2 * at.rows, 2 * rows))
        room = max(right, min(ahead, max(left, 2 * ROUND)))
        at.columns = -(-(left + room) // ROUND) * ROUND
        for layer in self._slots():
            layer.moved(self.count, start, end, left)
        shift = left - end
        at.start, at.end = start + shift, left
        self.firsts = [first + shift for first in self.firsts]
        self._firsts_tensor = None

    def take(self, other: "SlotCache", row: int, ahead: int) -> None:
        """Add a row of ``other`` as the last one; ``ahead`` is how many columns it may grow by."""
        length = other._at.end - other.firsts[row]
        self.reserve(self.count + 1, length, 1, ahead)
        for mine, theirs in zip(self._slots(), other._slots(), strict=True):
            mine.take(self.count, theirs, row, length)
        self.firsts.append(self._at.end - length)
        self._trim()

    def drop(self, row: int) -> None:
        """Remove a row; the last one takes its number."""
        last = self.count - 1
        if row != last:
            for layer in self._slots():
                layer.copy_row(last, row)
            self.firsts[row] = self.firsts[last]
        self.firsts.pop()
        self._trim()

    def _trim(self) -> None:
        """Leave out the columns in which no row has a token."""
        self._at.start = min(self.firsts, default=self._at.end)
        self._firsts_tensor = None

    def _slots(self) -> list[_SlotLayer]:
        return [layer for layer in self.layers if isinstance(layer, _SlotLayer)]


def why_not(model: Any) -> str | None:
    """Why the cache of ``model`` cannot be kept in slots, or None."""
    known = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
    text_config = model.config.get_text_config(decoder=True)
    if not model._supports_default_dynamic_cache() or getattr(model, "_is_stateful", False):
        return "the model keeps a state of its own kind"
    if "chunked_attention" in (getattr(text_config, "layer_types", None) or ()):
        return "the model attends in chunks"
    if not DynamicCache(config=model.config).layers:
        return "the model's configuration does not say what its cache is like"
    strange = {type(layer).__name__ for layer in DynamicCache(config=model.config).layers if type(layer) not in known}
    return f"the model's cache has layers of the kind {', '.join(sorted(strange))}" if strange else None
