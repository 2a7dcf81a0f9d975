"""What the encoder of an encoder-decoder model made of the texts of a running batch: one slot a row.

Each decoder layer reads the keys and values of its row's text at every token. They are made once, when a row begins; a
row that joins is copied into its slot, a row that leaves is overwritten by the last one, and rows are padded at their
end, which is masked.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from deployments.stepwise.slots import LEAST_ROWS, ROUND


class SourceSlots(Cache):  # type: ignore[misc]
    """Keys and values of the texts of some rows, for every decoder layer.

    Args:
        layers: of the decoder.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[DynamicLayer() for _ in range(layers)])
        self.lengths: list[int] = []
        self._buffers: list[list[torch.Tensor]] = []  # of each layer, (rows, heads, columns, size)

    @property
    def width(self) -> int:
        """Columns in use."""
        return max(self.lengths, default=0)

    def begin(self, rows: int, length: int) -> None:
        """The model is about to fill the layers of so many rows of one text; call it on an empty cache."""
        self.lengths = [length] * rows

    def mask(self, device: Any) -> torch.Tensor:
        """``(rows, columns)``, 1 where a row's text has a token."""
        ends = torch.tensor(self.lengths, device=device)[:, None]
        return (torch.arange(self.width, device=device) < ends).long()

    def take(self, other: "SourceSlots", row: int) -> None:
        """Add a row of ``other`` as the last one."""
        slot, length = len(self.lengths), other.lengths[row]
        self._reserve(slot + 1, length, other)
        self.lengths.append(length)
        for mine, theirs in zip(self._buffers, other.layers, strict=True):
            for buffer, given in zip(mine, (theirs.keys, theirs.values), strict=True):
                buffer[slot, :, :length] = given[row, :, :length]
                buffer[slot, :, length:] = 0
        self._show()

    def drop(self, row: int) -> None:
        """Remove a row; the last one takes its number."""
        last = self.lengths.pop()
        if row < len(self.lengths):
            self.lengths[row] = last
            for mine in self._buffers:
                for buffer in mine:
                    buffer[row] = buffer[len(self.lengths)]
        self._show()

    def _reserve(self, rows: int, columns: int, like: "SourceSlots") -> None:
        if not self._buffers:
            self._buffers = [[layer.keys[:0, :, :0], layer.values[:0, :, :0]] for layer in like.layers]
        held = self._buffers[0][0].shape
        if rows <= held[0] and columns <= held[2]:
            return
        more = max(held[0], LEAST_ROWS) if rows <= held[0] else max(LEAST_ROWS, 2 * held[0])
        wide = max(held[2], -(-columns // ROUND) * ROUND)
        count = len(self.lengths)
        for mine in self._buffers:
            for index, old in enumerate(mine):
                # zeros, as a masked column of garbage could still be infinite, and infinity times zero is no number
                new = old.new_zeros(more, old.shape[1], wide, old.shape[3])
                new[:count, :, : old.shape[2]] = old[:count]
                mine[index] = new

    def _show(self) -> None:
        """The models read the layers' attributes: what is in use."""
        count, width = len(self.lengths), self.width
        for layer, (keys, values) in zip(self.layers, self._buffers, strict=True):
            layer.keys, layer.values = keys[:count, :, :width], values[:count, :, :width]
